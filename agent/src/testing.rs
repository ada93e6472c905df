//! The relay's end of a tunnel, for tests: real QUIC over the loopback, without any of the relay's rules.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use protocol::control::{Message, TlsEnd};
use protocol::framed;
use protocol::handshake::{AwaitAdmission, AwaitProof, EnrollRequest, SessionHello, SessionWelcome};
use protocol::id::RequestId;
use protocol::key::{PublicKey, SecretKey};
use protocol::noise::Exporter;
use protocol::stream::StreamHeader;
use protocol::{limits, version};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCertUsingSni;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::certificate::provider;
use crate::config::read;
use crate::dial::{self, Tunnel};
use crate::dispatch::{Behind, Dispatch};
use crate::offer::{Offer, Offers};
use crate::private::flow::Carrier;
use crate::private::host::Host;
use crate::private::peers::Peers;
use crate::private::pins::Pins;
use crate::private::talk::Talks;
use crate::terminate::Terminator;

pub(crate) fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes([byte; 32]).unwrap()
}

/// A certificate for `localhost` and the key that belongs to it.
pub(crate) fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.der().clone(), PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()))
}

/// Ends nobody's TLS.
pub(crate) fn no_certificates() -> Arc<Terminator> {
    Arc::new(Terminator::new(Arc::new(ResolvesServerCertUsingSni::new())).unwrap())
}

/// What streams lead to in an agent that knows no other peers.
pub(crate) fn behind(offers: Offers, terminator: Arc<Terminator>) -> Behind {
    let peers = Arc::new(Peers::new(key(1), Pins::new(PathBuf::from("/nowhere/peers.json"))));
    let host = Arc::new(Host::new(peers, offers.clone(), Talks::default()));
    Behind { offers, terminator, host }
}

#[derive(Debug)]
pub(crate) struct FakeRelay {
    endpoint: Endpoint,
    pub(crate) secret: SecretKey,
}

#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

impl FakeRelay {
    pub(crate) fn start() -> Self {
        let (certificate, private) = certificate();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)
            .unwrap();
        tls.alpn_protocols = vec![version::ALPN.to_vec()];
        let quic = QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(quic));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { endpoint, secret: key(2) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    pub(crate) async fn accept(&self) -> Connection {
        self.endpoint.accept().await.unwrap().await.unwrap()
    }

    async fn first(&self) -> (Exporter, Control) {
        let connection = self.accept().await;
        let mut exporter = Exporter::default();
        connection.export_keying_material(&mut exporter, version::EXPORTER_LABEL, b"").unwrap();
        let (send, recv) = connection.accept_bi().await.unwrap();
        (exporter, Control { connection, send, recv })
    }

    /// Lets the next agent in, whoever it is.
    pub(crate) async fn admit(&self) -> (SessionHello, Control) {
        let (exporter, mut control) = self.first().await;
        let first = framed::read(&mut control.recv, limits::HANDSHAKE_BODY).await.unwrap();
        let admission = AwaitAdmission::receive(&self.secret, &exporter, &first).unwrap();
        let hello = admission.hello().clone();
        let welcome = SessionWelcome { software: "test".into(), peer: "home".parse().unwrap() };
        framed::write(&mut control.send, &admission.admit(&welcome).unwrap()).await.unwrap();
        (hello, control)
    }

    /// Hears the next device that wants to enroll; nothing where it does not trust this relay.
    pub(crate) async fn enrolling(&self) -> Option<(PublicKey, EnrollRequest, Control)> {
        let (exporter, mut control) = self.first().await;
        let first = framed::read(&mut control.recv, limits::HANDSHAKE_BODY).await.unwrap();
        let (frame, proof) = AwaitProof::receive(&self.secret, &exporter, &first).unwrap();
        framed::write(&mut control.send, &frame).await.unwrap();
        let frame = framed::read(&mut control.recv, limits::HANDSHAKE_BODY).await.ok()?;
        let (key, request) = proof.finish(&frame).unwrap();
        Some((key, request, control))
    }

    /// A tunnel to this relay, without any handshake of ours.
    pub(crate) async fn tunnel(&self) -> (Tunnel, Connection) {
        let tls = dial::tls::dangerous_any_certificate().unwrap();
        let addresses = [self.address()];
        let (tunnel, relay) = tokio::join!(dial::connect_to(&addresses, "localhost", tls), self.accept());
        (tunnel.unwrap(), relay)
    }
}

impl Control {
    pub(crate) async fn tell(&mut self, message: &impl Message) {
        framed::write(&mut self.send, &message.to_frame().unwrap()).await.unwrap();
    }

    pub(crate) async fn hear<M: Message>(&mut self) -> M {
        let frame = framed::read(&mut self.recv, limits::CONTROL_BODY).await.unwrap();
        M::from_frame(&frame).unwrap().unwrap()
    }
}

/// An agent as far as its streams go, and the relay's end of the tunnel to it.
#[derive(Debug)]
pub(crate) struct Dispatched {
    pub(crate) connection: Connection,
    _agent: (FakeRelay, Tunnel, JoinSet<ConnectionError>, watch::Sender<Arc<Offer>>),
}

impl Dispatched {
    /// `config` is the text of an `agent.toml`.
    pub(crate) async fn new(config: &str, terminator: Arc<Terminator>) -> Self {
        let config = read::read("agent.toml", config, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        let (change, offers) = watch::channel(Arc::new(Offer::new(config).unwrap()));
        let relay = FakeRelay::start();
        let (tunnel, connection) = relay.tunnel().await;
        let places = Arc::new(Semaphore::new(100));
        let behind = behind(offers, terminator);
        let dispatch = Dispatch::new(Carrier::new(tunnel.connection().clone()), behind, places);
        let mut running = JoinSet::new();
        running.spawn(dispatch.run());
        Self { connection, _agent: (relay, tunnel, running, change) }
    }

    pub(crate) async fn open(&self, service: &str, sealed: Option<TlsEnd>) -> (SendStream, RecvStream) {
        let service = service.parse().unwrap();
        let visitor = "192.0.2.1:1".parse().unwrap();
        let request = RequestId::from_bytes([1; 16]);
        let header = StreamHeader { service, visitor, request, alone: sealed.is_some(), sealed };
        let (mut send, recv) = self.connection.open_bi().await.unwrap();
        send.write_all(&header.encode()).await.unwrap();
        (send, recv)
    }
}
