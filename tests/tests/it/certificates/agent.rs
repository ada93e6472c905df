//! Certificates that an agent gets by itself (`tls = "agent"`): by TLS-ALPN-01 through a relay that only forwards, and with
//! a key that never leaves the agent's own folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::AlertDescription;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tests::acme::leaf::Leaf;
use tests::acme::middle::{CERTIFICATE, CHALLENGE, FINALIZE, Hold, NEW_ACCOUNT, NEW_ORDER};
use tests::acme::pebble::Pebble;
use tests::bed::{Agent, Relay};
use tests::tape::Tape;
use tests::tls::alert;
use tests::visitor::{full, request};
use tests::wait::eventually;

use super::challenges::is_shown;
use super::renewal::{Crowd, successor};
use super::{Bed, HOST, OWN, issued, listed, now, shown};
use crate::tls::expose;

/// `agent.toml` of an agent that ends the visitors' TLS before an origin in the clear.
fn ending_tls(bed: &Bed, tape: &Tape) -> String {
    format!(
        "{}[service.vault]\norigin = \"http://{}\"\n\
         [[expose]]\nhostname = \"{HOST}\"\ntls = \"agent\"\nservice = \"vault\"\n",
        bed.section(""),
        tape.origin.address
    )
}

/// The agent, which begins to order at once.
fn device(bed: &Bed, tape: &Tape) -> Agent {
    Agent::running(&bed.relay, &[HOST], &ending_tls(bed, tape))
}

/// What `agent status` says of the certificate, once there is one.
async fn certified(agent: &Agent) -> Value {
    eventually("the agent has a certificate", async || {
        let status = agent.status()?;
        let row = status["certificates"].as_array()?.iter().find(|row| row["hostname"] == HOST)?;
        (!row["not_after"].is_null()).then(|| row.clone())
    })
    .await
}

/// Where it is kept.
fn kept_file(agent: &Agent) -> PathBuf {
    agent.data_folder().join(format!("certificates/{HOST}.json"))
}

/// Its chain and its key, in PEM.
fn kept(agent: &Agent) -> (String, String) {
    let text = fs::read_to_string(kept_file(agent)).expect("a file");
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    let of = |key: &str| kept["issued"][key].as_str().expect("text").to_owned();
    (of("chain"), of("key"))
}

/// All files below a folder.
fn files(folder: &Path, all: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let kind = fs::symlink_metadata(&path).expect("it is there").file_type();
        if kind.is_dir() {
            files(&path, all);
        } else if kind.is_file() {
            let bytes = fs::read(&path).expect("a file");
            all.push((path, bytes));
        }
    }
}

