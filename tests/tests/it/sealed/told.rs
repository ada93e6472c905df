//! What the relay says of a sealed hostname: where it leads, who came, and how many bytes passed.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use serde_json::Value;
use tests::bed::{Agent, Relay};
use tests::held::Holder;
use tests::raw::ask_plain;
use tests::tls::Tls;
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{BOTH, HOST, passed, running};
use crate::access_log::own_output::{file_lines, parsed};

/// What a visitor's TLS begins with.
pub(super) fn greeting(relay: &Relay, hostname: &str) -> Vec<u8> {
    let name = ServerName::try_from(hostname.to_owned()).expect("a hostname");
    let config = Arc::new(Tls::of(relay, &BOTH).quic("http/1.1"));
    let mut connection = rustls::ClientConnection::new(config, name).expect("a connection");
    let mut greeting = Vec::new();
    connection.write_tls(&mut greeting).expect("bytes");
    greeting
}

/// An origin that the test plays by hand: the relay cannot tell what is spoken once the greeting is over.
async fn bed() -> (Relay, Holder, Agent) {
    let (relay, holder) = (Relay::with("[access_log]\noutput = \"./access.log\"\n"), Holder::start().await);
    let agent = running(&relay, &[HOST], &passed(&format!("tcp://{}", holder.origin.address), "", ""));
    (relay, holder, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_leaves_one_line_and_is_counted_as_one_request() {
    let (relay, mut holder, _agent) = bed().await;
    let greeting = greeting(&relay, HOST);
    let mut stream = TcpStream::connect(relay.https).await.expect("TCP");
    stream.write_all(&[&greeting[..], b"and more in the same breath, END1"].concat()).await.expect("bytes");
    let mut held = holder.next().await;
    let first = held.until("END1").await;
    assert_eq!(
        first.len(),
        String::from_utf8_lossy(&greeting).len() + 33,
        "the greeting came as it was sent"
    );
    stream.write_all(b"END2").await.expect("bytes");
    held.until("END2").await;
    held.send("thirteen byte").await;
    let mut back = [0; 13];
    stream.read_exact(&mut back).await.expect("an answer");
    let shown = relay.ask(&["metrics"]);
    for series in ["adit_requests_in_flight 1", "adit_tls_handshakes_total{outcome=\"sealed\"} 1"] {
        assert!(shown.contains(&format!("\n{series}\n")), "{series}: {shown}");
    }
    let file = relay.folder().join("access.log");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "", "it has not ended");
    stream.shutdown().await.expect("a farewell");
    held.ends().await;
    drop((held, stream));
    let lines = file_lines(&file, 1).await;
    let line = parsed(&lines[0]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    for (key, value) in [
        ("visitor", Value::from("127.0.0.1")),
        ("protocol", "TLS".into()),
        ("host", HOST.into()),
        ("received_bytes", (greeting.len() + 33 + 4).into()),
        ("sent_bytes", 13.into()),
        ("peer", "home".into()),
        ("service", "vault".into()),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    for key in ["method", "path", "error", "first_byte_ms", "referer", "user_agent"] {
        assert!(line[key].is_null(), "{key}: {line}");
    }
    assert!(line["request"].is_string() && line["duration_ms"].is_f64(), "{line}");
    let counted = async || {
        let shown = relay.ask(&["metrics"]);
        shown.contains("\nadit_requests_total{protocol=\"TLS\",class=\"none\"} 1\n").then_some(shown)
    };
    let shown = eventually("it is counted", counted).await;
    for series in [
        "adit_requests_in_flight 0".to_owned(),
        format!("adit_hostname_requests_total{{hostname=\"{HOST}\"}} 1"),
        format!("adit_received_bytes_total {}", greeting.len() + 33 + 4),
        "adit_sent_bytes_total 13".to_owned(),
        "adit_streams_opened_total 1".to_owned(),
    ] {
        assert!(shown.contains(&format!("\n{series}\n")), "{series}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_leaves_its_reason() {
    let (relay, _holder, mut agent) = bed().await;
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), Some(0));
    let mut stream = TcpStream::connect(relay.https).await.expect("TCP");
    stream.write_all(&greeting(&relay, HOST)).await.expect("bytes");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.expect("an end");
    // A record with one fatal alert, internal_error.
    assert_eq!(said, [21, 3, 3, 0, 2, 2, 80]);
    let line = parsed(&file_lines(&relay.folder().join("access.log"), 1).await[0]);
    assert_eq!((&line["protocol"], &line["error"]), (&"TLS".into(), &"agent-offline".into()), "{line}");
    assert_eq!((&line["host"], &line["service"]), (&HOST.into(), &Value::Null), "{line}");
    let series = "\nadit_refused_requests_total{code=\"agent-offline\"} 1\n";
    eventually(series, async || relay.ask(&["metrics"]).contains(series).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_say_that_it_is_sealed() {
    let (relay, _holder, _agent) = bed().await;
    assert_eq!(
        relay.ask(&["route", "explain", &format!("https://{HOST}/")]),
        format!(
            "hostname: {HOST}\nhome: sealed, TLS ends at the origin -> service `vault`, whatever the path"
        )
    );
    let rows: Vec<Value> = serde_json::from_str(&relay.ask(&["cert", "list", "--json"])).expect("JSON");
    let row = rows.iter().find(|row| row["name"] == HOST).expect("a row");
    assert_eq!((&row["source"], &row["state"]), (&"sealed".into(), &"ok".into()), "{row}");
    assert!(row["issuer"].is_null() && row["not_after"].is_null() && row["error"].is_null(), "{row}");
    let renewed = relay.command(&["cert", "renew", HOST]);
    assert!(!renewed.status.success(), "there is nothing to be renewed here");
}

#[tokio::test(flavor = "multi_thread")]
async fn port_80_sends_visitors_to_tls() {
    let (relay, mut holder, _agent) = bed().await;
    let asked = format!("GET /x?y HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let answer = ask_plain(relay.http, asked.as_bytes()).await;
    let there = format!("https://{HOST}:{}/x?y", relay.https.port());
    assert_eq!((answer.status(), answer.one("location")), (301, there.as_str()));
    assert!(holder.is_left_alone());
}
