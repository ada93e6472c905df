//! A visitor's TLS in detail: which versions it speaks, what it shows, and what it remembers of earlier handshakes.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bed::Relay;

/// All that a visitor can choose in TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

/// What came of a handshake and one GET.
#[derive(Debug)]
pub struct Visit {
    pub version: ProtocolVersion,
    pub group: Option<NamedGroup>,
    pub resumed: bool,
    pub alpn: Option<String>,
    /// Everything that came back.
    pub response: String,
}

impl Tls {
    /// Believes the relay's internal CA, and speaks these versions. A ticket that it got under one name is offered
    /// under every other, as no honest visitor does.
    #[must_use]
    pub fn of(relay: &Relay, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::believing(relay, versions, &relay.ca_file())
    }

    /// The same, believing the certificates in a file and no others.
    #[must_use]
    pub fn believing(relay: &Relay, versions: &[&'static SupportedProtocolVersion], roots: &Path) -> Self {
        Self::with(relay, versions, roots, None)
    }

    /// The same with a certificate: `STEM.pem` and `STEM.key` of a folder.
    #[must_use]
    pub fn showing(
        relay: &Relay,
        versions: &[&'static SupportedProtocolVersion],
        (folder, stem): (&Path, &str),
    ) -> Self {
        Self::with(relay, versions, &relay.ca_file(), Some((folder, stem)))
    }

    fn with(
        relay: &Relay,
        versions: &[&'static SupportedProtocolVersion],
        believed: &Path,
        shown: Option<(&Path, &str)>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(believed).expect("the root") {
            roots.add(root.expect("PEM")).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.expect("versions").with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some((folder, stem)) => {
                let chain =
                    CertificateDer::pem_file_iter(folder.join(format!("{stem}.pem"))).expect("a chain");
                let chain = chain.collect::<Result<_, _>>().expect("PEM");
                let key = PrivateKeyDer::from_pem_file(folder.join(format!("{stem}.key"))).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("they belong together")
            }
        };
        config.resumption = Resumption::store(Arc::new(OneDrawer::default()));
        config.enable_early_data = true;
        Self { address: relay.https, config: Arc::new(config) }
    }

    /// The same, offering these protocols.
    #[must_use]
    pub fn offering(mut self, alpn: &[&str]) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols =
            alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// A connection.
    ///
    /// # Errors
    ///
    /// Where TCP or TLS fails.
    pub async fn connect(&self, hostname: &str) -> io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(self.address).await?, hostname).await
    }

    /// A connection over what was opened before.
    ///
    /// # Errors
    ///
    /// Where TLS fails.
    pub async fn over<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: IO,
        hostname: &str,
    ) -> io::Result<TlsStream<IO>> {
        TlsConnector::from(Arc::clone(&self.config)).connect(name(hostname), stream).await
    }

    /// A handshake, and one GET over HTTP/1.1.
    ///
    /// # Errors
    ///
    /// Where the relay refused, which with TLS 1.3 is heard of only by reading.
    pub async fn visit(&self, hostname: &str) -> io::Result<Visit> {
        self.get_over(TcpStream::connect(self.address).await?, hostname, hostname).await
    }

    /// The same with a `ClientHello` in records of one byte, each sent alone.
    ///
    /// # Errors
    ///
    /// As [`Self::visit`].
    pub async fn visit_in_shreds(&self, hostname: &str) -> io::Result<Visit> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        self.get_over(Shredded { stream, shreds: Vec::new(), sent: 0, begun: false }, hostname, hostname)
            .await
    }

    /// The same over what was opened before, for a host that may be another than in TLS.
    ///
    /// # Errors
    ///
    /// As [`Self::visit`].
    pub async fn get_over<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: IO,
        hostname: &str,
        host: &str,
    ) -> io::Result<Visit> {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        self.send_over(stream, hostname, &request).await
    }

    /// A handshake, and these bytes, after which the relay has to close.
    ///
    /// # Errors
    ///
    /// As [`Self::visit`].
    pub async fn send(&self, hostname: &str, request: &str) -> io::Result<Visit> {
        self.send_over(TcpStream::connect(self.address).await?, hostname, request).await
    }

    async fn send_over<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: IO,
        hostname: &str,
        request: &str,
    ) -> io::Result<Visit> {
        let mut stream = self.over(stream, hostname).await?;
        let _refused_by_then = stream.write_all(request.as_bytes()).await;
        let mut response = Vec::new();
        let read = stream.read_to_end(&mut response).await;
        if response.is_empty() {
            read?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (_, tls) = stream.get_ref();
        Ok(Visit {
            version: tls.protocol_version().expect("after the handshake"),
            group: tls.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name),
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            response: String::from_utf8_lossy(&response).into_owned(),
        })
    }

    /// The same for QUIC, offering a protocol.
    #[must_use]
    pub fn quic(self, alpn: &str) -> ClientConfig {
        Arc::unwrap_or_clone(self.offering(&[alpn]).config)
    }

    /// Whether the relay would take a request within the handshake, by the latest ticket.
    #[must_use]
    pub fn may_send_early(&self, hostname: &str) -> bool {
        let connection = rustls::ClientConnection::new(Arc::clone(&self.config), name(hostname));
        connection.expect("a connection").early_data().is_some()
    }
}

impl Visit {
    /// Of the response.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

fn name(hostname: &str) -> ServerName<'static> {
    ServerName::try_from(hostname.to_owned()).expect("a hostname")
}

/// Whether this is how a handshake ends that the other side refuses.
#[must_use]
pub fn is_alert(error: &io::Error) -> bool {
    alert(error).is_some()
}

/// Which alert it was.
#[must_use]
pub fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    }
}

/// Sessions of all hostnames in one place.
#[derive(Debug)]
struct OneDrawer {
    sessions: ClientSessionMemoryCache,
    label: ServerName<'static>,
}

impl Default for OneDrawer {
    fn default() -> Self {
        Self { sessions: ClientSessionMemoryCache::new(8), label: name("any.example.com") }
    }
}

impl ClientSessionStore for OneDrawer {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.sessions.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.sessions.kx_hint(server_name)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.sessions.set_tls12_session(self.label.clone(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.sessions.tls12_session(&self.label)
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.sessions.remove_tls12_session(&self.label);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.sessions.insert_tls13_ticket(self.label.clone(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.sessions.take_tls13_ticket(&self.label)
    }
}

/// Sends the first record in records of one byte, each in a segment of its own.
#[derive(Debug)]
struct Shredded {
    stream: TcpStream,
    shreds: Vec<u8>,
    sent: usize,
    begun: bool,
}

impl Shredded {
    fn poll_shreds(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(byte) = self.shreds.get(self.sent..=self.sent) {
            ready!(Pin::new(&mut self.stream).poll_write(cx, byte))?;
            self.sent += 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Shredded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_shreds(cx))?;
        if std::mem::replace(&mut self.begun, true) {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        let (head, hello) = bytes.split_at(5);
        assert_eq!(usize::from(u16::from_be_bytes([head[3], head[4]])), hello.len(), "a whole record");
        self.shreds = hello.iter().flat_map(|byte| [head[0], head[1], head[2], 0, 1, *byte]).collect();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_shreds(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Shredded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_shreds(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}
