//! Bodies: large ones, slow ones, and ones that break off. Nothing is collected on the way, and half is never the whole.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use tests::bed::{Agent, Relay};
use tests::deploy::{simple, with};
use tests::origin::{self, Origin};
use tests::raw::{End, Kind, RawVisitor};
use tests::tape::Tape;
use tests::visitor::{self, Visitor, background, empty, read};
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

const HOST: &str = "a.example.com";
const PIECE: usize = 64 << 10;

struct Lane {
    relay: Relay,
    agent: Agent,
    visitor: Visitor,
}

fn lane(origin: &Origin) -> Lane {
    lane_with(origin, "")
}

fn lane_with(origin: &Origin, expose: &str) -> Lane {
    let relay = Relay::start();
    let config = with(HOST, &format!("http://{}", origin.address), "", expose);
    let agent = Agent::running(&relay, &[HOST], &config);
    let visitor = Visitor::of(&relay);
    Lane { relay, agent, visitor }
}

/// The n-th piece of a body that does not repeat itself.
fn piece(n: usize) -> Bytes {
    (0..PIECE / 8)
        .flat_map(|at| ((n * PIECE + at) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

async fn pump(mut sender: Sender<Bytes, std::io::Error>, pieces: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    for n in 0..pieces {
        let piece = piece(n);
        hasher.write(&piece);
        if sender.send_data(piece).await.is_err() {
            break;
        }
    }
    hasher.finish()
}

/// Length and checksum.
async fn drain(mut body: Incoming) -> (usize, u64) {
    let (mut length, mut hasher) = (0, DefaultHasher::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.expect("the body comes to its end");
        if let Some(data) = frame.data_ref() {
            length += data.len();
            hasher.write(data);
        }
    }
    (length, hasher.finish())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_uploads_arrive_whole_however_they_are_framed() {
    let origin = Origin::http(async |request: Request<Incoming>| {
        let framed = request.headers().contains_key("content-length");
        let (length, sum) = drain(request.into_body()).await;
        origin::json(&serde_json::json!({ "length": length, "sum": sum, "framed": framed }))
    })
    .await;
    let lane = lane(&origin);
    const PIECES: usize = (64 << 20) / PIECE;
    for (over_2, framed) in [(false, false), (false, true), (true, false), (true, true)] {
        let (sender, body) = Channel::<Bytes, std::io::Error>::new(2);
        let mut pumping = JoinSet::new();
        pumping.spawn(pump(sender, PIECES));
        let uri = if over_2 { format!("https://{HOST}/") } else { "/".into() };
        let mut request = Request::put(uri);
        if !over_2 {
            request = request.header("host", HOST);
        }
        if framed {
            request = request.header("content-length", PIECES * PIECE);
        }
        let request = request.body(body.boxed()).expect("a request");
        let response = if over_2 {
            lane.visitor.http2(HOST).await.send_request(request).await
        } else {
            lane.visitor.http1(HOST).await.send_request(request).await
        };
        let said = read(response.expect("a response")).await.json();
        let sum = pumping.join_all().await[0];
        assert_eq!(
            (&said["length"], &said["sum"]),
            (&(PIECES * PIECE).into(), &sum.into()),
            "{over_2} {framed}"
        );
        assert_eq!(said["framed"], framed);
    }
}

/// The most memory that a process ever had, in bytes.
fn peak(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|text| text.parse::<usize>().ok()).expect("a number") << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_costs_no_memory() {
    const PIECES: usize = (256 << 20) / PIECE;
    let origin = Origin::http(async |_: Request<Incoming>| {
        let (sender, body) = Channel::<Bytes, std::io::Error>::new(2);
        background(async move {
            let _sum = pump(sender, PIECES).await;
        });
        Response::new(body.boxed())
    })
    .await;
    let mut lane = lane(&origin);
    assert_eq!(lane.visitor.get(HOST, "/").await.body.len(), PIECES * PIECE);
    let both = |lane: &mut Lane| peak(lane.relay.process.id()) + peak(lane.agent.process().id());
    let before = both(&mut lane);
    let mut sender = lane.visitor.http1(HOST).await;
    let request = visitor::request("GET", HOST, "/").body(empty()).expect("a request");
    let (length, _) = drain(sender.send_request(request).await.expect("a response").into_body()).await;
    let grown = both(&mut lane) - before;
    assert_eq!(length, PIECES * PIECE);
    assert!(grown < 64 << 20, "{grown} bytes more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_that_does_not_read_stops_the_origin() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let origin = Origin::tcp(move |stream| gush(stream, Arc::clone(&count))).await;
    let lane = lane(&origin);
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    raw.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    assert_eq!(raw.head().await.status(), 200);
    let stopped = stands_still(&written).await;
    assert!(stopped < 64 << 20, "{stopped} bytes were taken from the origin");
    let mut read = 0;
    while read < 2 * stopped {
        raw.buffer.clear();
        raw.fill().await.expect("it goes on");
        read += raw.buffer.len();
    }
    assert!(written.load(Ordering::Relaxed) > stopped);
}

async fn gush(mut stream: TcpStream, written: Arc<AtomicUsize>) {
    let mut buffer = [0; 4096];
    let _head = stream.read(&mut buffer).await;
    let length = 1_u64 << 40;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let mut sent = stream.write_all(head.as_bytes()).await;
    while sent.is_ok() {
        sent = stream.write_all(&[7; 16 << 10]).await;
        written.fetch_add(16 << 10, Ordering::Relaxed);
    }
}

/// The number once it has been the same for a second.
async fn stands_still(number: &AtomicUsize) -> usize {
    let (mut last, mut same) = (0, 0);
    let still = async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = number.load(Ordering::Relaxed);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        (same >= 10).then_some(now)
    };
    eventually("the origin is not read any more", still).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_before_the_next_is_made() {
    let (go, gone) = mpsc::channel::<&'static str>(1);
    let gone = Arc::new(Mutex::new(gone));
    let origin = Origin::tcp(move |stream| events(stream, Arc::clone(&gone))).await;
    let lane = lane(&origin);
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    raw.send(format!("GET /events HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    assert_eq!(raw.head().await.one("content-type"), "text/event-stream");
    for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        go.send(event).await.expect("the origin waits");
        while !raw.buffer.windows(event.len()).any(|window| window == event.as_bytes()) {
            raw.fill().await.expect("the event");
        }
    }
}

async fn events(mut stream: TcpStream, events: Arc<Mutex<mpsc::Receiver<&'static str>>>) {
    let mut buffer = [0; 4096];
    let _head = stream.read(&mut buffer).await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut sent = stream.write_all(head).await;
    while let (Ok(()), Some(event)) = (&sent, events.lock().await.recv().await) {
        sent = stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await;
    }
}

/// Sends this after the request's head and then resets the connection.
async fn resetting(response: &'static [u8]) -> Origin {
    Origin::tcp(move |mut stream| async move {
        let mut buffer = [0; 4096];
        let _head = stream.read(&mut buffer).await;
        let _sent = stream.write_all(response).await;
        // Only once the visitor has it: a reset overtakes what is still on its way.
        let _rest = tokio::time::timeout(tests::raw::A_WHILE, stream.read(&mut buffer)).await;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_origin_breaks_off_never_looks_whole() {
    let cases: [(&[u8], bool); 3] = [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", false),
        // Without a length only the reset tells that it is not all.
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", true),
    ];
    for (response, chunked) in cases {
        let origin = resetting(response).await;
        let lane = lane(&origin);
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        raw.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
        let head = raw.head().await;
        assert_eq!((head.status(), head.one("transfer-encoding") == "chunked"), (200, chunked));
        let _end = raw.end().await;
        let text = String::from_utf8_lossy(&raw.buffer).into_owned();
        assert!(text.contains("hello") && !text.contains("0\r\n\r\n") && text.len() < 100, "{text}");
        let mut sender = lane.visitor.http2(HOST).await;
        let request = Request::get(format!("https://{HOST}/")).body(empty()).expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        assert_eq!(response.status(), 200);
        assert!(response.into_body().collect().await.is_err(), "HTTP/2 has it for whole");
        lane.relay.process.wait_for_log("error=\"origin-broke\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_that_goes_away_leaves_no_whole_request() {
    let chunked = "Transfer-Encoding: chunked";
    for (method, fields) in [("POST", "Content-Length: 100000"), ("POST", chunked), ("GET", chunked)] {
        let tape = Tape::start().await;
        let lane = lane(&tape.origin);
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        raw.send(format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n5\r\nhello\r\n").as_bytes())
            .await;
        eventually("the first bytes arrive", async || (tape.bytes() > 0).then_some(())).await;
        drop(raw);
        tape.wait_for_broken_off().await;
        assert_eq!(tape.take(), [], "{method} {fields}");
    }
    let tape = Tape::start().await;
    let lane = lane(&tape.origin);
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
    let mut http2 = lane.visitor.http2(HOST).await;
    let request = Request::post(format!("https://{HOST}/")).body(body.boxed()).expect("a request");
    background(async move { drop(http2.send_request(request).await) });
    sender.send_data(Bytes::from_static(b"hello")).await.expect("the body is wanted");
    eventually("the first bytes arrive", async || (tape.bytes() > 0).then_some(())).await;
    sender.abort(std::io::ErrorKind::Interrupted.into());
    tape.wait_for_broken_off().await;
    assert_eq!(tape.take(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused() {
    let tape = Tape::start().await;
    let lane = lane_with(&tape.origin, "max_body = \"1k\"");
    let ask = async |fields: &str, body: &[u8]| {
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n");
        raw.send(&[head.as_bytes(), body].concat()).await;
        let response = raw.response_of(Kind::Response).await.expect("a response");
        (response.status(), response.one("adit-error").to_owned())
    };
    let too_large = (413, "body-too-large".to_owned());
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    let [small, large] = [chunk(512), chunk(1025)];
    assert_eq!(ask("Content-Length: 1025", &[b'x'; 1025]).await, too_large);
    assert_eq!(ask("Transfer-Encoding: chunked", format!("{large}0\r\n\r\n").as_bytes()).await, too_large);
    let three = format!("{small}{small}{small}0\r\n\r\n");
    assert_eq!(ask("Transfer-Encoding: chunked", three.as_bytes()).await, too_large);
    assert_eq!(tape.take(), []);
    assert_eq!(ask("Content-Length: 1024", &[b'x'; 1024]).await.0, 200);
    assert_eq!(ask("Transfer-Encoding: chunked", format!("{small}{small}0\r\n\r\n").as_bytes()).await.0, 200);
    assert_eq!(tape.take().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_over_http2_with_and_without_a_length() {
    let tape = Tape::start().await;
    let lane = lane_with(&tape.origin, "max_body = \"1k\"");
    let mut http2 = lane.visitor.http2(HOST).await;
    let mut ask = async |body: visitor::Body| {
        let request = Request::post(format!("https://{HOST}/")).body(body).expect("a request");
        let answer = read(http2.send_request(request).await.expect("a response")).await;
        (answer.status, answer.error().to_owned())
    };
    let streamed = |pieces: usize| {
        let frames = (0..pieces).map(|_| Ok(Frame::data(Bytes::from_static(&[b'x'; 512]))));
        StreamBody::new(futures_util::stream::iter(frames)).boxed()
    };
    let too_large = (413, "body-too-large".to_owned());
    assert_eq!(ask(visitor::full(vec![b'x'; 1025])).await, too_large);
    assert_eq!(ask(streamed(3)).await, too_large);
    assert_eq!(tape.take(), []);
    // The connection goes on.
    assert_eq!(ask(visitor::full(vec![b'x'; 1024])).await.0, 200);
    assert_eq!(ask(streamed(2)).await.0, 200);
    let arrived: Vec<_> = tape.take().iter().map(|request| request.body.len()).collect();
    assert_eq!(arrived, [1024, 1024]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_visitor_connection_costs_one_origin_connection() {
    let tape = Tape::start().await;
    let relay = Relay::start();
    let config = simple(HOST, &format!("http://{}", tape.origin.address));
    let _agent = Agent::running(&relay, &[HOST], &config);
    let mut raw = RawVisitor::connect(&Visitor::of(&relay), HOST).await;
    for n in 0..50 {
        let body = "x".repeat(n);
        let head = format!("POST /{n} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {n}\r\n\r\n{body}");
        raw.send(head.as_bytes()).await;
        assert_eq!(raw.response().await.map(|response| response.status()), Some(200));
    }
    assert_eq!((tape.take().len(), tape.connections()), (50, 1));
    drop(raw.stream.shutdown().await);
    assert_eq!(raw.end().await, End::Clean);
}
