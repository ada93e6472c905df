//! `[internal_ca]`: whether the relay signs certificates itself, and for which names.

use std::collections::BTreeSet;
use std::str::FromStr;

use process::document::Table;
use protocol::hostname::{Hostname, HostnameError};

/// The section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InternalCa {
    pub(crate) enabled: bool,
    /// What it signs for, each with everything below it; where there is none, for whatever is granted.
    pub(crate) domains: BTreeSet<Hostname>,
}

pub(super) fn read(table: Option<Table<'_>>) -> InternalCa {
    let Some(mut table) = table else { return InternalCa::default() };
    let enabled = table.bool("enabled").is_some_and(|enabled| enabled.value);
    let Some(domains) = table.parsed_list::<Domain>("domains") else {
        return InternalCa { enabled, domains: BTreeSet::new() };
    };
    // A list of nothing but mistakes is empty as well, and gets this beside them.
    if domains.value.is_empty() {
        table.problems().add_with_hint(
            domains.place(),
            "there is no domain here",
            "without `domains` the root permits the names that are served",
        );
    }
    InternalCa { enabled, domains: domains.value.into_iter().map(|domain| domain.value.0).collect() }
}

/// A hostname that stands for everything below it as well.
struct Domain(Hostname);

#[derive(Debug, thiserror::Error)]
enum DomainError {
    #[error("a domain is written without a star, and stands for itself and everything below it")]
    Star,
    #[error(transparent)]
    Hostname(#[from] HostnameError),
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        if text.starts_with("*.") || text.starts_with('.') {
            Err(DomainError::Star)
        } else {
            Ok(Self(text.parse()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use process::document::{self, Mistake, Rejected};

    use super::*;

    fn parse(text: &str) -> Result<InternalCa, Rejected> {
        document::read("relay.toml", text, |root| Some(read(root.table("internal_ca"))))
    }

    #[test]
    fn domains_may_be_named_and_may_have_one_label() {
        assert_eq!(parse("").unwrap(), InternalCa::default());
        let ca = parse("[internal_ca]\nenabled = true\ndomains = ['Example.com.', 'lan', 'lan']").unwrap();
        assert!(ca.enabled);
        let domains: Vec<_> = ca.domains.iter().map(Hostname::as_str).collect();
        assert_eq!(domains, ["example.com", "lan"]);
        assert!(!parse("[internal_ca]\ndomains = [\"example.com\"]").unwrap().enabled);
    }

    #[test]
    fn what_is_no_domain_is_a_mistake() {
        let bad = [
            "[]",
            "'lan'",
            "['*.example.com', 'lan']",
            "['.lan', 'lan']",
            "['10.0.0.1', 'lan']",
            "[1, 'lan']",
        ];
        for bad in bad {
            let rejected = parse(&format!("[internal_ca]\nenabled = true\ndomains = {bad}")).unwrap_err();
            let lines: Vec<_> = rejected.mistakes().iter().filter_map(Mistake::line).collect();
            assert_eq!(lines, [3], "{bad}: {rejected}");
        }
    }
}
