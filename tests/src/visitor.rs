//! A visitor: TLS to the relay under a hostname, then HTTP by hyper, or bytes by hand.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bed::Relay;

/// Whatever a test sends.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// A response with its body read to the end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The relay's error code; empty where the origin answered.
    #[must_use]
    pub fn error(&self) -> &str {
        self.headers.get("adit-error").and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Where to go, and whom to believe.
#[derive(Debug, Clone)]
pub struct Visitor {
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    /// Of its own, where it is chosen.
    local: Option<IpAddr>,
}

impl Visitor {
    /// Believes the relay's internal CA.
    #[must_use]
    pub fn of(relay: &Relay) -> Self {
        Self::new(relay.https, &relay.ca_file())
    }

    /// Believes the certificates in a file.
    #[must_use]
    pub fn new(address: SocketAddr, roots: &Path) -> Self {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(roots).expect("the root can be read") {
            store.add(root.expect("PEM")).expect("a root");
        }
        Self { address, roots: Arc::new(store), local: None }
    }

    /// The same from an address of its own: every one of 127.0.0.0/8 is this machine's.
    #[must_use]
    pub fn coming_from(mut self, local: [u8; 4]) -> Self {
        self.local = Some(local.into());
        self
    }

    /// A TLS connection under a hostname, offering these protocols.
    ///
    /// # Errors
    ///
    /// Where TCP or TLS fails.
    pub async fn connect(&self, hostname: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder =
            builder.expect("the provider knows TLS").with_root_certificates(Arc::clone(&self.roots));
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(local) = self.local {
            socket.bind((local, 0).into())?;
        }
        let tcp = socket.connect(self.address).await?;
        let name = ServerName::try_from(hostname.to_owned()).expect("a hostname");
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    /// An HTTP/1.1 connection.
    pub async fn http1(&self, hostname: &str) -> http1::SendRequest<Body> {
        let stream = self.connect(hostname, &["http/1.1"]).await.expect("TLS");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        background(async move { drop(connection.with_upgrades().await) });
        sender
    }

    /// An HTTP/2 connection.
    pub async fn http2(&self, hostname: &str) -> http2::SendRequest<Body> {
        http2_over(self.connect(hostname, &["h2"]).await.expect("TLS")).await
    }

    /// One GET on a connection of its own.
    pub async fn get(&self, hostname: &str, path: &str) -> Answer {
        self.send(request("GET", hostname, path).body(empty()).expect("a request")).await
    }

    /// One request over HTTP/1.1 on a connection of its own; the hostname is that of its `Host`.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let host = request.headers()["host"].to_str().expect("text").to_owned();
        let hostname = host.split(':').next().unwrap_or_default();
        let mut sender = self.http1(hostname).await;
        read(sender.send_request(request).await.expect("a response")).await
    }

    /// Sends bytes as they are and reads until the relay closes, or until nothing comes for a while.
    pub async fn raw(&self, hostname: &str, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect(hostname, &["http/1.1"]).await.expect("TLS");
        stream.write_all(bytes).await.expect("bytes can be sent");
        let mut got = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(Ok(length @ 1..)) =
            tokio::time::timeout(Duration::from_millis(700), stream.read(&mut buffer)).await
        {
            got.extend_from_slice(&buffer[..length]);
        }
        got
    }
}

/// HTTP/2 on a connection that is open.
pub async fn http2_over(stream: TlsStream<TcpStream>) -> http2::SendRequest<Body> {
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    background(async move { drop(connection.await) });
    sender
}

/// A request line and a `Host`; the rest is the caller's.
pub fn request(method: &str, hostname: &str, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", hostname)
}

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body of known length.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// Reads a response to its end.
pub async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("the body comes to its end").to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// A task that ends with the test's runtime.
pub fn background(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::runtime::Handle::current().spawn(task));
}
