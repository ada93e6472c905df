//! Programs that people really run, behind the tunnel. `.ci/run` installs them; `npm ci && npm run build:next` in
//! `tests/real` prepares the Node ones.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tests::bed::{Agent, Relay};
use tests::program::{Program, run_node, said, text};
use tests::visitor::{Visitor, empty, full, request};

const HOSTNAME: &str = "kryton.example.com";

/// A relay, and an agent that leads everything to one port.
fn publish(port: u16) -> (Relay, Agent) {
    let relay = Relay::start();
    let config = format!(
        "[service.kryton]\norigin = \"http://127.0.0.1:{port}\"\n[[expose]]\nhostname = \"{HOSTNAME}\"\n\
         routes = [{{ path = \"/*\", service = \"kryton\" }}]\n"
    );
    let agent = Agent::running(&relay, &[HOSTNAME], &config);
    (relay, agent)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node (tests/real)"]
async fn fastify_sees_the_visitor_whatever_the_visitor_claims() {
    let fastify = Program::node("fastify.mjs");
    let (relay, _agent) = publish(fastify.port);
    let host = format!("{HOSTNAME}:{}", relay.https.port());
    let claims = request("GET", &host, "/whoami?a=%2F")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X_Forwarded_For", "6.6.6.6")
        .header("X-Forwarded-Proto", "http")
        .header("X-Forwarded-Host", "evil.example")
        .header("Forwarded", "for=6.6.6.6")
        .header("X-Real-IP", "6.6.6.6")
        .header("Connection", "X-Forwarded-For, X-Real-IP, Host")
        .body(empty())
        .expect("a request");
    let seen = Visitor::of(&relay).send(claims).await.json();
    assert_eq!(seen["ip"], "127.0.0.1");
    assert_eq!(seen["ips"], json!(["127.0.0.1", "127.0.0.1"]), "the socket's address and one forwarded one");
    assert_eq!((&seen["protocol"], &seen["hostname"]), (&json!("https"), &json!(HOSTNAME)));
    assert_eq!((&seen["host"], &seen["url"]), (&json!(host), &json!("/whoami?a=%2F")));
    assert!(!seen.to_string().contains("6.6.6.6") && !seen.to_string().contains("evil.example"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node (tests/real)"]
async fn fastify_s_cookies_policy_and_uploads_arrive_whole() {
    let fastify = Program::node("fastify.mjs");
    let (relay, _agent) = publish(fastify.port);
    let visitor = Visitor::of(&relay);
    let answer = visitor.get(HOSTNAME, "/set-cookie").await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert!(cookies.len() >= 3, "{cookies:?}");
    assert!(
        cookies
            .iter()
            .any(|one| *one == "koda_operator_session=abc; Path=/; Secure; HttpOnly; SameSite=Strict")
    );
    assert!(answer.headers.contains_key("content-security-policy"));
    let upload = request("POST", HOSTNAME, "/upload").body(full(vec![7u8; 3 << 20])).expect("a request");
    let stored = visitor.send(upload).await.json();
    assert_eq!(stored["bytes"], 3 << 20);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node (tests/real)"]
async fn two_yjs_editors_converge_through_the_tunnel() {
    let fastify = Program::node("fastify.mjs");
    let (relay, _agent) = publish(fastify.port);
    let url = format!("wss://{HOSTNAME}:{}/ws/yjs/doc-1", relay.https.port());
    let (ca, address) = (text(&relay.ca_file()), relay.https.to_string());
    let edited = run_node(&["yjs-clients.mjs", &url, &ca, &address]);
    assert_eq!(said(&edited)["converged"], Value::Bool(true), "{edited:?}");
    let refused = run_node(&["yjs-clients.mjs", &url, &ca, &address, "--token", "wrong"]);
    assert_eq!((said(&refused)["converged"].clone(), refused.status.code()), (Value::Bool(false), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node (tests/real, npm run build:next)"]
async fn next_accepts_server_actions_on_a_port_that_is_not_443() {
    let next = Program::next();
    let (relay, _agent) = publish(next.port);
    let base = format!("https://{HOSTNAME}:{}", relay.https.port());
    let (ca, address) = (text(&relay.ca_file()), relay.https.to_string());
    let act = |origin: &str| said(&run_node(&["next-action.mjs", &base, &ca, &address, origin]));
    assert_eq!(act(&base)["accepted"], Value::Bool(true));
    assert_eq!(act("https://evil.example")["accepted"], Value::Bool(false));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node (tests/real, npm run build:next)"]
async fn next_streams_piece_by_piece() {
    let next = Program::next();
    let (relay, _agent) = publish(next.port);
    let mut sender = Visitor::of(&relay).http1(HOSTNAME).await;
    let asked = request("GET", HOSTNAME, "/stream").body(empty()).expect("a request");
    let mut body = sender.send_request(asked).await.expect("a response").into_body();
    let mut arrivals = Vec::new();
    while let Some(frame) = body.frame().await {
        if frame.expect("a frame").is_data() {
            arrivals.push(std::time::Instant::now());
        }
    }
    let (first, last) = (arrivals[0], arrivals[arrivals.len() - 1]);
    assert!(arrivals.len() >= 4, "{} pieces", arrivals.len());
    assert!(last - first > Duration::from_millis(500), "all pieces came at once");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx (nginx-light)"]
async fn nginx_answers_ranges_and_conditions_through_the_tunnel() {
    let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let nginx = Program::nginx("file.bin", &bytes);
    let (relay, _agent) = publish(nginx.port);
    let visitor = Visitor::of(&relay);
    let whole = visitor.get(HOSTNAME, "/file.bin").await;
    assert!(whole.status == 200 && whole.body == bytes);
    let part = request("GET", HOSTNAME, "/file.bin").header("range", "bytes=1000-1999").body(empty());
    let part = visitor.send(part.expect("a request")).await;
    assert!(part.status == 206 && part.body == bytes[1000..2000]);
    let known =
        request("GET", HOSTNAME, "/file.bin").header("if-none-match", &whole.headers["etag"]).body(empty());
    let known = visitor.send(known.expect("a request")).await;
    assert!(known.status == 304 && known.body.is_empty());
    let head = visitor.send(request("HEAD", HOSTNAME, "/file.bin").body(empty()).expect("a request")).await;
    assert_eq!((head.status, &head.headers["content-length"]), (200, &"400000".parse().expect("a value")));
}
