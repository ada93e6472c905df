//! WebSockets: nothing is buffered, nothing is changed, and nothing passes before the origin has agreed.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::origin::Origin;
use tests::raw::{End, RawVisitor};
use tests::tape::Tape;
use tests::visitor::Visitor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const HOST: &str = "a.example.com";
const PATH: &str = "/ws/yjs/doc?room=1%202";

type Socket = WebSocketStream<TlsStream<TcpStream>>;
type Heads = Arc<Mutex<Vec<Vec<(String, String)>>>>;

struct Lane {
    visitor: Visitor,
    _relay: Relay,
    _agent: Agent,
}

fn lane(origin: &Origin) -> Lane {
    let relay = Relay::start();
    let agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
    Lane { visitor: Visitor::of(&relay), _relay: relay, _agent: agent }
}

/// Echoes; keeps the fields of every handshake; takes the first subprotocol that is offered.
async fn echo(heads: &Heads) -> Origin {
    let heads = Arc::clone(heads);
    Origin::tcp(move |stream| echo_one(stream, Arc::clone(&heads))).await
}

#[expect(clippy::result_large_err, reason = "tungstenite's callback is like that")]
async fn echo_one(stream: TcpStream, heads: Heads) {
    let shake = |request: &Request, mut response: Response| {
        let text = |value: &hyper::header::HeaderValue| value.to_str().expect("text").to_owned();
        let mut fields = vec![("path".to_owned(), request.uri().to_string())];
        fields.extend(request.headers().iter().map(|(name, value)| (name.to_string(), text(value))));
        heads.lock().expect("no panic").push(fields);
        if let Some(offered) = request.headers().get("sec-websocket-protocol") {
            let first = text(offered).split(',').next().unwrap_or_default().to_owned();
            response.headers_mut().insert("sec-websocket-protocol", first.parse().expect("a value"));
        }
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, shake).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let answered = match message {
            Message::Text(_) | Message::Binary(_) => socket.send(message).await,
            // Pongs and the answer to a close frame go out by themselves.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
                socket.flush().await
            }
        };
        if answered.is_err() {
            return;
        }
    }
}

