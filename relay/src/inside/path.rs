//! What must hold of every path: one that is accepted leads where every origin's reading of it leads.
//!
//! The origins here are written after how known programs read paths, and know nothing of [`crate::route::readings`].

use std::borrow::Cow;

use protocol::control::{Expose, Service};
use protocol::path::PathPattern;

use super::Routes;

/// Several services and header rules, so that there is something to confuse.
const ROUTES: [(&str, &str); 6] = [
    ("/*", "dashboard"),
    ("/api/runtime/*", "runtime"),
    ("/api/*", "api"),
    ("/api/health", "health"),
    ("/a/*", "a"),
    ("/files/", "files"),
];
const RULES: [&str; 3] = ["/login", "/api/runtime/secret", "/a/b/*"];

/// What a path leads to: the service, and the header rules by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The service.
    pub service: String,
    /// Of [`RULES`].
    pub rules: Vec<usize>,
}

/// The routes of the checks.
#[must_use]
pub fn routes() -> Option<Routes> {
    let services: Vec<_> = ROUTES.iter().map(|(_, name)| serde_json::json!({ "name": name })).collect();
    let routes: Vec<_> = ROUTES
        .iter()
        .map(|(path, service)| serde_json::json!({ "path": path, "service": service }))
        .collect();
    let headers: Vec<_> = RULES
        .iter()
        .enumerate()
        .map(|(at, path)| serde_json::json!({ "paths": [path], "set": { format!("rule-{at}"): "1" } }))
        .collect();
    let expose = serde_json::json!({ "hostname": "a.example.com", "routes": routes, "headers": headers });
    let expose: Expose = serde_json::from_value(expose).ok()?;
    let services: Vec<Service> = serde_json::from_value(services.into()).ok()?;
    Routes::new(&expose, &services)
}

/// Where a path in plain form leads, by the words of the configuration.
fn place_of(plain: &[u8]) -> Option<Place> {
    let matches = |text: &str| text.parse::<PathPattern>().is_ok_and(|pattern| pattern.matches(plain));
    let longest = ROUTES.iter().filter(|(path, _)| matches(path)).max_by_key(|(path, _)| path.len())?;
    let rules = (0..RULES.len()).filter(|at| matches(RULES[*at])).collect();
    Some(Place { service: longest.1.to_owned(), rules })
}

/// Asserts it of whatever bytes, as far as they are a path at all.
pub fn check(bytes: &[u8]) {
    let (Some(routes), Ok(text)) = (routes(), std::str::from_utf8(bytes)) else { return };
    let path = if text.starts_with('/') { Cow::Borrowed(text) } else { format!("/{text}").into() };
    if path.contains(['?', '#']) {
        return;
    }
    let Some(place) = routes.place(&path) else { return };
    for (name, origin) in ORIGINS {
        let read = origin(path.as_bytes());
        assert_eq!(
            place_of(&read),
            Some(place.clone()),
            "{path:?}: {name} reads {:?}",
            String::from_utf8_lossy(&read)
        );
    }
}

type Origin = fn(&[u8]) -> Vec<u8>;

/// Known ways to read a path.
pub const ORIGINS: [(&str, Origin); 13] = [
    ("RFC 3986", |path| dots(&decode(path, b"/"), false)),
    ("nginx", |path| dots(&decode(path, b""), true)),
    ("nginx with merge_slashes off", |path| dots(&decode(path, b""), false)),
    ("Tomcat", |path| dots(&decode(&parameters(path), b""), true)),
    ("Tomcat with ALLOW_BACKSLASH", |path| dots(&backslashes(&decode(&parameters(path), b"")), true)),
    ("a lenient decoder of UTF-8", |path| dots(&shortened(&decode(path, b"")), true)),
    ("Node's URL", |path| decode(&dots(&dotted(after_slashes(&backslashes(path))), false), b"/")),
    ("one who decodes before a URL", |path| dots(after_authority(&decode(path, b"")), true)),
    ("Jetty", |path| dots(&decode(&dotted(&parameters(path)), b"/"), false)),
    ("a browser's URL", |path| decode(&dots(&dotted(&backslashes(path)), false), b"/")),
    ("two stages of nginx", |path| dots(&decode(&dots(&decode(path, b""), true), b""), true)),
    ("IIS", |path| dots(&backslashes(&decode(&decode(path, b""), b"")), true)),
    ("one who takes //host for a host", |path| dots(&decode(after_authority(path), b""), true)),
];

/// Decodes once, but for these bytes.
fn decode(path: &[u8], but: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let pair = path.get(at + 1..at + 3).filter(|_| path[at] == b'%');
        let value = pair
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match value {
            Some(value) if !but.contains(&value) => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(path[at]);
                at += 1;
            }
        }
    }
    decoded
}

fn backslashes(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

/// Without what follows a semicolon in each segment.
fn parameters(path: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default())
        .collect();
    segments.join(&b'/')
}

/// Dots written as `%2e` become dots, and nothing else.
fn dotted(path: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    for byte in path {
        text.push(*byte);
        if text.ends_with(b"%2e") || text.ends_with(b"%2E") {
            text.truncate(text.len() - 3);
            text.push(b'.');
        }
    }
    text
}

/// RFC 3986, section 5.2.4, after two slashes have become one or not.
fn dots(path: &[u8], merge: bool) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        match *segment {
            b"." if is_last => kept.push(b""),
            b".." => {
                kept.pop();
                if is_last {
                    kept.push(b"");
                }
            }
            b"." => {}
            b"" if merge && !is_last => {}
            segment => kept.push(segment),
        }
    }
    kept.iter().flat_map(|segment| [b"/", *segment].concat()).collect()
}

fn after_authority(path: &[u8]) -> &[u8] {
    let Some(rest) = path.strip_prefix(b"//") else { return path };
    rest.iter().position(|byte| *byte == b'/').map_or(path, |at| &rest[at..])
}

/// Takes characters that are written in two bytes where one is enough.
fn shortened(path: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    for byte in path {
        match text.last() {
            Some(lead @ (0xc0 | 0xc1)) if matches!(byte, 0x80..=0xbf) => {
                let short = (lead & 1) << 6 | (byte & 0x3f);
                text.pop();
                text.push(short);
            }
            _ => text.push(*byte),
        }
    }
    text
}

/// The path of a URL whose host stands behind two or more slashes.
fn after_slashes(path: &[u8]) -> &[u8] {
    let slashes = path.iter().take_while(|byte| **byte == b'/').count();
    let host = path[slashes..].iter().position(|byte| *byte == b'/');
    host.filter(|_| slashes > 1).map_or(path, |at| &path[slashes + at..])
}
