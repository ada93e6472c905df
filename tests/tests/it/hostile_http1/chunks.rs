//! Chunks, their sizes, extensions and ends, and the trailers behind them. What is broken off comes last: a part of it may
//! still be on its way when the relay has answered already.

use super::Verdict::{Aborted, One};
use super::{CHUNKED, Case, arrival, case};

pub(super) const COUNT: usize = 76;

/// Bodies that are not chunked as they say. The head has gone on by the time that shows.
const BROKEN: [&str; 55] = [
    // Sizes.
    "x\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "3g\r\nabc\r\n0\r\n\r\n",
    "3.0\r\nabc\r\n0\r\n\r\n",
    "3,3\r\nabc\r\n0\r\n\r\n",
    "\"3\"\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "\t3\r\nabc\r\n0\r\n\r\n",
    "3 \r\nabc\r\n0\r\n\r\n",
    "3\t\r\nabc\r\n0\r\n\r\n",
    "3 3\r\nabc\r\n0\r\n\r\n",
    "3\0\r\nabc\r\n0\r\n\r\n",
    "3\u{b}\r\nabc\r\n0\r\n\r\n",
    "\u{ff}3\r\nabc\r\n0\r\n\r\n",
    "\r\nabc\r\n0\r\n\r\n",
    "\r\n3\r\nabc\r\n0\r\n\r\n",
    ";a\r\nabc\r\n0\r\n\r\n",
    "10000000000000000\r\nabc\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "00000000000000003\r\nabc\r\n0\r\n\r\n",
    // Line ends.
    "3\nabc\r\n0\r\n\r\n",
    "3\rabc\r\n0\r\n\r\n",
    "3\r\r\nabc\r\n0\r\n\r\n",
    "3\n\nabc\r\n0\r\n\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\r\nabc\r0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3\r\nabcdef\r\n0\r\n\r\n",
    "3\r\nab\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\n\r\n",
    "3\r\nabc\r\n0\r\n\n",
    "3\r\nabc\r\n0\r\n\rX",
    "3\r\nabc\r\n00x\r\n\r\n",
    "3\r\nabc\r\n0 \r\n\r\n",
    // Extensions.
    "3;a=\"\r\nabc\r\n0\r\n\r\n",
    "3;a=\"b\nc\"\r\nabc\r\n0\r\n\r\n",
    "3;a=\"b\r\nabc\r\n0;c=\"\r\n\r\n",
    "3;a=b\nGET /smuggled HTTP/1.1\r\nabc\r\n0\r\n\r\n",
    "3;\nabc\r\n0\r\n\r\n",
    "3;a\0b\r\nabc\r\n0\r\n\r\n",
    "3;a\rb\r\nabc\r\n0\r\n\r\n",
    "3;=b\r\nabc\r\n0\r\n\r\n",
    "3;a==\r\nabc\r\n0\r\n\r\n",
    "3;a b\r\nabc\r\n0\r\n\r\n",
    // Trailers.
    "3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n",
    "3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "3\r\nabc\r\n0\r\nHost: b.example.com\r\n\r\n",
    "3\r\nabc\r\n0\r\nContent_Length: 9\r\n\r\n",
    "3\r\nabc\r\n0\r\nX : y\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: y\r\n folded\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: a\0b\r\n\r\n",
    "3\r\nabc\r\n0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
];

/// Bodies that everybody reads alike.
const WHOLE: [&str; 16] = [
    "3\r\nabc\r\n0\r\n\r\n",
    "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
    "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n",
    "03\r\nabc\r\n0\r\n\r\n",
    "0000000000000003\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n00000\r\n\r\n",
    // Extensions end here.
    "3;a\r\nabc\r\n0\r\n\r\n",
    "3;a=b\r\nabc\r\n0\r\n\r\n",
    "3;a=\"b\"\r\nabc\r\n0\r\n\r\n",
    "3;a=\"\\\"\"\r\nabc\r\n0\r\n\r\n",
    "3 ; a = b\r\nabc\r\n0\r\n\r\n",
    "3;a;b;c=d\r\nabc\r\n0;e\r\n\r\n",
    // Trailers that the origin was not told of end here.
    "3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "3\r\nabc\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
    "3\r\nabc\r\n0\r\nCookie: a=b\r\nAuthorization: Basic x\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: y\r\nX: z\r\n\r\n",
];

pub(super) fn cases() -> Vec<Case> {
    let chunked = |body: &str| format!("POST /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n{body}");
    let empty = arrival("POST /case HTTP/1.1", &[("transfer-encoding", "chunked")], "");
    let mut all: Vec<Case> = WHOLE.iter().map(|body| case(chunked(body), One(CHUNKED))).collect();
    all.push(case(chunked("0\r\n\r\n"), One(empty)));
    all.extend(BROKEN.iter().map(|body| case(chunked(body), Aborted(400))));
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(5000));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "b".repeat(1000)).repeat(20));
    let trailers = format!("3\r\nabc\r\n0\r\n{}\r\n", "X: y\r\n".repeat(101));
    let trailer = format!("3\r\nabc\r\n0\r\nX: {}\r\n\r\n", "y".repeat(9000));
    all.extend([long, many, trailers, trailer].map(|body| case(chunked(&body), Aborted(400))));
    all
}
