//! `[log]`: how the relay's own log is written.

use process::document::Table;
use process::logging::LogFormat;

pub(super) fn read(table: Option<Table<'_>>) -> LogFormat {
    let Some(mut table) = table else { return LogFormat::default() };
    let format = table.parsed::<LogFormat>("format");
    if let Some(access) = table.bool("access") {
        table.problems().add_with_hint(
            &access,
            "the access log has a table of its own",
            "write `output = \"off\"` (or `\"log\"`) in `[access_log]`",
        );
    }
    format.map_or(LogFormat::default(), |format| format.value)
}

#[cfg(test)]
mod tests {
    use process::document;

    use super::*;

    #[test]
    fn the_key_of_earlier_versions_leads_to_the_table() {
        let text = "[log]\naccess = false\n";
        let rejected = document::read("relay.toml", text, |root| Some(read(root.table("log")))).unwrap_err();
        assert_eq!(rejected.mistakes().len(), 1);
        assert!(rejected.to_string().contains("`[access_log]`"), "{rejected}");
    }
}
