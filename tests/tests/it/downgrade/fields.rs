//! Fields: signs that end a line elsewhere, what belongs to one connection, hosts, cookies, claims.

use tests::hostile::Arrival;

use super::Verdict::{Either, One, Refused};
use super::{AUTHORITY, Case, Field, GET, METHOD, PATH, SCHEME, get};

pub(super) const COUNT: usize = 97;

const NAMES: [&str; 24] = [
    "",
    " ",
    "X",
    "Host",
    "X-Forwarded-For",
    "Transfer-Encoding",
    "x ",
    " x",
    "x y",
    "x\t",
    "x:",
    "x: y\r\nz",
    "x\r",
    "x\n",
    "x\r\nz",
    "\r\nx",
    "x\0",
    "x\u{b}",
    "x\u{1b}",
    "x\u{7f}",
    "x\u{e4}",
    "x\u{ff}",
    "x(y)",
    "\"x\"",
];

const VALUES: [&str; 15] = [
    "a\rb",
    "a\nb",
    "a\r\nb",
    "\r\n",
    "a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a.example.com\r\n\r\n",
    "a\r\ntransfer-encoding: chunked",
    "a\n b",
    "\na",
    "a\n",
    "a\0b",
    "\0",
    "a\u{1}b",
    "a\u{b}b",
    "a\u{1b}[31m",
    "a\u{7f}b",
];

/// Fields that are refused by what they mean.
const REFUSED: [&[Field]; 34] = [
    // Of one connection.
    &[("connection", "close")],
    &[("connection", "keep-alive")],
    &[("connection", "x-forwarded-for")],
    &[("connection", "")],
    &[("keep-alive", "timeout=5")],
    &[("proxy-connection", "keep-alive")],
    &[("transfer-encoding", "chunked")],
    &[("transfer-encoding", "identity")],
    &[("transfer-encoding", "")],
    &[("upgrade", "h2c")],
    &[("upgrade", "websocket")],
    &[("te", "gzip")],
    &[("te", "trailers, gzip")],
    &[("te", "chunked")],
    &[("te", "")],
    &[("te", "trailers"), ("te", "gzip")],
    // Their likes, to some origins.
    &[("transfer_encoding", "chunked")],
    &[("transfer.encoding", "chunked")],
    &[("content_length", "3")],
    &[("content.length", "3")],
    // Hosts.
    &[("host", "b.example.com")],
    &[("host", "")],
    &[("host", "a.example.com:81")],
    &[("host", "a.example.com, b.example.com")],
    &[("host", "u@a.example.com")],
    &[("host", "a.example.com/case")],
    &[("host", "a.example.com b")],
    &[("host", "a.example.com"), ("host", "a.example.com")],
    &[("host", "a.example.com"), ("host", "b.example.com")],
    &[("host", "b.example.com"), ("host", "a.example.com")],
    &[("host", "a.example.com\r\nx: y")],
    &[("host", "a.example.c\u{f6}m")],
    // Expectations.
    &[("expect", "200-ok")],
    &[("expect", "100-continue"), ("expect", "x")],
];

/// Fields, and what arrives of them.
const PASSING: [(&[Field], &[Field]); 16] = [
    (&[("x", "y")], &[("x", "y")]),
    (&[("x", "")], &[("x", "")]),
    (&[("x", "a\tb")], &[("x", "a\tb")]),
    (&[("x", "\u{e4}\u{ff}")], &[("x", "\u{e4}\u{ff}")]),
    (&[("x", "a"), ("x", "b")], &[("x", "a"), ("x", "b")]),
    (&[("te", "trailers")], &[("te", "trailers")]),
    (&[("expect", "100-continue")], &[]),
    // Crumbs of a cookie.
    (&[("cookie", "a=1")], &[("cookie", "a=1")]),
    (&[("cookie", "a=1"), ("cookie", "b=2")], &[("cookie", "a=1; b=2")]),
    (
        &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")],
        &[("cookie", "a=1; b=2; c=3"), ("x", "y")],
    ),
    // Claims.
    (&[("x-forwarded-for", "6.6.6.6"), ("x_forwarded_for", "6.6.6.6"), ("x.forwarded-for", "6.6.6.6")], &[]),
    (&[("x-forwarded-proto", "http"), ("x-forwarded-host", "b.example.com"), ("x-forwarded-port", "1")], &[]),
    (&[("forwarded", "for=6.6.6.6"), ("x-real-ip", "6.6.6.6"), ("x_real_ip", "6.6.6.6")], &[]),
    (&[("proxy", "http://6.6.6.6"), ("proxy-authorization", "x")], &[]),
    (&[("x-forwarded-client-cert", "x"), ("x_forwarded_client_cert", "x")], &[]),
    (&[("http2-settings", "AAMAAABk")], &[("http2-settings", "AAMAAABk")]),
];

/// Values with white space around them, which RFC 9113 calls malformed and RFC 9110 none of the value.
const AROUND: [(&[Field], &[Field]); 5] = [
    (&[("x", " a")], &[("x", "a")]),
    (&[("x", "a ")], &[("x", "a")]),
    (&[("x", "\ta\t")], &[("x", "a")]),
    (&[("cookie", " a=1 "), ("cookie", "b=2")], &[("cookie", "a=1 ; b=2")]),
    (&[("x", " ")], &[("x", "")]),
];

pub(super) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = NAMES.map(|name| get(&[(name, "y")], Refused)).into();
    all.extend(VALUES.map(|value| get(&[("x", value)], Refused)));
    all.extend(REFUSED.map(|fields| get(fields, Refused)));
    all.extend(PASSING.map(|(fields, arriving)| get(fields, One(Arrival { fields: arriving, ..GET }))));
    all.extend(AROUND.map(|(fields, arriving)| get(fields, Either(Arrival { fields: arriving, ..GET }))));
    let bare = |fields: &[Field]| Case {
        fields: [&[METHOD, SCHEME, PATH], fields].concat(),
        body: &[],
        trailers: None,
        verdict: Refused,
    };
    all.extend([
        bare(&[("host", "a.example.com"), ("host", "a.example.com")]),
        bare(&[("host", "a.example.com"), ("host", "b.example.com")]),
        bare(&[("host", "u@a.example.com")]),
    ]);
    debug_assert_eq!(AUTHORITY.0, ":authority");
    all
}
