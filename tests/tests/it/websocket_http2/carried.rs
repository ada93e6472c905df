//! What passes once the origin has agreed.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tests::origin::Origin;
use tests::wait::eventually;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::stream::{abandon, websocket};
use super::{HOST, Heads, Lane, PATH, connect, echo, get, is_absent, taken};

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_sees_a_proper_handshake() {
    let heads = Heads::default();
    let origin = echo(&heads).await;
    let lane = Lane::of(&origin);
    let fields = [
        ("sec-websocket-protocol", "kryton-token, eyJhbGciOi.J9.x_-"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-key", "of-the-visitor's-own"),
        ("cookie", "session=abc.def%3D"),
        ("cookie", "theme=dark"),
        ("origin", "https://a.example.com"),
        ("x-forwarded-for", "6.6.6.6"),
        ("content-length", "30"),
    ];
    let opened = connect(&lane.connect().await, "websocket", &fields).await;
    assert_eq!(opened.status(), 200);
    let answered = opened.response.headers();
    assert_eq!(answered["sec-websocket-protocol"], "kryton-token");
    assert_eq!(answered["set-cookie"], "a=b; HttpOnly");
    assert!(is_absent(answered, &["sec-websocket-accept", "upgrade", "connection", "content-length"]));
    let heads = taken(&heads);
    let [head] = &heads[..] else { panic!("{heads:?}") };
    assert_eq!(head.start, format!("GET {PATH} HTTP/1.1"));
    for (name, value) in [
        ("host", HOST),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "kryton-token, eyJhbGciOi.J9.x_-"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("cookie", "session=abc.def%3D; theme=dark"),
        ("origin", "https://a.example.com"),
        ("x-forwarded-for", "127.0.0.1"),
        ("content-length", ""),
        ("transfer-encoding", ""),
    ] {
        assert_eq!(head.one(name), value, "{name}");
    }
    // 16 random bytes in base64 (RFC 6455, section 4.1).
    let key = head.one("sec-websocket-key");
    assert_eq!((key.len(), &key[22..]), (24, "=="), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_close_frames_pass() {
    let origin = echoing_messages().await;
    let lane = Lane::of(&origin);
    let opened = connect(&lane.connect().await, "websocket", &[]).await;
    assert_eq!(opened.status(), 200);
    let mut socket = websocket(opened).await;
    let large: Vec<u8> = (0..2_u32 << 20).map(|n| (n % 251) as u8).collect();
    for message in [Message::text("hello ä"), Message::text(""), Message::binary(large)] {
        socket.send(message.clone()).await.expect("sent");
        assert!(
            socket.next().await.expect("a message").expect("a sound one") == message,
            "it came back changed"
        );
    }
    let close = CloseFrame { code: CloseCode::Library(4001), reason: "done".into() };
    socket.send(Message::Close(Some(close.clone()))).await.expect("sent");
    assert_eq!(socket.next().await.expect("an answer").expect("sound"), Message::Close(Some(close)));
    assert!(socket.next().await.is_none(), "the stream ends with it");
}

async fn echoing_messages() -> Origin {
    Origin::tcp(|stream| async move {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            let said = if message.is_close() { socket.flush().await } else { socket.send(message).await };
            if said.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_side_may_end_before_the_other_and_leaves_its_line_then() {
    let origin = echo(&Heads::default()).await;
    let lane = Lane::of(&origin);
    let mut opened = connect(&lane.connect().await, "websocket", &[]).await;
    opened.send("ping", false);
    assert_eq!(opened.exactly(4).await, b"ping");
    let log = lane.relay.folder().join("access.log");
    assert_eq!(std::fs::read_to_string(&log).expect("the file"), "");
    assert!(lane.relay.ask(&["metrics"]).contains("\nadit_websockets_open 1\n"));
    opened.send("last", true);
    assert_eq!(opened.rest().await.expect("a clean end"), b"lastfarewell");
    let line = eventually("the line is written", async || {
        let text = std::fs::read_to_string(&log).expect("the file");
        text.ends_with('\n').then(|| serde_json::from_str::<Value>(text.trim_end()).expect("one line"))
    })
    .await;
    assert_eq!((&line["status"], &line["protocol"]), (&200.into(), &"HTTP/2.0".into()), "{line}");
    assert_eq!((&line["received_bytes"], &line["sent_bytes"]), (&8.into(), &16.into()), "{line}");
    assert!(lane.relay.ask(&["metrics"]).contains("\nadit_websockets_open 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_taken_back_ends_at_the_origin_and_a_dead_origin_resets_the_stream() {
    let ended = Arc::new(Notify::new());
    let told = Arc::clone(&ended);
    let origin = Origin::tcp(move |stream| {
        let ended = Arc::clone(&told);
        async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
            let _first = socket.next().await;
            let _whatever = socket.get_mut().read_to_end(&mut Vec::new()).await;
            ended.notify_one();
        }
    })
    .await;
    let lane = Lane::of(&origin);
    let sender = lane.connect().await;
    let opened = connect(&sender, "websocket", &[]).await;
    assert_eq!(opened.status(), 200);
    abandon(opened);
    tokio::time::timeout(tests::wait::PATIENCE, ended.notified()).await.expect("the origin hears of it");
    let mut opened = connect(&sender, "websocket", &[]).await;
    assert_eq!(opened.status(), 200);
    drop(origin);
    let end = opened.rest().await;
    assert!(end.as_ref().is_err_and(h2::Error::is_reset) || end.is_ok_and(|rest| rest.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_beside_requests_on_one_connection() {
    let origin = echo(&Heads::default()).await;
    let lane = Lane::of(&origin);
    let sender = lane.connect().await;
    let mut under_way = JoinSet::new();
    for number in 0..50_u32 {
        let sender = sender.clone();
        under_way.spawn(async move {
            let mut opened = connect(&sender, "websocket", &[]).await;
            assert_eq!((opened.status(), get(&sender, "/beside").await), (200, 200));
            for round in 0..5 {
                let said = format!("{number}:{round}");
                opened.send(said.clone(), false);
                assert_eq!(opened.exactly(said.len()).await, said.as_bytes());
            }
            opened.send("", true);
            assert_eq!(opened.rest().await.expect("a clean end"), b"farewell");
        });
    }
    assert_eq!(under_way.join_all().await.len(), 50);
    assert_eq!(get(&sender, "/after").await, 200);
}
