//! Origins of every kind, and how each failure is told.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{OriginTrust, of_command_line};
use crate::testing::certificate;

fn origin(target: &str, trust: OriginTrust) -> Arc<Origin> {
    let routes = vec![("/*".parse().unwrap(), target.parse().unwrap())];
    let config = of_command_line("a.example".parse().unwrap(), routes, &trust);
    let service = config.services().keys().next().unwrap().clone();
    Origins::prepare(&config).unwrap().find(&service).unwrap()
}

fn visitor() -> SocketAddr {
    "192.0.2.7:50000".parse().unwrap()
}

async fn fails(target: &str) -> StreamReset {
    origin(target, OriginTrust::DangerousAnyCertificate).connect(Some(visitor())).await.unwrap_err().reset()
}

#[tokio::test]
async fn nobody_there() {
    let port = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    };
    assert_eq!(fails(&format!("http://127.0.0.1:{port}")).await, StreamReset::OriginRefused);
    assert_eq!(fails(&format!("h2c://localhost:{port}")).await, StreamReset::OriginRefused);
    assert_eq!(fails("http://name.invalid").await, StreamReset::OriginUnresolved);
    #[cfg(unix)]
    assert_eq!(fails("unix:/nonexistent/app.sock").await, StreamReset::OriginRefused);
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let connected =
        origin(&format!("unix:{}", path.display()), OriginTrust::Platform).connect(Some(visitor())).await;
    assert!(matches!(connected, Ok(OriginStream::Unix(_))));
    listener.accept().await.unwrap();
}

/// Says one word over TLS to whoever trusts it.
async fn speak(listener: TcpListener, acceptor: TlsAcceptor) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        if let Ok(mut tls) = acceptor.accept(tcp).await {
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
            tls.write_all(b"word").await.unwrap();
            tls.shutdown().await.unwrap();
        }
    }
}

#[tokio::test]
async fn tls_by_what_is_trusted() {
    let (der, private) = certificate();
    let mut config = rustls::ServerConfig::builder_with_provider(crate::certificate::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], private)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(speak(listener, TlsAcceptor::from(Arc::new(config))));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(der).unwrap();
    let target = format!("https://localhost:{port}");
    for trust in [OriginTrust::Roots(Arc::new(roots.clone())), OriginTrust::DangerousAnyCertificate] {
        let Ok(OriginStream::Tls(mut tls)) = origin(&target, trust).connect(Some(visitor())).await else {
            panic!("no TLS");
        };
        let mut word = String::new();
        tls.read_to_string(&mut word).await.unwrap();
        assert_eq!(word, "word");
    }
    let other = certificate().0;
    let mut wrong = rustls::RootCertStore::empty();
    wrong.add(other).unwrap();
    let untrusted =
        origin(&target, OriginTrust::Roots(Arc::new(wrong))).connect(Some(visitor())).await.unwrap_err();
    assert_eq!(untrusted.reset(), StreamReset::OriginTls);
    // The name counts too.
    let by_address = origin(&format!("https://127.0.0.1:{port}"), OriginTrust::Roots(Arc::new(roots)));
    assert_eq!(by_address.connect(Some(visitor())).await.unwrap_err().reset(), StreamReset::OriginTls);
}

fn introducing(target: &str, version: ProxyProtocol) -> Origin {
    let plain = origin(target, OriginTrust::DangerousAnyCertificate);
    let (target, tls, reach) = (plain.target.clone(), plain.tls.clone(), plain.reach.clone());
    Origin { target, tls, proxy_protocol: Some(version), reach }
}

async fn first_line(stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut tokio::io::BufReader::new(stream), &mut line).await.unwrap();
    line
}

#[tokio::test]
async fn the_visitor_comes_first_also_before_tls() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for scheme in ["http", "h2c", "https"] {
        let origin = introducing(&format!("{scheme}://127.0.0.1:{port}"), ProxyProtocol::V1);
        let hear = async {
            let (tcp, _) = listener.accept().await.unwrap();
            first_line(tcp).await
        };
        // No TLS comes of it: the other end hangs up.
        let (line, connected) = tokio::join!(hear, origin.connect(Some(visitor())));
        assert_eq!(line, format!("PROXY TCP4 192.0.2.7 127.0.0.1 50000 {port}\r\n"), "{scheme}");
        assert_eq!(connected.is_ok(), scheme != "https");
    }
}

#[tokio::test]
async fn a_visitor_who_brings_tls_along_finds_the_bare_connection_behind_the_header() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for scheme in ["https", "tcp"] {
        let origin = introducing(&format!("{scheme}://127.0.0.1:{port}"), ProxyProtocol::V1);
        let mut bare = origin.connect_bare(Some(visitor())).await.unwrap();
        let OriginStream::Tcp(tcp) = &mut bare else { panic!("TLS of our own") };
        tcp.write_all(b"\x16\x03\x01").await.unwrap();
        bare.settle();
        drop(bare);
        let mut heard = Vec::new();
        listener.accept().await.unwrap().0.read_to_end(&mut heard).await.unwrap();
        let header = format!("PROXY TCP4 192.0.2.7 127.0.0.1 50000 {port}\r\n");
        assert_eq!(heard, [header.as_bytes(), b"\x16\x03\x01"].concat(), "{scheme}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_told_the_visitor_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let origin = introducing(&format!("unix:{}", path.display()), ProxyProtocol::V1);
    let _connected = origin.connect(Some(visitor())).await.unwrap();
    let line = first_line(listener.accept().await.unwrap().0).await;
    assert_eq!(line, "PROXY TCP4 192.0.2.7 0.0.0.0 50000 0\r\n");
}

#[test]
fn what_is_not_configured_is_not_there() {
    assert!(Origins::default().find(&"admin".parse().unwrap()).is_none());
}
