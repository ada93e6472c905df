//! Streams over every version a visitor speaks: events and uploads move piece by piece, who goes away is missed, and
//! what has no body has none.

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response};
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::held::{Held, Holder};
use tests::visitor::{Body, Visitor, empty};
use tests::wait::PATIENCE;
use tokio::task::JoinSet;

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

/// A visitor's connection.
enum Connection {
    One(hyper::client::conn::http1::SendRequest<Body>),
    Two(hyper::client::conn::http2::SendRequest<Body>),
}

impl Connection {
    /// One of each.
    async fn each(visitor: &Visitor) -> [Self; 2] {
        [Self::One(visitor.http1(HOST).await), Self::Two(visitor.http2(HOST).await)]
    }

    /// Sends a request from a task; its response comes out of the set.
    fn ask(&mut self, request: hyper::http::request::Builder, body: Body) -> JoinSet<Response<Incoming>> {
        let mut asking = JoinSet::new();
        match self {
            Self::One(sender) => {
                let sending = sender
                    .send_request(request.uri("/p").header("host", HOST).body(body).expect("a request"));
                asking.spawn(async { sending.await.expect("a response") });
            }
            Self::Two(sender) => {
                let uri = format!("https://{HOST}/p");
                let sending = sender.send_request(request.uri(uri).body(body).expect("a request"));
                asking.spawn(async { sending.await.expect("a response") });
            }
        }
        asking
    }
}

async fn answer(mut asking: JoinSet<Response<Incoming>>) -> Response<Incoming> {
    let answer = tokio::time::timeout(PATIENCE, asking.join_next()).await.expect("it answers in time");
    answer.expect("one was asked").expect("no panic")
}

/// The next bytes of a body; none at its end, which over HTTP/2 can be an empty frame.
async fn piece(body: &mut Incoming) -> Option<Bytes> {
    loop {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("it comes at once")?;
        let data = frame.expect("a sound one").into_data().expect("data");
        if !data.is_empty() {
            return Some(data);
        }
    }
}

/// Each visitor gets an origin connection of its own: one that is used again does not come out of the holder.
const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                      Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

