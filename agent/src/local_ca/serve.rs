//! TLS for one name, with certificates that are renewed in time.

use std::sync::{Arc, Mutex, PoisonError};

use ca::leaf::Leaf;
use ca::root::Root;
use protocol::hostname::Hostname;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::LocalCaError;
use crate::certificate::provider;

/// Bytes are moved as they are to what speaks this alone.
const ALPN: &[u8] = b"http/1.1";

/// TLS 1.2 and 1.3, nobody is asked for a certificate.
pub(super) fn config(root: Arc<Root>, name: &Hostname) -> Result<Arc<ServerConfig>, LocalCaError> {
    let served = Served::new(root, name.clone(), OffsetDateTime::now_utc())?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(LocalCaError::Tls)?
        .with_no_client_auth();
    let mut config = builder.with_cert_resolver(Arc::new(served));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The one name that is served, and the certificate in force.
#[derive(Debug)]
pub(super) struct Served {
    root: Arc<Root>,
    name: Hostname,
    leaf: Mutex<Leaf>,
}

impl Served {
    pub(super) fn new(root: Arc<Root>, name: Hostname, now: OffsetDateTime) -> Result<Self, LocalCaError> {
        let leaf = root.sign(&name.clone().into(), now).map_err(LocalCaError::Ca)?;
        Ok(Self { root, name, leaf: Mutex::new(leaf) })
    }

    /// Where there is no new one, the old one does for some days more.
    pub(super) fn certificate(&self, now: OffsetDateTime) -> Arc<CertifiedKey> {
        // A leaf is replaced as a whole: whoever panicked left a good one.
        let mut leaf = self.leaf.lock().unwrap_or_else(PoisonError::into_inner);
        if leaf.is_due(now) {
            match self.root.sign(&self.name.clone().into(), now) {
                Ok(next) => *leaf = next,
                Err(error) => {
                    let error = process::terminal::chain(&error);
                    tracing::warn!(name = %self.name, error, "a local certificate cannot be renewed");
                }
            }
        }
        leaf.certificate()
    }
}

impl ResolvesServerCert for Served {
    /// Nothing, and so an alert, where another name is asked for.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked: Hostname = hello.server_name()?.parse().ok()?;
        (asked == self.name).then(|| self.certificate(OffsetDateTime::now_utc()))
    }
}
