//! What does not become a WebSocket.

use hyper::Request;
use tests::tape::Tape;

use super::{HOST, Heads, Lane, Opened, answering, connect, echo, get, is_absent, taken};

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_refuses_has_the_word() {
    let heads = Heads::default();
    let origin = answering(&heads, |_| {
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 4\r\n\r\nnope".into()
    })
    .await;
    let lane = Lane::of(&origin);
    let sender = lane.connect().await;
    for _ in 0..3 {
        let mut opened = connect(&sender, "websocket", &[]).await;
        assert_eq!((opened.status(), opened.error()), (401, ""));
        assert_eq!(opened.response.headers()["www-authenticate"], "Bearer");
        assert_eq!(opened.rest().await.expect("a whole body"), b"nope");
        assert_eq!(get(&sender, "/next").await, 200);
    }
    assert_eq!(taken(&heads).len(), 6);
}

/// A length that was announced for a stream of bytes is none of a body: the origin would take the next request for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_is_not_taken_for_a_body() {
    let tape = Tape::answering(|request| match request.one("upgrade") {
        "websocket" => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => tests::tape::EMPTY.to_vec(),
    })
    .await;
    let lane = Lane::of(&tape.origin);
    let sender = lane.connect().await;
    let opened = connect(&sender, "websocket", &[("content-length", "30")]).await;
    assert_eq!(opened.status(), 403);
    assert_eq!(get(&sender, "/next").await, 200);
    let targets: Vec<_> = tape.take().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, [super::PATH, "/next"]);
}

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_answers_with_no_websocket_is_at_fault() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        format!("{SWITCHING}Upgrade: websocket\r\n\r\n"),
        format!(
            "{SWITCHING}Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        ),
        format!("{SWITCHING}Upgrade: h2c\r\n\r\n"),
        format!("{SWITCHING}\r\n"),
    ];
    assert_eq!(answers.len(), 6);
    for answer in answers {
        let said = answer.clone();
        let origin = answering(&Heads::default(), move |_| said.clone()).await;
        let lane = Lane::of(&origin);
        let sender = lane.connect().await;
        let opened = connect(&sender, "websocket", &[]).await;
        assert_eq!((opened.status(), opened.error()), (502, "origin-invalid"), "{answer}");
        assert!(is_absent(opened.response.headers(), &["sec-websocket-accept", "upgrade", "connection"]));
        assert_eq!(get(&sender, "/next").await, 200, "{answer}");
    }
}

fn is_unsupported(opened: &Opened) -> bool {
    let refused = (opened.status(), opened.error()) == (501, "upgrade-unsupported");
    refused && opened.response.headers()["x-request-id"].len() > 8
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_protocol_is_passed_on() {
    let tape = Tape::start().await;
    let lane = Lane::of(&tape.origin);
    let sender = lane.connect().await;
    for protocol in ["h2c", "connect-udp", "webtransport", "x-thing", "websocket, h2c", ""] {
        assert!(is_unsupported(&connect(&sender, protocol, &[]).await), "{protocol}");
    }
    let none = Lane::with(&tape.origin, "upgrades = []");
    assert!(is_unsupported(&connect(&none.connect().await, "websocket", &[]).await));
    let plain = Request::builder().method("CONNECT").uri(format!("{HOST}:443")).body(()).expect("a request");
    let (response, _send) = sender.clone().send_request(plain, false).expect("sent");
    assert_eq!(response.await.expect("a response").status(), 405);
    assert_eq!(tape.bytes(), 0, "nothing reaches the origin");
    assert_eq!(get(&sender, "/next").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_passes_where_it_is_named() {
    let heads = Heads::default();
    let origin = echo(&heads).await;
    let lane = Lane::with(&origin, "upgrades = [\"x-thing\"]");
    let sender = lane.connect().await;
    let mut opened = connect(&sender, "X-Thing", &[]).await;
    assert_eq!(opened.status(), 200);
    opened.send("?", true);
    assert_eq!(opened.rest().await.expect("a clean end"), b"?farewell");
    let head = taken(&heads).remove(0);
    assert_eq!((head.one("upgrade"), head.one("sec-websocket-key")), ("X-Thing", ""));
    assert!(is_unsupported(&connect(&sender, "websocket", &[]).await));
}
