//! TLS over streams of real QUIC: a visitor on one side, the origin in the clear on the other.

use futures_util::FutureExt as _;
use protocol::control::TlsEnd;
use quinn::{RecvStream, SendStream};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ResolvesServerCertUsingSni;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, Join};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

use super::*;
use crate::testing::Dispatched;

const SERVICES: &str = r#"
[acme]
agree_to_terms = true
[service.web]
origin = "http://ADDRESS"
[service.grpc]
origin = "h2c://ADDRESS"
[service.mail]
origin = "tcp://ADDRESS"
[[expose]]
hostname = "web.example"
tls = "agent"
service = "web"
[[expose]]
hostname = "grpc.example"
tls = "agent"
service = "grpc"
[[expose]]
hostname = "mail.example"
tls = "agent"
service = "mail"
[[expose]]
hostname = "bare.example"
tls = "agent"
service = "web"
"#;

/// All hostnames but one have a certificate.
const NAMES: [&str; 3] = ["web.example", "grpc.example", "mail.example"];

type Stream = Join<RecvStream, SendStream>;
type Alpn = &'static [&'static [u8]];

struct Bed {
    agent: Dispatched,
    listener: TcpListener,
    certificate: CertificateDer<'static>,
}

/// A terminator, and the certificate that it shows.
fn terminator() -> (Terminator, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let certified = CertifiedKey::from_der(vec![certificate.clone()], key, &provider()).unwrap();
    let mut resolver = ResolvesServerCertUsingSni::new();
    for name in NAMES {
        resolver.add(name, certified.clone()).unwrap();
    }
    (Terminator::new(Arc::new(resolver)).unwrap(), certificate)
}

async fn bed() -> Bed {
    let (terminator, certificate) = terminator();
    bed_with(terminator, certificate).await
}

async fn bed_with(terminator: Terminator, certificate: CertificateDer<'static>) -> Bed {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = SERVICES.replace("ADDRESS", &listener.local_addr().unwrap().to_string());
    let agent = Dispatched::new(&config, Arc::new(terminator)).await;
    Bed { agent, listener, certificate }
}

impl Bed {
    fn client(&self, alpn: &[&[u8]]) -> ClientConfig {
        self.client_of(&TLS13, alpn)
    }

    fn client_of(&self, version: &'static SupportedProtocolVersion, alpn: &[&[u8]]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }

    /// Comes in by `service`, and asks for `name`.
    async fn visit(
        &self,
        service: &str,
        name: &'static str,
        config: ClientConfig,
    ) -> io::Result<client::TlsStream<Stream>> {
        let (send, recv) = self.agent.open(service, Some(TlsEnd::Agent)).await;
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(ServerName::try_from(name).unwrap(), tokio::io::join(recv, send)).await
    }

    async fn visited(&self) -> (client::TlsStream<Stream>, TcpStream) {
        self.visited_with(&TLS13).await
    }

    async fn visited_with(
        &self,
        version: &'static SupportedProtocolVersion,
    ) -> (client::TlsStream<Stream>, TcpStream) {
        let client = self.client_of(version, &[b"http/1.1"]);
        let visitor = self.visit("web", "web.example", client).await.unwrap();
        (visitor, self.listener.accept().await.unwrap().0)
    }

    fn nobody_came(&self) -> bool {
        self.listener.accept().now_or_never().is_none()
    }
}

fn alert(error: &io::Error) -> AlertDescription {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert: {error:?}"),
    }
}

