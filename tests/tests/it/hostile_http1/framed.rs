//! `Content-Length` and `Transfer-Encoding`, alone and together.

use super::Verdict::{Last, One, Refused};
use super::{CHUNKED, Case, POST, arrival, case, refused_fields};

pub(super) const COUNT: usize = 78;
pub(super) const BOTH: usize = 140;

/// Values of `Transfer-Encoding`, and whole lines in its stead, that are not exactly one `chunked`.
const CODINGS: [&str; 30] = [
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked,chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: cow",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,",
    "Transfer-Encoding:",
    "Transfer-Encoding:  \t",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: chun ked",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: chunked\u{b}",
    "Transfer-Encoding: \u{c}chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: \u{a0}chunked",
    "Transfer-Encoding: \u{ff}chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding:\r\n chunked",
];

/// Names that an origin might take for the two.
const ALIASES: [&str; 10] = [
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "Transfer_Encoding: chunked",
    "Transfer.Encoding: chunked",
    "TRANSFER_ENCODING: chunked",
    "Transfer-Encoding\0: chunked",
    "Transfer-\u{a0}Encoding: chunked",
    "Content_Length: 3",
    "Content.Length: 3",
];

const LENGTHS: [&str; 26] = [
    "Content-Length: 3\r\nContent-Length: 3",
    "Content-Length: 3\r\nContent-Length: 4",
    "Content-Length: 0\r\nContent-Length: 3",
    "Content-Length: 3\r\ncontent-length: 0",
    "Content-Length: 3, 3",
    "Content-Length: 3,4",
    "Content-Length: 3,",
    "Content-Length: ,3",
    "Content-Length: +3",
    "Content-Length: -3",
    "Content-Length: -0",
    "Content-Length: 0x3",
    "Content-Length: 3 3",
    "Content-Length: 3;3",
    "Content-Length: 3.0",
    "Content-Length: 3e0",
    "Content-Length: 3\u{b}",
    "Content-Length: \u{c}3",
    "Content-Length: 3\0",
    "Content-Length: \"3\"",
    "Content-Length:",
    "Content-Length: \u{b2}",
    "Content-Length: 18446744073709551616",
    "Content-Length: 99999999999999999999",
    "Content-Length: 00000000000000000003",
    "Content-Length : 3",
];

pub(super) fn cases() -> Vec<Case> {
    let refused = CODINGS.iter().chain(&ALIASES).chain(&LENGTHS);
    let mut all: Vec<Case> =
        refused.map(|line| refused_fields(&format!("$Content-Type: a\r\n{line}\r\n"), 400)).collect();
    let post = |lines: &str, body: &str, verdict| {
        case(
            format!(
                "POST /case HTTP/1.1\r\n$\
        {lines}\r\n{body}"
            ),
            verdict,
        )
    };
    all.extend([
        post("Content-Length: 3\r\n", "abc", One(POST)),
        post("CONTENT-LENGTH:3\r\n", "abc", One(POST)),
        post("Content-Length: \t3 \t\r\n", "abc", One(POST)),
        post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n", One(CHUNKED)),
        post("tRANSFER-eNCODING:cHuNkEd\r\n", "3\r\nabc\r\n0\r\n\r\n", One(CHUNKED)),
        post("Transfer-Encoding:\t chunked \t\r\n", "3\r\nabc\r\n0\r\n\r\n", One(CHUNKED)),
        // A body on a method that has none: it stays a body.
        case("GET /case HTTP/1.1\r\n$Content-Length: 3\r\n\r\nabc", One(arrival("GET /case HTTP/1.1", &[("content-length", "3")], "abc"))),
        case(
            "GET /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            One(arrival("GET /case HTTP/1.1", &[("transfer-encoding", "chunked")], "abc")),
        ),
        // The older protocol knows no chunks.
        case("POST /case HTTP/1.0\r\n$Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Refused(400)),
        case("POST /case HTTP/1.0\r\n$Content-Length: 3\r\n\r\nabc", Last(POST)),
        case("POST /case HTTP/1.0\r\n$Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
        case("POST /case HTTP/1.0\r\n$Connection: keep-alive\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ]);
    all
}

/// Each coding beside each length, in both orders.
pub(super) fn both() -> Vec<Case> {
    const CODING: [&str; 10] = [
        "chunked",
        "Chunked",
        "\tchunked",
        "chunked, chunked",
        "identity",
        "gzip, chunked",
        "",
        "\u{b}chunked",
        "\"chunked\"",
        "x",
    ];
    const LENGTH: [&str; 7] = ["0", "3", "5", "+3", "3, 3", "", "99999999999999999999"];
    let mut all = Vec::new();
    for coding in CODING {
        for length in LENGTH {
            let (coding, length) =
                (format!("Transfer-Encoding: {coding}\r\n"), format!("Content-Length: {length}\r\n"));
            all.push(refused_fields(&format!("${coding}{length}"), 400));
            all.push(refused_fields(&format!("{length}Accept: */*\r\n{coding}$"), 400));
        }
    }
    all
}
