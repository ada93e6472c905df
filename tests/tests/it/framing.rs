//! HTTP/1 bytes that a front and a back could read in two ways: each is refused, or one request arrives.

use std::time::{Duration, Instant};

use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::raw::{End, RawVisitor};
use tests::tape::Tape;
use tests::visitor::Visitor;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const HOST: &str = "a.example.com";

struct Lane {
    tape: Tape,
    relay: Relay,
    _agent: Agent,
    visitor: Visitor,
}

async fn lane() -> Lane {
    let (tape, relay) = (Tape::start().await, Relay::start());
    let config = simple(HOST, &format!("http://{}", tape.origin.address));
    let agent = Agent::running(&relay, &[HOST], &config);
    let visitor = Visitor::of(&relay);
    Lane { tape, relay, _agent: agent, visitor }
}

/// Refused with this status.
const fn no(status: u16) -> Option<u16> {
    Some(status)
}

/// One request arrives.
const YES: Option<u16> = None;

/// After `POST /case HTTP/1.1` and before the empty line; then the body.
const FIELDS: [(&str, &str, Option<u16>); 62] = [
    // What is in order.
    ("Host: a.example.com\r\n", "", YES),
    ("Host: a.example.com\r\nContent-Length: 3\r\n", "abc", YES),
    ("Host: a.example.com\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n", YES),
    ("Host: a.example.com\r\nTransfer-Encoding: CHUNKED\r\n", "3\r\nabc\r\n0\r\n\r\n", YES),
    ("Host: a.example.com\r\nContent-Length: 0\r\n", "", YES),
    // Both, in either order.
    ("Host: a.example.com\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n", no(400)),
    // Codings.
    ("Host: a.example.com\r\nTransfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding: chunked, identity\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding: ,chunked\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding: chunked,\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding: identity\r\n", "", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding:\r\n", "", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n", no(400)),
    (
        "Host: a.example.com\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
        no(400),
    ),
    ("Host: a.example.com\r\nTransfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer-Encoding : chunked\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer_Encoding: chunked\r\n", "0\r\n\r\n", no(400)),
    ("Host: a.example.com\r\nTransfer.Encoding: chunked\r\n", "0\r\n\r\n", no(400)),
    // Lengths.
    ("Host: a.example.com\r\nContent-Length: 3\r\nContent-Length: 3\r\n", "abc", no(400)),
    ("Host: a.example.com\r\nContent-Length: 3\r\nContent-Length: 4\r\n", "abcd", no(400)),
    ("Host: a.example.com\r\nContent-Length: 3, 3\r\n", "abc", no(400)),
    ("Host: a.example.com\r\nContent-Length: +3\r\n", "abc", no(400)),
    ("Host: a.example.com\r\nContent-Length: -3\r\n", "abc", no(400)),
    ("Host: a.example.com\r\nContent-Length: 0x3\r\n", "abc", no(400)),
    ("Host: a.example.com\r\nContent-Length: 3 3\r\n", "abc", no(400)),
    ("Host: a.example.com\r\nContent-Length:\r\n", "", no(400)),
    ("Host: a.example.com\r\nContent-Length: 99999999999999999999\r\n", "", no(400)),
    ("Host: a.example.com\r\nContent_Length: 3\r\n", "abc", no(400)),
    ("Host: a.example.com\r\nContent-Length : 3\r\n", "abc", no(400)),
    // Lines.
    ("Host: a.example.com\nX: y\r\n", "", no(400)),
    ("Host: a.example.com\r\nX: y\nZ: w\r\n", "", no(400)),
    ("Host: a.example.com\r\nX: a\rb\r\n", "", no(400)),
    ("Host: a.example.com\r\nX: a\r\n folded\r\n", "", no(400)),
    ("Host: a.example.com\r\nX: a\r\n\tfolded\r\n", "", no(400)),
    (" X: a\r\nHost: a.example.com\r\n", "", no(400)),
    ("Host: a.example.com\r\nX: a\0b\r\n", "", no(400)),
    ("Host: a.example.com\r\nX: a\x1b[31m\r\n", "", no(400)),
    ("Host: a.example.com\r\nX\0: a\r\n", "", no(400)),
    ("Host: a.example.com\r\nX : a\r\n", "", no(400)),
    ("Host: a.example.com\r\n: a\r\n", "", no(400)),
    ("Host: a.example.com\r\nno colon\r\n", "", no(400)),
    ("Host: a.example.com\r\nX(y): a\r\n", "", no(400)),
    // Hosts.
    ("X: y\r\n", "", no(400)),
    ("Host: a.example.com\r\nHost: a.example.com\r\n", "", no(400)),
    ("Host: a.example.com\r\nhost: b.example.com\r\n", "", no(400)),
    ("Host:\r\n", "", no(400)),
    ("Host: u@a.example.com\r\n", "", no(400)),
    ("Host: a.example.com/x\r\n", "", no(400)),
    ("Host: a.example.com#x\r\n", "", no(400)),
    ("Host: a.example.com b.example.com\r\n", "", no(400)),
    ("Host: a.example.com\tb\r\n", "", no(400)),
    ("Host: a.example.com, b.example.com\r\n", "", no(400)),
    ("Host: a.example.com:99999\r\n", "", no(400)),
    ("Host: a.example.com:+1\r\n", "", no(400)),
    ("Host: [::1\r\n", "", no(400)),
    ("Host: 127.0.0.1\r\n", "", no(400)),
    // Expectations.
    ("Host: a.example.com\r\nExpect: 200-ok\r\n", "", no(417)),
    ("Host: a.example.com\r\nExpect: 100-continue, x\r\n", "", no(417)),
];

