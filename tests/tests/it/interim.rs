//! Interim responses: early hints pass on their way, and `Expect: 100-continue` is between the visitor and the origin.

use std::future::poll_fn;
use std::time::Instant;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use hyper::{Request, Response};
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::held::{Held, Holder};
use tests::raw::{A_WHILE, End, Front, Kind, Message, RawVisitor, read_message};
use tests::visitor::{Visitor, background};
use tests::wait::PATIENCE;

const HOST: &str = "a.example.com";

struct Lane {
    holder: Holder,
    visitor: Visitor,
    _agent: Agent,
    _relay: Relay,
}

async fn lane() -> Lane {
    let holder = Holder::start().await;
    let relay = Relay::start();
    let agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", holder.origin.address)));
    Lane { holder, visitor: Visitor::of(&relay), _agent: agent, _relay: relay }
}

/// Over HTTP/1: the next response, interim or final, none where the connection ends before.
async fn next(raw: &mut RawVisitor) -> Option<Message> {
    loop {
        match read_message(&raw.buffer, Kind::Response) {
            Front::Whole(message, length) => {
                raw.buffer.drain(..length);
                return Some(message);
            }
            Front::Part if raw.fill().await.is_ok() => {}
            Front::Part => return None,
            Front::Unclear(reason) => panic!("the relay's response: {reason}"),
        }
    }
}

async fn one(raw: &mut RawVisitor) -> Message {
    next(raw).await.expect("a response")
}

/// An HTTP/2 connection on which interim responses can be seen.
async fn http2(visitor: &Visitor) -> SendRequest<Bytes> {
    let stream = visitor.connect(HOST, &["h2"]).await.expect("TLS");
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    background(async move { drop(connection.await) });
    sender.ready().await.expect("a stream")
}

/// Over HTTP/2: the next interim response, none once the final one is there.
async fn hint(response: &mut ResponseFuture) -> Option<Response<()>> {
    let next = poll_fn(|context| response.poll_informational(context));
    let next = tokio::time::timeout(PATIENCE, next).await.expect("it comes in time");
    next.map(|response| response.expect("a sound one"))
}

fn request(method: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(format!("https://{HOST}/p"))
}

const FIRST: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload; as=style\r\n\
                     Link: </b.js>; rel=preload; as=script\r\n\r\n";
const SECOND: &str = "HTTP/1.1 103 Early Hints\r\nConnection: X-Hop, keep-alive\r\nKeep-Alive: timeout=5\r\n\
                      X-Hop: 1\r\nProxy-Authenticate: Basic\r\nLink: </c.css>; rel=preload\r\n\r\n";