/// Which of the files below a folder hold one of these.
fn holding(folder: &Path, needles: &[&[u8]]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    files(folder, &mut all);
    assert!(all.len() >= 3, "{all:?}");
    let holds = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    all.retain(|(_, bytes)| needles.iter().any(|needle| holds(bytes, needle)));
    all.into_iter().map(|(path, _)| path).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn the_key_stays_with_the_agent_and_what_visitors_say_between_them_and_the_origin() {
    const SECRETS: [&str; 4] = ["s3cret-path", "s3cret-field", "s3cret-body", "s3cret-answer"];
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{}", SECRETS[3]);
    let tape = Tape::answering(move |_| answer.clone().into_bytes()).await;
    let relay = Relay::without_ca_that_says_all("[access_log]\noutput = \"./access.log\"\n");
    let bed = Bed::with(relay, Pebble::builder(), &[]).await;
    let mut agent = device(&bed, &tape);
    let row = certified(&agent).await;
    assert!(row["issuer"].as_str().is_some_and(|issuer| issuer.contains("Pebble")), "{row}");
    assert!(row["not_after"].as_u64() > Some(now()) && row["error"].is_null(), "{row}");
    let post = request("POST", HOST, "/s3cret-path").header("x-token", SECRETS[1]).body(full(SECRETS[2]));
    let answer = bed.visitor().send(post.expect("a request")).await;
    assert_eq!((answer.status, answer.text()), (200, SECRETS[3].to_owned()));
    let arrived = tape.only();
    assert_eq!((arrived.target(), arrived.one("x-token")), ("/s3cret-path", SECRETS[1]));
    assert_eq!(arrived.body, SECRETS[2].as_bytes());

    let (chain, key) = kept(&agent);
    let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).expect("a chain");
    assert_eq!(shown(&bed.visitor(), HOST).await, Leaf::from(leaf));
    assert_eq!((mode(&kept_file(&agent)), mode(&agent.data_folder().join("certificates"))), (0o600, 0o700));
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let in_base64 = key.lines().nth(1).expect("a line between the marks");
    assert!(in_base64.len() == 64 && der.secret_der().len() > 64);
    let of_key = [in_base64.as_bytes(), der.secret_der()];
    assert_eq!(holding(agent.folder(), &of_key), [kept_file(&agent)]);
    assert_eq!(
        holding(bed.relay.folder(), &[&of_key[..], &[b"PRIVATE KEY"]].concat()),
        Vec::<PathBuf>::new()
    );
    let secrets = SECRETS.map(str::as_bytes);
    assert_eq!(holding(bed.relay.folder(), &secrets), Vec::<PathBuf>::new());
    assert_eq!(holding(agent.folder(), &secrets), Vec::<PathBuf>::new());
    // The relay did say all that it knows, and keeps what it has to.
    let named = holding(bed.relay.folder(), &[HOST.as_bytes()]);
    for file in ["relay.log", "access.log", "data/adit.db"] {
        assert!(bed.relay.folder().join(file).exists(), "{file}");
    }
    assert!(named.contains(&bed.relay.folder().join("relay.log")), "{named:?}");
    assert!(bed.relay.process.log().contains("TRACE"));
    assert!(!(bed.pebble.log() + &agent.process().log()).contains("PRIVATE KEY"));
    assert_eq!((bed.challenges(), bed.middle.orders(HOST).len()), (vec!["tls-alpn-01".to_owned()], 1));
}