async fn chunk(origin: &mut Held, text: &str) {
    origin.send(&format!("{:x}\r\n{text}\r\n", text.len())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_out_before_the_next_is_made() {
    let mut lane = lane().await;
    for mut connection in Connection::each(&lane.visitor).await {
        let asking = connection.ask(Request::get("/p").header("accept", "text/event-stream"), empty());
        let mut origin = lane.holder.next().await;
        assert_eq!(origin.head().await.one("accept"), "text/event-stream");
        // Not even a first event is needed: the head goes out alone.
        origin.send(EVENTS).await;
        let response = answer(asking).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut body = response.into_body();
        for event in ["data: one\n\n", ": a comment\n\n", "id: 3\ndata: three\n\n"] {
            chunk(&mut origin, event).await;
            assert_eq!(piece(&mut body).await.expect("an event"), event);
        }
        origin.send("0\r\n\r\n").await;
        assert_eq!(piece(&mut body).await, None);
    }
}

/// Without this an origin would make events for nobody until it is full.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_learns_that_the_reader_of_its_events_is_gone() {
    let mut lane = lane().await;
    for mut connection in Connection::each(&lane.visitor).await {
        let asking = connection.ask(Request::get("/p"), empty());
        let mut origin = lane.holder.next().await;
        origin.head().await;
        origin.send(EVENTS).await;
        chunk(&mut origin, "data: one\n\n").await;
        let mut body = answer(asking).await.into_body();
        assert_eq!(piece(&mut body).await.expect("an event"), "data: one\n\n");
        // Over HTTP/2 the connection stays, and the stream alone is cancelled.
        drop(body);
        origin.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_piece_of_an_upload_is_at_the_origin_before_the_next_is_sent() {
    let mut lane = lane().await;
    for mut connection in Connection::each(&lane.visitor).await {
        let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
        let asking = connection.ask(Request::post("/p"), body.boxed());
        let mut origin = lane.holder.next().await;
        let head = origin.head().await;
        assert_eq!((head.one("transfer-encoding"), head.one("content-length")), ("chunked", ""));
        for text in ["one", "two", "three"] {
            sender.send_data(Bytes::from(text)).await.expect("the body is wanted");
            assert_eq!(origin.until("\r\n").await, format!("{:x}\r\n", text.len()).to_uppercase());
            assert_eq!(origin.until("\r\n").await, format!("{text}\r\n"));
        }
        drop(sender);
        assert_eq!(origin.until("0\r\n\r\n").await, "0\r\n\r\n");
        origin.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        assert_eq!(answer(asking).await.status(), 201);
    }
}

/// The origin answers piece by piece to what it reads: neither direction waits for the other's end.
#[tokio::test(flavor = "multi_thread")]
async fn request_and_response_stream_at_the_same_time() {
    let mut lane = lane().await;
    for mut connection in Connection::each(&lane.visitor).await {
        let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
        let asking = connection.ask(Request::post("/p"), body.boxed());
        let mut origin = lane.holder.next().await;
        origin.head().await;
        origin.send(EVENTS).await;
        let mut answers = answer(asking).await.into_body();
        for text in ["ping 1", "ping 2"] {
            sender.send_data(Bytes::from(text)).await.expect("the body is wanted");
            origin.until(&format!("{text}\r\n")).await;
            chunk(&mut origin, &text.replace("ping", "pong")).await;
            assert_eq!(piece(&mut answers).await.expect("an answer"), text.replace("ping", "pong"));
        }
        drop(sender);
        origin.until("0\r\n\r\n").await;
        origin.send("0\r\n\r\n").await;
        assert_eq!(piece(&mut answers).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_body_has_none_and_keeps_its_length() {
    let cases = [
        ("HEAD", "200 OK", "Content-Length: 1234\r\nETag: \"x\"\r\n", Some("1234")),
        ("HEAD", "200 OK", "Transfer-Encoding: chunked\r\nETag: \"x\"\r\n", None),
        ("HEAD", "404 Not Found", "Content-Length: 9\r\nETag: \"x\"\r\n", Some("9")),
        ("GET", "304 Not Modified", "ETag: \"x\"\r\n", None),
        ("GET", "304 Not Modified", "Content-Length: 1234\r\nETag: \"x\"\r\n", Some("1234")),
        ("HEAD", "304 Not Modified", "Content-Length: 1234\r\nETag: \"x\"\r\n", Some("1234")),
        ("GET", "204 No Content", "ETag: \"x\"\r\n", None),
        ("DELETE", "204 No Content", "ETag: \"x\"\r\n", None),
        // No length is right for what has none: HTTP/2 would wait for it.
        ("GET", "204 No Content", "Content-Length: 5\r\nETag: \"x\"\r\n", None),
        ("GET", "200 OK", "Content-Length: 0\r\nETag: \"x\"\r\n", Some("0")),
    ];
    let mut lane = lane().await;
    let mut ran = 0;
    for mut connection in Connection::each(&lane.visitor).await {
        // One connection for all of them: a length that were taken for a body would spoil the next.
        let mut origin = None;
        for (method, status, fields, length) in cases {
            let asking = connection.ask(Request::builder().method(method), empty());
            let held = match &mut origin {
                None => origin.insert(lane.holder.next().await),
                Some(held) => held,
            };
            assert!(held.head().await.start.starts_with(method));
            held.send(&format!("HTTP/1.1 {status}\r\n{fields}\r\n")).await;
            let response = answer(asking).await;
            assert!(status.starts_with(response.status().as_str()), "{method} {status}");
            let said = response.headers().get("content-length").map(|value| value.to_str().expect("text"));
            // Over HTTP/1 hyper leaves it out of a 304, which may have one (RFC 9110, section 8.6).
            let left_out = said.is_none() && status.starts_with("304");
            assert!(said == length || left_out, "{method} {status} {fields:?}: {said:?}");
            assert_eq!(response.headers()["etag"], "\"x\"");
            assert!(response.headers().get("transfer-encoding").is_none() || method == "HEAD");
            assert!(response.body().is_end_stream() || length.is_none(), "{method} {status}");
            assert!(response.into_body().collect().await.expect("no body").to_bytes().is_empty());
            ran += 1;
        }
    }
    assert_eq!(ran, 2 * cases.len());
}
