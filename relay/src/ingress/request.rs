//! What a request asks for, checked: method, host, path. What the framing guard does for HTTP/1 bytes, this does for what
//! HTTP/2 leaves open as well.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Version};
use hyper::body::Incoming;
use protocol::hostname::Hostname;

use super::error::IngressError;
use super::headers::folded;
use crate::edge::framing::{REFUSE_METHOD, Violation};

/// As long as the guard lets it be on HTTP/1.
const LONGEST_TARGET: usize = 16 * 1024;

/// The host that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) hostname: Hostname,
    pub(crate) port: Option<u16>,
    /// As the visitor wrote it; goes on to the origin.
    pub(crate) authority: String,
}

/// Reads and checks everything about a request but its path.
pub(crate) fn examine(request: &Request<Incoming>) -> Result<Target, IngressError> {
    refused_by_guard(request)?;
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(IngressError::MethodNotAllowed);
    }
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > LONGEST_TARGET) {
        return Err(IngressError::Violation(Violation::UriTooLong));
    }
    check_headers(request.headers())?;
    target(request)
}

/// On HTTP/1 the guard puts a request of its own in the place of one that it refuses. Nobody else can write it there;
/// over HTTP/2 it is a method like any other.
fn refused_by_guard(request: &Request<Incoming>) -> Result<(), IngressError> {
    if request.version() >= Version::HTTP_2 || request.method().as_str() != REFUSE_METHOD {
        return Ok(());
    }
    let code = request.uri().path().trim_start_matches('/');
    Err(IngressError::Violation(Violation::from_code(code).unwrap_or(Violation::BadMethod)))
}

/// Names that an origin could fold into the ones that frame a message, and expectations that nobody can meet.
fn check_headers(headers: &HeaderMap) -> Result<(), IngressError> {
    for name in headers.keys().map(http::HeaderName::as_str) {
        let framing = [CONTENT_LENGTH.as_str(), TRANSFER_ENCODING.as_str(), HOST.as_str()];
        if let Cow::Owned(folded) = folded(name)
            && framing.contains(&folded.as_str())
        {
            return Err(IngressError::BadHeader);
        }
    }
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(IngressError::BadHeader);
    }
    let odd = |value: &http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(EXPECT).iter().any(odd) {
        return Err(IngressError::BadExpect);
    }
    Ok(())
}

fn target(request: &Request<Incoming>) -> Result<Target, IngressError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().map(|value| value.to_str().map_err(|_| IngressError::BadHost)).transpose()?;
    if hosts.next().is_some() {
        return Err(IngressError::BadHost);
    }
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let target = parse(authority.or(host).ok_or(IngressError::BadHost)?)?;
    // RFC 9112, section 3.2.2 lets the target win over Host; an origin may think otherwise, so they have to agree.
    if let (Some(_), Some(host)) = (authority, host) {
        let other = parse(host)?;
        if (&other.hostname, other.port) != (&target.hostname, target.port) {
            return Err(IngressError::HostMismatch);
        }
    }
    Ok(target)
}

/// A hostname and perhaps a port; nothing else that a URL's authority could hold.
fn parse(authority: &str) -> Result<Target, IngressError> {
    let (name, port) = match authority.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (authority, None),
    };
    let number = |text: &str| -> Result<u16, IngressError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|port| digits && *port != 0).ok_or(IngressError::BadHost)
    };
    let port = port.map(number).transpose()?;
    let hostname = name.parse().map_err(|_| IngressError::BadHost)?;
    Ok(Target { hostname, port, authority: authority.to_owned() })
}

/// `TE: trailers` is the one value that goes on.
pub(crate) fn wants_trailers(headers: &HeaderMap) -> bool {
    let trailers = |value: &http::HeaderValue| {
        value
            .to_str()
            .is_ok_and(|text| text.split(',').any(|item| item.trim().eq_ignore_ascii_case("trailers")))
    };
    headers.get_all(TE).iter().any(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_hostname_and_perhaps_a_port() {
        let target = parse("Koda.Example.com.:8443").unwrap();
        assert_eq!((target.hostname.as_str(), target.port), ("koda.example.com", Some(8443)));
        assert_eq!(target.authority, "Koda.Example.com.:8443");
        let bad = [
            "",
            ":443",
            "a@b.example",
            "a b",
            "a/b",
            "a\tb",
            "a#b",
            "[::1",
            "[::1]",
            "a:",
            "a:+1",
            "a:0",
            "a:65536",
            "a:1:2",
            "10.0.0.1",
        ];
        for text in bad {
            assert_eq!(parse(text), Err(IngressError::BadHost), "{text:?}");
        }
    }
}
