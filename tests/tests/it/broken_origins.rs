//! Origins that are not there, never answer, or break off: the visitor hears which, and the service is back with them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use tests::bed::{Agent, Relay};
use tests::deploy::{simple, with};
use tests::origin::Origin;
use tests::raw::RawVisitor;
use tests::visitor::{Answer, Visitor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOSTNAME: &str = "koda.example.com";

fn says(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.error())
}

async fn answer_ok(mut stream: TcpStream) {
    let mut head = [0; 4096];
    while let Ok(1..) = stream.read(&mut head).await {
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_down_is_told_and_is_back_when_it_is_back() {
    let origin = Origin::tcp(answer_ok).await;
    let (relay, address) = (Relay::start(), origin.address);
    let mut agent = Agent::running(&relay, &[HOSTNAME], &simple(HOSTNAME, &format!("http://{address}")));
    let visitor = Visitor::of(&relay);
    for _ in 0..3 {
        assert_eq!(visitor.get(HOSTNAME, "/").await.text(), "ok");
    }
    origin.stop().await;
    // The kept connection may still be closing when the first request comes; a GET is then sent over another one.
    let answer = visitor.get(HOSTNAME, "/").await;
    assert_eq!(says(&answer), (502, "origin-refused"));
    agent.process().wait_for_log("the origin cannot be reached");
    let _back = Origin::tcp_at(address, answer_ok).await;
    assert_eq!(visitor.get(HOSTNAME, "/").await.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_never_answers_ends_in_a_time_out() {
    let origin = Origin::tcp(|mut stream: TcpStream| async move {
        let mut head = [0; 4096];
        while let Ok(1..) = stream.read(&mut head).await {}
    })
    .await;
    let relay = Relay::start();
    let timeouts = "timeouts = { first_byte = \"1s\" }";
    let config = with(HOSTNAME, &format!("http://{}", origin.address), "", timeouts);
    let _agent = Agent::running(&relay, &[HOSTNAME], &config);
    let asked = Instant::now();
    let answer = Visitor::of(&relay).get(HOSTNAME, "/").await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert!(answer.error().contains("timeout"), "{answer:?}");
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&asked.elapsed()));
}

/// A server that refuses an upload and hangs up with the rest of it unread: its kernel sends a reset behind the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_with_a_reset_behind_it_arrives() {
    let origin = Origin::tcp(|mut stream: TcpStream| async move {
        let mut head = [0; 16];
        let _some = stream.read(&mut head).await;
        let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
        let _told = stream.write_all(answer).await;
        let _set = stream.set_zero_linger();
    })
    .await;
    let relay = Relay::start();
    let _agent =
        Agent::running(&relay, &[HOSTNAME], &simple(HOSTNAME, &format!("http://{}", origin.address)));
    for _ in 0..10 {
        let answer = Visitor::of(&relay).get(HOSTNAME, "/").await;
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_breaks_off_is_told() {
    let origin = Origin::tcp(|mut stream: TcpStream| async move {
        let mut head = [0; 16];
        let _some = stream.read(&mut head).await;
        // Unread bytes and no time to wait for them: a reset and not an end.
        let _set = stream.set_zero_linger();
    })
    .await;
    let relay = Relay::start();
    let _agent =
        Agent::running(&relay, &[HOSTNAME], &simple(HOSTNAME, &format!("http://{}", origin.address)));
    let answer = Visitor::of(&relay).get(HOSTNAME, "/").await;
    assert_eq!(says(&answer), (502, "origin-broke"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_whose_name_does_not_resolve_is_told() {
    let relay = Relay::start();
    let _agent = Agent::running(&relay, &[HOSTNAME], &simple(HOSTNAME, "http://nowhere.invalid:80"));
    let answer = Visitor::of(&relay).get(HOSTNAME, "/").await;
    assert_eq!((answer.status, answer.error()), (502, "origin-unresolved"));
}

/// What an origin says of its length in two ways has no whole answer (RFC 9112, section 6.3).
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_length_is_unclear_is_none() {
    const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";
    let mut ran = 0;
    for (fields, expected) in [
        ("Transfer-Encoding: chunked\r\n", 200),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", 502),
        ("Transfer-Encoding: chunked\r\nContent-Length: 15\r\n", 502),
        ("Transfer-Encoding: gzip, chunked\r\n", 502),
    ] {
        let origin = Origin::tcp(move |mut stream: TcpStream| async move {
            let mut head = [0; 4096];
            let _asked = stream.read(&mut head).await;
            let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n{CHUNKS}");
            let _told = stream.write_all(answer.as_bytes()).await;
            let _until_the_end = stream.read(&mut head).await;
        })
        .await;
        let relay = Relay::start();
        let config = simple(HOSTNAME, &format!("http://{}", origin.address));
        let _agent = Agent::running(&relay, &[HOSTNAME], &config);
        let answer = Visitor::of(&relay).get(HOSTNAME, "/").await;
        assert_eq!(answer.status, expected, "{fields}: {answer:?}");
        assert!(expected == 200 || answer.error() == "origin-invalid", "{fields}");
        ran += 1;
    }
    assert_eq!(ran, 4);
}

/// A stream that ends without its last frame is broken, whatever code says so.
#[tokio::test(flavor = "multi_thread")]
async fn an_h2c_answer_that_is_reset_never_looks_whole() {
    let mut ran = 0;
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let origin = Origin::tcp(move |stream: TcpStream| async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((_request, mut respond))) = connection.accept().await {
                let Ok(mut body) = respond.send_response(hyper::Response::new(()), false) else { return };
                body.send_data(Bytes::from_static(b"part"), false).expect("some of it");
                body.send_reset(reason);
            }
        })
        .await;
        let relay = Relay::start();
        let config = simple(HOSTNAME, &format!("h2c://{}", origin.address));
        let _agent = Agent::running(&relay, &[HOSTNAME], &config);
        let mut raw = RawVisitor::connect(&Visitor::of(&relay), HOSTNAME).await;
        raw.send(format!("GET / HTTP/1.1\r\nHost: {HOSTNAME}\r\nConnection: close\r\n\r\n").as_bytes()).await;
        raw.end().await;
        let got = String::from_utf8_lossy(&raw.buffer).into_owned();
        let is_whole = got.starts_with("HTTP/1.1 200") && got.ends_with("0\r\n\r\n");
        assert!(!is_whole, "{reason:?}: {got}");
        ran += 1;
    }
    assert_eq!(ran, 3);
}
