//! Header fields on their way through: what belongs to one connection stays there, and what says who the visitor is
//! comes from the relay alone.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};

use super::request::{Target, is_token, wants_trailers};

/// The certificate of a visitor (RFC 9440, section 2.2).
pub(super) const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// Fields of one connection (RFC 9110, section 7.6.1), which end here.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What `Connection` cannot name away: the framing, and what later decisions hang on.
const PROTECTED: [&str; 7] =
    ["host", "content-length", "content-type", "cookie", "authorization", "origin", "sec-websocket-protocol"];

/// Who asks, as far as the origin is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whence<'a> {
    pub(crate) address: IpAddr,
    /// The visitor is a proxy whose word counts.
    pub(crate) trusted: bool,
    pub(crate) target: &'a Target,
    pub(crate) https_port: u16,
}

/// Rewrites a request's fields for the origin.
pub(crate) fn rewrite_request(headers: &mut HeaderMap, visitor: &Whence<'_>, told: &Told) {
    // All that is added below, at once.
    headers.reserve(8);
    let trailers = wants_trailers(headers);
    let earlier = visitor.trusted.then(|| Earlier::take(headers));
    drop_fields(headers, |name| *name == TE || *name == EXPECT || is_claim(name.as_str()));
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    join_cookies(headers);
    headers.insert(HOST, told.host.clone());
    match earlier {
        None => told.tell(headers),
        Some(earlier) => earlier.tell(headers, told),
    }
}

/// Whether a response's length could be read in two ways, or its coding is more than the chunks that end here (RFC 9112,
/// section 6.1).
pub(crate) fn is_unclear(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return false };
    !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
        || codings.next().is_some()
        || headers.contains_key(CONTENT_LENGTH)
}

/// Takes the fields of the origin's connection out of a response.
pub(crate) fn rewrite_response(headers: &mut HeaderMap) {
    drop_fields(headers, |name| *name == TE);
}

/// Drops what belongs to one connection, what `Connection` names, and what else is unwanted.
fn drop_fields(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|token| token.trim().parse().ok())
        .filter(|name: &HeaderName| !PROTECTED.contains(&name.as_str()))
        .collect();
    for name in named {
        headers.remove(name);
    }
    let goes = |name: &&HeaderName| HOP_BY_HOP.contains(name) || unwanted(name);
    let going: Vec<HeaderName> = headers.keys().filter(goes).cloned().collect();
    for name in going {
        headers.remove(name);
    }
}

/// HTTP/2 lets a browser split its cookies over several fields; HTTP/1 knows one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(COOKIE).iter();
    if fields.next().is_none() || fields.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Trailers follow the same rules: none can say who the visitor is, or stand in for a field that was checked.
pub(crate) fn rewrite_trailers(trailers: &mut HeaderMap) {
    drop_fields(trailers, |name| {
        let folded = folded(name.as_str());
        !is_token(name.as_str())
            || is_claim(&folded)
            || PROTECTED.contains(&&*folded)
            || folded == TRANSFER_ENCODING.as_str()
    });
}

/// A name as an origin could read it that takes every sign for a hyphen: CGI does with some, frameworks with others.
pub(crate) fn folded(name: &str) -> Cow<'_, str> {
    let odd = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    if name.contains(odd) { Cow::Owned(name.replace(odd, "-")) } else { Cow::Borrowed(name) }
}

/// Whether a field claims something about the visitor, in any spelling that an origin could fold into the usual one.
fn is_claim(name: &str) -> bool {
    let name = folded(name);
    name.starts_with("x-forwarded")
        || name.starts_with("proxy-")
        || matches!(
            &*name,
            "forwarded"
                | "x-real-ip"
                | "proxy"
                | "x-client-ip"
                | "true-client-ip"
                | "client-cert"
                | "client-cert-chain"
                | "client-ip"
                // Some frameworks take these for the path that was asked for.
                | "x-original-url"
                | "x-rewrite-url"
        )
}

/// What a trusted proxy said of its own visitor.
#[derive(Debug, Default)]
struct Earlier {
    addresses: Option<String>,
    proto: Option<HeaderValue>,
    host: Option<HeaderValue>,
    port: Option<HeaderValue>,
    real_ip: Option<HeaderValue>,
    forwarded: Option<String>,
}

impl Earlier {
    fn take(headers: &mut HeaderMap) -> Self {
        let list = |name: HeaderName| {
            let all: Vec<&str> =
                headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
            if all.is_empty() { None } else { Some(all.join(", ")) }
        };
        let (addresses, forwarded) = (list(X_FORWARDED_FOR), list(FORWARDED));
        Self {
            addresses,
            forwarded,
            proto: headers.remove(X_FORWARDED_PROTO),
            host: headers.remove(X_FORWARDED_HOST),
            port: headers.remove(X_FORWARDED_PORT),
            real_ip: headers.remove(X_REAL_IP),
        }
    }

