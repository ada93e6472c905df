//! Lengths that a body does not keep to, and trailers. A part of these may be at the origin when they are refused.

use tests::hostile::Arrival;

use super::Verdict::{self, Either, One, Refused};
use super::{AUTHORITY, Case, Field, HOST, PATH, SCHEME};

pub(super) const COUNT: usize = 55;

/// `content-length` beside the three bytes `abc`.
const LENGTHS: [&[&str]; 16] = [
    &["5"],
    &["2"],
    &["0"],
    &["3", "3"],
    &["3", "4"],
    &["4", "3"],
    &["3, 3"],
    &["3,4"],
    &["+3"],
    &["-3"],
    &["0x3"],
    &["3 3"],
    &[""],
    &["3.0"],
    &["99999999999999999999"],
    &["18446744073709551619"],
];

/// Trailers that are malformed.
const TRAILERS: [&[Field]; 10] = [
    &[(":x", "y")],
    &[("x", "y"), (":method", "GET")],
    &[("X", "y")],
    &[("x y", "z")],
    &[("x", "a\r\nb")],
    &[("x", "a\0b")],
    &[("x\n", "y")],
    &[("connection", "close")],
    &[("transfer-encoding", "chunked")],
    &[("upgrade", "h2c")],
];

/// Trailers of which nothing arrives, whether they were announced or not.
const DROPPED: [&[Field]; 8] = [
    &[("content-length", "9")],
    &[("content_length", "9")],
    &[("host", "b.example.com")],
    &[("cookie", "a=1")],
    &[("authorization", "Basic x")],
    &[("x-forwarded-for", "6.6.6.6")],
    &[("transfer_encoding", "chunked")],
    &[],
];

const POST: Arrival = Arrival {
    start: "POST /case HTTP/1.1",
    host: HOST,
    fields: &[("content-length", "3")],
    body: "abc",
    trailers: &[],
};
const CHUNKED: Arrival = Arrival { fields: &[("transfer-encoding", "chunked")], ..POST };

fn post(
    fields: &[Field],
    body: &'static [&'static str],
    trailers: Option<&'static [Field]>,
    verdict: Verdict,
) -> Case {
    let fields = [&[(":method", "POST"), SCHEME, AUTHORITY, PATH], fields].concat();
    Case { fields, body, trailers, verdict }
}

pub(super) fn cases() -> Vec<Case> {
    let length = ("content-length", "3");
    let names = ("trailer", "host, content-length, cookie, authorization, x-forwarded-for, content_length");
    let mut all = vec![
        post(&[length], &["abc"], None, One(POST)),
        post(&[length], &["a", "", "bc", ""], None, One(POST)),
        post(&[length], &["abc", ""], None, One(POST)),
        post(&[length], &["", "abc"], None, One(POST)),
        post(&[], &["", "a", "", "", "bc"], None, One(CHUNKED)),
        post(&[], &["abc"], None, One(CHUNKED)),
        post(&[], &["a", "b", "c"], None, One(CHUNKED)),
        post(&[], &["abc"], Some(&[("x", "y")]), One(CHUNKED)),
        post(
            &[("trailer", "x")],
            &["abc"],
            Some(&[("x", "y"), ("z", "w")]),
            One(Arrival {
                fields: &[("trailer", "x"), ("transfer-encoding", "chunked")],
                trailers: &[("x", "y")],
                ..POST
            }),
        ),
    ];
    // Malformed, but nothing that could arrive.
    all.extend([
        post(&[], &["abc"], Some(&[(":path", "/other")]), Either(CHUNKED)),
        post(&[], &["abc"], Some(&[(":status", "200")]), Either(CHUNKED)),
    ]);
    all.extend(DROPPED.map(|trailers| post(&[], &["abc"], Some(trailers), One(CHUNKED))));
    let announced: &[Field] = &[
        ("trailer", "host, content-length, cookie, authorization, x-forwarded-for, content_length"),
        ("transfer-encoding", "chunked"),
    ];
    let dropped = Arrival { fields: announced, ..POST };
    all.extend(DROPPED[..6].iter().map(|trailers| post(&[names], &["abc"], Some(trailers), One(dropped))));
    all.extend(LENGTHS.map(|values| {
        let fields: Vec<Field> = values.iter().map(|value| ("content-length", *value)).collect();
        post(&fields, &["abc"], None, Refused)
    }));
    all.extend(TRAILERS.map(|trailers| post(&[], &["abc"], Some(trailers), Refused)));
    all.extend([
        post(&[length], &[], None, Refused),
        post(&[length], &["ab", "cd"], None, Refused),
        post(&[length], &["abc"], Some(&[("X", "y")]), Refused),
        post(&[length], &["ab"], Some(&[("x", "y")]), Refused),
    ]);
    all
}