/// Who ordered for a name: the URLs of their accounts.
fn accounts(bed: &Bed, name: &str) -> Vec<String> {
    let orders = bed.middle.asked_of(NEW_ORDER).into_iter();
    let of_name = orders.filter(|asked| asked.payload["identifiers"][0]["value"] == name);
    of_name.map(|asked| asked.protected["kid"].as_str().expect("an account").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn the_relay_orders_for_itself_and_never_for_what_is_sealed() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    bed.configure("");
    issued(&bed.relay, OWN).await;
    let mut agent = device(&bed, &tape);
    certified(&agent).await;
    assert_eq!(bed.visitor().get(HOST, "/").await.status, 200);
    let (relays, agents) = (accounts(&bed, OWN), accounts(&bed, HOST));
    assert!(relays.len() == 1 && agents.len() == 1 && relays != agents, "{relays:?} {agents:?}");
    assert_eq!(bed.made(NEW_ACCOUNT), 2);
    let is_left_alone = || {
        let row = listed(&bed.relay, HOST).expect("a row");
        assert_eq!((&row["source"], &row["next"]), (&"sealed".into(), &Value::Null), "{row}");
        assert!(!bed.relay.command(&["cert", "renew", HOST]).status.success());
    };
    is_left_alone();
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), Some(0));
    bed.relay.process.wait_for_log("session down");
    is_left_alone();
    assert_eq!(accounts(&bed, HOST), agents);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_hostname_that_the_relay_had_a_certificate_for_is_the_agents_alone_once_it_is_sealed() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    bed.configure("");
    let mut agent = bed.serve(&tape, &[HOST]);
    issued(&bed.relay, HOST).await;
    let relays = shown(&bed.visitor(), HOST).await;
    agent.write_config(&ending_tls(&bed, &tape));
    certified(&agent).await;
    let agents = shown(&bed.visitor(), HOST).await;
    assert_ne!(agents, relays);
    assert_eq!(agents, Leaf::from(CertificateDer::from_pem_slice(kept(&agent).0.as_bytes()).expect("PEM")));
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), Some(0));
    let row = listed(&bed.relay, HOST).expect("a row");
    assert_eq!(row["source"], "sealed", "{row}");
    assert!(!bed.relay.command(&["cert", "renew", HOST]).status.success(), "the relay would order anew");
    let error =
        bed.visitor().connect(HOST, &["http/1.1"]).await.expect_err("the relay's old one is not shown");
    assert_eq!(alert(&error), Some(AlertDescription::InternalError), "{error:?}");
    // Its owner may open it again. What the relay had is gone, so it orders anew.
    agent.write_config(&expose(&tape, &[HOST]));
    agent.run();
    agent.wait_until_up();
    issued(&bed.relay, HOST).await;
    let again = shown(&bed.visitor(), HOST).await;
    assert!(again != relays && again != agents, "one of those before is shown");
    assert_eq!(accounts(&bed, HOST).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_certificate_outlives_a_kill() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    let mut agent = device(&bed, &tape);
    certified(&agent).await;
    let before = shown(&bed.visitor(), HOST).await;
    for _ in 0..2 {
        agent.process().kill();
        agent.run();
        agent.wait_until_up();
        assert_eq!(shown(&bed.visitor(), HOST).await, before);
        certified(&agent).await;
    }
    assert_eq!((bed.made(NEW_ORDER), bed.made(NEW_ACCOUNT)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn an_order_outlives_a_kill_at_every_step() {
    let steps = [
        (NEW_ORDER, Hold::After),
        (CHALLENGE, Hold::Before),
        (CHALLENGE, Hold::After),
        (FINALIZE, Hold::Before),
        (FINALIZE, Hold::After),
        (CERTIFICATE, Hold::After),
    ];
    for (path, at) in steps {
        let (tape, bed) = (Tape::start().await, Bed::new().await);
        let mut held = bed.middle.hold(path, 1, at);
        let mut agent = device(&bed, &tape);
        held.wait().await;
        if path == CHALLENGE && at == Hold::After {
            // It visits the agent by itself, and would not find it.
            bed.pebble.wait_for_log("set VALID");
        }
        agent.process().kill();
        drop(held);
        agent.run();
        certified(&agent).await;
        assert_eq!(bed.visitor().get(HOST, "/").await.status, 200, "{path} {at:?}");
        // An order of which nothing was heard is lost; every other one is taken up.
        let lost = usize::from(path == NEW_ORDER);
        assert_eq!((bed.made(NEW_ORDER), bed.made(NEW_ACCOUNT)), (1 + lost, 1), "{path} {at:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn until_there_is_a_certificate_visitors_get_an_alert_and_the_authority_what_it_looks_for() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    let mut held = bed.middle.hold(CHALLENGE, 1, Hold::Before);
    let agent = device(&bed, &tape);
    held.wait().await;
    let visitor = bed.visitor();
    let error = visitor.connect(HOST, &["h2", "http/1.1"]).await.expect_err("no certificate");
    assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{error:?}");
    assert!(is_shown(&visitor, HOST).await);
    for alpn in [&["acme-tls/1", "h2"][..], &["h2", "acme-tls/1"]] {
        let error = visitor.connect(HOST, alpn).await.expect_err("this is no authority");
        assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{alpn:?}: {error:?}");
    }
    held.release();
    certified(&agent).await;
    assert_eq!(visitor.get(HOST, "/").await.status, 200);
    assert!(!is_shown(&visitor, HOST).await, "its order is done");
    assert_eq!(tape.take().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_certificate_is_renewed_while_visitors_come() {
    let (tape, authority) = (Tape::start().await, Pebble::builder().validity(Duration::from_secs(24)));
    let bed = Bed::with(Relay::without_ca(""), authority, &[]).await;
    let agent = device(&bed, &tape);
    certified(&agent).await;
    let visitor = bed.visitor();
    let (first, crowd) = (shown(&visitor, HOST).await, Crowd::of(&visitor));
    let second = successor(&visitor, HOST, &first).await;
    let _third = successor(&visitor, HOST, &second).await;
    crowd.is_answered(20).await;
    crowd.end().await;
    assert!(bed.middle.orders(HOST).len() >= 3);
    assert_eq!(bed.made(NEW_ACCOUNT), 1);
}
