//! The machine against tables of heads and bodies, whole and cut up in every way, and against hyper's own reading.

mod against_hyper;
mod streams;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Awaits, BodyFault, Framing, GuardLimits, Step, Violation};
use streams::stream;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open(Awaits),
    Refused(Violation),
    Aborted(BodyFault),
}

/// What the machine made of some bytes.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    released: Vec<u8>,
    heads: u64,
    end: End,
}

fn run<'a>(limits: GuardLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Run {
    let mut framing = Framing::new(limits);
    let (mut window, mut released) = (Vec::new(), Vec::new());
    let mut end = None;
    for piece in pieces {
        window.extend_from_slice(piece);
        end = loop {
            match framing.step(&window) {
                Step::Release(len) => released.extend(window.drain(..len)),
                Step::NeedMore | Step::Hold => break None,
                Step::Refuse(violation) => break Some(End::Refused(violation)),
                Step::Abort(fault) => break Some(End::Aborted(fault)),
            }
        };
        if end.is_some() {
            break;
        }
    }
    Run { released, heads: framing.heads(), end: end.unwrap_or(End::Open(framing.awaits())) }
}

fn run_whole(input: &[u8]) -> Run {
    run(GuardLimits::default(), [input])
}

/// Runs each case whole and byte by byte, and names those that end otherwise than expected.
fn check(limits: GuardLimits, cases: &[(&str, u64, End)]) {
    for (input, heads, end) in cases {
        let whole = run(limits, [input.as_bytes()]);
        assert_eq!((whole.heads, whole.end), (*heads, *end), "{input:?}");
        let bytewise = run(limits, input.as_bytes().chunks(1));
        assert_eq!(bytewise, whole, "{input:?} byte by byte");
        assert!(input.as_bytes().starts_with(&whole.released), "{input:?} left altered");
    }
}

const HEAD: End = End::Open(Awaits::Head);
const BODY: End = End::Open(Awaits::Body);
const HELD: End = End::Open(Awaits::Verdict);
const fn no(violation: Violation) -> End {
    End::Refused(violation)
}

