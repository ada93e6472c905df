//! Where a service is: `http://127.0.0.1:3000`, `https://nas.local`, `h2c://127.0.0.1:50051`, `tcp://127.0.0.1:22`,
//! `udp://127.0.0.1:53`, `unix:/run/app.sock`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use protocol::control::{Carries, ServiceProtocol};

use crate::authority::{Authority, AuthorityError};

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("an origin begins with `http://`, `https://`, `h2c://`, `tcp://`, `udp://` or `unix:/`")]
    Scheme,
    #[error("an origin is a scheme, a host and a port; requests bring their own path")]
    Path,
    #[error("an origin cannot hold a user or a password")]
    User,
    #[error("`unix:` is followed by the absolute path of a socket")]
    Socket,
    #[error("unix sockets do not exist on this system")]
    NoSockets,
    #[error("{0}")]
    Authority(AuthorityError),
}

/// No route can lead to this origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRoutable {
    #[error("a `tcp://` origin speaks no HTTP that could be routed")]
    Tcp,
    #[error("a `udp://` origin takes datagrams, which no visitor of a hostname sends")]
    Udp,
}

impl NotRoutable {
    /// The way out.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Tcp => "write `http://` where it does, or expose it with `tls = \"passthrough\"`",
            Self::Udp => "offer it to other peers with `[[private]]`",
        }
    }
}

/// The local address of a service, and what is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Http(Authority),
    Https(Authority),
    H2c(Authority),
    /// Bytes of whatever kind.
    Tcp(Authority),
    /// Datagrams, for other peers.
    Udp(Authority),
    Unix(PathBuf),
}

impl Target {
    /// The HTTP that is spoken there; none where it is no HTTP.
    #[must_use]
    pub fn http(&self) -> Option<ServiceProtocol> {
        match self {
            Self::Http(_) | Self::Https(_) | Self::Unix(_) => Some(ServiceProtocol::Http1),
            Self::H2c(_) => Some(ServiceProtocol::H2c),
            Self::Tcp(_) | Self::Udp(_) => None,
        }
    }

    /// What the relay is told to speak through the stream. Where it is no HTTP no route leads there, and the relay never
    /// speaks.
    #[must_use]
    pub fn protocol(&self) -> ServiceProtocol {
        self.http().unwrap_or_default()
    }

    /// Whether a route may lead there.
    ///
    /// # Errors
    ///
    /// Where no HTTP is spoken there.
    pub fn check_routable(&self) -> Result<(), NotRoutable> {
        match self {
            Self::Http(_) | Self::Https(_) | Self::H2c(_) | Self::Unix(_) => Ok(()),
            Self::Tcp(_) => Err(NotRoutable::Tcp),
            Self::Udp(_) => Err(NotRoutable::Udp),
        }
    }

    /// What other peers send there.
    #[must_use]
    pub fn carries(&self) -> Carries {
        match self {
            Self::Udp(_) => Carries::Udp,
            Self::Http(_) | Self::Https(_) | Self::H2c(_) | Self::Tcp(_) | Self::Unix(_) => Carries::Tcp,
        }
    }

    /// The port, where there is one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Http(authority)
            | Self::Https(authority)
            | Self::H2c(authority)
            | Self::Tcp(authority)
            | Self::Udp(authority) => Some(authority.port()),
            Self::Unix(_) => None,
        }
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Https(_) => true,
            Self::Http(_) | Self::H2c(_) | Self::Tcp(_) | Self::Udp(_) | Self::Unix(_) => false,
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket(path);
        }
        let (scheme, rest) = text.split_once("://").ok_or(TargetError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => authority(rest, 80).map(Self::Http),
            "https" => authority(rest, 443).map(Self::Https),
            "h2c" => authority(rest, 80).map(Self::H2c),
            "tcp" => parsed(rest, Authority::parse_with_port).map(Self::Tcp),
            "udp" => parsed(rest, Authority::parse_with_port).map(Self::Udp),
            _ => Err(TargetError::Scheme),
        }
    }
}

fn authority(text: &str, default_port: u16) -> Result<Authority, TargetError> {
    parsed(text, |text| Authority::parse(text, default_port))
}

fn parsed(
    text: &str,
    parse: impl FnOnce(&str) -> Result<Authority, AuthorityError>,
) -> Result<Authority, TargetError> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.contains('@') {
        return Err(TargetError::User);
    }
    if text.contains(['/', '?', '#']) {
        return Err(TargetError::Path);
    }
    parse(text).map_err(TargetError::Authority)
}

fn socket(path: &str) -> Result<Target, TargetError> {
    // `unix:///run/app.sock` is what some other tools write.
    let path = path.strip_prefix("//").unwrap_or(path);
    if !cfg!(unix) {
        return Err(TargetError::NoSockets);
    }
    if !path.starts_with('/') || path.contains('\0') {
        return Err(TargetError::Socket);
    }
    Ok(Target::Unix(PathBuf::from(path)))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Https(authority) => write!(f, "https://{authority}"),
            Self::H2c(authority) => write!(f, "h2c://{authority}"),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
            Self::Udp(authority) => write!(f, "udp://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Target>().unwrap().to_string()
    }

    #[test]
    fn every_kind_of_origin() {
        assert_eq!(shown("http://127.0.0.1:3000"), "http://127.0.0.1:3000");
        assert_eq!(shown("http://localhost/"), "http://localhost:80");
        assert_eq!(shown("HTTPS://nas.local"), "https://nas.local:443");
        assert_eq!(shown("h2c://[::1]:50051"), "h2c://[::1]:50051");
        assert_eq!(shown("tcp://localhost:22"), "tcp://localhost:22");
        assert_eq!(shown("unix:/run/app.sock"), "unix:/run/app.sock");
        assert_eq!(shown("unix:///run/app.sock"), "unix:/run/app.sock");
        assert_eq!("h2c://a".parse::<Target>().unwrap().protocol(), ServiceProtocol::H2c);
        assert_eq!("https://a".parse::<Target>().unwrap().protocol(), ServiceProtocol::Http1);
        let raw = "tcp://a:1".parse::<Target>().unwrap();
        assert_eq!((raw.protocol(), raw.http()), (ServiceProtocol::Http1, None));
        assert_eq!(raw.check_routable(), Err(NotRoutable::Tcp));
        let datagrams = "udp://127.0.0.1:53".parse::<Target>().unwrap();
        assert_eq!((datagrams.check_routable(), datagrams.carries()), (Err(NotRoutable::Udp), Carries::Udp));
        assert_eq!((datagrams.to_string().as_str(), datagrams.port()), ("udp://127.0.0.1:53", Some(53)));
    }

    #[test]
    fn each_mistake_has_its_own_words() {
        let error = |text: &str| text.parse::<Target>().unwrap_err();
        assert_eq!(error("127.0.0.1:3000"), TargetError::Scheme);
        assert_eq!(error("ftp://a"), TargetError::Scheme);
        assert_eq!(error("http://a/admin"), TargetError::Path);
        assert_eq!(error("http://a?x"), TargetError::Path);
        assert_eq!(error("http://u:p@a"), TargetError::User);
        assert_eq!(error("tcp://a"), TargetError::Authority(AuthorityError::NoPort));
        assert_eq!(error("unix:app.sock"), TargetError::Socket);
        assert!(matches!(error("http://a:0"), TargetError::Authority(AuthorityError::Port(_))));
        assert!(matches!(error("http://"), TargetError::Authority(AuthorityError::Empty)));
    }
}
