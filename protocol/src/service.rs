//! Private services by their full names, `home/dashboard`, and patterns of such names, which are what is granted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{NameError, PeerName, ServiceName, Tag};
use crate::textual::textual;

/// Why a text is no address of a service, or no pattern of such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// There is no slash in it, or nothing at one side of it.
    #[error("expected `PEER/SERVICE`, such as `home/dashboard`")]
    Shape,
    /// One half is no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A service of a peer: `home/dashboard`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceAddress {
    /// Whose it is.
    pub peer: PeerName,
    /// What its agent calls it.
    pub service: ServiceName,
}

impl ServiceAddress {
    /// From a name as a resolver would take it: `home.dashboard`, in any case, with or without a final dot.
    #[must_use]
    pub fn from_host(host: &str) -> Option<Self> {
        let lower = host.to_ascii_lowercase();
        let (peer, service) = lower.strip_suffix('.').unwrap_or(&lower).split_once('.')?;
        Some(Self { peer: peer.parse().ok()?, service: service.parse().ok()? })
    }
}

impl FromStr for ServiceAddress {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let (peer, service) = halves(text)?;
        Ok(Self { peer: peer.parse()?, service: service.parse()? })
    }
}

impl TryFrom<String> for ServiceAddress {
    type Error = ServiceError;

    fn try_from(text: String) -> Result<Self, ServiceError> {
        text.parse()
    }
}

impl From<ServiceAddress> for String {
    fn from(address: ServiceAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.peer, self.service)
    }
}

/// What may be reached: `home/dashboard`, `home/*`, `*/ssh`, `tag:media/*`, `*/*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServicePattern(Box<str>);

/// The half of a pattern in front of the slash.
enum Peers<'p> {
    All,
    Tagged(&'p str),
    Named(&'p str),
}

fn peers(half: &str) -> Peers<'_> {
    match half.strip_prefix("tag:") {
        Some(tag) => Peers::Tagged(tag),
        None if half == "*" => Peers::All,
        None => Peers::Named(half),
    }
}

fn halves(text: &str) -> Result<(&str, &str), ServiceError> {
    let (peer, service) = text.split_once('/').ok_or(ServiceError::Shape)?;
    if peer.is_empty() || service.is_empty() { Err(ServiceError::Shape) } else { Ok((peer, service)) }
}

impl ServicePattern {
    /// Whether this service of a peer with these tags is one of those.
    #[must_use]
    pub fn covers(&self, peer: &PeerName, tags: &[Tag], service: &ServiceName) -> bool {
        let Some((named, pattern)) = self.0.split_once('/') else { return false };
        let of_peer = match peers(named) {
            Peers::All => true,
            Peers::Tagged(named) => tags.iter().any(|tag| tag.as_str() == named),
            Peers::Named(name) => peer.as_str() == name,
        };
        of_peer && (pattern == "*" || pattern == service.as_str())
    }
}

impl FromStr for ServicePattern {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let (peer, service) = halves(text)?;
        match peers(peer) {
            Peers::All => {}
            Peers::Tagged(tag) => drop(tag.parse::<Tag>()?),
            Peers::Named(name) => drop(name.parse::<PeerName>()?),
        }
        if service != "*" {
            service.parse::<ServiceName>()?;
        }
        Ok(Self(text.into()))
    }
}

textual!(ServicePattern, ServiceError);

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, peer: &str, tags: &[&str], service: &str) -> bool {
        let tags: Vec<Tag> = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        let pattern: ServicePattern = pattern.parse().unwrap();
        pattern.covers(&peer.parse().unwrap(), &tags, &service.parse().unwrap())
    }

    #[test]
    fn patterns_cover_what_they_say_and_no_more() {
        assert!(covers("home/dashboard", "home", &[], "dashboard"));
        assert!(!covers("home/dashboard", "home", &[], "dashboard2"));
        assert!(!covers("home/dashboard", "home2", &[], "dashboard"));
        assert!(covers("home/*", "home", &[], "ssh") && !covers("home/*", "nas", &[], "ssh"));
        assert!(covers("*/ssh", "nas", &[], "ssh") && !covers("*/ssh", "nas", &[], "web"));
        assert!(covers("*/*", "nas", &[], "web"));
        assert!(covers("tag:media/*", "nas", &["x", "media"], "web"));
        assert!(!covers("tag:media/*", "media", &[], "web"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in
            ["", "home", "home/", "/web", "home/a/b", "Home/web", "tag:/web", "tag:*/web", "ho*/web", "*/w*"]
        {
            assert!(bad.parse::<ServicePattern>().is_err(), "{bad}");
        }
        assert!("*/*".parse::<ServiceAddress>().is_err());
    }

    #[test]
    fn addresses_are_read_as_people_and_resolvers_write_them() {
        let address: ServiceAddress = "home/dashboard".parse().unwrap();
        assert_eq!(address.to_string(), "home/dashboard");
        for host in ["home.dashboard", "HOME.Dashboard", "home.dashboard."] {
            assert_eq!(ServiceAddress::from_host(host).as_ref(), Some(&address), "{host}");
        }
        for host in ["home", "home.", ".dashboard", "a.b.c", "example.com:80"] {
            assert_eq!(ServiceAddress::from_host(host), None, "{host}");
        }
    }
}