#[tokio::test]
async fn a_request_and_its_answer_pass_and_each_direction_ends_by_itself() {
    let bed = bed().await;
    for (visitor_first, version) in [(true, &TLS13), (false, &TLS13), (true, &TLS12), (false, &TLS12)] {
        let (mut visitor, mut origin) = bed.visited_with(version).await;
        assert_eq!(visitor.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
        let (mut question, mut answer) = (String::new(), String::new());
        for visitors_turn in [visitor_first, !visitor_first] {
            if visitors_turn {
                visitor.write_all(b"question").await.unwrap();
                visitor.shutdown().await.unwrap();
                origin.read_to_string(&mut question).await.unwrap();
            } else {
                origin.write_all(b"answer").await.unwrap();
                origin.shutdown().await.unwrap();
                // An end without `close_notify` would be an error.
                visitor.read_to_string(&mut answer).await.unwrap();
            }
        }
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        let send = visitor.into_inner().0.into_inner().1;
        assert_eq!(send.stopped().await.unwrap(), None, "the relay was heard out");
    }
}

#[tokio::test]
async fn the_end_of_tls_is_an_end_though_the_stream_goes_on() {
    let bed = bed().await;
    let (mut visitor, mut origin) = bed.visited().await;
    visitor.write_all(b"question").await.unwrap();
    visitor.get_mut().1.send_close_notify();
    visitor.flush().await.unwrap();
    visitor.get_mut().0.writer_mut().write_all(b"what is no TLS").await.unwrap();
    let mut question = String::new();
    origin.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    drop(origin);
    assert_eq!(visitor.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    // Both have ended, and the relay is not cut off while it may still be passing on what it was told.
    bed.visited().await;
    let mut send = visitor.into_inner().0.into_inner().1;
    assert!(send.stopped().now_or_never().is_none());
    send.finish().unwrap();
    assert_eq!(send.stopped().await.unwrap(), None);
}

#[tokio::test]
async fn a_visitor_who_comes_again_is_known_where_the_name_still_leads_to_the_service() {
    let bed = bed().await;
    for version in [&TLS13, &TLS12] {
        let client = bed.client_of(version, &[b"http/1.1"]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut visitor = bed.visit("web", "web.example", client.clone()).await.unwrap();
            assert_eq!(visitor.get_ref().1.handshake_kind(), Some(kind));
            drop(bed.listener.accept().await.unwrap());
            visitor.read_to_end(&mut Vec::new()).await.unwrap();
        }
        let error = bed.visit("grpc", "web.example", client).await.unwrap_err();
        assert_eq!(alert(&error), AlertDescription::UnrecognisedName);
    }
}

/// Whether the connection was reset, and not ended.
async fn is_reset(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    error.kind() == io::ErrorKind::ConnectionReset
}

#[tokio::test]
async fn what_is_cut_off_on_the_way_is_a_reset_at_the_origin() {
    let bed = bed().await;
    let cuts: [fn(&mut SendStream); 2] =
        [|send| send.finish().unwrap(), |send| send.reset(0u32.into()).unwrap()];
    for cut in cuts {
        let (mut visitor, mut origin) = bed.visited().await;
        visitor.write_all(b"half").await.unwrap();
        visitor.flush().await.unwrap();
        let mut half = [0; 4];
        origin.read_exact(&mut half).await.unwrap();
        cut(visitor.get_mut().0.writer_mut());
        assert!(is_reset(&mut origin).await && is_reset(&mut visitor).await);
    }
}

#[tokio::test]
async fn what_was_changed_on_the_way_is_a_reset_at_the_origin() {
    let bed = bed().await;
    let (mut visitor, mut origin) = bed.visited().await;
    let record = [&[23, 3, 3, 0, 32][..], &[7; 32]].concat();
    visitor.get_mut().0.writer_mut().write_all(&record).await.unwrap();
    assert!(is_reset(&mut origin).await && is_reset(&mut visitor).await);
}

#[tokio::test]
async fn an_origin_that_breaks_off_is_a_reset_at_the_visitor() {
    let bed = bed().await;
    let (mut visitor, mut origin) = bed.visited().await;
    origin.write_all(b"half").await.unwrap();
    let mut half = [0; 4];
    visitor.read_exact(&mut half).await.unwrap();
    socket2::SockRef::from(&origin).set_linger(Some(Duration::ZERO)).unwrap();
    drop(origin);
    assert!(is_reset(&mut visitor).await);
}

#[tokio::test]
async fn a_session_that_ends_resets_the_origin() {
    let bed = bed().await;
    let (_visitor, mut origin) = bed.visited().await;
    bed.agent.connection.close(0u32.into(), b"");
    assert!(is_reset(&mut origin).await);
}

#[tokio::test]
async fn a_challenge_is_answered_and_never_reaches_the_origin() {
    let bed = bed().await;
    for (service, name) in [("web", "web.example"), ("mail", "mail.example")] {
        let mut visitor = bed.visit(service, name, bed.client(&[ACME_TLS])).await.unwrap();
        assert_eq!(visitor.get_ref().1.alpn_protocol(), Some(ACME_TLS));
        visitor.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(visitor.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        visitor.shutdown().await.unwrap();
    }
    // Beside anything else it is nothing.
    let alpn = [ACME_TLS, b"http/1.1".as_slice()];
    let visitor = bed.visit("web", "web.example", bed.client(&alpn)).await.unwrap();
    assert_eq!(visitor.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    bed.listener.accept().await.unwrap();
    assert!(bed.nobody_came());
}

#[tokio::test]
async fn only_a_name_that_leads_to_the_service_and_has_a_certificate_is_answered() {
    let bed = bed().await;
    let cases =
        [("web", "other.example"), ("web", "mail.example"), ("web", "bare.example"), ("web", "127.0.0.1")];
    for (service, name) in cases {
        let error = bed.visit(service, name, bed.client(&[])).await.unwrap_err();
        assert_eq!(alert(&error), AlertDescription::UnrecognisedName, "{name}");
    }
    assert!(bed.nobody_came());
}

#[tokio::test]
async fn what_is_spoken_is_what_the_service_speaks() {
    let bed = bed().await;
    let both: Alpn = &[b"h2", b"http/1.1"];
    let cases: [(&str, &str, Alpn, Option<&[u8]>); 5] = [
        ("web", "web.example", both, Some(b"http/1.1")),
        ("grpc", "grpc.example", both, Some(b"h2")),
        ("mail", "mail.example", both, None),
        ("mail", "mail.example", &[b"imap"], None),
        ("web", "web.example", &[], None),
    ];
    for (service, name, offered, spoken) in cases {
        let visitor = bed.visit(service, name, bed.client(offered)).await.unwrap();
        assert_eq!(visitor.get_ref().1.alpn_protocol(), spoken, "{name}");
        bed.listener.accept().await.unwrap();
    }
    let error = bed.visit("web", "web.example", bed.client(&[b"imap"])).await.unwrap_err();
    assert_eq!(alert(&error), AlertDescription::NoApplicationProtocol);
}

#[tokio::test]
async fn who_stops_halfway_through_the_handshake_is_not_waited_for() {
    let (mut terminator, certificate) = terminator();
    terminator.deadline = Duration::from_millis(50);
    let bed = bed_with(terminator, certificate).await;
    let (mut send, mut recv) = bed.agent.open("web", Some(TlsEnd::Agent)).await;
    send.write_all(&[22, 3, 1, 1, 0, 1]).await.unwrap();
    assert!(is_reset(&mut recv).await && bed.nobody_came());
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 251 + at) as u8).collect()
}

#[tokio::test]
async fn much_goes_both_ways_at_once_and_arrives_whole() {
    const MUCH: usize = 3_000_001;
    let bed = bed().await;
    let (visitor, origin) = bed.visited().await;
    let (mut from_agent, mut to_agent) = tokio::io::split(visitor);
    let (mut from_visitor, mut to_visitor) = origin.into_split();
    let upload = async {
        to_agent.write_all(&pattern(MUCH)).await.unwrap();
        to_agent.shutdown().await.unwrap();
    };
    let download = async {
        to_visitor.write_all(&pattern(MUCH)).await.unwrap();
        to_visitor.shutdown().await.unwrap();
    };
    let (mut uploaded, mut downloaded) = (Vec::new(), Vec::new());
    let uploads = from_visitor.read_to_end(&mut uploaded);
    let downloads = from_agent.read_to_end(&mut downloaded);
    let ((), (), read, answered) = tokio::join!(upload, download, uploads, downloads);
    assert_eq!((read.unwrap(), answered.unwrap()), (MUCH, MUCH));
    assert!(uploaded == pattern(MUCH) && downloaded == pattern(MUCH));
}
