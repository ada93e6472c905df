//! A browser: Chromium over HTTP/3, and over HTTP/2 with a WebSocket inside of it.

use std::time::Duration;

use serde_json::{Value, json};
use tests::foreign::{Place, node};

const LIMIT: Duration = Duration::from_mins(3);

async fn visit(mode: &str) -> Value {
    let place = Place::of("echo.mjs");
    let address = place.relay.https.to_string();
    let said = node(&["chromium.mjs", &place.url(""), &place.root(), &address, mode], LIMIT).await;
    assert_eq!(said["page"], "hello", "{said}");
    assert_eq!(said["uploaded"], 1 << 20, "{said}");
    assert_eq!(said["echoed"], 100, "messages over the WebSocket: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and node (tests/real)"]
async fn chromium_fetches_over_http3() {
    let said = visit("quic").await;
    assert_eq!(said["visits"], json!(["h3", "h3"]), "{said}");
    assert_eq!(said["fetched"], json!({ "h3": 200 }), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and node (tests/real)"]
async fn chromium_holds_a_websocket_over_http2() {
    let said = visit("tcp").await;
    assert_eq!(said["visits"], json!(["h2", "h2"]), "{said}");
    assert_eq!(said["fetched"], json!({ "h2": 200 }), "{said}");
    // RFC 8441: an extended CONNECT is answered with 200, an upgrade of HTTP/1.1 with 101.
    assert_eq!(said["handshakes"], json!([200]), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and node (tests/real)"]
async fn chromium_finds_http3_by_alt_svc() {
    let said = visit("discover").await;
    assert_eq!(said["visits"][0], "h2", "{said}");
    assert!(said["visits"].as_array().is_some_and(|visits| visits.contains(&json!("h3"))), "{said}");
}
