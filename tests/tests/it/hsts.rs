//! What browsers are told to remember of a hostname: by the relay, in the owner's words, over TLS alone.

use hyper::header::HeaderValue;
use tests::bed::{Agent, Relay};
use tests::deploy::with;
use tests::origin::{Origin, text};
use tests::visitor::{Visitor, empty, read};
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOST: &str = "a.example.com";
const FIELD: &str = "strict-transport-security";

/// An origin that has an opinion of its own.
async fn opinionated() -> Origin {
    Origin::http(async |_| {
        let mut response = text("ok");
        response.headers_mut().append(FIELD, HeaderValue::from_static("max-age=1"));
        response.headers_mut().append(FIELD, HeaderValue::from_static("max-age=2; preload"));
        response
    })
    .await
}

fn told(headers: &hyper::HeaderMap) -> Vec<&str> {
    headers.get_all(FIELD).iter().map(|value| value.to_str().expect("text")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_word_takes_the_place_of_the_origins() {
    let (origin, relay) = (opinionated().await, Relay::start());
    let expose = "hsts = { max_age = \"365d\", include_subdomains = true }";
    let config = with(HOST, &format!("http://{}", origin.address), "", expose);
    let _agent = Agent::running(&relay, &[HOST], &config);
    let visitor = Visitor::of(&relay);
    let once = ["max-age=31536000; includeSubDomains"];
    assert_eq!(told(&visitor.get(HOST, "/").await.headers), once);
    let request = hyper::Request::get(format!("https://{HOST}/")).body(empty()).expect("a request");
    let answer = visitor.http2(HOST).await.send_request(request).await.expect("a response");
    assert_eq!(told(&read(answer).await.headers), once);
    // A browser must not believe it there (RFC 6797, section 7.2).
    let mut plain = TcpStream::connect(relay.http).await.expect("port 80");
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    plain.write_all(request.as_bytes()).await.expect("a request");
    let mut redirect = String::new();
    plain.read_to_string(&mut redirect).await.expect("text");
    assert!(redirect.starts_with("HTTP/1.1 301 "), "{redirect}");
    assert!(!redirect.to_ascii_lowercase().contains(FIELD), "{redirect}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relays_own_pages_say_it_as_well() {
    let (origin, relay) = (opinionated().await, Relay::start());
    let config = with(HOST, &format!("http://{}", origin.address), "", "hsts = \"30d\"");
    let agent = Agent::running(&relay, &[HOST], &config.replace("/*", "/app/*"));
    let visitor = Visitor::of(&relay);
    for (path, status) in [("/app/", 200), ("/other", 404), ("/app/..%2f", 400)] {
        let answer = visitor.get(HOST, path).await;
        assert_eq!((answer.status, told(&answer.headers)), (status, vec!["max-age=2592000"]), "{path}");
    }
    // Without the key nothing is said any longer.
    agent.write_config(&config.replace("hsts = \"30d\"", "").replace("/*", "/app/*"));
    let forgotten = async || {
        let answer = visitor.get(HOST, "/other").await;
        told(&answer.headers).is_empty().then_some(answer.status)
    };
    assert_eq!(eventually("the relay knows", forgotten).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_the_origins_passes() {
    let (origin, relay) = (opinionated().await, Relay::start());
    let config = with(HOST, &format!("http://{}", origin.address), "", "");
    let _agent = Agent::running(&relay, &[HOST], &config);
    let answer = Visitor::of(&relay).get(HOST, "/").await;
    assert_eq!(told(&answer.headers), ["max-age=1", "max-age=2; preload"]);
}
