//! Hostnames whose visitors show a certificate: who gets in, what the origin is told, and that no connection, ticket or
//! reload is a way around.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hyper::client::conn::http2::SendRequest;
use quinn::ConnectionError;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;
use tests::bed::{Agent, Relay};
use tests::certificate::Authority;
use tests::tape::Tape;
use tests::tls::{Tls, is_alert};
use tests::visitor::{Answer, Body, empty, http2_over, read};
use tests::wait::eventually;

use crate::downgrade::Dealt;
use crate::hostile_http3;
use crate::tls::expose;

/// All below one name, so that they have one owner and one certificate: what keeps them apart is the rule alone.
const NAME: &str = "*.example.com";

/// Two authorities and their visitors, and a relay that asks for them.
struct Bed {
    tape: Tape,
    relay: Relay,
    _agent: Agent,
    files: TempDir,
    family: Authority,
    work: Authority,
}

fn rule(hostnames: &[&str], file: &Path) -> String {
    format!("[[visitor_certificate]]\nhostnames = {hostnames:?}\nca_file = \"{}\"\n", file.display())
}

async fn bed() -> Bed {
    let files = tempfile::tempdir().expect("a folder");
    let (family, work) = (Authority::new(), Authority::new());
    family.write_root(&files.path().join("family.pem"));
    work.write_root(&files.path().join("work.pem"));
    family.write(files.path(), "laptop", &["laptop.family.example"]);
    work.write(files.path(), "desk", &["desk.work.example"]);
    let rules = rule(&["admin.example.com", "vault.example.com"], &files.path().join("family.pem"))
        + &rule(&["safe.example.com"], &files.path().join("work.pem"));
    let (tape, relay) = (Tape::start().await, Relay::with(&rules));
    let agent = Agent::running(&relay, &[NAME], &expose(&tape, &[NAME]));
    Bed { tape, relay, _agent: agent, files, family, work }
}

impl Bed {
    fn showing(&self, stem: &str) -> Tls {
        Tls::showing(&self.relay, &[&TLS13, &TLS12], (self.files.path(), stem))
    }

    fn showing_nothing(&self) -> Tls {
        Tls::of(&self.relay, &[&TLS13, &TLS12])
    }

    /// An HTTP/2 connection under a hostname.
    async fn http2(&self, tls: Tls, hostname: &str) -> SendRequest<Body> {
        http2_over(tls.offering(&["h2"]).connect(hostname).await.expect("TLS")).await
    }

    /// Appends to the relay's file.
    fn append(&self, text: &str) {
        let file = self.relay.config_file();
        let old = fs::read_to_string(&file).expect("the configuration");
        fs::write(&file, old + text).expect("the configuration can be written");
    }
}

