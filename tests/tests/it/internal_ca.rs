//! The internal CA's root: what it is believed for, what becomes of old copies, and how it is handed out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use data_encoding::BASE64;
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::program::text;
use tests::tls::is_alert;
use tests::visitor::Visitor;
use tests::wait::{eventually, eventually_blocking};

use crate::enrollment::stderr;

const FIRST: &str = "a.example.com";
const SECOND: &str = "b.example.org";
const OWN: &str = "relay.example.com";

/// A peer, `home`, that serves a hostname, and a copy of the root from then.
fn served(relay: &Relay, hostname: &str) -> (Agent, PathBuf) {
    let (before, mut agent) = (root(relay), Agent::new());
    agent.enroll(relay, &relay.ask(&["token", "create", "--hostname", hostname, "--name", "home"]));
    assert_eq!(root(relay), before);
    agent.write_config(&simple(hostname, "http://127.0.0.1:9"));
    agent.run();
    // No visitor has come yet.
    changed(relay, &before);
    (agent, copy(relay, "first.pem"))
}

fn root(relay: &Relay) -> String {
    fs::read_to_string(relay.ca_file()).expect("the root")
}

/// Waits for another root.
fn changed(relay: &Relay, before: &str) {
    eventually_blocking("another root", || (root(relay) != before).then_some(()));
}

fn copy(relay: &Relay, name: &str) -> PathBuf {
    let copy = relay.folder().join(name);
    fs::copy(relay.ca_file(), &copy).expect("a file");
    copy
}