    /// Appends to lists and sets what the proxy did not say.
    fn tell(self, headers: &mut HeaderMap, told: &Told) {
        let list = |earlier: Option<String>, own: &HeaderValue| {
            let joined = earlier.and_then(|earlier| {
                HeaderValue::from_str(&format!("{earlier}, {}", own.to_str().ok()?)).ok()
            });
            joined.unwrap_or_else(|| own.clone())
        };
        headers.insert(X_FORWARDED_PROTO, self.proto.unwrap_or(HTTPS));
        headers.insert(X_FORWARDED_HOST, self.host.unwrap_or_else(|| told.host.clone()));
        headers.insert(X_FORWARDED_PORT, self.port.unwrap_or_else(|| told.port.clone()));
        headers.insert(X_REAL_IP, self.real_ip.unwrap_or_else(|| told.address.clone()));
        headers.insert(FORWARDED, list(self.forwarded, &told.forwarded));
        headers.insert(X_FORWARDED_FOR, list(self.addresses, &told.address));
    }
}

/// What an origin is told of a visitor. The same for all requests of a connection to one authority.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    host: HeaderValue,
    port: HeaderValue,
    address: HeaderValue,
    forwarded: HeaderValue,
}

impl Told {
    /// Nothing where the authority cannot stand in a field, which a checked one can.
    pub(crate) fn new(visitor: &Whence<'_>) -> Option<Self> {
        let authority = &visitor.target.authority;
        let port = visitor.target.port.unwrap_or(visitor.https_port);
        let forwarded = format!("for={};host=\"{authority}\";proto=https", node(visitor.address));
        Some(Self {
            host: HeaderValue::from_str(authority).ok()?,
            port: HeaderValue::from(port),
            address: HeaderValue::from_str(&visitor.address.to_string()).ok()?,
            forwarded: HeaderValue::from_str(&forwarded).ok()?,
        })
    }

    /// Whether it holds for another request of the same connection.
    pub(crate) fn is_for(&self, target: &Target) -> bool {
        self.host.as_bytes() == target.authority.as_bytes()
    }

    fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(X_FORWARDED_PROTO, HTTPS);
        headers.insert(X_FORWARDED_HOST, self.host.clone());
        headers.insert(X_FORWARDED_PORT, self.port.clone());
        headers.insert(X_REAL_IP, self.address.clone());
        headers.insert(FORWARDED, self.forwarded.clone());
        headers.insert(X_FORWARDED_FOR, self.address.clone());
    }
}

/// RFC 7239, section 6: an IPv6 address stands in brackets and quotes.
fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"[{v6}]\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(fields: &[(&'static str, &str)], trusted: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let target = Target {
            hostname: "koda.example.com".parse().unwrap(),
            port: Some(8443),
            authority: "koda.example.com:8443".into(),
        };
        let visitor =
            Whence { address: "192.0.2.7".parse().unwrap(), trusted, target: &target, https_port: 443 };
        rewrite_request(&mut headers, &visitor, &Told::new(&visitor).unwrap());
        headers
    }

    #[test]
    fn what_a_visitor_claims_is_gone_in_every_spelling() {
        let claims = [
            "x-forwarded-for",
            "x_forwarded_for",
            "x.forwarded.for",
            "x~forwarded~for",
            "x!real!ip",
            "x-forwarded_for",
            "forwarded",
            "x-real-ip",
            "x_real_ip",
            "proxy",
            "x-forwarded-client-cert",
            "x-original-url",
            "x_rewrite_url",
            "client-ip",
            "client-cert",
            "client_cert",
            "client-cert-chain",
            "client.cert_chain",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded",
        ];
        let fields: Vec<_> = claims.iter().map(|name| (*name, "6.6.6.6")).collect();
        let headers = rewritten(&fields, false);
        assert!(headers.values().all(|value| !value.to_str().unwrap().contains("6.6.6.6")), "{headers:?}");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-real-ip"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "koda.example.com:8443");
        assert_eq!(headers["x-forwarded-port"], "8443");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;host=\"koda.example.com:8443\";proto=https");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_appended_to() {
        let headers = rewritten(&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "http")], true);
        assert_eq!(headers["x-forwarded-for"], "198.51.100.1, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
    }

    #[test]
    fn connection_fields_end_here_and_cannot_name_ours_away() {
        let headers = rewritten(
            &[
                ("connection", "close, X-Forwarded-For, host, cookie, authorization, x-mine"),
                ("keep-alive", "5"),
                ("x-mine", "1"),
                ("cookie", "a=1"),
                ("authorization", "Bearer x"),
                ("te", "gzip, trailers"),
                ("proxy-authorization", "x"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
            ],
            false,
        );
        for gone in
            ["connection", "keep-alive", "x-mine", "proxy-authorization", "transfer-encoding", "upgrade"]
        {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(
            (&headers["cookie"], &headers["authorization"]),
            (&"a=1".parse().unwrap(), &"Bearer x".parse().unwrap())
        );
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    }

    #[test]
    fn cookies_of_http2_are_joined() {
        assert_eq!(rewritten(&[("cookie", "a=1"), ("cookie", "b=2")], false)["cookie"], "a=1; b=2");
    }
}
