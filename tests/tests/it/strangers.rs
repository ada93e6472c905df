//! Whoever comes to the relay's UDP port without being a peer: costs little, is gone within seconds, and harms nobody.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use protocol::close::SessionClose;
use protocol::handshake::{AwaitWelcome, SessionHello};
use protocol::key::{PublicKey, SecretKey};
use protocol::version;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::origin::Origin;
use tests::visitor::Visitor;

const HOSTNAME: &str = "koda.example.com";
/// The deadline over an establishment, and a second for the machine.
const SOON: Duration = Duration::from_secs(6);

fn endpoint() -> Endpoint {
    Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket")
}

/// Connects with QUIC as an agent would, offering a protocol.
async fn connect(relay: &Relay, endpoint: &Endpoint, alpn: &[u8]) -> Result<Connection, ConnectionError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(relay.ca_file()).expect("the root") {
        roots.add(root.expect("PEM")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider knows TLS 1.3");
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let quic = QuicClientConfig::try_from(tls).expect("QUIC");
    let config = quinn::ClientConfig::new(Arc::new(quic));
    endpoint.connect_with(config, relay.https, "relay.example.com").expect("an attempt").await
}

/// What a stranger does once it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Silence,
    Garbage,
    UnknownKey,
    HugeFrame,
    ManyStreams,
}

impl Deed {
    const ALL: [Self; 5] =
        [Self::Silence, Self::Garbage, Self::UnknownKey, Self::HugeFrame, Self::ManyStreams];

    /// Why the relay closes over it.
    fn earns(self) -> SessionClose {
        match self {
            Self::Silence | Self::ManyStreams => SessionClose::Establishment,
            Self::Garbage | Self::HugeFrame => SessionClose::Protocol,
            Self::UnknownKey => SessionClose::NotEnrolled,
        }
    }

    async fn commit(self, connection: &Connection, relay_key: PublicKey) {
        match self {
            Self::Silence => {}
            Self::Garbage => say(connection, &[0xff; 5000]).await,
            Self::UnknownKey => say(connection, &hello(connection, relay_key)).await,
            // A hello of 1 GiB, of which nothing follows.
            Self::HugeFrame => say(connection, &[0, 1, 0x40, 0, 0, 0]).await,
            Self::ManyStreams => {
                let hundred = (0..100).map(|_| say(connection, b"\0"));
                let _closed = join_all(hundred).await;
            }
        }
    }
}

/// Writes to the first stream; the relay may close while it does.
async fn say(connection: &Connection, bytes: &[u8]) {
    if let Ok((mut send, _recv)) = connection.open_bi().await {
        let _closed = send.write_all(bytes).await;
        let _reason = connection.closed().await;
    }
}

/// The first frame of a session with a key that nobody enrolled.
fn hello(connection: &Connection, relay_key: PublicKey) -> Vec<u8> {
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, version::EXPORTER_LABEL, b"").expect("keying material");
    let secret = SecretKey::from_bytes([9; 32]).expect("a key");
    let hello = SessionHello { software: "stranger".into(), instance: "run".into() };
    AwaitWelcome::start(&secret, &relay_key, &exporter, &hello).expect("a hello").0.encode()
}

/// The relay's key, as an enrolled device keeps it.
fn relay_key(agent: &Agent) -> PublicKey {
    let file = std::fs::read(agent.data_folder().join("identity.json")).expect("an identity");
    let identity: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
    serde_json::from_value(identity["enrolled"]["relay_key"].clone()).expect("a key")
}

/// One stranger: how it was closed, and after how long. Nothing where the relay had no place for it.
async fn visit(relay: &Relay, key: PublicKey, deed: Deed) -> Option<(ConnectionError, Duration)> {
    let (endpoint, began) = (endpoint(), Instant::now());
    let connection = connect(relay, &endpoint, version::ALPN).await.ok()?;
    deed.commit(&connection, key).await;
    let closed = connection.closed().await;
    Some((closed, began.elapsed()))
}