/// Whether a visitor with this root gets through the handshake.
async fn believes(relay: &Relay, root: &Path, hostname: &str) -> bool {
    match Visitor::new(relay.https, root).connect(hostname, &["http/1.1"]).await {
        Ok(_) => true,
        Err(error) => {
            assert!(error.to_string().contains("NameConstraintViolation"), "{hostname}: {error}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_renews_the_root_and_old_copies_go_on_for_the_names_they_had() {
    let mut relay = Relay::with_growing_root();
    let (_agent, old) = served(&relay, FIRST);
    assert!(believes(&relay, &old, FIRST).await && believes(&relay, &old, OWN).await);
    let before = root(&relay);
    relay.ask(&["peer", "grant", "home", "--hostname", SECOND, "--hostname", "*.w.example.net"]);
    for hostname in [SECOND, "x.w.example.net"] {
        assert!(!believes(&relay, &old, hostname).await, "{hostname}");
    }
    assert_ne!(root(&relay), before);
    let new = copy(&relay, "second.pem");
    for hostname in [SECOND, "x.w.example.net", FIRST, OWN] {
        assert!(believes(&relay, &new, hostname).await, "{hostname}");
    }
    assert!(believes(&relay, &old, FIRST).await && believes(&relay, &old, OWN).await);
    relay.process.wait_for_log("the internal CA's root has changed");

    // No visitor changes it any more, nor does another start.
    let before = root(&relay);
    relay.process.kill();
    relay.start_again();
    assert!(believes(&relay, &new, SECOND).await);
    assert_eq!(root(&relay), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_outside_of_the_domains_is_turned_away_until_they_are_changed() {
    let mut relay = Relay::start();
    let (before, old) = (root(&relay), copy(&relay, "old.pem"));
    Agent::new().enroll(&relay, &relay.token(&[SECOND, FIRST]));
    for _ in 0..3 {
        let refused = Visitor::of(&relay).connect(SECOND, &["http/1.1"]).await.expect_err("no certificate");
        assert!(is_alert(&refused), "{refused}");
    }
    assert!(believes(&relay, &old, FIRST).await);
    let log = eventually("each of them is in the log", async || {
        let log = relay.process.log();
        (log.matches("no host that there is a certificate for").count() == 3).then_some(log)
    });
    let log = log.await;
    let warnings = log.lines().filter(|line| line.contains("none of `internal_ca.domains`"));
    assert!(warnings.count() == 1 && log.contains(SECOND), "{log}");
    assert_eq!(root(&relay), before);

    let config = fs::read_to_string(relay.config_file()).expect("the configuration");
    let config = config.replace("\"localhost\"]", "\"example.org\"]");
    fs::write(relay.config_file(), config).expect("the configuration can be written");
    relay.process.wait_for_log("key=\"internal_ca.domains\"");
    relay.process.kill();
    relay.start_again();
    assert_ne!(root(&relay), before);
    let new = copy(&relay, "new.pem");
    assert!(believes(&relay, &new, SECOND).await && believes(&relay, &old, FIRST).await);
    assert!(!believes(&relay, &old, SECOND).await);
}

#[test]
fn export_prints_the_root_and_its_fingerprint_without_a_running_relay() {
    let mut relay = Relay::start();
    let exported = relay.command(&["ca", "export"]);
    assert_eq!((exported.status.code(), stderr(&exported).as_str()), (Some(0), ""));
    assert_eq!(String::from_utf8_lossy(&exported.stdout), root(&relay));
    relay.process.kill();
    assert_eq!(relay.command(&["ca", "export"]).stdout, exported.stdout);
    let fingerprint = relay.ask(&["ca", "export", "--fingerprint"]);
    let bytes: Vec<_> = fingerprint.split(':').collect();
    assert_eq!(bytes.len(), 32, "{fingerprint}");
    assert!(
        bytes.iter().all(|byte| byte.len() == 2 && u8::from_str_radix(byte, 16).is_ok()),
        "{fingerprint}"
    );
    assert_eq!(fingerprint, fingerprint.to_uppercase());
}

#[test]
fn export_says_how_to_get_an_internal_ca() {
    let relay = Relay::without_ca("");
    let output = relay.command(&["ca", "export"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let expected = format!(
        "error: there is no internal CA: `{}` does not exist\n\
         hint: write `enabled = true` into `[internal_ca]`, and start `relay serve` once\n",
        relay.ca_file().display()
    );
    assert_eq!(stderr(&output), expected);
}

/// Writes the certificate that is shown under a hostname.
async fn write_leaf(relay: &Relay, root: &Path, hostname: &str) -> PathBuf {
    let stream = Visitor::new(relay.https, root).connect(hostname, &["http/1.1"]).await.expect("TLS");
    let der = &stream.get_ref().1.peer_certificates().expect("a chain")[0];
    let base64 = BASE64.encode(der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    let file = relay.folder().join(format!("{hostname}.pem"));
    fs::write(&file, pem).expect("a file");
    file
}

fn openssl(arguments: &[&str]) -> Output {
    Command::new("openssl").args(arguments).output().expect("openssl runs; `.ci/run` installs it")
}

fn openssl_verify(root: &Path, leaf: &Path, hostname: &str) -> Output {
    let strict = ["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", hostname];
    openssl(&[&strict[..], &["-CAfile", &text(root), &text(leaf)]].concat())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl"]
async fn openssl_believes_the_root_for_its_names_alone() {
    let relay = Relay::with_growing_root();
    let (_agent, old) = served(&relay, FIRST);
    let long = format!("{}.example.com", ["a".repeat(60), "b".repeat(60)].join("."));
    relay.ask(&["peer", "grant", "home", "--hostname", SECOND, "--hostname", "*.w.example.net"]);
    relay.ask(&["peer", "grant", "home", "--hostname", &long]);
    for hostname in [SECOND, "x.w.example.net", &long] {
        assert!(!believes(&relay, &old, hostname).await, "{hostname}");
    }
    let new = copy(&relay, "second.pem");
    for hostname in [FIRST, OWN, SECOND, "x.w.example.net", &long] {
        let verified = openssl_verify(&new, &write_leaf(&relay, &new, hostname).await, hostname);
        assert!(verified.status.success(), "{hostname}: {}", stderr(&verified));
    }
    let refused = openssl_verify(&old, &relay.folder().join(format!("{SECOND}.pem")), SECOND);
    assert!(
        !refused.status.success() && stderr(&refused).contains("permitted subtree violation"),
        "{refused:?}"
    );
    let still = openssl_verify(&old, &relay.folder().join(format!("{FIRST}.pem")), FIRST);
    assert!(still.status.success(), "{}", stderr(&still));
    let printed = openssl(&["x509", "-in", &text(&new), "-noout", "-fingerprint", "-sha256"]).stdout;
    let printed = String::from_utf8_lossy(&printed);
    let fingerprint = relay.ask(&["ca", "export", "--fingerprint"]);
    assert_eq!(printed.trim_end().split_once('=').map(|(_, value)| value), Some(fingerprint.as_str()));
}
