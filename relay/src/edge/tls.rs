//! TLS: for visitors on TCP, up to their first byte of HTTP, and for everybody on UDP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acme::challenge::{ACME_TLS, Challenges};
use protocol::hostname::Hostname;
use protocol::version;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::cert::Certificates;
use super::hello::{self, Hello};
use super::proxy::{self, ProxyError};
use super::tls_config;
use super::visitor_certificates::{Policy, VisitorCertificates, VisitorProof};

/// One deadline over everything that comes before HTTP.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Descriptions of fatal alerts (RFC 8446, section 6; RFC 6066, section 3; RFC 7301, section 3.2).
const UNRECOGNIZED_NAME: u8 = 112;
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// How long, and for how many bytes, a visitor is heard out that was refused.
const FAREWELL: Duration = Duration::from_secs(1);
const LAST_WORDS: u64 = 64 * 1024;
/// HTTP/3, as it is announced and negotiated.
pub(crate) const H3: &[u8] = b"h3";

/// What a visitor's TLS says of the visit.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) sni: Hostname,
    pub(crate) http2: bool,
    /// None where the hostname asks for no certificate.
    pub(crate) proof: Option<VisitorProof>,
    /// Who the visitor is by the word of the proxy in front.
    pub(crate) proxied: Option<SocketAddr>,
}

/// A connection for a sealed hostname: not a byte of it was answered.
#[derive(Debug)]
pub(crate) struct SealedVisit {
    pub(crate) stream: TcpStream,
    /// What the visitor has said so far, the ClientHello first.
    pub(crate) said: Vec<u8>,
    pub(crate) sni: Hostname,
    /// Who the visitor is by the word of the proxy in front.
    pub(crate) proxied: Option<SocketAddr>,
}

/// Who has come.
#[derive(Debug)]
pub(crate) enum Greeted {
    Visitor(Box<Visit>),
    Sealed(SealedVisit),
    /// A CA, which has been shown the answer to its challenge.
    Ca,
}

/// Why a handshake ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFailure {
    #[error("the proxy in front did not say who the visitor is")]
    Proxy(#[source] ProxyError),
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("there was no TLS within {} s", HANDSHAKE.as_secs())]
    Deadline,
    #[error("the visitor named no host that there is a certificate for")]
    NoName,
    #[error("a CA asked for a challenge that no open order has")]
    NoChallenge,
    #[error(
        "the hostname is sealed, and a `[[visitor_certificate]]` asks for what only the relay could check"
    )]
    SealedAndRuled,
    #[error("the certificate that the visitor showed earlier no longer counts")]
    Proof(#[source] rustls::Error),
}

/// TLS for visitors on TCP.
#[derive(Debug, Clone)]
pub(crate) struct VisitorTls {
    common: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    visitor_certificates: Arc<VisitorCertificates>,
    challenges: Arc<Challenges>,
}

impl VisitorTls {
    pub(crate) fn new(
        certificates: Arc<Certificates>,
        visitor_certificates: Arc<VisitorCertificates>,
        challenges: Arc<Challenges>,
    ) -> Result<Self, rustls::Error> {
        let common = tls_config::for_visitors(Arc::clone(&certificates), None)?;
        Ok(Self { common, certificates, visitor_certificates, challenges })
    }

    /// Finishes one visitor's handshake, with the PROXY header before it where `from_proxy`.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        from_proxy: bool,
    ) -> Result<Greeted, HandshakeFailure> {
        let greeting = self.greet(stream, from_proxy);
        tokio::time::timeout(HANDSHAKE, greeting).await.map_err(|_| HandshakeFailure::Deadline)?
    }

    async fn greet(&self, mut stream: TcpStream, from_proxy: bool) -> Result<Greeted, HandshakeFailure> {
        let proxied = match from_proxy {
            true => proxy::visitor(&mut stream).await.map_err(HandshakeFailure::Proxy)?,
            false => None,
        };
        let Hello { accepted, bytes } = hello::read(&mut stream).await.map_err(HandshakeFailure::Tls)?;
        let (sni, is_ca) = (hostname(&accepted.client_hello()), offers(&accepted.client_hello(), ACME_TLS));
        let Some(sni) = sni else { return Err(refuse_name(stream).await) };
        if self.certificates.is_sealed(&sni) {
            // Who asks visitors for a certificate does not want it left to somebody else.
            if self.visitor_certificates.policy(&sni).is_some() {
                refuse(stream, UNRECOGNIZED_NAME).await;
                return Err(HandshakeFailure::SealedAndRuled);
            }
            return Ok(Greeted::Sealed(SealedVisit { stream, said: bytes, sni, proxied }));
        }
        let start = StartHandshake::from_parts(accepted, stream);
        if is_ca {
            return self.answer_challenge(start, &sni).await;
        }
        if self.certificates.find_or_wait(&sni).await.is_none() {
            return Err(refuse_name(start.io).await);
        }
        self.finish(start, sni, proxied).await.map(|visit| Greeted::Visitor(Box::new(visit)))
    }

    async fn finish(
        &self,
        start: StartHandshake<TcpStream>,
        sni: Hostname,
        proxied: Option<SocketAddr>,
    ) -> Result<Visit, HandshakeFailure> {
        let policy = self.visitor_certificates.policy(&sni);
        let config = policy.as_ref().map_or(&self.common, |policy| &policy.tls);
        let stream = handshake(start, Arc::clone(config)).await?;
        let (_, tls) = stream.get_ref();
        let http2 = tls.alpn_protocol() == Some(b"h2");
        let proof = policy.map(|policy| proof(tls, policy)).transpose()?;
        Ok(Visit { stream, sni, http2, proof, proxied })
    }

    /// Shows a CA the certificate that it looks for, where an order of ours is open, and hangs up (RFC 8737, section 3).
    async fn answer_challenge(
        &self,
        start: StartHandshake<TcpStream>,
        hostname: &Hostname,
    ) -> Result<Greeted, HandshakeFailure> {
        let Some(answer) = self.challenges.tls(hostname) else {
            refuse(start.io, NO_APPLICATION_PROTOCOL).await;
            return Err(HandshakeFailure::NoChallenge);
        };
        let config = for_challenge(answer).map_err(|error| HandshakeFailure::Tls(io::Error::other(error)))?;
        let mut stream = handshake(start, Arc::new(config)).await?;
        let _ca_gone = stream.shutdown().await;
        tracing::info!(%hostname, "a CA was shown the answer to its challenge");
        Ok(Greeted::Ca)
    }
}

