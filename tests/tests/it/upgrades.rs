//! Upgrades over HTTP/1.1 to what `upgrades` names, and to nothing else.

use tests::bed::{Agent, Relay};
use tests::deploy::with;
use tests::origin::Origin;
use tests::raw::{End, Front, Kind, Message, RawVisitor, read_message};
use tests::tape::Tape;
use tests::visitor::Visitor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const HOST: &str = "a.example.com";

/// Upgrades to whatever is asked for, and answers with what comes until the end of it.
async fn agreeing(mut stream: TcpStream, heads: mpsc::Sender<Message>) {
    let mut buffer = Vec::new();
    let request = loop {
        let Ok(1..) = stream.read_buf(&mut buffer).await else { return };
        if let Front::Whole(request, length) = read_message(&buffer, Kind::Request) {
            buffer.drain(..length);
            break request;
        }
    };
    let protocol = request.one("upgrade").to_owned();
    heads.send(request).await.expect("the test listens");
    let head = format!("HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\nX-Kept: 1\r\n\r\n");
    let _gone = stream.write_all(head.as_bytes()).await;
    let (mut read, mut write) = stream.split();
    let _gone = tokio::io::copy(&mut read, &mut write).await;
}

struct Lane {
    visitor: Visitor,
    _relay: Relay,
    _agent: Agent,
}

fn lane(origin: &Origin, expose: &str) -> Lane {
    let relay = Relay::start();
    let config = with(HOST, &format!("http://{}", origin.address), "", expose);
    let agent = Agent::running(&relay, &[HOST], &config);
    Lane { visitor: Visitor::of(&relay), _relay: relay, _agent: agent }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_protocol_passes_whatever_the_method() {
    let (heads, mut seen) = mpsc::channel(9);
    let origin = Origin::tcp(move |stream| agreeing(stream, heads.clone())).await;
    let lane = lane(&origin, "upgrades = [\"x-thing\", \"SPDY/3.1\"]");
    let cases = [
        ("GET", "x-thing", ""),
        ("POST", "X-Thing", "Content-Length: 0\r\n"),
        ("POST", "spdy/3.1", "Content-Length: 0\r\n"),
        ("POST", "x-thing", ""),
        ("OPTIONS", "x-thing", ""),
    ];
    for (method, protocol, fields) in cases {
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        let asked = format!(
            "{method} /attach HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{fields}\r\n"
        );
        raw.send(asked.as_bytes()).await;
        let head = raw.head().await;
        assert_eq!((head.status(), head.one("upgrade")), (101, protocol), "{method} {protocol}");
        assert_eq!((head.one("connection"), head.one("x-kept")), ("Upgrade", "1"));
        raw.send(b"\x00bytes\xff").await;
        raw.stream.shutdown().await.expect("half of it closes");
        assert_eq!(raw.end().await, End::Clean);
        assert_eq!(raw.buffer, b"\x00bytes\xff");
        let request = seen.recv().await.expect("a request");
        assert_eq!(request.start, format!("{method} /attach HTTP/1.1"));
        assert_eq!((request.one("upgrade"), request.one("connection")), (protocol, "Upgrade"));
    }
    assert_eq!(cases.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_named_is_a_request_like_any_other() {
    let tape = Tape::start().await;
    let cases = [
        ("", "x-thing", ""),
        ("upgrades = [\"x-thing\"]", "websocket", ""),
        ("upgrades = [\"x-thing\"]", "x-thing/2", ""),
        ("upgrades = [\"x-thing\"]", "x-thing, websocket", ""),
        ("upgrades = [\"x-thing\"]", "x-thing", "Content-Length: 3\r\n\r\nabc"),
        ("upgrades = []", "websocket", ""),
    ];
    for (expose, protocol, rest) in cases {
        let lane = lane(&tape.origin, expose);
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        let rest = if rest.is_empty() { "Content-Length: 0\r\n\r\n" } else { rest };
        let fields = format!("Host: {HOST}\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n");
        raw.send(format!("POST / HTTP/1.1\r\n{fields}{rest}").as_bytes()).await;
        assert_eq!(raw.response().await.map(|response| response.status()), Some(200), "{expose} {protocol}");
        let request = tape.only();
        assert_eq!((request.one("upgrade"), request.one("connection")), ("", ""), "{expose} {protocol}");
    }
    assert_eq!(cases.len(), 6);
}