async fn ask(sender: &mut SendRequest<Body>, host: &str) -> Answer {
    let request = hyper::Request::get(format!("https://{host}/")).body(empty()).expect("a request");
    read(sender.send_request(request).await.expect("a response")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_shows_a_certificate_of_the_rule_gets_in() {
    let bed = bed().await;
    let mut refused = 0;
    for version in [&TLS13, &TLS12] {
        let showing = |stem| Tls::showing(&bed.relay, &[version], (bed.files.path(), stem));
        let visit = showing("laptop").visit("admin.example.com").await.expect("a visitor of the family");
        assert_eq!((visit.status(), bed.tape.only().one("host")), (200, "admin.example.com"));
        let visit = showing("laptop").visit_in_shreds("vault.example.com").await.expect("in pieces");
        assert_eq!((visit.status(), bed.tape.only().one("host")), (200, "vault.example.com"));
        for (tls, hostname) in [
            (Tls::of(&bed.relay, &[version]), "admin.example.com"),
            (Tls::of(&bed.relay, &[version]), "ADMIN.example.com"),
            (showing("desk"), "admin.example.com"),
            (showing("laptop"), "safe.example.com"),
        ] {
            let error = tls.visit(hostname).await.expect_err(hostname);
            assert!(is_alert(&error), "{hostname}: {error:?}");
            let error = tls.visit_in_shreds(hostname).await.expect_err(hostname);
            assert!(is_alert(&error), "{hostname}: {error:?}");
            refused += 2;
        }
        assert_eq!(
            Tls::of(&bed.relay, &[version]).visit("koda.example.com").await.expect("open").status(),
            200
        );
        assert_eq!(bed.tape.only().one("host"), "koda.example.com");
    }
    assert_eq!(refused, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_is_told_by_the_relay_alone() {
    let bed = bed().await;
    let claims = "Client-Cert: :bGllcw==:\r\nClient_Cert: :bGllcw==:\r\nCLIENT-CERT-CHAIN: :bGllcw==:\r\n\
                  client.cert_chain: :bGllcw==:\r\nConnection: close, client-cert\r\n";
    let shown = CertificateDer::from_pem_file(bed.files.path().join("laptop.pem")).expect("PEM");
    let shown = format!(":{}:", data_encoding::BASE64.encode(&shown));
    for (tls, hostname, told) in [
        (bed.showing("laptop"), "admin.example.com", vec![shown.as_str()]),
        (bed.showing_nothing(), "koda.example.com", vec![]),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {hostname}\r\n{claims}\r\n");
        assert_eq!(tls.send(hostname, &request).await.expect("TLS").status(), 200);
        let arrived = bed.tape.only();
        assert_eq!(arrived.all("client-cert"), told);
        let named = arrived.fields.iter().filter(|(name, _)| name.to_lowercase().contains("cert")).count();
        assert_eq!(named, told.len(), "{arrived:?}");
        assert!(!format!("{arrived:?}").contains("bGllcw"), "{arrived:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_good_for_the_hostnames_of_its_own_rule() {
    let bed = bed().await;
    // (what is shown, name in TLS, host in HTTP, status)
    let cases: [(Option<&str>, &str, &str, u16); 13] = [
        (None, "koda.example.com", "koda.example.com", 200),
        (None, "koda.example.com", "blog.example.com", 200),
        (None, "koda.example.com", "admin.example.com", 421),
        (None, "koda.example.com", "ADMIN.Example.com", 421),
        (None, "koda.example.com", "admin.example.com.", 421),
        (None, "koda.example.com", "admin.example.com:443", 421),
        (None, "koda.example.com", "Safe.example.com.:8443", 421),
        // Who could show one is still not asked for it there.
        (Some("laptop"), "koda.example.com", "admin.example.com", 421),
        (Some("laptop"), "admin.example.com", "admin.example.com", 200),
        (Some("laptop"), "admin.example.com", "Vault.example.com.", 200),
        (Some("laptop"), "admin.example.com", "safe.example.com", 421),
        (Some("laptop"), "admin.example.com", "koda.example.com", 421),
        (Some("desk"), "safe.example.com", "admin.example.com", 421),
    ];
    for (shown, sni, host, status) in cases {
        let tls = shown.map_or_else(|| bed.showing_nothing(), |stem| bed.showing(stem));
        let code = if status == 421 { "misdirected" } else { "" };
        let answer = ask(&mut bed.http2(tls.clone(), sni).await, host).await;
        assert_eq!((answer.status, answer.error()), (status, code), "HTTP/2: {sni} {host}");
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let visit = tls.send(sni, &request).await.expect("TLS");
        assert_eq!(visit.status(), status, "HTTP/1: {sni} {host}: {}", visit.response);
        assert_eq!(bed.tape.take().len(), if status == 200 { 2 } else { 0 }, "{sni} {host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_quic_nobody_gets_there() {
    let bed = bed().await;
    assert_eq!(
        hostile_http3::get(&bed.relay, "koda.example.com", "koda.example.com").await,
        Dealt::Answered(200)
    );
    for host in ["admin.example.com", "Safe.example.com.", "vault.example.com:443"] {
        assert_eq!(
            hostile_http3::get(&bed.relay, "koda.example.com", host).await,
            Dealt::Answered(421),
            "{host}"
        );
    }
    let arrived: Vec<_> = bed.tape.take().iter().map(|request| request.one("host").to_owned()).collect();
    assert_eq!(arrived, ["koda.example.com"]);
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
    let config = bed.showing("laptop").quic("h3");
    let config = QuicClientConfig::try_from(config).expect("QUIC");
    let config = quinn::ClientConfig::new(Arc::new(config));
    let dial = async |hostname| {
        endpoint.connect_with(config.clone(), bed.relay.https, hostname).expect("an attempt").await
    };
    let connection = dial("koda.example.com").await;
    assert!(connection.is_ok(), "{connection:?}");
    for hostname in ["admin.example.com", "safe.example.com", "nobody.example.net"] {
        let error = dial(hostname).await.expect_err(hostname);
        let ConnectionError::ConnectionClosed(closed) = &error else { panic!("{hostname}: {error:?}") };
        // TLS alert 49, access_denied.
        assert_eq!(closed.error_code, quinn::TransportErrorCode::crypto(49), "{hostname}: {error:?}");
    }
    let open = bed.showing_nothing().visit("koda.example.com").await.expect("open");
    assert!(open.response.contains("alt-svc: h3="), "{}", open.response);
    let asked = bed.showing("laptop").visit("admin.example.com").await.expect("family");
    assert!(!asked.response.to_lowercase().contains("alt-svc"), "{}", asked.response);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ticket_is_a_way_around() {
    let bed = bed().await;
    for version in [&TLS13, &TLS12] {
        let tls = Tls::of(&bed.relay, &[version]);
        assert!(!tls.visit("koda.example.com").await.expect("open").resumed);
        assert!(tls.visit("koda.example.com").await.expect("open").resumed);
        let error = tls.visit("admin.example.com").await.expect_err("by a ticket of an open hostname");
        assert!(is_alert(&error), "{error:?}");
        let tls = Tls::showing(&bed.relay, &[version], (bed.files.path(), "laptop"));
        assert!(!tls.visit("admin.example.com").await.expect("family").resumed);
        let again = tls.visit("admin.example.com").await.expect("family");
        assert!(again.resumed && again.status() == 200, "{version:?}: {again:?}");
        let error = tls.visit("safe.example.com").await.expect_err("by a ticket of another rule");
        assert!(is_alert(&error), "{error:?}");
        assert_eq!(bed.tape.take().iter().filter(|seen| seen.one("client-cert").starts_with(':')).count(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_not_resumed_for_ever() {
    let bed = bed().await;
    bed.family.write_brief(bed.files.path(), "guest", 4);
    let tls = bed.showing("guest");
    assert_eq!(tls.visit("admin.example.com").await.expect("in time").status(), 200);
    let mut resumed = 0;
    let refused =
        eventually("the certificate expires", async || match tls.visit("admin.example.com").await {
            Ok(visit) => {
                resumed += u32::from(visit.resumed);
                None
            }
            Err(error) => Some(error),
        });
    let _closed_or_alerted = refused.await;
    assert!(resumed > 0);
    bed.relay.process.wait_for_log("the certificate that the visitor showed earlier no longer counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_rule_counts_for_the_next_request_of_open_connections() {
    let bed = bed().await;
    let (family, work) = (bed.files.path().join("family.pem"), bed.files.path().join("work.pem"));
    let mut open = bed.http2(bed.showing_nothing(), "koda.example.com").await;
    let mut shown = bed.http2(bed.showing("laptop"), "admin.example.com").await;
    assert_eq!(
        (ask(&mut open, "koda.example.com").await.status, ask(&mut shown, "admin.example.com").await.status),
        (200, 200)
    );
    let early = bed.showing_nothing();
    assert!(!early.visit("koda.example.com").await.expect("open").resumed);
    assert!(early.visit("koda.example.com").await.expect("open").resumed);
    bed.append(&rule(&["koda.example.com"], &family));
    let misdirected = async || (ask(&mut open, "koda.example.com").await.status == 421).then_some(());
    eventually("the new rule is in force", misdirected).await;
    assert!(bed.showing_nothing().visit("koda.example.com").await.is_err());
    assert!(early.visit("koda.example.com").await.is_err(), "by a ticket from before");
    // The same authorities are the same rule: what was proven counts on, and for the new hostname too.
    assert_eq!(ask(&mut shown, "admin.example.com").await.status, 200);
    assert_eq!(ask(&mut shown, "koda.example.com").await.status, 200);

    // A file that holds nothing changes nothing.
    fs::write(&family, "").expect("a file");
    bed.relay.process.wait_for_log("the old one stays in force");
    assert!(bed.relay.process.log().contains("family.pem` holds no certificate"));
    assert_eq!(ask(&mut shown, "admin.example.com").await.status, 200);
    assert!(bed.showing_nothing().visit("admin.example.com").await.is_err());

    // Another authority: who was let in by the old one is not any more.
    bed.work.write_root(&family);
    let misdirected = async || (ask(&mut shown, "admin.example.com").await.status == 421).then_some(());
    eventually("the other authority is in force", misdirected).await;
    assert!(bed.showing("laptop").visit("admin.example.com").await.is_err());
    assert_eq!(bed.showing("desk").visit("admin.example.com").await.expect("work").status(), 200);
    assert!(work.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_authorities_the_relay_does_not_start() {
    let files = tempfile::tempdir().expect("a folder");
    let at = |name: &str| files.path().join(name);
    fs::write(at("empty.pem"), "").expect("a file");
    fs::write(at("text.pem"), "no certificate\n").expect("a file");
    let garbage = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    fs::write(at("garbage.pem"), garbage).expect("a file");
    fs::create_dir(at("folder.pem")).expect("a folder");
    let cases = [
        ("missing.pem", "cannot be read"),
        ("folder.pem", "cannot be read"),
        ("empty.pem", "holds no certificate"),
        ("text.pem", "holds no certificate"),
        ("garbage.pem", "cannot be understood"),
    ];
    for command in ["check", "serve"] {
        for (name, reason) in cases {
            let text = format!(
                "name = \"relay.example.com\"\ndata_dir = \"data\"\nadmin_socket = \"relay.sock\"\n\
                 [edge]\nhttp = \"off\"\nhttps = \"127.0.0.1:0\"\n{}",
                rule(&["admin.example.com"], Path::new(name))
            );
            fs::write(at("relay.toml"), text).expect("a file");
            let mut program = std::process::Command::new(&tests::binaries::binaries().relay);
            let output =
                program.arg(command).arg("--config").arg(at("relay.toml")).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command} {name}: {said}");
            assert!(said.contains(name) && said.contains(reason), "{command} {name}: {said}");
        }
    }
}
