//! The liar: it enrolls and admits real agents with a key of its own, tells each what the test likes, and has their
//! streams in its hands.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use protocol::close::StreamReset;
use protocol::control::{Carries, EnrollAnswer, Message, PrivateService};
use protocol::frame::{Frame, FrameKind};
use protocol::handshake::{AwaitAdmission, AwaitProof, SessionWelcome};
use protocol::id::ServiceName;
use protocol::key::{PublicKey, SecretKey};
use protocol::private::Purpose;
use protocol::roster::{Role, Roster, RosterPeer};
use protocol::stream::{self, Header, PrivateHeader};
use protocol::token::EnrollmentToken;
use protocol::{framed, limits, version};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, ReadError, ReadExactError, RecvStream, SendStream, TransportConfig};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tests::bed::Agent;
use tests::tls_origin::Certified;
use tests::visitor::background;
use tests::wait::PATIENCE;

/// A key that is nobody's.
pub(super) fn secret(byte: u8) -> SecretKey {
    SecretKey::from_bytes([byte; 32]).expect("a key")
}

/// The host as operators are told of it: with two services.
pub(super) fn offering(name: &str, key: PublicKey, carries: Carries) -> RosterPeer {
    let offers = services().map(|name| PrivateService { name, carries }).collect();
    RosterPeer { offers, ..peer(name, key, Role::Host) }
}

/// An operator as the host is told of it: both services are granted to it.
pub(super) fn reaching(name: &str, key: PublicKey, role: Role) -> RosterPeer {
    RosterPeer { reaches: services().collect(), ..peer(name, key, role) }
}

fn services() -> impl Iterator<Item = ServiceName> {
    ["web", "ssh"].into_iter().map(|name| name.parse().expect("a name"))
}

fn peer(name: &str, key: PublicKey, role: Role) -> RosterPeer {
    let name = name.parse().expect("a name");
    RosterPeer {
        name,
        key,
        role,
        tags: vec![],
        online: true,
        offers: vec![],
        missing: vec![],
        reaches: vec![],
    }
}

/// The relay.
pub(super) struct Liar {
    endpoint: Endpoint,
    secret: SecretKey,
}

impl Liar {
    pub(super) fn start() -> Self {
        let certified = Certified::new(&["localhost"]);
        let key = PrivateKeyDer::from_pem_file(certified.key_file()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certified.leaf()], key)
            .expect("a certificate");
        tls.alpn_protocols = vec![version::ALPN.to_vec()];
        let mut config =
            quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("TLS 1.3")));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(5)));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        Self { endpoint, secret: secret(2) }
    }

    async fn first(&self) -> ([u8; 32], Connection, SendStream, RecvStream, Frame) {
        let accepting = async {
            let connection = self.endpoint.accept().await.expect("it listens").await.expect("QUIC");
            let mut exporter = [0; 32];
            connection.export_keying_material(&mut exporter, version::EXPORTER_LABEL, b"").expect("TLS");
            let (send, mut recv) = connection.accept_bi().await.expect("a control stream");
            let first = framed::read(&mut recv, limits::HANDSHAKE_BODY).await.expect("a frame");
            (exporter, connection, send, recv, first)
        };
        tokio::time::timeout(PATIENCE, accepting).await.expect("an agent comes")
    }

    /// A device that is enrolled here under a name, by its own `agent enroll`.
    pub(super) async fn enroll(&self, name: &str) -> Agent {
        let agent = Agent::new();
        let file = agent.folder().join("token");
        let token = EnrollmentToken::new([7; 32], self.secret.public());
        std::fs::write(&file, token.expose_text().as_bytes()).expect("a file");
        let address = self.endpoint.local_addr().expect("an address").to_string();
        let command =
            agent.program(&["enroll", "--relay", &address, "--token-file", &file.display().to_string()]);
        let mut command = tokio::process::Command::from(command);
        let (output, ()) = tokio::join!(command.output(), self.take_on(name));
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        agent
    }

    async fn take_on(&self, name: &str) {
        let (exporter, connection, mut send, mut recv, first) = self.first().await;
        let (key, proof) = AwaitProof::receive(&self.secret, &exporter, &first).expect("an enrollment");
        framed::write(&mut send, &key).await.expect("it hears");
        let frame = framed::read(&mut recv, limits::HANDSHAKE_BODY).await.expect("a frame");
        let _device = proof.finish(&frame).expect("a proof");
        let peer = name.parse().expect("a name");
        let answer = EnrollAnswer::Accepted { peer, hostnames: vec![], services: vec![] };
        framed::write(&mut send, &answer.to_frame().expect("JSON")).await.expect("it hears");
        let _done = connection.closed().await;
    }

    /// Lets the next agent in, whoever it is, under a name.
    pub(super) async fn admit(&self, name: &str) -> Session {
        let (exporter, connection, mut control, recv, first) = self.first().await;
        assert_eq!(first.kind(), Some(FrameKind::SessionHello));
        let admission = AwaitAdmission::receive(&self.secret, &exporter, &first).expect("a hello");
        let key = admission.peer();
        let welcome = SessionWelcome { software: "liar".into(), peer: name.parse().expect("a name") };
        framed::write(&mut control, &admission.admit(&welcome).expect("a welcome")).await.expect("it hears");
        Session { connection, key, control, _registers: recv }
    }
}

