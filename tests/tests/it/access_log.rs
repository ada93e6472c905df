//! The access log: one line a request, and nothing in it that opens a door or moves a cursor.

pub(crate) mod own_output;
mod rotation;
mod upgraded;

use serde_json::Value;
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::origin::Origin;
use tests::raw::RawVisitor;
use tests::visitor::{Visitor, empty, full, read, request};
use tests::wait::eventually;

const HOST: &str = "a.example.com";

async fn lines(relay: &Relay, count: usize) -> Vec<String> {
    let written = async || {
        let log = relay.process.log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains("visitor=") || line.contains("\"visitor\""))
            .map(str::to_owned)
            .collect();
        let lines: Vec<_> = lines.into_iter().filter(|line| line.contains("duration_ms")).collect();
        (lines.len() >= count).then_some(lines)
    };
    eventually("a line a request", written).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_leaves_one_line_with_its_fields() {
    let origin = Origin::named("web").await;
    let relay = Relay::with("[log]\nformat = \"json\"\n");
    let _agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
    let visitor = Visitor::of(&relay);
    let post = request("POST", HOST, "/a/b?token=s3cret").body(full("hello")).expect("a request");
    let sent = visitor.send(post).await;
    let mut http2 = visitor.http2(HOST).await;
    let get = hyper::Request::get(format!("https://{HOST}/c")).body(empty()).expect("a request");
    assert_eq!(read(http2.send_request(get).await.expect("a response")).await.status, 200);
    let mut raw = RawVisitor::connect(&visitor, HOST).await;
    raw.send(b"GET /secret HTTP/1.1\r\nbroken\r\n\r\n").await;
    assert_eq!(raw.response().await.map(|response| response.status()), Some(400));
    let lines: Vec<Value> = lines(&relay, 3)
        .await
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let first = &lines[0];
    for (key, value) in [
        ("visitor", Value::from("127.0.0.1")),
        ("protocol", "HTTP/1.1".into()),
        ("method", "POST".into()),
        ("host", HOST.into()),
        ("path", "/a/b".into()),
        ("status", 200.into()),
        ("received_bytes", 5.into()),
        ("sent_bytes", sent.body.len().into()),
        ("service", "web".into()),
        ("level", "INFO".into()),
    ] {
        assert_eq!(first[key], value, "{key}: {first}");
    }
    for key in ["request", "peer", "first_byte_ms", "duration_ms", "timestamp"] {
        assert!(!first[key].is_null(), "{key}: {first}");
    }
    assert_eq!((&lines[1]["protocol"], &lines[1]["method"]), (&"HTTP/2.0".into(), &"GET".into()));
    assert_eq!((&lines[2]["status"], &lines[2]["error"]), (&400.into(), &"bad-header".into()));
    assert_eq!((&lines[2]["path"], &lines[2]["method"]), (&Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_control_byte_is_written() {
    for format in ["text", "json"] {
        let origin = Origin::named("web").await;
        let relay = Relay::with(&format!("[log]\nformat = \"{format}\"\n"));
        let agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
        let visitor = Visitor::of(&relay);
        let ask = request("GET", HOST, "/p/%1b%5b31m%0aINFO?token=s3cret-query")
            .header("cookie", "session=s3cret-cookie")
            .header("authorization", "Bearer s3cret-bearer")
            .header("x-api-key", "s3cret-key")
            .header("referer", "https://a.example.com/?s3cret-referer")
            .header("sec-websocket-protocol", "kryton-token, s3cret-protocol");
        assert_eq!(visitor.send(ask.body(empty()).expect("a request")).await.status, 200);
        let mut raw = RawVisitor::connect(&visitor, HOST).await;
        raw.send(
            b"GET /\x1b[31m?s3cret-target HTTP/1.1\r\nHost: a.example.com\r\nX: s3cret-\x1b[31m\r\n\r\n",
        )
        .await;
        assert_eq!(raw.response().await.map(|response| response.status()), Some(400));
        // HTTP/2 lets bytes from 0x80 on through, and U+009B begins a terminal's command.
        let mut http2 = visitor.http2(HOST).await;
        let uri = hyper::Uri::from_maybe_shared(format!("https://{HOST}/\u{9b}31m\u{202e}x").into_bytes());
        let get = hyper::Request::get(uri.expect("a target")).body(empty()).expect("a request");
        drop(http2.send_request(get).await);
        assert_eq!(lines(&relay, 3).await.len(), 3, "{}", relay.process.log());
        let agents = std::fs::read_to_string(agent.folder().join("agent.log")).expect("a log");
        let log = relay.process.log() + &agents;
        assert!(!log.contains("s3cret"), "{log}");
        let odd = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
        assert_eq!(log.chars().find(odd), None, "{format}: {log:?}");
    }
}
