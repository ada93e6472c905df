//! What a request asks for, checked: method, host, path. What the framing guard does for HTTP/1 bytes, this does for what
//! HTTP/2 leaves open as well.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Version};
use protocol::hostname::Hostname;

use super::error::IngressError;
use super::headers::folded;
use crate::config::limits::Limits;
use crate::edge::framing::{REFUSE_METHOD, Violation};

/// The host that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) hostname: Hostname,
    pub(crate) port: Option<u16>,
    /// As the visitor wrote it; goes on to the origin.
    pub(crate) authority: String,
}

/// Reads and checks everything about a request but its path.
pub(crate) fn examine(request: &Request<impl Sized>, limits: &Limits) -> Result<Target, IngressError> {
    refused_by_guard(request)?;
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(IngressError::MethodNotAllowed);
    }
    if let Some(target) = request.uri().path_and_query().map(PathAndQuery::as_str) {
        if target.len() > limits.uri_bytes {
            return Err(IngressError::Violation(Violation::UriTooLong));
        }
        // On HTTP/1 the guard refuses it.
        if !target.is_ascii() {
            return Err(IngressError::Violation(Violation::BadTarget));
        }
    }
    if is_too_large(request, limits) {
        return Err(IngressError::Violation(Violation::HeadTooLarge));
    }
    if request.version() == Version::HTTP_3 {
        check_http3(request.headers())?;
    }
    check_headers(request.headers())?;
    target(request)
}

/// What came over HTTP/2 or HTTP/3 is measured by what it would be in HTTP/1, where the guard has measured the bytes.
fn is_too_large(request: &Request<impl Sized>, limits: &Limits) -> bool {
    let headers = request.headers();
    // Browsers split their cookies over several fields; together they are one (RFC 9113, section 8.2.3).
    let crumbs = headers.get_all(COOKIE).iter().count().saturating_sub(1);
    let bytes = || -> usize {
        let of_fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
        of_fields.sum::<usize>() + request.uri().path_and_query().map_or(0, |target| target.as_str().len())
    };
    headers.len() - crumbs > limits.header_count
        || request.version() >= Version::HTTP_2 && bytes() > limits.header_bytes
}

/// On HTTP/1 the guard puts a request of its own in the place of one that it refuses. Nobody else can write it there;
/// over HTTP/2 it is a method like any other.
fn refused_by_guard(request: &Request<impl Sized>) -> Result<(), IngressError> {
    if request.version() >= Version::HTTP_2 || request.method().as_str() != REFUSE_METHOD {
        return Ok(());
    }
    let code = request.uri().path().trim_start_matches('/');
    Err(IngressError::Violation(Violation::from_code(code).unwrap_or(Violation::BadMethod)))
}

/// What belongs to one connection of HTTP/1 has no meaning here (RFC 9114, section 4.2). Over HTTP/2, `h2` sees to it.
fn check_http3(headers: &HeaderMap) -> Result<(), IngressError> {
    let odd_te = headers.get_all(TE).iter().any(|value| value != "trailers");
    let of_a_connection = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    let wrong = odd_te || of_a_connection.iter().any(|name| headers.contains_key(*name));
    if wrong { Err(IngressError::BadHeader) } else { Ok(()) }
}

/// Names that an origin could fold into the ones that frame a message, and expectations that nobody can meet.
fn check_headers(headers: &HeaderMap) -> Result<(), IngressError> {
    for name in headers.keys().map(http::HeaderName::as_str) {
        if !is_token(name) {
            return Err(IngressError::BadHeader);
        }
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

/// The http crate takes quotation marks for a part of names (RFC 9110, section 5.1 does not).
pub(crate) fn is_token(name: &str) -> bool {
    !name.contains('"')
}

fn target(request: &Request<impl Sized>) -> Result<Target, IngressError> {
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
