//! What must hold of every set of fields: no word of a visitor reaches the origin under a name that the origin could take
//! for the relay's.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::ingress::headers::{rewrite_response, rewrite_trailers};

use super::Rewriting;

const HOST: &str = "a.example.com";
/// No field of a visitor has this value: what does is the relay's own.
const OURS: [&str; 5] =
    ["203.0.113.7", "https", HOST, "443", "for=203.0.113.7;host=\"a.example.com\";proto=https"];
const HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
];
const ONCE: [&str; 7] = [
    "host",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// The name as the most lenient of origins could read it: CGI's, in lower case.
fn lenient(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Whether a name, read like that, says who the visitor is.
fn tells_of_the_visitor(name: &str) -> bool {
    name.starts_with("x-forwarded")
        || name.starts_with("proxy-")
        || ["forwarded", "proxy", "x-real-ip", "x-client-ip", "true-client-ip"].contains(&name)
}

/// The fields in lines of `name: value`; what cannot be a field is left out.
fn read(bytes: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
    fields
}

/// Asserts it of whatever lines.
pub fn check(bytes: &[u8]) {
    let Ok(hostname) = HOST.parse() else { return };
    let fields = read(bytes);
    let went = Rewriting::of(hostname, fields.clone()).rewrite();
    for (name, value) in &went {
        let name = name.as_str();
        assert!(!HOP.contains(&name), "{name} went on");
        if tells_of_the_visitor(&lenient(name)) {
            assert!(
                ONCE.contains(&name) && OURS.iter().any(|ours| value == ours),
                "{name}: {value:?} went on"
            );
        }
        assert!(name != "te" || value == "trailers", "te: {value:?} went on");
    }
    for name in ONCE {
        assert_eq!(went.get_all(name).iter().count(), 1, "{name}");
    }
    assert!(went.get_all("cookie").iter().count() <= 1, "cookies in several fields");
    check_protected(&fields, &went);
    check_response(&fields);
    check_trailers(fields);
}

/// `Connection` names none of these away.
fn check_protected(came: &HeaderMap, went: &HeaderMap) {
    for name in ["authorization", "content-length", "content-type", "origin", "sec-websocket-protocol"] {
        assert_eq!(came.get(name), went.get(name), "{name} was altered");
    }
    assert_eq!(came.contains_key("cookie"), went.contains_key("cookie"), "a cookie was lost");
}

fn check_response(fields: &HeaderMap) {
    let mut response = fields.clone();
    rewrite_response(&mut response);
    assert!(HOP.iter().all(|name| !response.contains_key(*name)), "{response:?}");
    let cookies = |fields: &HeaderMap| fields.get_all("set-cookie").iter().cloned().collect::<Vec<_>>();
    let kept = cookies(&response);
    assert!(kept.is_empty() || kept == cookies(fields), "cookies were altered");
}

fn check_trailers(mut trailers: HeaderMap) {
    rewrite_trailers(&mut trailers);
    for name in trailers.keys().map(HeaderName::as_str) {
        let read = lenient(name);
        let framing = ["host", "content-length", "transfer-encoding", "authorization", "cookie"];
        assert!(!HOP.contains(&name) && !framing.contains(&read.as_str()), "the trailer {name} went on");
        assert!(!tells_of_the_visitor(&read), "the trailer {name} went on");
    }
}
