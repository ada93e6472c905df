//! TLS of connections to the relay. Version 1.3 alone, with the post-quantum key exchange in front.

use std::sync::{Arc, Mutex, PoisonError};

use protocol::version;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use rustls_platform_verifier::Verifier;

use crate::certificate::{DangerousAnyCertificate, provider};

/// TLS for sessions. Accepts any certificate: an agent that has enrolled trusts the relay's key, which the Noise
/// handshake on this very connection proves. An expired certificate then never takes tunnels down.
///
/// # Errors
///
/// Where the cryptography library lacks TLS 1.3, which the manifest rules out.
pub fn dangerous_any_certificate() -> Result<ClientConfig, Error> {
    config(Arc::new(DangerousAnyCertificate::new()))
}

/// TLS for enrollment: the certificate is judged by the platform's roots, and the handshake goes on whatever the
/// verdict, because a token or a person may vouch for the relay instead.
///
/// # Errors
///
/// Where the cryptography library lacks TLS 1.3, which the manifest rules out.
pub fn recording() -> Result<(ClientConfig, Verdict), Error> {
    let verdict = Verdict::default();
    let platform = Verifier::new(provider());
    let verifier =
        Recording { platform, signatures: DangerousAnyCertificate::new(), verdict: verdict.clone() };
    Ok((config(Arc::new(verifier))?, verdict))
}

/// TLS to another agent, which proves its key on the connection as the relay does.
///
/// # Errors
///
/// Where the cryptography library lacks TLS 1.3, which the manifest rules out.
pub fn to_another_agent() -> Result<ClientConfig, Error> {
    let mut config = config(Arc::new(DangerousAnyCertificate::new()))?;
    config.alpn_protocols = vec![version::ALPN_DIRECT.to_vec()];
    Ok(config)
}

/// TLS for another agent, with a certificate that means nothing.
///
/// # Errors
///
/// As there, or where no certificate can be made.
pub fn for_another_agent(certificate: Arc<CertifiedKey>) -> Result<ServerConfig, Error> {
    let resolver = Arc::new(SingleCertAndKey::from(certificate));
    let mut config = ServerConfig::builder_with_provider(Arc::new(tunnel_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![version::ALPN_DIRECT.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn config(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(tunnel_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![version::ALPN.to_vec()];
    // A resumed handshake shows no certificate to judge, and sessions last too long to gain from it.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The shorter AES first: on bulk transfers it is a tenth of all work, and no weaker against anybody known.
fn tunnel_provider() -> CryptoProvider {
    let mut provider = CryptoProvider::clone(&provider());
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// What the platform said of the relay's certificate.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<Mutex<Option<Result<(), Error>>>>);

impl Verdict {
    fn record(&self, verdict: Result<(), Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }

    /// The verdict; an error where no certificate was shown at all.
    ///
    /// # Errors
    ///
    /// Why the certificate is not to be trusted.
    pub fn certificate(&self) -> Result<(), Error> {
        let verdict = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        verdict.unwrap_or(Err(Error::NoCertificatesPresented))
    }
}

#[derive(Debug)]
struct Recording {
    /// An error where the system has no roots at all, as in small containers.
    platform: Result<Verifier, Error>,
    /// Verifies signatures, whatever becomes of the certificate.
    signatures: DangerousAnyCertificate,
    verdict: Verdict,
}

impl ServerCertVerifier for Recording {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = match &self.platform {
            Ok(platform) => platform.verify_server_cert(end_entity, intermediates, name, ocsp, now),
            Err(error) => Err(error.clone()),
        };
        self.verdict.record(verdict.map(|_| ()));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}
