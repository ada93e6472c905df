//! The names that a root may stand for: domains, each with everything below it (RFC 5280, section 4.2.1.10).

use std::collections::BTreeSet;
use std::fmt;

use protocol::hostname::{Hostname, HostnamePattern};

/// None of them lies within another. There is at least one: no domain at all would permit every name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtrees(BTreeSet<Hostname>);

impl Subtrees {
    /// Nothing where there is no domain.
    pub fn new(domains: impl IntoIterator<Item = Hostname>) -> Option<Self> {
        let mut domains = domains.into_iter();
        let mut all = Self::from(domains.next()?);
        domains.for_each(|domain| all.add(domain));
        Some(all)
    }

    /// Whether a certificate for this name, or this wildcard, may come from the root.
    pub fn permit(&self, name: &HostnamePattern) -> bool {
        self.hold(&name.domain())
    }

    /// Permits a domain as well.
    pub fn add(&mut self, domain: Hostname) {
        if !self.hold(&domain) {
            self.0.retain(|inner| !inner.is_within(&domain));
            self.0.insert(domain);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Hostname> {
        self.0.iter()
    }

    fn hold(&self, name: &Hostname) -> bool {
        self.0.iter().any(|domain| name.is_within(domain))
    }
}

impl From<Hostname> for Subtrees {
    fn from(domain: Hostname) -> Self {
        Self(BTreeSet::from([domain]))
    }
}

/// For a log.
impl fmt::Display for Subtrees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(Hostname::as_str).collect();
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subtrees(domains: &[&str]) -> Subtrees {
        Subtrees::new(domains.iter().map(|domain| domain.parse().unwrap())).unwrap()
    }

    #[test]
    fn a_domain_permits_itself_what_is_below_and_wildcards() {
        let all = subtrees(&["example.com", "lan"]);
        let permit = |name: &str| all.permit(&name.parse().unwrap());
        for inside in ["example.com", "a.b.example.com", "*.example.com", "*.a.example.com", "nas.lan"] {
            assert!(permit(inside), "{inside}");
        }
        for outside in ["example.org", "badexample.com", "*.badexample.com", "com", "plan"] {
            assert!(!permit(outside), "{outside}");
        }
    }

    #[test]
    fn what_lies_within_another_domain_is_not_kept() {
        let all = subtrees(&["a.example.com", "example.com", "b.example.com", "example.org"]);
        assert_eq!(all, subtrees(&["example.org", "example.com"]));
        assert_eq!(all.to_string(), "example.com, example.org");
        assert_eq!(Subtrees::new([]), None);
    }
}