/// An agent that was let in.
pub(super) struct Session {
    pub(super) connection: Connection,
    /// The key that it has proven.
    pub(super) key: PublicKey,
    control: SendStream,
    _registers: RecvStream,
}

impl Session {
    /// Says who there is.
    pub(super) async fn tell(&mut self, peers: Vec<RosterPeer>) {
        let frame = Roster { observed: None, peers }.to_frame().expect("JSON");
        framed::write(&mut self.control, &frame).await.expect("it hears");
    }

    /// The next stream that it opens to a service.
    pub(super) async fn next(&self) -> (PrivateHeader, Stream) {
        loop {
            let (header, mut stream) = self.next_of_any_kind().await;
            match header.purpose {
                Purpose::Tcp(_) | Purpose::Udp(_) => return (header, stream),
                Purpose::Talk => drop(stream.send.reset(StreamReset::Cancelled.number().into())),
            }
        }
    }

    /// The next stream that it opens, be it to talk.
    pub(super) async fn next_of_any_kind(&self) -> (PrivateHeader, Stream) {
        let accepted = tokio::time::timeout(PATIENCE, self.connection.accept_bi()).await;
        let (send, mut recv) = accepted.expect("a stream comes").expect("a session");
        let mut head = [0; stream::HEAD];
        recv.read_exact(&mut head).await.expect("a header");
        let (kind, length) = stream::decode_head(head).expect("a header");
        let mut fields = vec![0; length];
        recv.read_exact(&mut fields).await.expect("a header");
        match Header::decode_fields(kind, &fields).expect("a header") {
            Header::Private(header) => (header, Stream { send, recv }),
            Header::Visitor(header) => panic!("an agent opens no {header:?}"),
        }
    }

    /// Opens a stream to it.
    pub(super) async fn open(&self, header: &PrivateHeader) -> Stream {
        let (mut send, recv) = self.connection.open_bi().await.expect("a session");
        send.write_all(&header.encode()).await.expect("it takes bytes");
        Stream { send, recv }
    }
}

/// One stream, in the relay's hands.
pub(super) struct Stream {
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
}

impl Stream {
    pub(super) async fn say(&mut self, bytes: &[u8]) {
        self.send.write_all(bytes).await.expect("it takes bytes");
    }

    /// The next message or record, with its head.
    pub(super) async fn message(&mut self) -> Vec<u8> {
        let read = tokio::time::timeout(PATIENCE, self.try_message()).await;
        read.expect("a message comes").expect("a message")
    }

    async fn try_message(&mut self) -> Result<Vec<u8>, ReadExactError> {
        let mut message = vec![0; 2];
        self.recv.read_exact(&mut message).await?;
        let length = usize::from(u16::from_be_bytes([message[0], message[1]]));
        message.resize(2 + length, 0);
        self.recv.read_exact(&mut message[2..]).await?;
        Ok(message)
    }

    /// With what the agent resets it, which has to be what comes next but for whole messages.
    pub(super) async fn reset(&mut self) -> StreamReset {
        let reset = async {
            loop {
                match self.try_message().await {
                    Ok(_) => {}
                    Err(ReadExactError::ReadError(ReadError::Reset(code))) => return code,
                    Err(other) => panic!("no reset: {other}"),
                }
            }
        };
        let code = tokio::time::timeout(PATIENCE, reset).await.expect("it is reset");
        StreamReset::from_number(code.into_inner()).expect("a known code")
    }
}

/// Carries a stream as an honest relay would.
pub(super) fn carry(one: Stream, other: Stream) {
    for (mut from, mut to) in [(one.recv, other.send), (other.recv, one.send)] {
        background(async move {
            match tokio::io::copy(&mut from, &mut to).await {
                Ok(_) => drop(to.finish()),
                Err(_) => drop(to.reset(StreamReset::Cancelled.number().into())),
            }
        });
    }
}
