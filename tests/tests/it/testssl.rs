//! testssl.sh against the edge: nothing of weight, but for what is excused here.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tests::foreign::{Place, everything, finish};
use tests::program::text;
use tokio::process::Command;

/// It takes half a minute.
const LIMIT: Duration = Duration::from_mins(10);
const GRAVE: [&str; 4] = ["MEDIUM", "HIGH", "CRITICAL", "FATAL"];

/// Findings that are no fault, and why.
const EXCUSED: [(&str, &str); 5] = [
    (
        "cipher_order",
        "all that is offered is AEAD with forward secrecy, so a visitor may choose what is fast for it",
    ),
    ("cert_expirationStatus", "the internal CA's certificates live for days and are renewed"),
    ("cert_notAfter", "the same"),
    ("cert_revocation", "the same: what lives for days needs no revocation"),
    ("security_headers", "they are the application's to choose, and pass as they are; this one sends none"),
];

/// What it has to have looked at, and what it has to have found: none of these is graver than `OK` by a failed check.
const FOUND: [(&str, &str); 9] = [
    ("SSLv2", "not offered"),
    ("SSLv3", "not offered"),
    ("TLS1", "not offered"),
    ("TLS1_1", "not offered"),
    ("TLS1_2", "offered"),
    ("TLS1_3", "offered"),
    ("ALPN_HTTP2", "h2"),
    ("cert_trust", "Ok via SAN"),
    ("cert_chain_of_trust", "passed"),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs testssl.sh and node (tests/real)"]
async fn testssl_finds_nothing_of_weight() {
    let place = Place::of("echo.mjs");
    let report = place.relay.folder().join("testssl.json");
    let mut command = Command::new("testssl");
    command.args(["--jsonfile", &text(&report), "--ip", "127.0.0.1", "--add-ca", &place.root()]);
    command.args(["--warnings", "batch", "--color", "0", "--quiet"]);
    // Protocols, cipher classes and preferences, forward secrecy, the certificate, headers, vulnerabilities.
    command.args(["-p", "-s", "-f", "-P", "-S", "-h", "-U", &place.url("/hello")]);
    command.current_dir(place.relay.folder());
    let said = everything(&finish(command, LIMIT).await);
    let report = fs::read(&report).unwrap_or_else(|error| panic!("no report: {error}: {said}"));
    let findings: Vec<Value> = serde_json::from_slice(&report).expect("the report is JSON");
    let grave: Vec<_> = findings
        .iter()
        .filter(|finding| GRAVE.iter().any(|severity| finding["severity"] == *severity))
        .filter(|finding| EXCUSED.iter().all(|(id, _)| finding["id"] != *id))
        .collect();
    assert!(grave.is_empty(), "{grave:#?}");
    for (id, expected) in FOUND {
        let found = findings.iter().find(|finding| finding["id"] == id);
        let found = found.and_then(|finding| finding["finding"].as_str()).unwrap_or("nothing");
        assert!(found.starts_with(expected), "{id}: `{found}` instead of `{expected}`");
    }
    assert!(findings.len() >= 80, "it looked at {} things only: {said}", findings.len());
}
