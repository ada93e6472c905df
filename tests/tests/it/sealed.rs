//! Hostnames whose TLS does not end at the relay: it leads whole connections on, by the name in their first message, and
//! neither reads them nor shows anything of its own.

mod agent;
mod carried;
mod ended;
mod refused;
mod told;

use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, SupportedProtocolVersion};
use tests::bed::{Agent, Relay};
use tests::h3_visitor::{Http3, Manner};
use tests::tls::Tls;
use tests::tls_origin::Certified;
use tests::visitor::Visitor;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const HOST: &str = "vault.example.com";
const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// `agent.toml` for an origin that ends TLS, with further keys of the service and of the exposure.
fn passed(origin: &str, service: &str, expose: &str) -> String {
    format!("[service.vault]\norigin = \"{origin}\"\n{service}\n{}{expose}\n", exposed(HOST))
}

fn exposed(hostname: &str) -> String {
    format!("[[expose]]\nhostname = \"{hostname}\"\ntls = \"passthrough\"\nservice = \"vault\"\n")
}

/// Another hostname, whose TLS ends at the relay.
fn open(hostname: &str, origin: &str) -> String {
    format!(
        "[service.open]\norigin = \"{origin}\"\n[[expose]]\nhostname = \"{hostname}\"\n\
         routes = [{{ path = \"/*\", service = \"open\" }}]\n"
    )
}

/// A device that the relay calls `home`, enrolled for these hostnames.
fn enrolled(relay: &Relay, hostnames: &[&str]) -> Agent {
    let mut arguments = vec!["token", "create", "--name", "home"];
    arguments.extend(hostnames.iter().flat_map(|hostname| ["--hostname", hostname]));
    let agent = Agent::new();
    agent.enroll(relay, &relay.ask(&arguments));
    agent
}

/// The same, and running.
fn running(relay: &Relay, hostnames: &[&str], config: &str) -> Agent {
    let mut agent = enrolled(relay, hostnames);
    agent.write_config(config);
    agent.run();
    agent.wait_until_up();
    agent
}

/// Believes the origin, and nobody else.
fn visitor(relay: &Relay, certified: &Certified) -> Visitor {
    Visitor::new(relay.https, &certified.root_file())
}

/// What a visitor was shown.
fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().expect("after the handshake")[0].clone().into_owned()
}