const HOP: [&str; 4] = ["connection", "keep-alive", "x-hop", "proxy-authenticate"];
const FINAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// The next request comes on another connection.
const LAST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_arrive_before_the_response_over_http1() {
    let mut lane = lane().await;
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    raw.send(format!("GET /p HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    let mut origin = lane.holder.next().await;
    // Twice: the connections are used again on both sides.
    for again in [true, false] {
        origin.head().await;
        origin.send(FIRST).await;
        let first = one(&mut raw).await;
        assert_eq!(first.status(), 103);
        assert_eq!(first.all("link"), ["</a.css>; rel=preload; as=style", "</b.js>; rel=preload; as=script"]);
        origin.send(SECOND).await;
        let second = one(&mut raw).await;
        assert_eq!((second.status(), second.one("link")), (103, "</c.css>; rel=preload"));
        assert!(HOP.iter().all(|name| second.all(name).is_empty()), "{second:?}");
        origin.send(FINAL).await;
        let last = one(&mut raw).await;
        assert_eq!((last.status(), &last.body[..], last.all("link").len()), (200, &b"ok"[..], 0));
        if again {
            raw.send(format!("GET /p HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_arrive_before_the_response_over_http2() {
    let mut lane = lane().await;
    let mut sender = http2(&lane.visitor).await;
    let (mut response, _) =
        sender.send_request(request("GET").body(()).expect("a request"), true).expect("sent");
    let mut origin = lane.holder.next().await;
    origin.head().await;
    origin.send(FIRST).await;
    let first = hint(&mut response).await.expect("early hints");
    let links: Vec<_> = first.headers().get_all("link").iter().collect();
    assert_eq!((first.status().as_u16(), links.len()), (103, 2));
    assert_eq!(links[0], "</a.css>; rel=preload; as=style");
    origin.send(SECOND).await;
    let second = hint(&mut response).await.expect("more of them");
    assert_eq!(
        (second.status().as_u16(), &second.headers()["link"]),
        (103, &"</c.css>; rel=preload".parse().expect("text"))
    );
    assert!(HOP.iter().all(|name| !second.headers().contains_key(*name)), "{second:?}");
    origin.send(FINAL).await;
    assert!(hint(&mut response).await.is_none());
    let last = response.await.expect("a response");
    assert_eq!((last.status().as_u16(), last.headers().contains_key("link")), (200, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_speaks_http10_gets_an_interim_response() {
    let mut lane = lane().await;
    for (method, fields) in [("GET", ""), ("POST", "Expect: 100-continue\r\nContent-Length: 2\r\n")] {
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        let body = if fields.is_empty() { "" } else { "hi" };
        raw.send(format!("{method} /p HTTP/1.0\r\nHost: {HOST}\r\n{fields}\r\n{body}").as_bytes()).await;
        let mut origin = lane.holder.next().await;
        origin.head().await;
        origin.send(FIRST).await;
        origin.send(CONTINUE).await;
        if !body.is_empty() {
            origin.until(body).await;
        }
        origin.send(LAST).await;
        let only = one(&mut raw).await;
        assert_eq!((only.status(), &only.body[..]), (200, &b"ok"[..]), "{method}");
        assert_eq!((next(&mut raw).await, raw.end().await), (None, End::Clean));
    }
}

/// A hostile origin: whatever becomes of its own visitor, the relay goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_interim_responses_hurts_nobody_else() {
    let mut lane = lane().await;
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    raw.send(format!("GET /p HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    let mut origin = lane.holder.next().await;
    origin.head().await;
    background(async move {
        for _ in 0..50_000 {
            origin.send(FIRST).await;
        }
        origin.send(FINAL).await;
    });
    let last = loop {
        let response = one(&mut raw).await;
        if response.status() != 103 {
            break response.status();
        }
    };
    assert!(matches!(last, 200 | 502), "{last}");
    let mut other = RawVisitor::connect(&lane.visitor, HOST).await;
    other.send(format!("GET /p HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    let mut origin = lane.holder.next().await;
    origin.head().await;
    origin.send(FINAL).await;
    assert_eq!(one(&mut other).await.status(), 200);
}

fn expecting(length: usize) -> String {
    format!("POST /p HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
}

/// The relay lets a visitor go on by itself after about a second; before that only the origin's word counts.
fn is_early(begun: Instant) -> bool {
    begun.elapsed() < 2 * A_WHILE
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_decides_whether_a_body_comes_over_http1() {
    let mut lane = lane().await;
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    let mut held: Option<Held> = None;
    for _ in 0..2 {
        let begun = Instant::now();
        raw.send(expecting(5).as_bytes()).await;
        let origin = match &mut held {
            None => held.insert(lane.holder.next().await),
            Some(held) => held,
        };
        let head = origin.head().await;
        assert_eq!((head.one("expect"), head.one("content-length")), ("100-continue", "5"));
        let early = tokio::time::timeout(A_WHILE, raw.fill()).await;
        assert!(early.is_err() || !is_early(begun), "nobody has said 100: {:?}", raw.buffer);
        origin.send(CONTINUE).await;
        assert_eq!(one(&mut raw).await.status(), 100);
        raw.send(b"hello").await;
        assert_eq!(origin.until("hello").await, "hello");
        origin.send(FINAL).await;
        assert_eq!(one(&mut raw).await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_decides_whether_a_body_comes_over_http2() {
    let mut lane = lane().await;
    let mut sender = http2(&lane.visitor).await;
    let asked = request("POST").header("expect", "100-continue").header("content-length", 5);
    let (mut response, mut body) =
        sender.send_request(asked.body(()).expect("a request"), false).expect("sent");
    let mut origin = lane.holder.next().await;
    let head = origin.head().await;
    assert_eq!((head.one("expect"), head.one("content-length")), ("100-continue", "5"));
    origin.send(CONTINUE).await;
    assert_eq!(hint(&mut response).await.map(|hint| hint.status().as_u16()), Some(100));
    body.send_data(Bytes::from_static(b"hello"), true).expect("the body is wanted");
    assert_eq!(origin.until("hello").await, "hello");
    origin.send(FINAL).await;
    assert!(hint(&mut response).await.is_none());
    assert_eq!(response.await.expect("a response").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_refuses_at_once_never_gets_the_body() {
    let mut lane = lane().await;
    let mut ran = 0;
    for (status, text) in
        [(413, "413 Content Too Large"), (401, "401 Unauthorized"), (417, "417 Expectation Failed")]
    {
        let refusal = format!("HTTP/1.1 {text}\r\nContent-Length: 2\r\n\r\nno");
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        raw.send(expecting(1 << 30).as_bytes()).await;
        let mut origin = lane.holder.next().await;
        origin.head().await;
        origin.send(&refusal).await;
        let only = one(&mut raw).await;
        assert_eq!((only.status(), &only.body[..]), (status, &b"no"[..]));
        // What comes all the same is a body that nobody wants, and never a request.
        raw.send(format!("GET /hidden HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
        let answered = tokio::time::timeout(A_WHILE, next(&mut raw)).await;
        assert!(!matches!(answered, Ok(Some(_))), "{answered:?}");
        origin.is_quiet().await;
        drop((raw, origin));
        let mut sender = http2(&lane.visitor).await;
        let asked = request("POST").header("expect", "100-continue").header("content-length", 1 << 30);
        let (mut response, _body) =
            sender.send_request(asked.body(()).expect("a request"), false).expect("sent");
        let mut origin = lane.holder.next().await;
        origin.head().await;
        origin.send(&refusal).await;
        assert!(hint(&mut response).await.is_none(), "no word but the refusal");
        assert_eq!(response.await.expect("a response").status().as_u16(), status);
        origin.is_quiet().await;
        ran += 2;
    }
    assert_eq!(ran, 6);
}

/// Many an origin has never heard of `Expect`, and waits for the body (RFC 9110, section 10.1.1).
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_says_nothing_gets_the_body_all_the_same() {
    let mut lane = lane().await;
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    raw.send(expecting(5).as_bytes()).await;
    let mut origin = lane.holder.next().await;
    origin.head().await;
    assert_eq!(one(&mut raw).await.status(), 100);
    raw.send(b"hello").await;
    assert_eq!(origin.until("hello").await, "hello");
    // Its own word comes late and is no news to anybody.
    origin.send(CONTINUE).await;
    origin.send(LAST).await;
    assert_eq!(one(&mut raw).await.status(), 200);
    let mut sender = http2(&lane.visitor).await;
    let asked = request("POST").header("expect", "100-continue");
    let (mut response, mut body) =
        sender.send_request(asked.body(()).expect("a request"), false).expect("sent");
    let mut origin = lane.holder.next().await;
    origin.head().await;
    assert_eq!(hint(&mut response).await.map(|hint| hint.status().as_u16()), Some(100));
    body.send_data(Bytes::from_static(b"hello"), true).expect("the body is wanted");
    assert_eq!(origin.until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
    origin.send(FINAL).await;
    assert_eq!(response.await.expect("a response").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_that_does_not_wait_is_served_too() {
    let mut lane = lane().await;
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    let both = format!("{}helloGET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n", expecting(5));
    raw.send(both.as_bytes()).await;
    let mut origin = lane.holder.next().await;
    assert_eq!(origin.head().await.one("expect"), "100-continue");
    origin.send(CONTINUE).await;
    assert_eq!(origin.until("hello").await, "hello");
    origin.send(FINAL).await;
    assert_eq!(origin.head().await.target(), "/next");
    origin.send(FINAL).await;
    // A 100 for the first is allowed, whether or not it was still needed.
    let mut finals = 0;
    while finals < 2 {
        let response = one(&mut raw).await;
        finals += usize::from(response.status() == 200);
        assert!(response.status() == 200 || (response.status() == 100 && finals == 0), "{response:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_body_waits_for_nothing() {
    let mut lane = lane().await;
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    raw.send(expecting(0).as_bytes()).await;
    let mut origin = lane.holder.next().await;
    origin.head().await;
    origin.send(FINAL).await;
    assert_eq!(one(&mut raw).await.status(), 200);
}

/// What the relay itself refuses is refused before the body, and before the origin hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_relay_needs_no_body() {
    let lane = lane().await;
    for (fields, status) in [
        ("Expect: 200-ok\r\nContent-Length: 5\r\n", 417),
        ("Expect: 100-continue, x\r\nContent-Length: 5\r\n", 417),
    ] {
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        raw.send(format!("POST /p HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n").as_bytes()).await;
        assert_eq!(one(&mut raw).await.status(), status, "{fields}");
    }
}
