//! The names that a local CA may be made for.

use std::str::FromStr;

use protocol::hostname::{Hostname, HostnameError};

/// What registries sell names below, in domains of countries: `co.uk`, `com.au`.
const REGISTERED_BELOW: [&str; 9] = ["ac", "co", "com", "edu", "gov", "ne", "net", "or", "org"];

/// Why a text is no name for a local CA.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocalNameError {
    #[error("{0}")]
    Hostname(HostnameError),
    #[error("the local CA would be good for every name below it; say which host, such as `koda.localhost`")]
    Broad,
}

/// A name of a host. What permits it permits every name below it too, so it is not one that strangers have names below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalName(Hostname);

impl LocalName {
    #[must_use]
    pub fn hostname(&self) -> &Hostname {
        &self.0
    }

    /// Whether browsers lead it to this device by themselves (RFC 6761, section 6.3).
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.0.as_str().rsplit('.').next() == Some("localhost")
    }
}

impl FromStr for LocalName {
    type Err = LocalNameError;

    fn from_str(text: &str) -> Result<Self, LocalNameError> {
        let name: Hostname = text.parse().map_err(LocalNameError::Hostname)?;
        let labels: Vec<_> = name.as_str().split('.').collect();
        let is_broad = match labels[..] {
            [only] => only != "localhost",
            [second, country] => country.len() == 2 && REGISTERED_BELOW.contains(&second),
            _ => false,
        };
        if is_broad { Err(LocalNameError::Broad) } else { Ok(Self(name)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_are_taken() {
        for text in ["koda.localhost", "localhost", "Koda.Home.arpa.", "a.co.uk", "example.com", "nas.lan"] {
            assert!(text.parse::<LocalName>().is_ok(), "{text}");
        }
        let is_loopback = |text: &str| text.parse::<LocalName>().unwrap().is_loopback();
        assert!(is_loopback("koda.localhost") && is_loopback("localhost"));
        assert!(!is_loopback("koda.example.com") && !is_loopback("localhost.example.com"));
    }

    #[test]
    fn what_strangers_have_names_below_is_refused() {
        for text in ["com", "dev", "lan", "co.uk", "com.au"] {
            assert_eq!(text.parse::<LocalName>(), Err(LocalNameError::Broad), "{text}");
        }
        for text in ["", "*.localhost", "127.0.0.1", "a b"] {
            assert!(matches!(text.parse::<LocalName>(), Err(LocalNameError::Hostname(_))), "{text}");
        }
    }
}
