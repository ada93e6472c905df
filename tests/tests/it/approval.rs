//! Devices that come without a token: whom they trust, how they wait, and how a person lets them in or throws them out.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use serde_json::Value;
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::origin::Origin;
use tests::visitor::{Visitor, empty, request};
use tests::wait::{eventually, eventually_blocking};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::enrollment::{peer_count, peers, stderr};

const HOSTNAME: &str = "koda.example.com";

/// Starts `agent enroll` without a token, with the relay's fingerprint.
fn ask(relay: &Relay, agent: &mut Agent, name: &str) {
    let address = relay.https.to_string();
    agent.launch(&["enroll", "--relay", &address, "--trust-relay", &relay.fingerprint, "--name", name]);
}

/// The code of a device that waits under a name.
fn code_of(relay: &Relay, name: &str) -> String {
    eventually_blocking("the device waits at the relay", || {
        let peers = peers(relay);
        let pending = peers["pending"].as_array().expect("a list");
        let row = pending.iter().find(|row| row["wished_name"] == name)?;
        row["code"].as_str().map(str::to_owned)
    })
}

#[test]
fn a_device_that_a_person_approves_becomes_a_peer() {
    let (relay, mut agent) = (Relay::start(), Agent::new());
    ask(&relay, &mut agent, "home");
    let code = code_of(&relay, "home");
    agent.process().wait_for_log(&code);
    assert!(relay.ask(&["peer", "list"]).contains(&code));
    assert_eq!(peer_count(&relay), 0, "nobody is a peer before that");
    let said = relay.ask(&["peer", "approve", &code.to_uppercase().replace('-', ""), "--hostname", HOSTNAME]);
    assert_eq!(said, format!("`home` may expose {HOSTNAME}"));
    assert_eq!(agent.process().wait(), Some(0));
    let log = agent.process().log();
    assert!(log.ends_with(&format!("enrolled as `home`\nmay expose {HOSTNAME}\n")), "{log}");
    let again = relay.command(&["peer", "approve", &code, "--hostname", HOSTNAME]);
    assert_eq!(
        stderr(&again),
        "error: no device waits with this code\nhint: `relay peer list` shows who waits\n"
    );
}

#[test]
fn an_untrusted_relay_is_shown_refused_and_told_nothing() {
    let (relay, mut agent) = (Relay::start(), Agent::new());
    let address = relay.https.to_string();
    // Not to its end at once: an agent that trusts anybody would wait there for long.
    agent.launch(&["enroll", "--relay", &address]);
    assert_eq!(agent.process().wait(), Some(1));
    let said = agent.process().log();
    assert!(said.contains("error: the relay is not trusted, so nothing was sent to it\n"), "{said}");
    let hint = format!("add `--trust-relay {}`", relay.fingerprint);
    assert!(said.lines().any(|line| line.starts_with("hint: ") && line.ends_with(&hint)), "{said}");
    let wrong = agent.command(&["enroll", "--relay", &address, "--trust-relay", "aaaa-bbbb"]);
    assert!(stderr(&wrong).contains("not `aaaa-bbbb` as given"), "{}", stderr(&wrong));
    assert_eq!(peers(&relay)["pending"], Value::Array(vec![]));
}

#[test]
fn a_device_that_dies_while_it_waits_gets_its_code_again() {
    let (relay, mut agent) = (Relay::start(), Agent::new());
    ask(&relay, &mut agent, "home");
    let code = code_of(&relay, "home");
    agent.process().kill();
    ask(&relay, &mut agent, "home");
    let lines = |agent: &mut Agent| agent.process().log().matches(&format!("The code is {code},")).count();
    eventually_blocking("the code is shown again", || (lines(&mut agent) == 2).then_some(()));
    assert_eq!(peers(&relay)["pending"].as_array().map(Vec::len), Some(1));
    relay.ask(&["peer", "approve", &code, "--hostname", HOSTNAME]);
    assert_eq!(agent.process().wait(), Some(0));
}

#[test]
fn a_device_waits_on_while_the_relay_is_started_again() {
    let (mut relay, mut agent) = (Relay::start(), Agent::new());
    ask(&relay, &mut agent, "home");
    let code = code_of(&relay, "home");
    // It waits once it has heard the code, which the relay knows a moment earlier.
    agent.process().wait_for_log(&code);
    relay.process.kill();
    relay.start_again();
    relay.ask(&["peer", "approve", &code, "--hostname", HOSTNAME]);
    assert_eq!(agent.process().wait(), Some(0));
    assert_eq!(peer_count(&relay), 1);
}

#[test]
fn few_devices_of_one_address_may_wait() {
    let relay = Relay::start();
    let mut waiting: Vec<Agent> = Vec::new();
    for number in 0..4 {
        let mut agent = Agent::new();
        ask(&relay, &mut agent, &format!("device-{number}"));
        code_of(&relay, &format!("device-{number}"));
        waiting.push(agent);
    }
    let address = relay.https.to_string();
    let fifth = Agent::new().command(&["enroll", "--relay", &address, "--trust-relay", &relay.fingerprint]);
    assert_eq!(fifth.status.code(), Some(1));
    assert!(stderr(&fifth).contains("too many devices of this network are waiting"), "{}", stderr(&fifth));
    assert_eq!(peers(&relay)["pending"].as_array().map(Vec::len), Some(4));
    // Whoever has a token does not stand in that queue.
    Agent::new().enroll(&relay, &relay.token(&[HOSTNAME]));
}

/// One response without an end, slow enough that nobody's window fills.
async fn endless() -> Origin {
    Origin::tcp(|mut stream: TcpStream| async move {
        let _head = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n").await;
        while stream.write_all(&[7; 1024]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_peer_ends_its_sessions_and_streams_within_a_second() {
    let (relay, origin) = (Relay::start(), endless().await);
    // Another peer with the same grant, so that the hostname stays known.
    Agent::new().enroll(&relay, &relay.ask(&["token", "create", "--hostname", HOSTNAME, "--name", "other"]));
    let token = relay.ask(&["token", "create", "--hostname", HOSTNAME, "--name", "home"]);
    let mut agent = Agent::new();
    agent.enroll(&relay, &token);
    agent.write_config(&simple(HOSTNAME, &format!("http://{}", origin.address)));
    agent.run();
    agent.wait_until_up();
    let visitor = Visitor::of(&relay);
    let mut sender = visitor.http1(HOSTNAME).await;
    let asked = request("GET", HOSTNAME, "/").body(empty()).expect("a request");
    let mut body = sender.send_request(asked).await.expect("a response").into_body();
    body.frame().await.expect("a piece").expect("a piece");

    relay.ask(&["peer", "revoke", "home"]);
    let revoked = Instant::now();
    let ended = async { while body.frame().await.is_some_and(|piece| piece.is_ok()) {} };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the download ends");
    let answer = visitor.get(HOSTNAME, "/").await;
    assert_eq!((answer.status, answer.error()), (503, "agent-offline"));
    eventually("the agent says so", async || {
        agent.process().log().contains("this device's enrollment was revoked").then_some(())
    })
    .await;
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());

    assert!(agent.process().log().contains("run `agent enroll --relay HOST` to become a peer again"));
    assert!(!agent.process().has_ended(), "a relay that errs must not end agents");
    assert!(!agent.try_enroll(&relay, &token).status.success(), "its old token is good again");
    assert_eq!(peer_count(&relay), 1);
}

#[test]
fn an_unknown_name_cannot_be_revoked() {
    let relay = Relay::start();
    let output = relay.command(&["peer", "revoke", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: there is no peer `nobody`\nhint: `relay peer list` shows them\n");
}
