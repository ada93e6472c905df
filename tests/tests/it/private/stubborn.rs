//! An operator's client that asks for whatever it likes: the relay leads it where its grants say, whatever it was told.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use protocol::close::StreamReset;
use protocol::handshake::{AwaitWelcome, SessionHello};
use protocol::id::RequestId;
use protocol::key::SecretKey;
use protocol::private::Purpose;
use protocol::stream::PrivateHeader;
use protocol::{framed, limits, version};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, ReadError, RecvStream, SendStream};
use rustls::version::TLS13;
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::operator::Operator;
use tests::tls::Tls;
use tests::wait::{PATIENCE, eventually};

use super::{Held, named, private};

const HOSTNAME: &str = "koda.example.com";

/// A session of a device that is enrolled, in the test's own hands.
struct Stubborn {
    connection: Connection,
    _control: (SendStream, RecvStream),
}

impl Stubborn {
    async fn connect(relay: &Relay, device: &Agent) -> Self {
        let identity = std::fs::read(device.data_folder().join("identity.json")).expect("it is enrolled");
        let identity: serde_json::Value = serde_json::from_slice(&identity).expect("JSON");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let secret = BASE64URL_NOPAD.decode(text(&identity["secret_key"]).as_bytes()).expect("base64url");
        let secret = SecretKey::from_bytes(secret.try_into().expect("32 bytes")).expect("a key");
        let key = text(&identity["enrolled"]["relay_key"]).parse().expect("a key");
        let connection = dial(relay).await;
        let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
        let mut exporter = [0; 32];
        connection.export_keying_material(&mut exporter, version::EXPORTER_LABEL, b"").expect("TLS");
        let hello = SessionHello { software: "stubborn".into(), instance: "stubborn".into() };
        let (frame, awaiting) = AwaitWelcome::start(&secret, &key, &exporter, &hello).expect("keys");
        framed::write(&mut send, &frame).await.expect("it hears");
        let frame = framed::read(&mut recv, limits::HANDSHAKE_BODY).await.expect("an answer");
        assert_eq!(awaiting.receive(&frame).expect("a welcome").peer.as_str(), "laptop");
        Self { connection, _control: (send, recv) }
    }

    /// Opens a stream to a peer, and says something behind its header; with what it is reset.
    async fn ask(&self, peer: &str, purpose: Purpose) -> StreamReset {
        let request = RequestId::from_bytes([7; 16]);
        let header = PrivateHeader { peer: peer.parse().expect("a name"), purpose, request };
        let asking = async {
            let (mut send, mut recv) = self.connection.open_bi().await.expect("a stream");
            // It may be refused before.
            let _gone = send.write_all(&[header.encode(), [&[0, 96][..], &[7; 96]].concat()].concat()).await;
            match recv.read_to_end(1000).await {
                Err(quinn::ReadToEndError::Read(ReadError::Reset(code))) => code.into_inner(),
                other => panic!("no reset: {other:?}"),
            }
        };
        let code = tokio::time::timeout(PATIENCE, asking).await.expect("it is refused");
        StreamReset::from_number(code).expect("a known code")
    }
}

async fn dial(relay: &Relay) -> Connection {
    let tls = QuicClientConfig::try_from(Tls::of(relay, &[&TLS13]).quic("adit/1")).expect("TLS 1.3");
    let config = quinn::ClientConfig::new(Arc::new(tls));
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
    let connecting = endpoint.connect_with(config, relay.https, "relay.example.com").expect("an attempt");
    connecting.await.expect("the relay")
}

fn tcp(service: &str) -> Purpose {
    Purpose::Tcp(service.parse().expect("a name"))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_granted_and_offered_is_led_on() {
    let (relay, mut web, mut ssh) = (Relay::start(), Held::start().await, Held::start().await);
    let exposed = simple(HOSTNAME, &format!("http://{}", web.origin.address)).replace("web", "site");
    let config =
        exposed + &private("web", &web.url(), "role:operator") + &private("ssh", &ssh.url(), "role:operator");
    let mut home = named(&relay, &["--name", "home", "--hostname", HOSTNAME], &config);
    let laptop = Operator::enrolled(&relay, "laptop", &["home/web", "home/site"]);
    let stubborn = Stubborn::connect(&relay, &laptop.agent).await;
    for (peer, purpose, expected) in [
        ("home", tcp("ssh"), StreamReset::NotGranted),
        ("nas", tcp("web"), StreamReset::NotGranted),
        ("laptop", tcp("web"), StreamReset::NotGranted),
        ("laptop", Purpose::Talk, StreamReset::NotGranted),
        // Granted, and exposed to everybody, but not private.
        ("home", tcp("site"), StreamReset::PeerOffline),
        // Granted, and of another kind.
        ("home", Purpose::Udp("web".parse().expect("a name")), StreamReset::PeerOffline),
        // Led on, where the home finds no proof.
        ("home", tcp("web"), StreamReset::Unproven),
        ("home", Purpose::Talk, StreamReset::Unproven),
    ] {
        assert_eq!(stubborn.ask(peer, purpose.clone()).await, expected, "{peer} {purpose:?}");
    }
    eventually("the home tells of two", async || {
        (home.process().log().matches("a peer's stream led nowhere").count() == 2).then_some(())
    })
    .await;
    let _said = relay.ask(&["peer", "ungrant", "laptop", "--service", "home/web"]);
    assert_eq!(stubborn.ask("home", tcp("web")).await, StreamReset::NotGranted);
    let _said = relay.ask(&["peer", "grant", "laptop", "--service", "*/*"]);
    eventually("a wider grant counts at once", async || {
        (stubborn.ask("home", tcp("ssh")).await == StreamReset::Unproven).then_some(())
    })
    .await;
    assert!(web.is_left_alone() && ssh.is_left_alone());
}
