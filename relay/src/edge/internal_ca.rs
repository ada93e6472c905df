//! A certificate authority of the relay's own, for hostnames that have no other certificate: tests, the demo, a network
//! whose devices trust its root.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use process::private_file::{self, PrivateFileError};
use protocol::hostname::HostnamePattern;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use crate::lock::lock;

const ROOT_LIFETIME: Duration = Duration::days(3650);
const LEAF_LIFETIME: Duration = Duration::days(7);
/// A leaf is made anew when this much of its life is left.
const LEAF_MARGIN: Duration = Duration::days(3);
/// Clocks differ.
const BACKDATE: Duration = Duration::hours(1);

/// Why there is no internal CA.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaError {
    #[error("the internal CA's files cannot be used")]
    File(#[from] PrivateFileError),
    #[error("the internal CA's root in `{}` cannot be read", .path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` is not text", .0.display())]
    NotText(PathBuf),
    #[error("the internal CA cannot sign")]
    Sign(#[from] rcgen::Error),
    #[error("a certificate of the internal CA cannot be used")]
    Leaf(#[from] rustls::Error),
}

/// The CA and the leafs that it has made. There is one for each name that is granted or served, so their number is
/// bounded by what the owner of the relay allowed.
#[derive(Debug)]
pub(crate) struct InternalCa {
    issuer: Issuer<'static, KeyPair>,
    leafs: Mutex<HashMap<HostnamePattern, Leaf>>,
}

#[derive(Debug)]
struct Leaf {
    certificate: Arc<CertifiedKey>,
    renew_at: OffsetDateTime,
}

impl InternalCa {
    /// The CA in this folder: `ca-key.pem` and, for everybody to trust, `ca.pem`. Made where it is missing.
    pub(crate) fn open(folder: &Path) -> Result<Self, CaError> {
        let (key_path, root_path) = (folder.join("ca-key.pem"), folder.join("ca.pem"));
        if !key_path.exists() || !root_path.exists() {
            create(&key_path, &root_path)?;
        }
        let key = private_file::read(&key_path)?;
        let key = std::str::from_utf8(&key).map_err(|_| CaError::NotText(key_path))?;
        let unreadable = |source| CaError::Root { path: root_path.clone(), source };
        let root = std::fs::read_to_string(&root_path).map_err(unreadable)?;
        let issuer = Issuer::from_ca_cert_pem(&root, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, leafs: Mutex::default() })
    }

    /// A certificate for a name that is granted or served. A failure is logged: the visitor sees an alert.
    pub(crate) fn certificate(&self, name: &HostnamePattern) -> Option<Arc<CertifiedKey>> {
        let now = OffsetDateTime::now_utc();
        let mut leafs = lock(&self.leafs);
        if let Some(leaf) = leafs.get(name).filter(|leaf| now < leaf.renew_at) {
            return Some(Arc::clone(&leaf.certificate));
        }
        match self.sign(name, now) {
            Ok(certificate) => {
                let leaf = Leaf {
                    certificate: Arc::clone(&certificate),
                    renew_at: now + LEAF_LIFETIME - LEAF_MARGIN,
                };
                leafs.insert(name.clone(), leaf);
                Some(certificate)
            }
            Err(error) => {
                tracing::error!(%name, error = process::terminal::chain(&error), "no certificate");
                None
            }
        }
    }

    fn sign(&self, name: &HostnamePattern, now: OffsetDateTime) -> Result<Arc<CertifiedKey>, CaError> {
        let key = KeyPair::generate()?;
        let mut params = leaf_params(name.as_str(), now)?;
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer)?;
        certified(leaf.der().clone(), &key)
    }
}

fn certified(
    leaf: rustls::pki_types::CertificateDer<'static>,
    key: &KeyPair,
) -> Result<Arc<CertifiedKey>, CaError> {
    let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok(Arc::new(CertifiedKey::from_der(vec![leaf], secret, &aws_lc_rs::default_provider())?))
}

fn leaf_params(name: &str, now: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.not_before = now - BACKDATE;
    params.not_after = now + LEAF_LIFETIME;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// The key is written first: a root whose key is missing is made anew, a key whose root is missing as well.
fn create(key_path: &Path, root_path: &Path) -> Result<(), CaError> {
    let now = OffsetDateTime::now_utc();
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Adit internal CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - BACKDATE;
    params.not_after = now + ROOT_LIFETIME;
    let root = params.self_signed(&key)?;
    private_file::write(key_path, key.serialize_pem().as_bytes())?;
    Ok(private_file::write(root_path, root.pem().as_bytes())?)
}

/// A certificate that nobody signed: agents trust the relay's key, not this.
pub(crate) fn self_signed(name: &str) -> Result<Arc<CertifiedKey>, CaError> {
    let key = KeyPair::generate()?;
    let mut params = leaf_params(name, OffsetDateTime::now_utc())?;
    params.not_after = OffsetDateTime::now_utc() + ROOT_LIFETIME;
    certified(params.self_signed(&key)?.der().clone(), &key)
}
