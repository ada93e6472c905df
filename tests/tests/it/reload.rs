//! Changed files are taken into use while everything goes on; a wrong one is reported and changes nothing.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tests::bed::{Agent, Relay};
use tests::certificate::Authority;
use tests::deploy::simple;
use tests::origin::Origin;
use tests::visitor::{Visitor, empty, request};
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const HOSTNAME: &str = "koda.example.com";
const OTHER: &str = "other.example.com";

/// Upgrades whatever comes and echoes from then on.
async fn echo() -> Origin {
    Origin::tcp(|mut stream: TcpStream| async move {
        let mut head = [0; 4096];
        let _head = stream.read(&mut head).await;
        let switched =
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        let _sent = stream.write_all(switched).await;
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

/// A WebSocket's connection, after the upgrade.
async fn upgraded(visitor: &Visitor) -> TlsStream<TcpStream> {
    let mut stream = visitor.connect(HOSTNAME, &["http/1.1"]).await.expect("TLS");
    let asked = format!(
        "GET /ws HTTP/1.1\r\nHost: {HOSTNAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a response"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream
}

async fn assert_alive(socket: &mut TlsStream<TcpStream>) {
    socket.write_all(b"ping").await.expect("it takes bytes");
    let mut back = [0; 4];
    socket.read_exact(&mut back).await.expect("it gives bytes");
    assert_eq!(&back, b"ping");
}

/// The certificate that a new visitor is shown.
async fn shown(visitor: &Visitor) -> Vec<u8> {
    let stream = visitor.connect(HOSTNAME, &["http/1.1"]).await.expect("TLS");
    stream.get_ref().1.peer_certificates().expect("a chain")[0].to_vec()
}

fn certificate_section(folder: &std::path::Path) -> String {
    let folder = folder.display();
    format!("[[certificate]]\ncert = \"{folder}/a.pem\"\nkey = \"{folder}/a.key\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_and_open_connections_go_on() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let root = folder.path().join("root.pem");
    authority.write_root(&root);
    authority.write(folder.path(), "a", &[HOSTNAME]);
    let (origin, relay) = (echo().await, Relay::without_ca(&certificate_section(folder.path())));
    let _agent =
        Agent::running(&relay, &[HOSTNAME], &simple(HOSTNAME, &format!("http://{}", origin.address)));
    let visitor = Visitor::new(relay.https, &root);
    let before = shown(&visitor).await;
    let mut socket = upgraded(&visitor).await;

    // Half of a renewal is no certificate: the old one stays in force.
    authority.write(folder.path(), "b", &[HOSTNAME]);
    fs::copy(folder.path().join("b.pem"), folder.path().join("a.pem")).expect("a file");
    relay.process.wait_for_log("the old one stays in force");
    assert_eq!(shown(&visitor).await, before);
    fs::copy(folder.path().join("b.key"), folder.path().join("a.key")).expect("a file");
    eventually("the new certificate", async || (shown(&visitor).await != before).then_some(())).await;
    assert_alive(&mut socket).await;
}

async fn running() -> (Origin, Relay, Agent) {
    let (origin, relay) = (echo().await, Relay::start());
    let agent =
        Agent::running(&relay, &[HOSTNAME, OTHER], &simple(HOSTNAME, &format!("http://{}", origin.address)));
    (origin, relay, agent)
}

/// When the agent's session began, and the port that it comes from.
fn session(relay: &Relay, agent: &Agent) -> (Value, Value) {
    let status: Value = serde_json::from_str(&relay.ask(&["status", "--json"])).expect("JSON");
    (agent.status().expect("it runs")["since_unix_s"].clone(), status["sessions"][0]["address"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_agent_toml_is_in_force_within_the_same_session() {
    let (origin, relay, agent) = running().await;
    let added = Origin::named("added").await;
    let visitor = Visitor::of(&relay);
    let (mut socket, before) = (upgraded(&visitor).await, session(&relay, &agent));
    let config = format!(
        "{}[service.added]\norigin = \"http://{}\"\n[[expose]]\nhostname = \"{OTHER}\"\n\
         routes = [{{ path = \"/*\", service = \"added\" }}]\n",
        simple(HOSTNAME, &format!("http://{}", origin.address)),
        added.address
    );
    agent.write_config(&config);
    let answer = eventually("the added hostname is served", async || {
        let answer = visitor.get(OTHER, "/").await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.json()["origin"], "added");
    assert_alive(&mut socket).await;
    assert_eq!(session(&relay, &agent), before, "it is another session");

    // What is no longer in the file is no longer served; what runs goes on to its end.
    agent.write_config(&simple(OTHER, &format!("http://{}", added.address)));
    eventually("the removed hostname is gone", async || {
        (visitor.get(HOSTNAME, "/").await.status == 503).then_some(())
    })
    .await;
    assert_alive(&mut socket).await;
    assert_eq!(session(&relay, &agent), before, "it is another session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_agent_toml_is_reported_and_the_old_one_stays() {
    let (_origin, relay, mut agent) = running().await;
    agent.write_config("colour = \"red\"\n");
    agent.process().wait_for_log("the old one stays in force");
    assert!(agent.process().log().contains("unknown key `colour`"), "{}", agent.process().log());
    assert_alive(&mut upgraded(&Visitor::of(&relay)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_files_of_both_again() {
    let (_origin, relay, mut agent) = running().await;
    for process in [&relay.process, agent.process()] {
        assert!(!process.log().contains("again") && !process.log().contains("anew"));
        process.signal("HUP");
    }
    relay.process.wait_for_log("configuration read again");
    agent.process().wait_for_log("the configuration was read anew");
    assert_alive(&mut upgraded(&Visitor::of(&relay)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_relay_toml_is_in_force_at_once_and_a_wrong_one_is_not() {
    let origin = Origin::tcp(|mut stream: TcpStream| async move {
        let mut head = [0; 4096];
        while let Ok(1..) = stream.read(&mut head).await {}
    })
    .await;
    let relay = Relay::start();
    let _agent =
        Agent::running(&relay, &[HOSTNAME], &simple(HOSTNAME, &format!("http://{}", origin.address)));
    let text = fs::read_to_string(relay.config_file()).expect("a file");
    fs::write(relay.config_file(), format!("{text}\n[timeouts]\nfirst_bite = \"1s\"\n")).expect("a file");
    relay.process.wait_for_log("the old one stays in force");
    assert!(relay.process.log().contains("first_bite"), "{}", relay.process.log());
    fs::write(relay.config_file(), format!("{text}\n[timeouts]\nfirst_byte = \"1s\"\n")).expect("a file");
    relay.process.wait_for_log("configuration read again");
    let mut sender = Visitor::of(&relay).http1(HOSTNAME).await;
    let asked = request("GET", HOSTNAME, "/").body(empty()).expect("a request");
    let answer = tokio::time::timeout(Duration::from_secs(10), sender.send_request(asked)).await;
    assert_eq!(answer.expect("in time").expect("a response").status(), 504);
}

#[test]
fn what_needs_a_restart_is_said() {
    let relay = Relay::start();
    let text = fs::read_to_string(relay.config_file()).expect("a file");
    fs::write(relay.config_file(), text.replace("relay.example.com", "new.example.com")).expect("a file");
    relay.process.wait_for_log("takes effect when the relay is started again");
    assert!(relay.process.log().contains("key=\"name\""), "{}", relay.process.log());
}
