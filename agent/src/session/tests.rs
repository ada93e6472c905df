//! Sessions with a relay that is there for the test alone.

use protocol::close::StreamReset;
use protocol::control::{HostnameState, Register, Registered};
use protocol::id::RequestId;
use protocol::stream::StreamHeader;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::*;
use crate::config::{OriginTrust, of_command_line};
use crate::offer::Offer;
use crate::testing::{FakeRelay, behind, key, no_certificates};

fn credentials(relay: &FakeRelay) -> Credentials {
    Credentials {
        secret: key(1),
        relay: relay.address().to_string().parse().unwrap(),
        relay_key: relay.secret.public(),
        instance: "run".into(),
    }
}

fn offer(target: &str) -> Offer {
    let routes = vec![("/*".parse().unwrap(), target.parse().unwrap())];
    let hostname = "koda.example.com".parse().unwrap();
    Offer::new(of_command_line(hostname, routes, &OriginTrust::Platform)).unwrap()
}

fn header(service: &str) -> Vec<u8> {
    header_of(service, false)
}

fn header_of(service: &str, alone: bool) -> Vec<u8> {
    let service = service.parse().unwrap();
    let visitor = "192.0.2.1:1".parse().unwrap();
    StreamHeader { service, visitor, request: RequestId::from_bytes([1; 16]), alone, sealed: None }.encode()
}

/// Waits for a condition that is about to come true.
async fn eventually(mut condition: impl FnMut() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), met).await.expect("the condition comes true");
}

#[tokio::test]
async fn a_session_registers_serves_follows_changes_and_withdraws() {
    let relay = FakeRelay::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    let (change, offers) = watch::channel(Arc::new(offer(&target)));
    let (board, stop) = (Board::default(), CancellationToken::new());
    let agent = async {
        let session = Session::establish(&credentials(&relay)).await.unwrap();
        session.run(&behind(offers.clone(), no_certificates()), &board, &stop).await
    };
    let test = async {
        let (hello, mut control) = relay.admit().await;
        assert_eq!(hello.instance, "run");
        let register: Register = control.hear().await;
        assert_eq!(register.revision, 1);
        let hostname = register.expose[0].hostname.clone();
        let state = HostnameState { hostname, refused: Some("no\u{1b}".into()) };
        control.tell(&Registered { revision: 1, hostnames: vec![state] }).await;
        eventually(|| board.read().hostnames.len() == 1).await;
        assert_eq!(board.read().hostnames[0].refused.as_deref(), Some("no?"));

        let (mut send, mut recv) = control.connection.open_bi().await.unwrap();
        send.write_all(&header("target-0")).await.unwrap();
        send.write_all(b"hello").await.unwrap();
        let (mut origin, _) = listener.accept().await.unwrap();
        let mut hello = [0; 5];
        origin.read_exact(&mut hello).await.unwrap();
        origin.write_all(b"world").await.unwrap();
        origin.shutdown().await.unwrap();
        send.finish().unwrap();
        assert_eq!(recv.read_to_end(100).await.unwrap(), b"world");

        let current = Arc::clone(&offers.borrow());
        let config = of_command_line("b.example".parse().unwrap(), Vec::new(), &OriginTrust::Platform);
        change.send_replace(Arc::new(current.replaced_by(config).unwrap()));
        let register: Register = control.hear().await;
        assert_eq!((register.revision, register.services.len()), (2, 0));
        let (mut send, mut recv) = control.connection.open_bi().await.unwrap();
        send.write_all(&header("target-0")).await.unwrap();
        let unknown = quinn::ReadError::Reset(StreamReset::UnknownService.number().into());
        assert_eq!(recv.read_to_end(100).await.unwrap_err(), quinn::ReadToEndError::Read(unknown));

        stop.cancel();
        let register: Register = control.hear().await;
        assert_eq!((register.revision, register.expose.len()), (3, 0));
        control.connection.closed().await
    };
    let (ended, closed) = tokio::join!(agent, test);
    assert!(ended.is_none());
    let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed:?}") };
    assert_eq!(SessionClose::from_number(close.error_code.into()), Some(SessionClose::Done));
}

/// An older relay does not know that a stream can be for one visitor alone, and would send others over it.
#[tokio::test]
async fn an_origin_that_is_told_visitors_gets_no_stream_that_others_may_share() {
    let (relay, folder) = (FakeRelay::start(), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let file = folder.path().join("agent.toml");
    let text = format!(
        "[service.web]\norigin = \"http://{address}\"\nproxy_protocol = \"v1\"\n\
         [[expose]]\nhostname = \"a.example\"\nroutes = [{{ path = \"/*\", service = \"web\" }}]\n"
    );
    std::fs::write(&file, text).unwrap();
    let offer = Offer::new(crate::config::load(&file).unwrap()).unwrap();
    let (_change, offers) = watch::channel(Arc::new(offer));
    let (board, stop) = (Board::default(), CancellationToken::new());
    let agent = async {
        let session = Session::establish(&credentials(&relay)).await.unwrap();
        session.run(&behind(offers.clone(), no_certificates()), &board, &stop).await
    };
    let test = async {
        let (_, mut control) = relay.admit().await;
        assert!(control.hear::<Register>().await.services[0].per_visitor);
        let (mut send, mut recv) = control.connection.open_bi().await.unwrap();
        send.write_all(&header_of("web", false)).await.unwrap();
        let unknown = quinn::ReadError::Reset(StreamReset::UnknownService.number().into());
        assert_eq!(recv.read_to_end(100).await.unwrap_err(), quinn::ReadToEndError::Read(unknown));

        let (mut send, mut recv) = control.connection.open_bi().await.unwrap();
        send.write_all(&[header_of("web", true), b"hello".to_vec()].concat()).await.unwrap();
        send.finish().unwrap();
        let (mut origin, _) = listener.accept().await.unwrap();
        let mut heard = String::new();
        origin.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, format!("PROXY TCP4 192.0.2.1 127.0.0.1 1 {}\r\nhello", address.port()));
        drop(origin);
        let _over = recv.read_to_end(100).await;
        stop.cancel();
        control.connection.closed().await
    };
    // A stream that is let through is waited for in vain.
    let both = tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(agent, test) });
    assert!(both.await.expect("both come to their end").0.is_none());
}

#[tokio::test]
async fn why_the_relay_closed_is_known() {
    for close in [SessionClose::NotEnrolled, SessionClose::Superseded] {
        let relay = FakeRelay::start();
        let refuse = async {
            let connection = relay.accept().await;
            let _ = connection.accept_bi().await;
            connection.close(close.number().into(), b"");
            connection
        };
        let credentials = credentials(&relay);
        let (established, _) = tokio::join!(Session::establish(&credentials), refuse);
        assert_eq!(established.unwrap_err().ending(), Ending::Closed(close));
    }
}

#[tokio::test]
async fn another_key_than_the_enrolled_one_is_no_relay() {
    let relay = FakeRelay::start();
    let credentials = Credentials { relay_key: key(3).public(), ..credentials(&relay) };
    let mut answering = tokio::task::JoinSet::new();
    answering.spawn(async move {
        let connection = relay.accept().await;
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let first = framed::read(&mut recv, limits::HANDSHAKE_BODY).await.unwrap();
        framed::write(&mut send, &protocol::frame::Frame { number: 2, body: first.body }).await.unwrap();
        connection.closed().await
    });
    let error = Session::establish(&credentials).await.unwrap_err();
    assert!(matches!(error, SessionError::Handshake(_)), "{error:?}");
}
