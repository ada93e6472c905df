//! `[metrics]`: where the relay's numbers can be read.

use process::document::Table;

use super::validated::Listen;

/// Where `GET /metrics` is answered; nowhere unless it is said.
pub(super) fn read(table: Option<Table<'_>>) -> Listen {
    let listen = table.and_then(|mut table| table.required_parsed::<Listen>("listen"));
    listen.map_or(Listen::Off, |listen| listen.value)
}

#[cfg(test)]
mod tests {
    use process::document;

    use super::*;

    #[test]
    fn an_address_or_nothing() {
        let read = |text: &str| document::read("relay.toml", text, |root| Some(read(root.table("metrics"))));
        assert_eq!(read("").unwrap(), Listen::Off);
        assert_eq!(read("[metrics]\nlisten = \"off\"").unwrap(), Listen::Off);
        let address = "[::1]:9100".parse().unwrap();
        assert_eq!(read("[metrics]\nlisten = \"[::1]:9100\"").unwrap(), Listen::At(address));
        for bad in ["[metrics]", "[metrics]\nlisten = \"localhost\"", "[metrics]\nlisten = 9100"] {
            assert_eq!(read(bad).unwrap_err().mistakes().len(), 1, "{bad}");
        }
    }
}