/// Whether a visitor ended a handshake who does not believe what it was shown.
fn is_stranger(error: &std::io::Error) -> bool {
    let error = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(error)) = error else { return false };
    // All authorities of these tests have one name, and keys of their own.
    matches!(error, CertificateError::UnknownIssuer | CertificateError::BadSignature)
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_meet_the_origin_and_never_a_certificate_of_the_relay() {
    const OPEN: &str = "open.example.com";
    let (certified, files) = (Certified::new(&[HOST]), tests::certificate::Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    files.write_root(&folder.path().join("root.pem"));
    let mut sections = String::new();
    for (stem, hostname) in [("exact", HOST), ("wild", "*.example.com")] {
        files.write(folder.path(), stem, &[hostname]);
        let path = folder.path().join(stem).display().to_string();
        sections += &format!("[[certificate]]\ncert = \"{path}.pem\"\nkey = \"{path}.key\"\n");
    }
    let relay = Relay::with(&sections);
    let (origin, plain) = (certified.named("vault").await, tests::origin::Origin::named("open").await);
    let config = passed(&format!("tcp://{}", origin.address), "", "")
        + &open(OPEN, &format!("http://{}", plain.address));
    let _agent = running(&relay, &[HOST, OPEN], &config);
    // All that the relay could show.
    let relays = folder.path().join("relays.pem");
    let roots =
        [relay.ca_file(), folder.path().join("root.pem")].map(|file| std::fs::read(file).expect("a root"));
    std::fs::write(&relays, roots.concat()).expect("a file");
    for version in BOTH {
        let believes_origin = Tls::believing(&relay, &[version], &certified.root_file());
        let believes_relay = Tls::believing(&relay, &[version], &relays);
        assert_eq!(shown(&believes_origin.connect(HOST).await.expect("TLS")), certified.leaf());
        for hostname in [HOST, "VAULT.example.com"] {
            let whole = believes_origin.visit(hostname).await.expect("the origin");
            let shreds = believes_origin.visit_in_shreds(hostname).await.expect("the origin");
            for visit in [whole, shreds] {
                assert_eq!((visit.status(), visit.version), (200, version.version), "{}", visit.response);
                assert!(visit.response.contains("\"origin\":\"vault\""), "{}", visit.response);
            }
            let error = believes_relay.visit(hostname).await.expect_err("it is the origin's");
            assert!(is_stranger(&error), "{error:?}");
            let error = believes_relay.visit_in_shreds(hostname).await.expect_err("it is the origin's");
            assert!(is_stranger(&error), "{error:?}");
        }
        assert_eq!(believes_relay.visit(OPEN).await.expect("the relay").status(), 200);
        assert!(is_stranger(&believes_origin.visit(OPEN).await.expect_err("it is the relay's")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_quic_there_is_nothing_to_be_shown() {
    const OPEN: &str = "open.example.com";
    let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
    let mut vault = certified.held(&["h3"]).await;
    let plain = tests::origin::Origin::named("open").await;
    let config = passed(&format!("tcp://{}", vault.origin.address), "", "")
        + &open(OPEN, &format!("http://{}", plain.address));
    let _agent = running(&relay, &[HOST, OPEN], &config);
    let _answered = Http3::connect(&relay, OPEN).await;
    for hostname in [HOST, "Vault.example.com"] {
        let error = Http3::try_connect(&relay, hostname, Manner::default()).await.expect_err(hostname);
        let quinn::ConnectionError::ConnectionClosed(closed) = &error else { panic!("{error:?}") };
        // TLS alert 49, access_denied: it has no certificate for this.
        assert_eq!(closed.error_code, quinn::TransportErrorCode::crypto(49), "{error:?}");
    }
    // Whoever speaks as agents do is shown one that nobody believes.
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(Tls::of(&relay, &[&TLS13]).quic("adit/1"));
    let config = quinn::ClientConfig::new(std::sync::Arc::new(tls.expect("TLS 1.3")));
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
    let dial = async |hostname: &str| {
        endpoint.connect_with(config.clone(), relay.https, hostname).expect("an attempt").await
    };
    dial(OPEN).await.expect("the certificate of the open hostname");
    let error = dial(HOST).await.expect_err("no certificate of the sealed one");
    assert!(matches!(error, quinn::ConnectionError::TransportError(_)), "{error:?}");
    assert!(vault.is_left_alone());
}

#[tokio::test(flavor = "multi_thread")]
async fn protocols_are_agreed_on_between_the_visitor_and_the_origin() {
    let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
    let vault = certified.held(&["imap", "acme-tls/1", "h2", "http/1.1"]).await;
    let _agent = running(&relay, &[HOST], &passed(&format!("tcp://{}", vault.origin.address), "", ""));
    let visitor = visitor(&relay, &certified);
    let agreed = async |offered: &[&str]| {
        let stream = visitor.connect(HOST, offered).await?;
        let agreed =
            stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        Ok::<_, std::io::Error>(agreed)
    };
    for (offered, expected) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        // What the relay itself knows nothing of, or something else by.
        (&["h2", "imap"], Some("imap")),
        (&["acme-tls/1"], Some("acme-tls/1")),
        (&[], None),
    ] {
        assert_eq!(agreed(offered).await.expect("TLS").as_deref(), expected, "{offered:?}");
    }
    let error = agreed(&["spdy/3"]).await.expect_err("the origin speaks no such thing");
    assert_eq!(tests::tls::alert(&error), Some(rustls::AlertDescription::NoApplicationProtocol));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_leads_all_names_below_it_but_those_that_are_granted_by_themselves() {
    let names = ["x.w.example.com", "y.w.example.com", "own.w.example.com"];
    let (certified, relay) = (Certified::new(&["*.w.example.com"]), Relay::start());
    let (vault, plain) = (certified.named("vault").await, tests::origin::Origin::named("open").await);
    let config = format!("[service.vault]\norigin = \"tcp://{}\"\n", vault.address)
        + &exposed("*.w.example.com")
        + &open(names[2], &format!("http://{}", plain.address));
    let _agent = running(&relay, &["*.w.example.com", names[2]], &config);
    let (sealed, relays) = (visitor(&relay, &certified), Visitor::of(&relay));
    for name in &names[..2] {
        assert_eq!(sealed.get(name, "/").await.json()["origin"], "vault");
        assert!(is_stranger(&relays.connect(name, &["http/1.1"]).await.expect_err("it is the origin's")));
    }
    assert_eq!(relays.get(names[2], "/").await.json()["origin"], "open");
    assert!(is_stranger(&sealed.connect(names[2], &["http/1.1"]).await.expect_err("it is the relay's")));
    assert!(tests::tls::is_alert(&sealed.connect("z.y.w.example.com", &[]).await.expect_err("nobody's")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_the_relay_itself_stays_its_own() {
    const RELAY: &str = "relay.example.com";
    let (certified, relay) = (Certified::new(&["*.example.com"]), Relay::start());
    let mut vault = certified.held(&[]).await;
    let config =
        format!("[service.vault]\norigin = \"tcp://{}\"\n", vault.origin.address) + &exposed("*.example.com");
    let _agent = running(&relay, &["*.example.com"], &config);
    let relays = Visitor::of(&relay);
    assert!(is_stranger(&relays.connect(HOST, &[]).await.expect_err("it is the origin's")));
    assert_ne!(shown(&relays.connect(RELAY, &["http/1.1"]).await.expect("the relay")), certified.leaf());
    let _quic = Http3::connect(&relay, RELAY).await;
    assert!(vault.is_left_alone());
}
