//! An answer to a challenge is given for an order that is open, and to nobody else (threats: 30).

use serde_json::Value;
use tests::acme::middle::{AUTHORIZATION, CHALLENGE, Hold};
use tests::bed::Relay;
use tests::tape::Tape;
use tests::visitor::Visitor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Bed, HOST, OWN, issued};

const NOBODY: &str = "nobody.example.com";

/// Whether the certificate of a challenge is shown, which no visitor believes, or an alert is sent.
pub(super) async fn is_shown(visitor: &Visitor, name: &str) -> bool {
    let error = visitor.connect(name, &["acme-tls/1"]).await.expect_err("nobody believes it");
    match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => true,
        Some(rustls::Error::AlertReceived(_)) => false,
        _ => panic!("{name}: {error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn the_certificate_of_a_challenge_is_shown_while_the_order_is_open() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    let visitor = bed.visitor();
    for name in [OWN, HOST, NOBODY] {
        assert!(!is_shown(&visitor, name).await, "{name}, of which nothing was ordered");
    }
    bed.configure("");
    issued(&bed.relay, OWN).await;
    let mut held = bed.middle.hold(CHALLENGE, 1, Hold::Before);
    let _agent = bed.serve(&tape, &[HOST]);
    held.wait().await;
    assert!(is_shown(&visitor, HOST).await);
    for name in [OWN, NOBODY] {
        assert!(!is_shown(&visitor, name).await, "{name}, of which nothing is ordered now");
    }
    held.release();
    issued(&bed.relay, HOST).await;
    assert!(!is_shown(&visitor, HOST).await, "its order is done");
}

/// The status and the body of a GET on port 80.
async fn plain(relay: &Relay, host: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(relay.http).await.expect("port 80");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("text");
    let (head, body) = response.split_once("\r\n\r\n").expect("a response");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

fn is_refusal((status, body): &(u16, String), token: &str) -> bool {
    matches!(status, 301 | 308 | 404) && !body.contains(&format!("{token}."))
}

/// The token that was given for the name of the relay.
fn token(bed: &Bed) -> String {
    let said = bed.middle.asked_of(AUTHORIZATION).into_iter().filter_map(|asked| Some(asked.answer?.1));
    let challenges: Vec<Value> =
        said.filter_map(|said| said["challenges"].as_array().cloned()).flatten().collect();
    let http = challenges.iter().find(|challenge| challenge["type"] == "http-01").expect("a challenge");
    http["token"].as_str().expect("a token").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn port_80_answers_for_the_token_of_an_open_order_and_for_its_name_alone() {
    let bed = Bed::new().await;
    let mut held = bed.middle.hold(CHALLENGE, 1, Hold::Before);
    bed.configure("challenges = [\"http-01\"]");
    held.wait().await;
    let token = token(&bed);
    let path = format!("/.well-known/acme-challenge/{token}");
    let (status, body) = plain(&bed.relay, OWN, &path).await;
    assert!(status == 200 && body.starts_with(&format!("{token}.")), "{status} {body}");
    let mut refused = 0;
    for (host, path) in [
        (OWN, "/.well-known/acme-challenge/nobody-ordered-this".to_owned()),
        (OWN, "/.well-known/acme-challenge/".to_owned()),
        (OWN, format!("/.well-known/acme-challenge/{token}/")),
        (OWN, format!("/.well-known/acme-challenge/../acme-challenge/{token}")),
        (HOST, path.clone()),
    ] {
        let answer = plain(&bed.relay, host, &path).await;
        let is_refused = is_refusal(&answer, &token) || (answer.0 == 400 && path.contains(".."));
        assert!(is_refused, "{host}{path}: {answer:?}");
        refused += 1;
    }
    assert_eq!(refused, 5);
    held.release();
    issued(&bed.relay, OWN).await;
    let after = plain(&bed.relay, OWN, &path).await;
    assert!(is_refusal(&after, &token), "{after:?}");
}
