//! Which certificate a visitor is shown: a file that the owner gave, else one of the internal CA, else none.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use protocol::hostname::{Hostname, HostnamePattern};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert, VerifierBuilderError};
use rustls::sign::CertifiedKey;

use super::internal_ca::InternalCa;
use crate::config::validated::CertificateFiles;
use crate::lock::lock;

/// Why a pair of files is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertError {
    #[error("`{}` cannot be read", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
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
    #[error("visitors cannot be verified with what is in `{}`", .path.display())]
    Authority {
        path: PathBuf,
        #[source]
        source: VerifierBuilderError,
    },
}

/// Reads a chain and its key, and reports what is wrong with either.
fn load_pair(cert: &Path, key: &Path) -> Result<CertifiedKey, Vec<CertError>> {
    match (read_chain(cert), PrivateKeyDer::from_pem_file(key).map_err(|source| unreadable(key, source))) {
        (Ok(chain), Ok(secret)) => CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider())
            .map_err(|source| vec![CertError::Key { cert: cert.to_owned(), key: key.to_owned(), source }]),
        (chain, secret) => Err([chain.err(), secret.err()].into_iter().flatten().collect()),
    }
}

pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|source| unreadable(path, source))?;
    if chain.is_empty() { Err(CertError::Empty(path.to_owned())) } else { Ok(chain) }
}

pub(super) fn malformed(path: &Path, source: webpki::Error) -> CertError {
    CertError::Malformed { path: path.to_owned(), source }
}

fn unreadable(path: &Path, error: pem::Error) -> CertError {
    let path = path.to_owned();
    if let pem::Error::Io(source) = error {
        CertError::Unreadable { path, source }
    } else {
        CertError::Pem { path, source: error }
    }
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
                Err(mut wrong) => errors.append(&mut wrong),
            }
        }
        if errors.is_empty() { Ok(Self(all)) } else { Err(errors) }
    }

    fn find(&self, hostname: &Hostname) -> Option<Arc<CertifiedKey>> {
        let exact = self.0.get(&HostnamePattern::from(hostname.clone()));
        exact.or_else(|| self.0.get(&hostname.wildcard()?)).cloned()
    }
}

fn load_named(files: &CertificateFiles) -> Result<(Vec<HostnamePattern>, Arc<CertifiedKey>), Vec<CertError>> {
    let key = load_pair(&files.cert, &files.key)?;
    let names = names(&files.cert, &key.cert).map_err(|error| vec![error])?;
    Ok((names, Arc::new(key)))
}

fn names(path: &Path, chain: &[CertificateDer<'_>]) -> Result<Vec<HostnamePattern>, CertError> {
    let leaf = chain.first().ok_or_else(|| CertError::Empty(path.to_owned()))?;
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|error| malformed(path, error))?;
    let names: Vec<_> = leaf.valid_dns_names().filter_map(|name| name.parse().ok()).collect();
    if names.is_empty() { Err(CertError::NoNames(path.to_owned())) } else { Ok(names) }
}

/// The hostname or wildcard that was granted or is served and that this name belongs to.
pub(crate) type Owner = dyn Fn(&Hostname) -> Option<HostnamePattern> + Send + Sync;

/// Chooses by the name that the visitor asked for.
pub(crate) struct Certificates {
    files: ArcSwap<FileCertificates>,
    internal: Option<InternalCa>,
    owner: Box<Owner>,
    /// Names that visitors asked for in vain; no more than are granted.
    missing: Mutex<HashSet<HostnamePattern>>,
}

impl Certificates {
    pub(crate) fn new(files: FileCertificates, internal: Option<InternalCa>, owner: Box<Owner>) -> Self {
        Self { files: ArcSwap::from_pointee(files), internal, owner, missing: Mutex::default() }
    }

    /// Takes other files; connections that are open keep what they have.
    pub(crate) fn replace(&self, files: FileCertificates) {
        self.files.store(Arc::new(files));
        lock(&self.missing).clear();
    }

    pub(crate) fn find(&self, hostname: &Hostname) -> Option<Arc<CertifiedKey>> {
        if let Some(found) = self.files.load().find(hostname) {
            return Some(found);
        }
        let owner = (self.owner)(hostname)?;
        let internal = self.internal.as_ref().and_then(|internal| internal.certificate(&owner));
        if internal.is_none() {
            self.warn_of_missing(owner);
        }
        internal
    }

    /// Once for each name: the owner of the relay granted it, and no visitor gets past TLS.
    fn warn_of_missing(&self, hostname: HostnamePattern) {
        if lock(&self.missing).insert(hostname.clone()) {
            tracing::warn!(%hostname, "visitors are turned away: no certificate in `[[certificate]]` names this");
        }
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
