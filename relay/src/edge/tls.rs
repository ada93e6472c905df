//! TLS for visitors on TCP and for sessions on UDP.

use std::sync::Arc;
use std::time::Duration;

use protocol::hostname::Hostname;
use protocol::version;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::cert::Certificates;

/// One deadline over a whole handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What a visitor's TLS says of the visit.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) sni: Hostname,
    pub(crate) http2: bool,
}

/// Why a handshake ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFailure {
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
    #[error("the TLS handshake took over {} s", HANDSHAKE.as_secs())]
    Deadline,
    #[error("the visitor named no host")]
    NoName,
}

/// For visitors: TLS 1.2 and 1.3, no early data, tickets that a session of another hostname cannot use.
pub(crate) fn visitors(certificates: Arc<Certificates>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For sessions: TLS 1.3 alone. Agents believe the relay's Noise key and not the certificate, so there always is one.
pub(crate) fn sessions(
    certificates: Arc<Certificates>,
    fallback: Arc<CertifiedKey>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let resolver = SessionCertificate { certificates, fallback };
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![version::ALPN.to_vec()];
    Ok(config)
}

/// The public certificate where there is one, so that an agent without a pin can check it when it enrolls.
#[derive(Debug)]
struct SessionCertificate {
    certificates: Arc<Certificates>,
    fallback: Arc<CertifiedKey>,
}

impl ResolvesServerCert for SessionCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| name.parse().ok());
        let public = named.and_then(|name: Hostname| self.certificates.find(&name));
        Some(public.unwrap_or_else(|| Arc::clone(&self.fallback)))
    }
}

/// Finishes one visitor's handshake.
pub(crate) async fn accept(acceptor: &TlsAcceptor, stream: TcpStream) -> Result<Visit, HandshakeFailure> {
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
    let stream = handshake.map_err(|_| HandshakeFailure::Deadline)?.map_err(HandshakeFailure::Tls)?;
    let (_, tls) = stream.get_ref();
    let sni = tls.server_name().and_then(|name| name.parse().ok()).ok_or(HandshakeFailure::NoName)?;
    let http2 = tls.alpn_protocol() == Some(b"h2");
    Ok(Visit { stream, sni, http2 })
}
