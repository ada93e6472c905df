//! Pseudo-fields: missing, late, repeated, unknown, and with values that a request line cannot hold.

use tests::hostile::Arrival;

use super::Verdict::{Either, One, Refused};
use super::{AUTHORITY, Case, Field, GET, METHOD, PATH, SCHEME, Verdict, get};

pub(super) const COUNT: usize = 113;

/// Whole heads that are none.
const HEADS: [&[Field]; 26] = [
    &[],
    // Missing.
    &[SCHEME, AUTHORITY, PATH],
    &[METHOD, SCHEME, AUTHORITY],
    &[METHOD, AUTHORITY, PATH],
    &[METHOD, SCHEME, PATH],
    &[("x", "y")],
    // Late.
    &[("x", "y"), METHOD, SCHEME, AUTHORITY, PATH],
    &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH],
    &[METHOD, SCHEME, PATH, ("host", "a.example.com"), AUTHORITY],
    &[SCHEME, AUTHORITY, PATH, ("x", "y"), METHOD],
    // Repeated.
    &[METHOD, METHOD, SCHEME, AUTHORITY, PATH],
    &[METHOD, SCHEME, SCHEME, AUTHORITY, PATH],
    &[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH],
    &[METHOD, SCHEME, AUTHORITY, (":authority", "b.example.com"), PATH],
    &[METHOD, SCHEME, AUTHORITY, PATH, PATH],
    &[METHOD, SCHEME, AUTHORITY, PATH, (":path", "/other")],
    &[METHOD, SCHEME, AUTHORITY, PATH, (":method", "DELETE")],
    // Unknown, and of others.
    &[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")],
    &[METHOD, SCHEME, AUTHORITY, PATH, (":x", "y")],
    &[METHOD, SCHEME, AUTHORITY, PATH, (":", "y")],
    &[METHOD, SCHEME, AUTHORITY, PATH, (":Path", "/other")],
    &[METHOD, SCHEME, AUTHORITY, PATH, (":path ", "/other")],
    &[METHOD, SCHEME, AUTHORITY, PATH, (":protocol", "websocket")],
    &[METHOD, SCHEME, AUTHORITY, (":PATH", "/case")],
    // CONNECT, with and without what only other methods have.
    &[(":method", "CONNECT"), AUTHORITY],
    &[(":method", "CONNECT"), SCHEME, AUTHORITY, PATH],
];

const METHODS: [&str; 12] = [
    "",
    " ",
    "GE T",
    "GET ",
    " GET",
    "GET /smuggled HTTP/1.1\r\nX: y\r\n\r\nGET",
    "G\0T",
    "G\nT",
    "G:T",
    "G(T",
    "G\u{e4}T",
    "TRACE",
];

const PATHS: [&str; 19] = [
    "",
    " ",
    "case",
    "*",
    "\\case",
    "a.example.com:443",
    "http://a.example.com/case",
    "https://b.example.com/case",
    "/ca se",
    "/case ",
    " /case",
    "/case HTTP/1.1\r\nX: y",
    "/case\r\n",
    "/ca\rse",
    "/ca\nse",
    "/ca\0se",
    "/ca\tse",
    "/ca\u{7f}se",
    "/case\u{1b}[31m",
];

const AUTHORITIES: [&str; 30] = [
    "",
    " ",
    "u@a.example.com",
    "u:p@a.example.com",
    "@a.example.com",
    "a.example.com@b.example.com",
    "a.example.com/",
    "a.example.com/case",
    "http://a.example.com",
    "a.example.com?x",
    "a.example.com#x",
    "a.example.com\\x",
    "a.example.com b.example.com",
    " a.example.com",
    "a.example.com ",
    "a.example.com\tb",
    "a.example.com,b.example.com",
    "a.example.com\r\nX: y",
    "a.example.com\nX: y",
    "a.example.com\0",
    "a.example.c\u{f6}m",
    "a.example.com%00",
    "a..example.com",
    "a.example.com:",
    "a.example.com:0",
    "a.example.com:+1",
    "a.example.com:65536",
    "a.example.com:443:443",
    "[::1",
    "127.0.0.1",
];

