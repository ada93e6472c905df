//! Origins that are not there, never answer, or break off: the visitor hears which, and the service is back with them.

use std::time::{Duration, Instant};

use tests::bed::{Agent, Relay};
use tests::deploy::{simple, with};
use tests::origin::Origin;
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
