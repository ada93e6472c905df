//! Which certificate a visitor is shown: a file that the owner gave, else one of the internal CA, else none.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol::hostname::{Hostname, HostnamePattern};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::internal_ca::InternalCa;
use crate::config::validated::CertificateFiles;

/// Why a pair of files is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertError {
    #[error("`{}` cannot be read as PEM", .path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("`{}` holds no certificate", .0.display())]
    Empty(PathBuf),
    #[error("the key in `{}` does not belong to the certificate in `{}`, or is of a kind that is not supported", .key.display(), .cert.display())]
    Key {
        cert: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("the certificate in `{}` cannot be understood", .path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        source: webpki::Error,
    },
    #[error("the certificate in `{}` names no hostname", .0.display())]
    NoNames(PathBuf),
}

/// Reads a chain and its key.
pub(crate) fn load_pair(cert: &Path, key: &Path) -> Result<CertifiedKey, CertError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| CertError::Pem { path, source }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(pem(cert))?;
    if chain.is_empty() {
        return Err(CertError::Empty(cert.to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
    let provider = aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, secret, &provider).map_err(|source| CertError::Key {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    })
}

/// All certificates that were given as files, by the names in them.
#[derive(Debug, Default)]
pub(crate) struct FileCertificates(HashMap<HostnamePattern, Arc<CertifiedKey>>);

impl FileCertificates {
    /// Reads all files; the first that names a hostname serves it.
    pub(crate) fn load(files: &[CertificateFiles]) -> Result<Self, Vec<CertError>> {
        let (mut all, mut errors) = (HashMap::new(), Vec::new());
        for pair in files {
            match load_named(pair) {
                Ok((names, key)) => {
                    for name in names {
                        all.entry(name).or_insert_with(|| Arc::clone(&key));
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self(all)) } else { Err(errors) }
    }

    fn find(&self, hostname: &Hostname) -> Option<Arc<CertifiedKey>> {
        let exact = self.0.get(&HostnamePattern::from(hostname.clone()));
        exact.or_else(|| self.0.get(&hostname.wildcard()?)).cloned()
    }
}

fn load_named(files: &CertificateFiles) -> Result<(Vec<HostnamePattern>, Arc<CertifiedKey>), CertError> {
    let key = load_pair(&files.cert, &files.key)?;
    let malformed = |source| CertError::Malformed { path: files.cert.clone(), source };
    let leaf = key.cert.first().ok_or_else(|| CertError::Empty(files.cert.clone()))?;
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(malformed)?;
    let names: Vec<_> = leaf.valid_dns_names().filter_map(|name| name.parse().ok()).collect();
    if names.is_empty() {
        return Err(CertError::NoNames(files.cert.clone()));
    }
    Ok((names, Arc::new(key)))
}

/// The hostname or wildcard that was granted or is served and that this name belongs to.
pub(crate) type Owner = dyn Fn(&Hostname) -> Option<HostnamePattern> + Send + Sync;

/// Chooses by the name that the visitor asked for.
pub(crate) struct Certificates {
    files: ArcSwap<FileCertificates>,
    internal: Option<InternalCa>,
    owner: Box<Owner>,
}

impl Certificates {
    pub(crate) fn new(files: FileCertificates, internal: Option<InternalCa>, owner: Box<Owner>) -> Self {
        Self { files: ArcSwap::from_pointee(files), internal, owner }
    }

    /// Takes other files; connections that are open keep what they have.
    pub(crate) fn replace(&self, files: FileCertificates) {
        self.files.store(Arc::new(files));
    }

    pub(crate) fn find(&self, hostname: &Hostname) -> Option<Arc<CertifiedKey>> {
        if let Some(found) = self.files.load().find(hostname) {
            return Some(found);
        }
        let internal = self.internal.as_ref()?;
        internal.certificate(&(self.owner)(hostname)?)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("internal", &self.internal).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    /// No name, or one that no certificate fits: nothing, which ends the handshake with an alert.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(&hello.server_name()?.parse().ok()?)
    }
}
