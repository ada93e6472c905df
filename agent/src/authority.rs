//! `host[:port]` as people write it: for the relay on the command line and for origins in the configuration.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Where agents dial when no port is written.
const RELAY_PORT: u16 = 443;

/// Why a text is no `host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error("expected `host` or `host:port`")]
    Empty,
    #[error("`{0}` is not a port: expected a number from 1 to 65535")]
    Port(String),
    #[error("a port is missing: expected `host:port`")]
    NoPort,
    #[error("`{0}` is neither a hostname nor an address")]
    Host(String),
}

/// A name that the system resolves, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    Name(Box<str>),
    Address(IpAddr),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    host: Host,
    port: u16,
}

impl Authority {
    /// Reads `host`, `host:port`, `192.0.2.1:port`, `[::1]:port` or `::1`.
    ///
    /// # Errors
    ///
    /// Where the text is none of these.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AuthorityError> {
        let (host, port) = split(text)?;
        let port = port.map_or(Ok(default_port), number)?;
        Ok(Self { host: host.parse()?, port })
    }

    /// The same, where no port goes without saying.
    ///
    /// # Errors
    ///
    /// Where the text is none of these, or has no port.
    pub fn parse_with_port(text: &str) -> Result<Self, AuthorityError> {
        let (host, port) = split(text)?;
        let host = host.parse()?;
        Ok(Self { host, port: number(port.ok_or(AuthorityError::NoPort)?)? })
    }

    #[must_use]
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), AuthorityError> {
    let shown = || AuthorityError::Host(printable(text));
    if text.is_empty() {
        return Err(AuthorityError::Empty);
    }
    if let Some(inside) = text.strip_prefix('[') {
        let (address, rest) = inside.split_once(']').ok_or_else(shown)?;
        address.parse::<Ipv6Addr>().map_err(|_| shown())?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, Some(port))),
            None if rest.is_empty() => Ok((address, None)),
            None => Err(shown()),
        };
    }
    // A bare IPv6 address has colons of its own, and so no port.
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    Ok(text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))))
}

fn number(port: &str) -> Result<u16, AuthorityError> {
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let number = port.parse().ok().filter(|port| digits && *port != 0);
    number.ok_or_else(|| AuthorityError::Port(printable(port)))
}

fn printable(text: &str) -> String {
    text.escape_debug().take(64).collect()
}

impl FromStr for Host {
    type Err = AuthorityError;

    /// Names may have underscores: containers are often called so.
    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = text.strip_suffix('.').unwrap_or(text);
        let labels = name.split('.').all(|label| (1..=63).contains(&label.len()));
        if name.len() <= 253 && labels && name.chars().all(allowed) {
            Ok(Self::Name(name.to_ascii_lowercase().into()))
        } else {
            Err(AuthorityError::Host(printable(text)))
        }
    }
}

impl fmt::Display for Host {
    /// As TLS wants it: an IPv6 address without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(IpAddr::V4(_)) | Host::Name(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The relay to dial: port 443 where none is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelayAddress(Authority);

impl RelayAddress {
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.0
    }
}

impl FromStr for RelayAddress {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        Authority::parse(text, RELAY_PORT).map(Self)
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.host, self.0.port) {
            (Host::Name(name), RELAY_PORT) => f.write_str(name),
            _ => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_is_shown_and_read_again(text in "[a-z0-9:.\\[\\]_-]{0,24}", any in ".{0,24}") {
            for text in [text, any] {
                if let Ok(relay) = text.parse::<RelayAddress>() {
                    prop_assert_eq!(relay.to_string().parse(), Ok(relay));
                }
            }
        }
    }

    fn relay(text: &str) -> String {
        text.parse::<RelayAddress>().unwrap().authority().to_string()
    }

    #[test]
    fn every_way_to_write_a_relay() {
        assert_eq!(relay("relay.example.com"), "relay.example.com:443");
        assert_eq!(relay("Relay.Example.com.:8443"), "relay.example.com:8443");
        assert_eq!(relay("192.0.2.1"), "192.0.2.1:443");
        assert_eq!(relay("[2001:db8::1]:7"), "[2001:db8::1]:7");
        assert_eq!(relay("[2001:db8::1]"), "[2001:db8::1]:443");
        assert_eq!(relay("2001:db8::1"), "[2001:db8::1]:443");
        assert_eq!(relay("my_container:80"), "my_container:80");
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["relay.example.com", "relay.example.com:8443", "192.0.2.1:443", "[::1]:443"] {
            assert_eq!(text.parse::<RelayAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in
            ["", ":443", "a b", "host:", "host:0", "host:65536", "host:+1", "[::1", "[::1]x", "[host]:1"]
        {
            assert!(text.parse::<RelayAddress>().is_err(), "{text}");
        }
        for text in ["https://host", "host/path", "user@host", "a..b", "::1:"] {
            assert!(text.parse::<RelayAddress>().is_err(), "{text}");
        }
    }
}
