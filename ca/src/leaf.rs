//! What a server shows: a certificate that lives for days, and the key that it is for, which never leaves the memory.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use super::BACKDATE;
use super::error::CaError;
use super::root;

const LIFETIME: Duration = Duration::days(7);
/// A leaf is made anew when this much of its life is left.
const MARGIN: Duration = Duration::days(3);

/// A certificate of a root, and when it should give way to the next.
#[derive(Debug)]
pub struct Leaf {
    certificate: Arc<CertifiedKey>,
    renew_at: OffsetDateTime,
}

impl Leaf {
    /// Signed at this time.
    pub(crate) fn new(certificate: Arc<CertifiedKey>, now: OffsetDateTime) -> Self {
        Self { certificate, renew_at: now + LIFETIME - MARGIN }
    }

    pub fn certificate(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certificate)
    }

    /// Whether it should be made anew. It still counts for days.
    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        self.renew_at <= now
    }
}

/// A certificate for this name, or wildcard, that nobody signed, good for as long as a root: for who is known by another
/// key than its.
///
/// # Errors
///
/// Where it cannot be made.
pub fn self_signed(name: &str) -> Result<Arc<CertifiedKey>, CaError> {
    let key = KeyPair::generate()?;
    let now = OffsetDateTime::now_utc();
    let mut params = params(name, now)?;
    params.not_after = now + root::LIFETIME;
    certified(params.self_signed(&key)?.der().clone(), &key)
}

pub(crate) fn params(name: &str, now: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.not_before = now - BACKDATE;
    params.not_after = now + LIFETIME;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

pub(crate) fn certified(leaf: CertificateDer<'static>, key: &KeyPair) -> Result<Arc<CertifiedKey>, CaError> {
    let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok(Arc::new(CertifiedKey::from_der(vec![leaf], secret, &aws_lc_rs::default_provider())?))
}
