//! Hostnames as they are granted, exposed and asked for.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::textual::textual;

/// Why a text is no hostname.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    /// Nothing there, or more than 253 bytes.
    #[error("a hostname has 1 to 253 characters")]
    Length,
    /// A label is empty, too long, or begins or ends with a hyphen.
    #[error("each part of a hostname has 1 to 63 letters, digits and inner hyphens")]
    Label,
    /// Something other than letters, digits, hyphens and dots.
    #[error("`{0}` cannot stand in a hostname (write names with other letters in their `xn--` form)")]
    Character(char),
    /// All digits and dots: an address.
    #[error("this is an address, not a hostname")]
    Address,
    /// A star anywhere but as the whole first label of at least three.
    #[error("a wildcard is written `*.example.com`: one star, in front of at least two labels")]
    Wildcard,
}

/// A DNS name in lower case, without a trailing dot (RFC 1123, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(Box<str>);

impl Hostname {
    /// `*.example.com` for `koda.example.com`: the one wildcard that could cover this name.
    #[must_use]
    pub fn wildcard(&self) -> Option<HostnamePattern> {
        let (_, parent) = self.0.split_once('.')?;
        parent.contains('.').then(|| HostnamePattern(format!("*.{parent}").into()))
    }

    /// Whether this is the domain, or lies anywhere below it.
    #[must_use]
    pub fn is_within(&self, domain: &Self) -> bool {
        self.0.strip_suffix(&*domain.0).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    }
}

impl FromStr for Hostname {
    type Err = HostnameError;

    fn from_str(text: &str) -> Result<Self, HostnameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > 253 {
            return Err(HostnameError::Length);
        }
        if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '.')) {
            return Err(HostnameError::Character(if c.is_control() { '?' } else { c }));
        }
        if !text.split('.').all(is_label) {
            return Err(HostnameError::Label);
        }
        if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
            return Err(HostnameError::Address);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

/// A hostname, or all names one label below a domain: `*.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostnamePattern(Box<str>);

impl HostnamePattern {
    /// The name, where it is not a wildcard.
    #[must_use]
    pub fn exact(&self) -> Option<Hostname> {
        (!self.0.starts_with('*')).then(|| Hostname(self.0.clone()))
    }

    /// The name, or the domain right above all names of the wildcard.
    #[must_use]
    pub fn domain(&self) -> Hostname {
        Hostname(self.0.strip_prefix("*.").unwrap_or(&self.0).into())
    }

    /// Whether everything that `other` covers is covered by this pattern.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self == other || other.exact().and_then(|name| name.wildcard()).as_ref() == Some(self)
    }
}

impl FromStr for HostnamePattern {
    type Err = HostnameError;

    fn from_str(text: &str) -> Result<Self, HostnameError> {
        let Some(parent) = text.strip_prefix("*.") else {
            return if text.contains('*') {
                Err(HostnameError::Wildcard)
            } else {
                text.parse::<Hostname>().map(Self::from)
            };
        };
        if parent.contains('*') {
            return Err(HostnameError::Wildcard);
        }
        let parent: Hostname = parent.parse()?;
        if !parent.as_str().contains('.') {
            return Err(HostnameError::Wildcard);
        }
        Ok(Self(format!("*.{parent}").into()))
    }
}

impl From<Hostname> for HostnamePattern {
    fn from(name: Hostname) -> Self {
        Self(name.0)
    }
}

textual!(Hostname, HostnameError);
textual!(HostnamePattern, HostnameError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostname_is_lower_case_without_its_last_dot() {
        assert_eq!("Koda.Example.COM.".parse::<Hostname>().unwrap().as_str(), "koda.example.com");
    }

    #[test]
    fn what_is_no_hostname_is_refused() {
        let long = "a".repeat(64);
        let bad = [
            "", ".", "a..b", "-a.b", "a-.b", "a b", "a_b.c", "10.0.0.1", "a.b:443", "[::1]", "é.de", "a/b",
            &long,
        ];
        for text in bad {
            assert!(text.parse::<Hostname>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_domain_holds_itself_and_everything_below() {
        let within = |name: &str, domain: &str| {
            name.parse::<Hostname>().unwrap().is_within(&domain.parse::<Hostname>().unwrap())
        };
        assert!(within("example.com", "example.com") && within("a.b.example.com", "example.com"));
        assert!(within("nas.lan", "lan") && within("lan", "lan"));
        assert!(!within("badexample.com", "example.com") && !within("com", "example.com"));
        assert!(!within("example.com", "a.example.com") && !within("example.com.net", "example.com"));
        let domain = |pattern: &str| pattern.parse::<HostnamePattern>().unwrap().domain();
        assert_eq!(domain("*.example.com").as_str(), "example.com");
        assert_eq!(domain("a.example.com").as_str(), "a.example.com");
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let wild: HostnamePattern = "*.example.com".parse().unwrap();
        let covers = |name: &str| wild.covers(&name.parse().unwrap());
        assert!(covers("koda.example.com") && covers("*.example.com"));
        assert!(!covers("a.koda.example.com") && !covers("example.com") && !covers("koda.example.net"));
        for bad in ["*", "*.com", "a.*.com", "**.example.com", "*.*.example.com", "a*.example.com"] {
            assert!(bad.parse::<HostnamePattern>().is_err(), "{bad}");
        }
    }
}
