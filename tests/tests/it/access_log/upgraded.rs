//! A WebSocket leaves its line when it ends, with what it carried.

use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::origin::Origin;
use tests::visitor::Visitor;
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::HOST;
use super::own_output::{file_lines, parsed};

/// Upgrades whatever comes, and answers each `?` with two bytes.
async fn twice() -> Origin {
    Origin::tcp(|mut stream: TcpStream| async move {
        let mut head = [0; 4096];
        let _head = stream.read(&mut head).await;
        let switched =
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        let _sent = stream.write_all(switched).await;
        while let Ok(b'?') = stream.read_u8().await {
            let _sent = stream.write_all(b"!!").await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_leaves_its_line_at_its_end() {
    let origin = twice().await;
    let relay = Relay::with("[access_log]\noutput = \"./access.log\"\n");
    let _agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
    let mut stream = Visitor::of(&relay).connect(HOST, &["http/1.1"]).await.expect("TLS");
    let asked = format!(
        "GET /ws?s3cret HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a response"));
    }
    for _ in 0..3 {
        stream.write_all(b"?").await.expect("it takes bytes");
        let mut back = [0; 2];
        stream.read_exact(&mut back).await.expect("it gives bytes");
    }
    let has = async |series: &str| relay.ask(&["metrics"]).contains(series).then_some(());
    eventually("it is counted", async || has("\nadit_websockets_open 1\n").await).await;
    assert_eq!(std::fs::read_to_string(relay.folder().join("access.log")).expect("the file"), "");
    stream.shutdown().await.expect("a farewell");
    drop(stream);
    let lines = file_lines(&relay.folder().join("access.log"), 1).await;
    let line = parsed(&lines[0]);
    assert_eq!(lines.len(), 1);
    assert_eq!((&line["status"], &line["path"]), (&101.into(), &"/ws".into()));
    assert_eq!((&line["received_bytes"], &line["sent_bytes"]), (&3.into(), &6.into()), "{line}");
    assert!(line["duration_ms"].as_f64() > line["first_byte_ms"].as_f64(), "{line}");
    eventually("it is no longer counted", async || has("\nadit_websockets_open 0\n").await).await;
    assert!(has("\nadit_request_duration_seconds_count 0\n").await.is_some(), "people's time is no latency");
    assert!(has("\nadit_requests_in_flight 0\n").await.is_some());
}
