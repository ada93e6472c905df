//! Sealed connections end with whoever leads them: the relay, and the right of the agent to be there.

use std::time::{Duration, Instant};

use tests::bed::{Agent, Relay};
use tests::tls::is_alert;
use tests::tls_origin::{Certified, Connections};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

use super::{HOST, passed, running, visitor};

struct Bed {
    relay: Relay,
    _agent: Agent,
    _vault: Connections,
    visitors: Vec<(client::TlsStream<TcpStream>, server::TlsStream<TcpStream>)>,
}

/// Three visitors who are in the middle of something.
async fn bed() -> Bed {
    let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
    let mut vault = certified.held(&[]).await;
    let agent = running(&relay, &[HOST], &passed(&format!("tcp://{}", vault.origin.address), "", ""));
    let mut visitors = Vec::new();
    for _ in 0..3 {
        let mut visitor = visitor(&relay, &certified).connect(HOST, &[]).await.expect("TLS");
        let mut origin = vault.next().await;
        visitor.write_all(b"?").await.expect("a byte");
        assert_eq!(origin.read_u8().await.expect("a byte"), b'?');
        visitors.push((visitor, origin));
    }
    Bed { relay, _agent: agent, _vault: vault, visitors }
}

/// Neither side takes it for a proper end.
async fn all_break(visitors: Vec<(client::TlsStream<TcpStream>, server::TlsStream<TcpStream>)>) {
    assert_eq!(visitors.len(), 3);
    for (mut visitor, mut origin) in visitors {
        let error = visitor.read_to_end(&mut Vec::new()).await.expect_err("it was cut");
        assert!(!is_alert(&error), "{error:?}");
        let _error = origin.read_to_end(&mut Vec::new()).await.expect_err("it was cut");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_relay() {
    let Bed { mut relay, visitors, .. } = bed().await;
    relay.process.signal("TERM");
    let told = Instant::now();
    tokio::time::timeout(Duration::from_secs(5), all_break(visitors)).await.expect("soon");
    let code = tokio::task::block_in_place(|| relay.process.wait());
    assert_eq!(code, Some(0), "{}", relay.process.log());
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_peer() {
    let Bed { relay, visitors, _agent, _vault } = bed().await;
    let _said = relay.ask(&["peer", "revoke", "home"]);
    tokio::time::timeout(Duration::from_secs(1), all_break(visitors)).await.expect("within a second");
}