/// Whole messages, `$` standing for the one good `Host` line.
const MESSAGES: [(&str, Option<u16>); 46] = [
    ("GET /case HTTP/1.1\r\n$\r\n", YES),
    ("\r\nGET /case HTTP/1.1\r\n$\r\n", YES),
    ("GET /case HTTP/1.0\r\n$Connection: keep-alive\r\n\r\n", YES),
    ("GET http://a.example.com/case HTTP/1.1\r\n$\r\n", YES),
    ("POST /case HTTP/1.1\r\n$Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc", YES),
    ("GET http://b.example.com/case HTTP/1.1\r\n$\r\n", no(400)),
    ("GET http://a.example.com:81/case HTTP/1.1\r\n$\r\n", no(400)),
    ("GET http://u@a.example.com/case HTTP/1.1\r\n$\r\n", no(400)),
    ("GET ftp://a.example.com/case HTTP/1.1\r\n$\r\n", no(400)),
    ("GET a.example.com:443 HTTP/1.1\r\n$\r\n", no(400)),
    ("GET case HTTP/1.1\r\n$\r\n", no(400)),
    ("GET * HTTP/1.1\r\n$\r\n", no(400)),
    ("GET /case#f HTTP/1.1\r\n$\r\n", no(400)),
    ("GET /ca`se HTTP/1.1\r\n$\r\n", no(400)),
    ("GET /<case> HTTP/1.1\r\n$\r\n", no(400)),
    ("GET /case?\" HTTP/1.1\r\n$\r\n", no(400)),
    ("GET /case?a>b HTTP/1.1\r\n$\r\n", no(400)),
    ("GET /ca\0se HTTP/1.1\r\n$\r\n", no(400)),
    ("GET /cäse HTTP/1.1\r\n$\r\n", no(400)),
    ("GET /ca se HTTP/1.1\r\n$\r\n", no(400)),
    ("GET  /case HTTP/1.1\r\n$\r\n", no(400)),
    ("GET /case HTTP/1.1 \r\n$\r\n", no(400)),
    ("GET\t/case HTTP/1.1\r\n$\r\n", no(400)),
    ("GET /case HTTP/1.1\n$\r\n", no(400)),
    ("GET /case\r\n", no(400)),
    ("GET /case HTTP/1.2\r\n$\r\n", no(505)),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", no(505)),
    ("G@T /case HTTP/1.1\r\n$\r\n", no(400)),
    ("ADIT-REFUSE /case HTTP/1.1\r\n$\r\n", no(400)),
    ("CONNECT a.example.com:443 HTTP/1.1\r\n$\r\n", no(405)),
    ("CONNECT /case HTTP/1.1\r\n$\r\n", no(405)),
    ("TRACE /case HTTP/1.1\r\n$\r\n", no(405)),
    ("POST /case HTTP/1.0\r\n$Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", no(400)),
    ("GET /case HTTP/1.1\r\n$Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n", YES),
    ("GET /case HTTP/1.1\r\n$Upgrade: tls/1.0\r\nConnection: upgrade\r\n\r\n", YES),
    (
        "POST /case HTTP/1.1\r\n$Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\nabc",
        YES,
    ),
    ("POST /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\n\r\n", YES),
    ("POST /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", YES),
    ("GET /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", YES),
    // The origin has been connected to by then, but no request is ever whole there.
    ("POST /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n", no(400)),
    ("POST /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", no(400)),
    ("POST /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", no(400)),
    ("POST /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", no(400)),
    ("POST /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n3;a=\"\r\nabc\r\n0\r\n\r\n", no(400)),
    ("POST /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", no(400)),
    (
        "POST /case HTTP/1.1\r\n$Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n",
        no(400),
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn bytes_with_two_readings_are_refused() {
    let lane = lane().await;
    let mut cases: Vec<(String, Option<u16>)> = Vec::new();
    for (fields, body, verdict) in FIELDS {
        cases.push((format!("POST /case HTTP/1.1\r\n{fields}\r\n{body}"), verdict));
    }
    for (message, verdict) in MESSAGES {
        cases.push((message.replace('$', &format!("Host: {HOST}\r\n")), verdict));
    }
    let long = |field: String, target: &str| format!("GET /{target} HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n");
    cases.push((long(format!("X: {}\r\n", "x".repeat(300 << 10)), "case"), no(431)));
    cases.push((long("X: y\r\n".repeat(200), "case"), no(431)));
    cases.push((long(String::new(), &"x".repeat(17 << 10)), no(414)));
    assert_eq!(cases.len(), 111);
    for (bytes, verdict) in &cases {
        match verdict {
            Some(status) => refused(&lane, bytes, *status).await,
            None => arrives(&lane, bytes).await,
        }
    }
}

/// How a case is shown when it fails.
fn shown(bytes: &str) -> String {
    format!("{:?}", &bytes[..bytes.len().min(200)])
}

/// The relay answers for itself, closes, and nothing behind the bytes is taken for a request.
async fn refused(lane: &Lane, bytes: &str, status: u16) {
    let case = shown(bytes);
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    raw.send(bytes.as_bytes()).await;
    let response = raw.response().await.unwrap_or_else(|| panic!("{case}: no response"));
    assert_eq!(response.status(), status, "{case}: {response:?}");
    assert!(!response.one("adit-error").is_empty() && !response.body.is_empty(), "{case}: a blank page");
    raw.send(format!("GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    assert!(raw.response().await.is_none(), "{case}: the connection goes on");
    assert_eq!(lane.tape.take(), [], "{case}");
}

/// One request arrives, and the next one on the connection is the next one at the origin.
async fn arrives(lane: &Lane, bytes: &str) {
    let case = shown(bytes);
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    raw.send(bytes.as_bytes()).await;
    let response = raw.response().await.unwrap_or_else(|| panic!("{case}: no response"));
    assert_eq!(response.status(), 200, "{case}: {response:?}");
    raw.send(format!("GET /next HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes()).await;
    assert_eq!(raw.response().await.map(|response| response.status()), Some(200), "{case}");
    assert_eq!((raw.end().await, raw.buffer.len()), (End::Clean, 0), "{case}: more than two responses");
    let all = lane.tape.take();
    let targets: Vec<_> = all.iter().map(|request| request.target()).collect();
    assert_eq!(targets, ["/case", "/next"], "{case}");
    let first = &all[0];
    assert_eq!(first.one("host"), HOST, "{case}");
    let body = if bytes.contains("abc") { &b"abc"[..] } else { b"" };
    // The origin decides on a body that waits for its word.
    let expects = bytes.contains("Expect: 100-continue") && !body.is_empty();
    assert_eq!(first.all("expect").is_empty(), !expects, "{case}: {first:?}");
    assert!(first.all("upgrade").is_empty(), "{case}: {first:?}");
    assert_eq!(first.body, body, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let lane = lane().await;
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    let one = |n: u32| format!("POST /{n} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi");
    raw.send((0..20).map(one).collect::<String>().as_bytes()).await;
    for _ in 0..20 {
        assert_eq!(raw.response().await.map(|response| response.status()), Some(200));
    }
    let targets: Vec<_> = lane.tape.take().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, (0..20).map(|n| format!("/{n}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_is_answered_with_408_after_10_seconds() {
    let lane = lane().await;
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    let begun = Instant::now();
    raw.send(b"GET / HTTP/1.1\r\nHost: a.exam").await;
    let response = raw.response().await.expect("a response");
    assert_eq!((response.status(), response.one("adit-error")), (408, "head-timeout"));
    assert!((9..12).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!((raw.end().await, lane.tape.bytes()), (End::Clean, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_handshakes_keep_nobody_waiting_and_are_closed() {
    let lane = lane().await;
    let begun = Instant::now();
    let mut stuck = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(lane.relay.https).await.expect("TCP");
        // The first bytes of a ClientHello.
        stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await.expect("bytes can be sent");
        stuck.push(stream);
    }
    assert_eq!(lane.visitor.get(HOST, "/").await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "an honest visitor waited {:?}", begun.elapsed());
    for mut stream in stuck {
        let mut rest = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
        let left = Duration::from_secs(13).saturating_sub(begun.elapsed());
        assert!(tokio::time::timeout(left, reading).await.is_ok(), "still open after {:?}", begun.elapsed());
    }
    assert!(begun.elapsed() > Duration::from_secs(8), "closed for another reason");
}