async fn open(visitor: &Visitor, fields: &[(&'static str, &str)]) -> (Socket, Response) {
    let stream = visitor.connect(HOST, &["http/1.1"]).await.expect("TLS");
    let mut request = format!("wss://{HOST}{PATH}").into_client_request().expect("a request");
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await.expect("a WebSocket");
    (socket, response.map(|_| ()))
}

async fn next(socket: &mut Socket) -> Message {
    socket.next().await.expect("a message").expect("a sound one")
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_pass_both_ways_and_the_handshake_arrives_untouched() {
    let heads = Heads::default();
    let origin = echo(&heads).await;
    let lane = lane(&origin);
    let fields = [
        ("sec-websocket-protocol", "kryton-token, eyJhbGciOi.J9.x_-"),
        ("cookie", "better-auth.session_token=abc.def%3D; theme=dark"),
        ("origin", "https://a.example.com"),
        ("x-forwarded-for", "6.6.6.6"),
    ];
    let (mut socket, response) = open(&lane.visitor, &fields).await;
    assert_eq!(response.headers()["sec-websocket-protocol"], "kryton-token");
    for message in [Message::text("hello ä"), Message::binary(vec![0, 1, 255]), Message::text("")] {
        socket.send(message.clone()).await.expect("sent");
        assert_eq!(next(&mut socket).await, message);
    }
    let fields = heads.lock().expect("no panic")[0].clone();
    let all = |name: &str| -> Vec<String> {
        fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(all("path"), [PATH]);
    assert_eq!(all("sec-websocket-protocol"), ["kryton-token, eyJhbGciOi.J9.x_-"]);
    assert_eq!(all("cookie"), ["better-auth.session_token=abc.def%3D; theme=dark"]);
    assert_eq!(
        (all("origin"), all("host")),
        (vec!["https://a.example.com".to_owned()], vec![HOST.to_owned()])
    );
    assert_eq!(all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!((all("sec-websocket-version"), all("sec-websocket-key").len()), (vec!["13".to_owned()], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn close_frames_and_large_messages_pass() {
    let origin = echo(&Heads::default()).await;
    let lane = lane(&origin);
    let (mut socket, _) = open(&lane.visitor, &[]).await;
    let large: Vec<u8> = (0..8_u32 << 20).map(|n| (n % 251) as u8).collect();
    socket.send(Message::binary(large.clone())).await.expect("sent");
    assert!(next(&mut socket).await == Message::binary(large), "8 MiB came back changed");
    let close = CloseFrame { code: CloseCode::Library(4001), reason: "done".into() };
    socket.send(Message::Close(Some(close.clone()))).await.expect("sent");
    assert_eq!(next(&mut socket).await, Message::Close(Some(close)));
    assert!(socket.next().await.is_none_or(|last| last.is_err()), "the connection goes on after its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_origin_dies_the_visitor_hears_of_it() {
    let origin = echo(&Heads::default()).await;
    let lane = lane(&origin);
    let (mut socket, _) = open(&lane.visitor, &[]).await;
    socket.send(Message::text("a")).await.expect("sent");
    assert_eq!(next(&mut socket).await, Message::text("a"));
    drop(origin);
    let end = tokio::time::timeout(tests::wait::PATIENCE, socket.next()).await.expect("an end");
    assert!(end.is_none_or(|last| last.is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_each_get_their_echo() {
    let origin = echo(&Heads::default()).await;
    let lane = lane(&origin);
    let mut opening = JoinSet::new();
    for n in 0..1000 {
        let visitor = lane.visitor.clone();
        opening.spawn(async move { (n, open(&visitor, &[]).await.0) });
    }
    let mut sockets: Vec<(i32, Socket)> = opening.join_all().await;
    assert_eq!(sockets.len(), 1000);
    for (n, socket) in &mut sockets {
        socket.send(Message::text(n.to_string())).await.expect("sent");
    }
    for (n, socket) in &mut sockets {
        assert_eq!(next(socket).await, Message::text(n.to_string()));
    }
}

const HANDSHAKE: &str = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn handshake() -> String {
    format!("GET /ws HTTP/1.1\r\nHost: {HOST}\r\n{HANDSHAKE}\r\n")
}

/// Keeps what came before it was told to agree, agrees, then sends back whatever comes until the end of it.
async fn reluctant(mut stream: TcpStream, agree: Arc<Notify>, before: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            read = stream.read_buf(&mut buffer) => if !matches!(read, Ok(1..)) { return },
            () = agree.notified() => break,
        }
        before.lock().expect("no panic").clone_from(&buffer);
    }
    let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let mut said = stream.write_all(head).await;
    let mut rest = Vec::new();
    while let (Ok(()), Ok(1..)) = (&said, stream.read_buf(&mut rest).await) {
        said = stream.write_all(&rest).await;
        rest.clear();
    }
    // The visitor has said its last; the origin has not.
    let _gone = stream.write_all(b"farewell").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_before_the_101_and_half_closing_passes_after_it() {
    let (agree, before) = (Arc::new(Notify::new()), Arc::<Mutex<Vec<u8>>>::default());
    let (agreeing, kept) = (Arc::clone(&agree), Arc::clone(&before));
    let origin = Origin::tcp(move |stream| reluctant(stream, Arc::clone(&agreeing), Arc::clone(&kept))).await;
    let lane = lane(&origin);
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    raw.send(format!("{}GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n", handshake()).as_bytes()).await;
    let arrived = || String::from_utf8(before.lock().expect("no panic").clone()).expect("text");
    tests::wait::eventually("the handshake arrives", async || arrived().contains("\r\n\r\n").then_some(()))
        .await;
    tokio::time::sleep(tests::raw::A_WHILE).await;
    assert!(arrived().ends_with("\r\n\r\n") && !arrived().contains("smuggled"), "{}", arrived());
    agree.notify_one();
    let head = raw.head().await;
    assert_eq!((head.status(), head.one("upgrade")), (101, "websocket"));
    let echoed = format!("GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    while raw.buffer.len() < echoed.len() {
        raw.fill().await.expect("the echo");
    }
    raw.stream.shutdown().await.expect("half of it closes");
    assert_eq!(raw.end().await, End::Clean);
    assert_eq!(String::from_utf8_lossy(&raw.buffer), format!("{echoed}farewell"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upgrade_passes_as_it_is_and_the_connection_goes_on() {
    let tape = Tape::answering(|request| match request.target() {
        "/ws" => {
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 4\r\n\r\nnope".to_vec()
        }
        _ => tests::tape::EMPTY.to_vec(),
    })
    .await;
    let lane = lane(&tape.origin);
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    // Three times, and with the next request sent before the answer.
    for _ in 0..3 {
        raw.send(format!("{}GET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n", handshake()).as_bytes()).await;
        let refused = raw.response().await.expect("a response");
        assert_eq!(
            (refused.status(), refused.one("www-authenticate"), &refused.body[..]),
            (401, "Bearer", &b"nope"[..])
        );
        assert_eq!(raw.response().await.map(|response| response.status()), Some(200));
    }
    let targets: Vec<_> = tape.take().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/ws", "/next", "/ws", "/next", "/ws", "/next"]);
    raw.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes()).await;
    assert_eq!(raw.response().await.map(|response| response.status()), Some(200));
    assert_eq!(raw.end().await, End::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_protocol_is_passed_on() {
    let tape = Tape::start().await;
    let lane = lane(&tape.origin);
    for upgrade in ["h2c", "websocket, h2c", "h2c, websocket", "tls/1.2", "websocket\r\nUpgrade: h2c"] {
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        let fields = format!(
            "Upgrade: {upgrade}\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n"
        );
        raw.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n").as_bytes()).await;
        assert_eq!(raw.response().await.map(|response| response.status()), Some(200), "{upgrade}");
        let message = tape.only();
        assert_eq!((message.one("upgrade"), message.one("connection")), ("", ""), "{upgrade}");
        assert_eq!(message.one("http2-settings"), "", "{upgrade}");
    }
}
