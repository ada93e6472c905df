//! Where a service is: `http://127.0.0.1:3000`, `https://nas.local`, `h2c://127.0.0.1:50051`, `unix:/run/app.sock`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use protocol::control::ServiceProtocol;

use crate::authority::{Authority, AuthorityError};

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("an origin begins with `http://`, `https://`, `h2c://` or `unix:/`")]
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

/// The local address of a service, and what is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Http(Authority),
    Https(Authority),
    H2c(Authority),
    Unix(PathBuf),
}

impl Target {
    /// What the relay is told to speak through the stream.
    #[must_use]
    pub fn protocol(&self) -> ServiceProtocol {
        match self {
            Self::Http(_) | Self::Https(_) | Self::Unix(_) => ServiceProtocol::Http1,
            Self::H2c(_) => ServiceProtocol::H2c,
        }
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Https(_) => true,
            Self::Http(_) | Self::H2c(_) | Self::Unix(_) => false,
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
            _ => Err(TargetError::Scheme),
        }
    }
}

fn authority(text: &str, default_port: u16) -> Result<Authority, TargetError> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.contains('@') {
        return Err(TargetError::User);
    }
    if text.contains(['/', '?', '#']) {
        return Err(TargetError::Path);
    }
    Authority::parse(text, default_port).map_err(TargetError::Authority)
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
        assert_eq!(shown("unix:/run/app.sock"), "unix:/run/app.sock");
        assert_eq!(shown("unix:///run/app.sock"), "unix:/run/app.sock");
        assert_eq!("h2c://a".parse::<Target>().unwrap().protocol(), ServiceProtocol::H2c);
        assert_eq!("https://a".parse::<Target>().unwrap().protocol(), ServiceProtocol::Http1);
    }

    #[test]
    fn each_mistake_has_its_own_words() {
        let error = |text: &str| text.parse::<Target>().unwrap_err();
        assert_eq!(error("127.0.0.1:3000"), TargetError::Scheme);
        assert_eq!(error("ftp://a"), TargetError::Scheme);
        assert_eq!(error("http://a/admin"), TargetError::Path);
        assert_eq!(error("http://a?x"), TargetError::Path);
        assert_eq!(error("http://u:p@a"), TargetError::User);
        assert_eq!(error("unix:app.sock"), TargetError::Socket);
        assert!(matches!(error("http://a:0"), TargetError::Authority(AuthorityError::Port(_))));
        assert!(matches!(error("http://"), TargetError::Authority(AuthorityError::Empty)));
    }
}
