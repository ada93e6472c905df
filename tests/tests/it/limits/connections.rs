//! How many connections there may be, from one address and in all.

use std::time::Duration;

use quinn::ConnectionError;
use tests::bed::Relay;
use tests::h3_visitor::{Http3, Manner};
use tests::raw::{A_WHILE, RawVisitor};
use tests::visitor::Visitor;
use tests::wait::{PATIENCE, eventually};

use super::{HOST, Lane, Wanted};

/// `H3_EXCESSIVE_LOAD` (RFC 9114, section 8.1).
const EXCESSIVE_LOAD: u32 = 0x107;

/// A refusal may be heard of only after the handshake.
async fn is_refused(relay: &Relay, local: [u8; 4]) -> bool {
    let ended = match Http3::try_connect(relay, HOST, Manner { local, ..Manner::default() }).await {
        Ok(http3) => tokio::time::timeout(A_WHILE, http3.connection.closed()).await.ok(),
        Err(error) => Some(error),
    };
    match ended {
        Some(ConnectionError::ApplicationClosed(close)) => close.error_code == EXCESSIVE_LOAD.into(),
        Some(other) => panic!("{other}"),
        None => false,
    }
}

async fn is_taken(visitor: &Visitor) -> bool {
    visitor.connect(HOST, &["http/1.1"]).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_address() {
    let lane = Lane::limited("connections_per_address = 2\n").await;
    let from = [127, 0, 0, 41];
    let visitor = Visitor::of(&lane.relay).coming_from(from);
    let first = visitor.connect(HOST, &["http/1.1"]).await.expect("TLS");
    let manner = Manner { local: from, ..Manner::default() };
    let second = Http3::try_connect(&lane.relay, HOST, manner).await.expect("QUIC");
    lane.counts("adit_visitor_connections_open{transport=\"quic\"}", 1).await;
    assert!(!is_taken(&visitor).await && is_refused(&lane.relay, from).await);
    lane.counts("adit_connections_refused_total{reason=\"address-limit\"}", 2).await;
    for over in super::OVER {
        assert_eq!(lane.ask(over, 42, Wanted::default()).await.status, 200, "another address, {over:?}");
    }
    drop(first);
    let again = async || visitor.connect(HOST, &["http/1.1"]).await.ok();
    let _third = eventually("the first place is free again", again).await;
    second.connection.close(0_u32.into(), b"");
    let again = async || (!is_refused(&lane.relay, from).await).then_some(());
    eventually("the second place is free again", again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_all() {
    // The listener of port 80 keeps one for who comes next.
    let lane = Lane::with("max_connections = 4\n", "").await;
    let visitor = Visitor::of(&lane.relay);
    let mut first = RawVisitor::connect(&visitor, HOST).await;
    let (second, third) =
        (RawVisitor::connect(&visitor, HOST).await, RawVisitor::connect(&visitor, HOST).await);
    assert!(is_refused(&lane.relay, [127, 0, 0, 1]).await);
    let mut waiting = std::pin::pin!(visitor.get(HOST, "/"));
    assert!(tokio::time::timeout(A_WHILE, waiting.as_mut()).await.is_err(), "a fourth is served");
    first.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    assert_eq!(first.response().await.map(|response| response.status()), Some(200), "who is in is served");
    drop(second);
    let answer = tokio::time::timeout(PATIENCE, waiting).await.expect("its turn comes");
    assert_eq!(answer.status, 200);
    // One for HTTP/3, one for those who had to wait.
    let shown = lane.relay.ask(&["metrics"]);
    let refused = shown.split("adit_connections_refused_total{reason=\"all-limit\"} ").nth(1);
    assert!(refused.is_some_and(|rest| !rest.starts_with("0\n") && !rest.starts_with("1\n")), "{shown}");
    drop((first, third));
    eventually("QUIC has room again", async || {
        let taken = tokio::time::timeout(Duration::from_secs(9), is_refused(&lane.relay, [127, 0, 0, 1]));
        (!taken.await.expect("an end")).then_some(())
    })
    .await;
}
