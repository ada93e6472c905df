//! Leaving HTTP: no byte passes before the origin's 101, and nobody is talked into HTTP/2 in the clear.

use std::sync::{Arc, Mutex};

use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::origin::Origin;
use tests::raw::{A_WHILE, Cut, RawVisitor};
use tests::visitor::Visitor;
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::Verdict::{One, Refused};
use super::{CHUNKED, Case, GET, HOST, Http1, POST, case};

const COUNT: usize = 17;

/// Offers, after the one good `Host`, of which the origin gets to see nothing.
const OFFERS: [&str; 11] = [
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade\r\nConnection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
    "Upgrade: H2C\r\nConnection: upgrade\r\n",
    "Upgrade: h2c\r\n",
    "Upgrade: h2c, websocket\r\nConnection: upgrade\r\n",
    "Upgrade: websocket, h2c\r\nConnection: upgrade\r\n",
    "Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: upgrade\r\n",
    "Upgrade: h2\r\nConnection: upgrade\r\n",
    "Upgrade: HTTP/2.0\r\nConnection: upgrade\r\n",
    "Upgrade: websocket\r\n",
    "Upgrade:\r\nConnection: upgrade\r\n",
];

fn cases() -> Vec<Case> {
    let offer = |lines: &&str| case(format!("GET /case HTTP/1.1\r\n${lines}\r\n"), One(GET));
    let mut all: Vec<Case> = OFFERS.iter().map(offer).collect();
    let with_body = "Upgrade: websocket\r\nConnection: upgrade\r\n";
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    all.extend([
        case(format!("POST /case HTTP/1.1\r\n${with_body}Content-Length: 3\r\n\r\nabc"), One(POST)),
        case(
            format!(
                "POST /case HTTP/1.1\r\n${with_body}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            ),
            One(CHUNKED),
        ),
        case(
            format!("GET /case HTTP/1.1\r\n$Upgrade: h2c\r\nTransfer-Encoding: x\r\n{with_body}\r\n"),
            Refused(400),
        ),
        case("CONNECT a.example.com HTTP/1.1\r\n$Upgrade: websocket\r\n\r\n", Refused(405)),
        case(format!("{preface}GET /case HTTP/1.1\r\n$\r\n"), Refused(505)),
        case(format!("GET /case HTTP/1.2\r\n$Upgrade: h2c\r\n\r\n{preface}"), Refused(505)),
    ]);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_to_leave_http() {
    assert_eq!(Http1::new().await.run(&cases()).await, COUNT);
}

/// Answers each WebSocket handshake when it is told to, and keeps what came on the connection before and after.
#[derive(Debug, Default)]
struct Seen {
    before: Vec<u8>,
    after: Vec<u8>,
}

async fn hesitate(mut stream: TcpStream, agree: Arc<Notify>, seen: Arc<Mutex<Seen>>) {
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            read = stream.read_buf(&mut buffer) => {
                let Ok(1..) = read else { return };
                seen.lock().expect("no panic").before.clone_from(&buffer);
            }
            () = agree.notified() => break,
        }
    }
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(switching).await.expect("bytes can be sent");
    let mut some = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut some).await {
        seen.lock().expect("no panic").after.extend_from_slice(&some[..length]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pipelined_behind_an_upgrade_waits_for_the_101() {
    let (agree, seen) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Seen::default())));
    let (told, kept) = (Arc::clone(&agree), Arc::clone(&seen));
    let origin = Origin::tcp(move |stream| hesitate(stream, Arc::clone(&told), Arc::clone(&kept))).await;
    let relay = Relay::start();
    let _agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
    let visitor = Visitor::of(&relay);
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a.example.com\r\n\r\n";
    let handshake =
        format!("GET /case HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    for cut in Cut::ALL {
        let mut raw = RawVisitor::connect(&visitor, HOST).await;
        raw.send_cut(&[handshake.as_bytes(), smuggled].concat(), cut).await;
        let whole = async || seen.lock().expect("no panic").before.ends_with(b"\r\n\r\n").then_some(());
        eventually("the handshake is at the origin", whole).await;
        tokio::time::sleep(A_WHILE).await;
        let before = String::from_utf8(seen.lock().expect("no panic").before.clone()).expect("text");
        assert!(before.starts_with("GET /case HTTP/1.1\r\n"), "{cut:?}: {before}");
        assert_eq!(before.matches("\r\n\r\n").count(), 1, "{cut:?}: {before}");
        agree.notify_one();
        assert_eq!(raw.head().await.status(), 101, "{cut:?}");
        let arrived = async || (seen.lock().expect("no panic").after == smuggled).then_some(());
        eventually("the rest comes after the 101", arrived).await;
        *seen.lock().expect("no panic") = Seen::default();
    }
}