#[test]
fn request_lines() {
    use Violation::{BadMethod, BadRequestLine, BadTarget, BadVersion};
    let cases = [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 1, HEAD),
        ("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 1, HEAD),
        ("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadRequestLine)),
        ("\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadRequestLine)),
        ("GET / HTTP/1.1\nhost: a\r\n\r\n", 0, no(BadRequestLine)),
        ("GET / HTTP/1.1\r\r\nhost: a\r\n\r\n", 0, no(BadVersion)),
        ("GET /\r\n\r\n", 0, no(BadRequestLine)),
        ("GET  HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadRequestLine)),
        (" GET / HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadRequestLine)),
        ("GET / HTTP/1.1 \r\nhost: a\r\n\r\n", 0, no(BadRequestLine)),
        ("G(T / HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadRequestLine)),
        ("GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadRequestLine)),
        ("\x16\x03\x01\x02\n", 0, no(BadRequestLine)),
        ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /  HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /#f HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /\x7f HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /\r HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /é HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /\\^{|}\"?` HTTP/1.1\r\nhost: a\r\n\r\n", 1, HEAD),
        ("GET /` HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /<b> HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /?\" HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /?a>b HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET /?a<b HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET a HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET ?a HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET @a/ HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET http:///a HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET http://a:/ HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET http://[::1]/ HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("CONNECT a@b:1 HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadTarget)),
        ("GET HTTP://a:1?b HTTP/1.1\r\nhost: a\r\n\r\n", 1, HEAD),
        ("GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 1, HEAD),
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 1, HEAD),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 1, HEAD),
        ("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", 1, HEAD),
        ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", 0, no(BadVersion)),
        ("GET / HTTP/1.10\r\nhost: a\r\n\r\n", 0, no(BadVersion)),
        ("GET / http/1.1\r\nhost: a\r\n\r\n", 0, no(BadVersion)),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, no(BadVersion)),
        ("ADIT-REFUSE /bad_host HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadMethod)),
        ("adit-refuse / HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(BadMethod)),
    ];
    assert_eq!(cases.len(), 49);
    check(GuardLimits::default(), &cases);
}

/// Like [`check`], with a request line before the fields and the empty line after them.
fn check_fields(cases: &[(&str, u64, End)]) {
    for (fields, heads, end) in cases {
        check(GuardLimits::default(), &[(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), *heads, *end)]);
    }
}

#[test]
fn field_syntax() {
    use Violation::BadHeader;
    let cases = [
        ("host: a\r\nx: \r\ny:\r\nz:\tq \t\r\nw: caf\u{e9}\r\n", 1, HEAD),
        ("host: a\nx: y\r\n", 0, no(BadHeader)),
        ("host: a\r\nx y: z\r\n", 0, no(BadHeader)),
        ("host: a\r\nx : z\r\n", 0, no(BadHeader)),
        ("host: a\r\nx\t: z\r\n", 0, no(BadHeader)),
        ("host: a\r\n: z\r\n", 0, no(BadHeader)),
        ("host: a\r\nx\r\n", 0, no(BadHeader)),
        ("host: a\r\nx(: z\r\n", 0, no(BadHeader)),
        ("host: a\r\nx\u{e9}: z\r\n", 0, no(BadHeader)),
        (" x: y\r\nhost: a\r\n", 0, no(BadHeader)),
        ("host: a\r\nx: y\r\n z\r\n", 0, no(BadHeader)),
        ("host: a\r\nx: y\r\n\tz\r\n", 0, no(BadHeader)),
        ("host: a\r\nx: y\r\n \r\n", 0, no(BadHeader)),
        ("host: a\r\nx: a\0b\r\n", 0, no(BadHeader)),
        ("host: a\r\nx: a\rb\r\n", 0, no(BadHeader)),
        ("host: a\r\nx: a\r\r\n", 0, no(BadHeader)),
        ("host: a\r\nx: a\x1b[m\r\n", 0, no(BadHeader)),
        ("host: a\r\nx: a\x7f\r\n", 0, no(BadHeader)),
        ("host: a\r\nTransfer_Encoding: chunked\r\n", 0, no(BadHeader)),
        ("host: a\r\ntransfer.encoding: chunked\r\n", 0, no(BadHeader)),
        ("host: a\r\nContent_Length: 3\r\n", 0, no(BadHeader)),
        ("host: a\r\nCONTENT.LENGTH: 3\r\n", 0, no(BadHeader)),
        ("host: a\r\ncontentxlength: 3\r\n", 1, HEAD),
    ];
    assert_eq!(cases.len(), 23);
    check_fields(&cases);
}

#[test]
fn framing_fields() {
    use Violation::{BadExpect, BadFraming, BadHost};
    let cases = [
        ("host: a\r\nTRANSFER-Encoding:\tChunked \r\n", 1, BODY),
        ("host: a\r\ntransfer-encoding: chunked, chunked\r\n", 0, no(BadFraming)),
        ("host: a\r\ntransfer-encoding: gzip, chunked\r\n", 0, no(BadFraming)),
        ("host: a\r\ntransfer-encoding: ,chunked\r\n", 0, no(BadFraming)),
        ("host: a\r\ntransfer-encoding: identity\r\n", 0, no(BadFraming)),
        ("host: a\r\ntransfer-encoding:\r\n", 0, no(BadFraming)),
        ("host: a\r\ntransfer-encoding: xchunked\r\n", 0, no(BadFraming)),
        ("host: a\r\ntransfer-encoding: \"chunked\"\r\n", 0, no(BadFraming)),
        ("host: a\r\ntransfer-encoding: cow\r\ntransfer-encoding: chunked\r\n", 0, no(BadFraming)),
        ("host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", 0, no(BadFraming)),
        ("host: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n", 0, no(BadFraming)),
        ("host: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n", 0, no(BadFraming)),
        ("host: a\r\ncontent-length: 3\r\n", 1, BODY),
        ("host: a\r\ncontent-length: 0\r\n", 1, HEAD),
        ("host: a\r\ncontent-length: 0000000000000000003\r\n", 1, BODY),
        ("host: a\r\ncontent-length: 00000000000000000003\r\n", 0, no(BadFraming)),
        ("host: a\r\ncontent-length: 9999999999999999999\r\n", 1, BODY),
        ("host: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n", 0, no(BadFraming)),
        ("host: a\r\ncontent-length: 0\r\ncontent-length: 0\r\n", 0, no(BadFraming)),
        ("host: a\r\ncontent-length: 3, 3\r\n", 0, no(BadFraming)),
        ("host: a\r\ncontent-length: +3\r\n", 0, no(BadFraming)),
        ("host: a\r\ncontent-length: -3\r\n", 0, no(BadFraming)),
        ("host: a\r\ncontent-length: 0x3\r\n", 0, no(BadFraming)),
        ("host: a\r\ncontent-length: 3 3\r\n", 0, no(BadFraming)),
        ("host: a\r\ncontent-length:\r\n", 0, no(BadFraming)),
        ("", 0, no(BadHost)),
        ("host: a\r\nHost: a\r\n", 0, no(BadHost)),
        ("host:\r\n", 1, HEAD),
        ("host: a\r\nexpect: 100-Continue\r\ncontent-length: 3\r\n", 1, BODY),
        ("host: a\r\nexpect: 200-ok\r\n", 0, no(BadExpect)),
        ("host: a\r\nexpect:\r\n", 0, no(BadExpect)),
        ("host: a\r\nexpect: 100-continue\r\nexpect: 100-continue\r\n", 0, no(BadExpect)),
        ("host: a\r\nupgrade: websocket\r\n", 1, HELD),
        ("host: a\r\nupgrade: websocket\r\ncontent-length: 0\r\n", 1, HELD),
        ("host: a\r\nupgrade: websocket\r\ncontent-length: 3\r\n", 1, BODY),
        ("host: a\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n", 1, BODY),
    ];
    assert_eq!(cases.len(), 36);
    check_fields(&cases);
}

#[test]
fn http_1_0() {
    use Violation::{BadFraming, BadHost};
    let cases = [
        ("GET / HTTP/1.0\r\n\r\n", 1, HEAD),
        ("GET / HTTP/1.0\r\nhost: a\r\n\r\n", 1, HEAD),
        ("GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", 0, no(BadHost)),
        ("POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\n", 1, BODY),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 0, no(BadFraming)),
        ("GET / HTTP/1.0\r\nupgrade: websocket\r\n\r\n", 1, HEAD),
    ];
    assert_eq!(cases.len(), 6);
    check(GuardLimits::default(), &cases);
}

#[test]
fn sequences() {
    let cases = [
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            2,
            HEAD,
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n\r\n", 2, HEAD),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /\r\n\r\n", 1, no(Violation::BadRequestLine)),
        ("GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 1, HELD),
    ];
    assert_eq!(cases.len(), 4);
    check(GuardLimits::default(), &cases);
}

#[test]
fn limits() {
    let limits = GuardLimits { max_head: 60, max_headers: 3, max_target: 8, ..GuardLimits::default() };
    let cases = [
        ("GET /2345678 HTTP/1.1\r\nhost: a\r\n\r\n", 1, HEAD),
        ("GET /23456789 HTTP/1.1\r\nhost: a\r\n\r\n", 0, no(Violation::UriTooLong)),
        ("GET / HTTP/1.1\r\nhost: a\r\na:\r\nb:\r\n\r\n", 1, HEAD),
        ("GET / HTTP/1.1\r\nhost: a\r\na:\r\nb:\r\nc:\r\n\r\n", 0, no(Violation::HeadTooLarge)),
        // 25 bytes come before the `x`, so these end at 60, 61, 60, 61 and 61.
        ("GET / HTTP/1.1\r\nhost: a\r\nx: 123456789-123456789-12345678\r\n\r\n", 1, HEAD),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx: 123456789-123456789-123456789\r\n\r\n",
            0,
            no(Violation::HeadTooLarge),
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\nx: 123456789-123456789-123456789-12", 0, HEAD),
        ("GET / HTTP/1.1\r\nhost: a\r\nx: 123456789-123456789-123456789-123", 0, no(Violation::HeadTooLarge)),
        ("GET /123456789-123456789-123456789-123456789-123456789-123456", 0, no(Violation::UriTooLong)),
    ];
    assert_eq!(cases.len(), 9);
    check(limits, &cases);
}

#[test]
fn chunked_bodies() {
    const DONE: (u64, End) = (1, HEAD);
    const OPEN: (u64, End) = (1, BODY);
    const LINE: (u64, End) = (1, End::Aborted(BodyFault::ChunkLine));
    const DATA: (u64, End) = (1, End::Aborted(BodyFault::ChunkEnd));
    const TRAILER: (u64, End) = (1, End::Aborted(BodyFault::Trailer));
    let cases = [
        ("0\r\n\r\n", DONE),
        ("3\r\nabc\r\n0\r\n\r\n", DONE),
        ("3\r\nabc\r\n00\r\n\r\n", DONE),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", DONE),
        ("1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n", DONE),
        ("3;a\r\nabc\r\n0;b=c\r\n\r\n", DONE),
        ("3 ; a = \"x \\\" ;y\" ;z\r\nabc\r\n0\r\n\r\n", DONE),
        ("0\r\nx: y\r\nz:\r\n\r\n", DONE),
        ("3\r\nab", OPEN),
        ("0\r\nx: y\r\n", OPEN),
        ("ffffffffffffffff\r\nabc", OPEN),
        ("10000000000000000\r\nabc", LINE),
        ("00000000000000003\r\nabc", LINE),
        ("\r\n", LINE),
        (" 3\r\nabc\r\n", LINE),
        ("3 \r\nabc\r\n", LINE),
        ("+3\r\nabc\r\n", LINE),
        ("-3\r\nabc\r\n", LINE),
        ("0x3\r\nabc\r\n", LINE),
        ("3_0\r\nabc\r\n", LINE),
        ("g\r\nabc\r\n", LINE),
        ("3\nabc\r\n", LINE),
        ("3\r\r\nabc\r\n", LINE),
        ("3;\r\nabc\r\n", LINE),
        ("3;a=\r\nabc\r\n", LINE),
        ("3;a \r\nabc\r\n", LINE),
        ("3;a\nb\r\nabc\r\n", LINE),
        ("3;a\rb\r\nabc\r\n", LINE),
        ("3;a\0\r\nabc\r\n", LINE),
        ("3;a=\"\r\nabc\r\n0\r\n\r\n\"\r\n", LINE),
        ("3;a=\"\\\r\nabc\r\n", LINE),
        ("3;a=\"\x1b\"\r\nabc\r\n", LINE),
        ("3 a\r\nabc\r\n", LINE),
        ("3\r\nabcd\r\n", DATA),
        ("3\r\nabc\n", DATA),
        ("3\r\nabc\rx", DATA),
        ("3\r\nabc0\r\n\r\n", DATA),
        ("0\r\n\n", TRAILER),
        ("0\r\nx: y\n\r\n", TRAILER),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", TRAILER),
        ("0\r\nx : y\r\n\r\n", TRAILER),
        ("0\r\nx: y\r\n z\r\n\r\n", TRAILER),
        ("0\r\nx: \0\r\n\r\n", TRAILER),
        ("0\r\n: y\r\n\r\n", TRAILER),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\n", TRAILER),
        ("0\r\nContent-Length: 3\r\n\r\n", TRAILER),
        ("0\r\ncontent_length: 3\r\n\r\n", TRAILER),
        ("0\r\nHost: b\r\n\r\n", TRAILER),
    ];
    assert_eq!(cases.len(), 48);
    let bodies = cases.map(|(body, end)| {
        (format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}"), end)
    });
    check(GuardLimits::default(), &bodies.each_ref().map(|(body, end)| (body.as_str(), end.0, end.1)));
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let long = "x".repeat(4000);
    let cases = [
        (head.clone() + &format!("1;{long}\r\na\r\n").repeat(4), BODY),
        (head.clone() + &format!("1;{long}\r\na\r\n").repeat(5), End::Aborted(BodyFault::ChunkLine)),
        (head.clone() + "1;" + &long.repeat(2), End::Aborted(BodyFault::ChunkLine)),
        (head.clone() + "0\r\n" + &format!("x: {long}\r\n").repeat(2), BODY),
        (head.clone() + "0\r\n" + &format!("x: {long}\r\n").repeat(3), End::Aborted(BodyFault::Trailer)),
        (head.clone() + "0\r\n" + &"x:\r\n".repeat(100) + "\r\n", HEAD),
        (head + "0\r\n" + &"x:\r\n".repeat(101), End::Aborted(BodyFault::Trailer)),
    ];
    assert_eq!(cases.len(), 7);
    check(GuardLimits::default(), &cases.each_ref().map(|(body, end)| (body.as_str(), 1, *end)));
}

#[test]
fn a_verdict_decides_whose_bytes_follow() {
    let upgrade = b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n";
    for (accepted, expected) in [(true, Step::Release(2)), (false, Step::Refuse(Violation::BadRequestLine))] {
        let mut framing = Framing::new(GuardLimits::default());
        framing.on_verdict(accepted);
        assert_eq!(framing.awaits(), Awaits::Head, "a verdict on nothing");
        assert_eq!(framing.step(upgrade), Step::Release(upgrade.len()));
        assert_eq!(framing.step(b"\x81\n"), Step::Hold);
        framing.on_verdict(accepted);
        assert_eq!(framing.step(b"\x81\n"), expected);
    }
}

#[test]
fn codes_are_distinct_and_read_back() {
    for violation in Violation::ALL {
        assert_eq!(Violation::from_code(violation.code()), Some(violation));
    }
    assert_eq!(Violation::from_code("bad_luck"), None);
}

proptest! {
    #[test]
    fn cuts_change_nothing(bytes in stream(), cuts in vec(1usize..40, 1..20)) {
        let whole = run_whole(&bytes);
        prop_assert!(bytes.starts_with(&whole.released));
        prop_assert_eq!(&run(GuardLimits::default(), bytes.chunks(1)), &whole);
        let mut rest = bytes.as_slice();
        let pieces = cuts.iter().cycle().map_while(|&cut| {
            let piece = rest.split_off(..cut.min(rest.len()))?;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(&run(GuardLimits::default(), pieces), &whole);
    }
}