async fn handshake(
    start: StartHandshake<TcpStream>,
    config: Arc<ServerConfig>,
) -> Result<TlsStream<TcpStream>, HandshakeFailure> {
    match start.into_stream(config).into_fallible().await {
        Ok(stream) => Ok(stream),
        Err((error, stream)) => {
            let _visitor_gone = tokio::time::timeout(FAREWELL, linger(stream)).await;
            Err(HandshakeFailure::Tls(error))
        }
    }
}

fn for_challenge(answer: Arc<CertifiedKey>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let resolver = Arc::new(SingleCertAndKey::from(answer));
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(config)
}

fn offers(hello: &ClientHello<'_>, protocol: &[u8]) -> bool {
    hello.alpn().is_some_and(|mut all| all.any(|one| one == protocol))
}

/// rustls would say access_denied, and browsers take that for a complaint about a certificate of the visitor's.
async fn refuse_name(stream: TcpStream) -> HandshakeFailure {
    refuse(stream, UNRECOGNIZED_NAME).await;
    HandshakeFailure::NoName
}

/// A record with one fatal alert.
pub(crate) async fn refuse(mut stream: TcpStream, description: u8) {
    let _visitor_gone = stream.write_all(&[21, 3, 3, 0, 2, 2, description]).await;
    let _visitor_gone = stream.shutdown().await;
}

/// With TLS 1.3 a visitor sends its request right behind its certificate. Where that is refused and the request stays
/// unread, the kernel's reset can overtake the alert, and the visitor never hears what was wrong.
async fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(LAST_WORDS), &mut tokio::io::sink()).await?;
    Ok(())
}

fn hostname(hello: &ClientHello<'_>) -> Option<Hostname> {
    hello.server_name()?.parse().ok()
}

/// rustls has verified what was shown in this handshake. A resumed session brings along what was shown in an earlier one,
/// and with new tickets could bring it for ever.
fn proof(tls: &ServerConnection, policy: Arc<Policy>) -> Result<VisitorProof, HandshakeFailure> {
    let chain = tls.peer_certificates().unwrap_or_default();
    if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
        policy.holds_for(chain).map_err(HandshakeFailure::Proof)?;
    }
    let proof = chain.first().and_then(|leaf| VisitorProof::new(policy, leaf));
    proof.ok_or(HandshakeFailure::Proof(rustls::Error::NoCertificatesPresented))
}

/// For the one UDP endpoint: sessions, and with `http3` visitors too. TLS 1.3 alone, no early data.
pub(crate) fn udp(
    certificates: Arc<Certificates>,
    fallback: Arc<CertifiedKey>,
    visitor_certificates: Arc<VisitorCertificates>,
    http3: bool,
) -> Result<ServerConfig, rustls::Error> {
    configured(UdpCertificate { certificates, fallback, visitor_certificates, http3 })
}

fn configured(resolver: UdpCertificate) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let http3 = resolver.http3;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    // In the resolver's order: rustls takes the first of these that is offered.
    config.alpn_protocols = vec![version::ALPN.to_vec()];
    if http3 {
        config.alpn_protocols.push(H3.to_vec());
    }
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

/// Who is shown which certificate on UDP.
#[derive(Debug)]
struct UdpCertificate {
    certificates: Arc<Certificates>,
    fallback: Arc<CertifiedKey>,
    visitor_certificates: Arc<VisitorCertificates>,
    http3: bool,
}

impl UdpCertificate {
    /// The public certificate where there is one, so that an agent without a pin can check it when it enrolls. Agents
    /// believe the relay's Noise key and not the certificate, so there always is one.
    fn for_session(&self, hostname: Option<Hostname>) -> Arc<CertifiedKey> {
        let public = hostname.and_then(|hostname| self.certificates.find(&hostname));
        public.unwrap_or_else(|| Arc::clone(&self.fallback))
    }

    /// As on TCP. Here nobody can be asked for a certificate, so those who have to show one are not let in at all.
    fn for_visitor(&self, hostname: Option<Hostname>) -> Option<Arc<CertifiedKey>> {
        let open = hostname.filter(|hostname| self.visitor_certificates.policy(hostname).is_none());
        self.certificates.find(&open?)
    }
}

impl ResolvesServerCert for UdpCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let hostname = hostname(&hello);
        if offers(&hello, version::ALPN) {
            Some(self.for_session(hostname))
        } else if self.http3 && offers(&hello, H3) {
            self.for_visitor(hostname)
        } else {
            // Nobody gets to see it: QUIC ends here with an alert that says why, no_application_protocol (RFC 9001,
            // section 8.1). With nothing to show it would be another.
            Some(Arc::clone(&self.fallback))
        }
    }
}

#[cfg(test)]
mod tests;