const SCHEMES: [&str; 6] = [" ", "ht tp", "https\r\nX: y", "https\0", "https://b.example.com/", "h\u{e4}"];

pub(super) fn cases() -> Vec<Case> {
    let head =
        |fields: &[Field], verdict| Case { fields: fields.to_vec(), body: &[], trailers: None, verdict };
    let mut all: Vec<Case> = HEADS.iter().map(|fields| head(fields, Refused)).collect();
    all.extend(METHODS.map(|method| head(&[(":method", method), SCHEME, AUTHORITY, PATH], Refused)));
    all.extend(PATHS.map(|path| head(&[METHOD, SCHEME, AUTHORITY, (":path", path)], Refused)));
    all.extend(
        AUTHORITIES.map(|authority| head(&[METHOD, SCHEME, (":authority", authority), PATH], Refused)),
    );
    all.extend(SCHEMES.map(|scheme| head(&[METHOD, (":scheme", scheme), AUTHORITY, PATH], Refused)));
    all.extend(in_order());
    all
}

fn in_order() -> Vec<Case> {
    let head = |fields: [Field; 4], verdict: Verdict| Case {
        fields: fields.to_vec(),
        body: &[],
        trailers: None,
        verdict,
    };
    let started = |start| One(Arrival { start, ..GET });
    let named = |host| One(Arrival { host, ..GET });
    vec![
        get(&[], One(GET)),
        head([PATH, AUTHORITY, SCHEME, METHOD], One(GET)),
        head([METHOD, SCHEME, PATH, ("host", "a.example.com")], One(GET)),
        head([(":method", "get"), SCHEME, AUTHORITY, PATH], started("get /case HTTP/1.1")),
        head([(":method", "M-SEARCH"), SCHEME, AUTHORITY, PATH], started("M-SEARCH /case HTTP/1.1")),
        head([(":method", "ADIT-REFUSE"), SCHEME, AUTHORITY, PATH], started("ADIT-REFUSE /case HTTP/1.1")),
        head(
            [METHOD, SCHEME, AUTHORITY, (":path", "/case?a=%0d%0a&b")],
            started("GET /case?a=%0d%0a&b HTTP/1.1"),
        ),
        head([METHOD, SCHEME, AUTHORITY, (":path", "/ca%5cse;x")], started("GET /ca%5cse;x HTTP/1.1")),
        head([METHOD, SCHEME, (":authority", "A.example.COM:8443"), PATH], named("A.example.COM:8443")),
        head([METHOD, SCHEME, (":authority", "a.example.com."), PATH], named("a.example.com.")),
        head([METHOD, (":scheme", "http"), AUTHORITY, PATH], Either(GET)),
        head([METHOD, (":scheme", "ftp"), AUTHORITY, PATH], Either(GET)),
        head([METHOD, (":scheme", ""), AUTHORITY, PATH], Either(GET)),
        head([METHOD, (":scheme", "1"), AUTHORITY, PATH], Either(GET)),
        head(
            [METHOD, SCHEME, AUTHORITY, (":path", "?case")],
            Either(Arrival { start: "GET /?case HTTP/1.1", ..GET }),
        ),
        head([METHOD, SCHEME, AUTHORITY, (":path", "/case#fragment")], Either(GET)),
        head([METHOD, SCHEME, AUTHORITY, (":path", "/c\u{e4}se")], Refused),
        head([(":method", "OPTIONS"), SCHEME, AUTHORITY, (":path", "*x")], Refused),
        head([(":method", "PRI"), SCHEME, AUTHORITY, (":path", "*")], Refused),
        get(&[("host", "a.example.com")], One(GET)),
    ]
}
