//! What the relay counts: shown on a listener of its own and by a command, and never with a name that a stranger sent.

use std::time::Duration;

use serde_json::Value;
use tests::bed::{Agent, Relay};
use tests::deploy::with;
use tests::origin::Origin;
use tests::raw::RawVisitor;
use tests::visitor::{Visitor, empty, full, read, request};
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOST: &str = "a.example.com";
const SECTION: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n";

fn address(relay: &Relay) -> Option<String> {
    let status: Value = serde_json::from_str(&relay.ask(&["status", "--json"])).expect("JSON");
    status["metrics"].as_str().map(str::to_owned)
}

/// One request, and everything that comes back until the end.
async fn ask(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("{head} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.expect("a response");
    String::from_utf8(got).expect("text")
}

async fn scrape(address: &str) -> String {
    ask(address, "GET /metrics").await
}

/// The value of a series, by its name and labels.
fn value(text: &str, series: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = found.unwrap_or_else(|| panic!("no `{series}` in {text}"));
    value.trim().parse().unwrap_or_else(|_| panic!("{series}: {value}"))
}

async fn reaches(address: &str, series: &str, least: f64) -> String {
    eventually(&format!("{series} is {least}"), async || {
        let text = scrape(address).await;
        (value(&text, series) >= least).then_some(text)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_move_as_requests_are_made() {
    let origin = Origin::named("web").await;
    let relay = Relay::with(SECTION);
    let address = address(&relay).expect("the status names the listener");
    let config = with(HOST, &format!("http://{}", origin.address), "", "max_body = 4");
    let _agent = Agent::running(&relay, &[HOST], &config);
    let visitor = Visitor::of(&relay);
    let before = scrape(&address).await;
    assert!(before.starts_with("HTTP/1.1 200 OK\r\n"), "{before}");
    assert!(before.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(before.ends_with("# EOF\n"), "{before}");
    let one = "adit_requests_total{protocol=\"HTTP/1.1\",class=\"2xx\"}";
    assert_eq!((value(&before, one), value(&before, "adit_sessions_open")), (0.0, 1.0));
    let get = visitor.get(HOST, "/").await;
    let post =
        |body: &'static str| visitor.send(request("POST", HOST, "/").body(full(body)).expect("a request"));
    assert_eq!((get.status, post("1234").await.status, post("12345").await.status), (200, 200, 413));
    let mut http2 = visitor.http2(HOST).await;
    let wanted = hyper::Request::get(format!("https://{HOST}/c")).body(empty()).expect("a request");
    assert_eq!(read(http2.send_request(wanted).await.expect("a response")).await.status, 200);
    let mut raw = RawVisitor::connect(&visitor, HOST).await;
    raw.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "x".repeat(100_000)).as_bytes())
        .await;
    assert_eq!(raw.response().await.map(|response| response.status()), Some(431));
    reaches(&address, "adit_refused_requests_total{code=\"head-too-large\"}", 1.0).await;
    let after = reaches(&address, one, 2.0).await;
    for (series, expected) in [
        ("adit_requests_total{protocol=\"HTTP/2.0\",class=\"2xx\"}", 1.0),
        ("adit_requests_total{protocol=\"HTTP/1.1\",class=\"4xx\"}", 2.0),
        ("adit_refused_requests_total{code=\"body-too-large\"}", 1.0),
        ("adit_refused_requests_total{code=\"agent-offline\"}", 0.0),
        ("adit_hostname_requests_total{hostname=\"a.example.com\"}", 3.0),
        ("adit_request_duration_seconds_count", 5.0),
        ("adit_request_first_byte_seconds_bucket{le=\"+Inf\"}", 5.0),
        ("adit_received_bytes_total", 4.0),
        ("adit_requests_in_flight", 0.0),
        ("adit_peers_enrolled", 1.0),
        ("adit_access_log_lines_lost_total", 0.0),
    ] {
        assert_eq!(value(&after, series), expected, "{series} in {after}");
    }
    assert!(value(&after, "adit_sent_bytes_total") >= 3.0 * get.body.len() as f64);
    assert!(value(&after, "adit_streams_opened_total") >= 1.0);
    let printed = relay.ask(&["metrics"]);
    assert_eq!(value(&printed, one), 2.0);
    assert!(printed.ends_with("# EOF") && printed.contains("adit_build_info{version="), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stranger_makes_a_label() {
    let origin = Origin::named("web").await;
    let relay = Relay::with(&format!("{SECTION}[access_log]\noutput = \"off\"\n"));
    let address = address(&relay).expect("the status names the listener");
    let config = with("*.example.com", &format!("http://{}", origin.address), "", "");
    let _agent = Agent::running(&relay, &["*.example.com"], &config);
    let visitor = Visitor::of(&relay);
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(visitor.get("first.example.com", "/").await.status, 200);
    let wildcard = "adit_hostname_requests_total{hostname=\"*.example.com\"}";
    let before = series(&reaches(&address, wildcard, 1.0).await);
    for number in 0..20 {
        let host = format!("stranger{number}.example.com");
        let odd = request("STRANGER", &host, &format!("/stranger{number}"))
            .header("user-agent", "stranger")
            .header("referer", "https://stranger.example/");
        assert_eq!(visitor.send(odd.body(empty()).expect("a request")).await.status, 200);
        let mut raw = RawVisitor::connect(&visitor, &host).await;
        raw.send(b"GET / HTTP/1.1\r\nHost: stranger.example.org\r\n\r\n").await;
        assert_eq!(raw.response().await.map(|response| response.status()), Some(421));
    }
    reaches(&address, "adit_refused_requests_total{code=\"misdirected\"}", 20.0).await;
    let after = reaches(&address, wildcard, 21.0).await;
    assert!(!after.to_ascii_lowercase().contains("stranger"), "{after}");
    assert_eq!(series(&after), before, "no request makes a new series");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_metrics_are_there_and_only_where_told() {
    let relay = Relay::with(SECTION);
    let address = address(&relay).expect("the status names the listener");
    for (head, expected) in [
        ("GET /", "HTTP/1.1 404 "),
        ("GET /metrics/x", "HTTP/1.1 404 "),
        ("POST /metrics", "HTTP/1.1 405 "),
        ("GET /metrics?x=y", "HTTP/1.1 200 "),
        ("HEAD /metrics", "HTTP/1.1 200 "),
    ] {
        let answer = ask(&address, head).await;
        assert!(answer.starts_with(expected), "{head}: {answer}");
    }
    let silent = Relay::start();
    assert_eq!(self::address(&silent), None);
    assert!(silent.ask(&["metrics"]).contains("\nadit_sessions_open 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_are_few_at_once() {
    let relay = Relay::with(SECTION);
    let address = address(&relay).expect("the status names the listener");
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        stream.write_all(b"GET /metr").await.expect("half a request");
        idle.push(stream);
    }
    let mut more = TcpStream::connect(&address).await.expect("a connection");
    let closed = tokio::time::timeout(Duration::from_secs(5), more.read(&mut [0; 16])).await;
    assert!(matches!(closed.expect("it is closed long before the others"), Ok(0) | Err(_)));
    drop(idle);
    eventually("there is room again", async || {
        let mut stream = TcpStream::connect(&address).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.ok()?;
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.ok()?;
        got.starts_with(b"HTTP/1.1 200 ").then_some(())
    })
    .await;
}