async fn bed() -> (Relay, Agent, Origin) {
    let origin = Origin::named("origin").await;
    let relay = Relay::start();
    let agent = Agent::running(&relay, &[HOSTNAME], &simple(HOSTNAME, &format!("http://{}", origin.address)));
    (relay, agent, origin)
}

/// Resident memory of a process, in KiB.
fn resident_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_stranger_is_told_why_it_has_to_go() {
    let (relay, agent, _origin) = bed().await;
    let key = relay_key(&agent);
    let visits = Deed::ALL.map(|deed| visit(&relay, key, deed));
    let visits = join_all(visits).await;
    for (deed, visit) in Deed::ALL.into_iter().zip(visits) {
        let (closed, lasted) = visit.expect("there is room for five");
        let ConnectionError::ApplicationClosed(closed) = closed else { panic!("{deed:?}: {closed:?}") };
        assert_eq!(SessionClose::from_number(closed.error_code.into()), Some(deed.earns()), "{deed:?}");
        assert!(lasted < SOON, "{deed:?}: {lasted:?}");
    }
    assert_eq!(Visitor::of(&relay).get(HOSTNAME, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_strangers_cost_little_and_hold_up_nobody() {
    let (relay, agent, _origin) = bed().await;
    let (key, visitor, id) = (relay_key(&agent), Visitor::of(&relay), relay.process.id());
    assert_eq!(visitor.get(HOSTNAME, "/").await.status, 200);
    let before = resident_kib(id);
    let (mut entered, mut served) = (0, 0);
    for deed in Deed::ALL {
        let strangers = join_all((0..60).map(|_| visit(&relay, key, deed)));
        let mut strangers = std::pin::pin!(strangers);
        let gone = loop {
            tokio::select! {
                gone = strangers.as_mut() => break gone,
                answer = visitor.get(HOSTNAME, "/") => {
                    assert_eq!(answer.status, 200);
                    served += 1;
                }
            }
        };
        assert!(gone.iter().flatten().all(|(_, lasted)| *lasted < 2 * SOON), "{deed:?}");
        entered += gone.iter().flatten().count();
    }
    assert!(served > 20, "only {served} requests were answered in these seconds");
    assert!(entered >= 250, "only {entered} came as far as the door");
    let grown = resident_kib(id).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    assert!(!agent_lost_its_session(&agent));
}

fn agent_lost_its_session(agent: &Agent) -> bool {
    let status = agent.status().expect("it runs");
    status["session"] != "up" || !status["last_error"].is_null()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_datagrams_of_garbage_stop_no_session() {
    let (relay, agent, _origin) = bed().await;
    throw_garbage(relay.https);
    assert_eq!(Visitor::of(&relay).get(HOSTNAME, "/").await.status, 200);
    assert!(!agent_lost_its_session(&agent));
    let endpoint = endpoint();
    connect(&relay, &endpoint, version::ALPN).await.expect("the door is open");
}

/// Datagrams of every size; many look like QUIC's first packets.
fn throw_garbage(to: SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..10_000_usize {
        let mut datagram = vec![0; 1 + number % 1400];
        for byte in &mut datagram {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[0];
        }
        if number % 3 == 0 && datagram.len() > 5 {
            datagram[0] |= 0xc0;
            datagram[1..5].copy_from_slice(&[0, 0, 0, 1]);
        }
        socket.send_to(&datagram, to).expect("a datagram can be sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_nobody_speaks_is_refused_in_the_handshake() {
    let relay = Relay::start();
    let endpoint = endpoint();
    for alpn in [&b"adit/999"[..], b"h2"] {
        let error = connect(&relay, &endpoint, alpn).await.expect_err("refused");
        let ConnectionError::ConnectionClosed(closed) = &error else { panic!("{error:?}") };
        // TLS alert 120, no_application_protocol (RFC 7301, section 3.2), as RFC 9001 section 4.8 carries it.
        assert_eq!(closed.error_code, quinn::TransportErrorCode::crypto(120), "{error:?}");
    }
    assert!(connect(&relay, &endpoint, version::ALPN).await.is_ok());
}
