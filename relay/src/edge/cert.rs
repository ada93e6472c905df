//! Which certificate a visitor is shown: a file that the owner gave, else one that was ordered, else one of the internal
//! CA, else none.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acme::certificate::Facts;
use acme::shelf::Shelf;
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

    /// Whether one of them is for all of this.
    fn cover(&self, name: &HostnamePattern) -> bool {
        self.covering(name).is_some()
    }

    fn covering(&self, name: &HostnamePattern) -> Option<Arc<CertifiedKey>> {
        let wildcard = || self.0.get(&name.exact()?.wildcard()?);
        self.0.get(name).or_else(wildcard).cloned()
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

/// Whether TLS for this name ends elsewhere, so that there must be no certificate for it here.
pub(crate) type Sealed = dyn Fn(&Hostname) -> bool + Send + Sync;

/// How long a handshake waits for the first certificate of its name; the handshake has ten seconds in all.
const FIRST_CERTIFICATE: Duration = Duration::from_secs(7);

/// Where certificates come from, the first choice first.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) files: FileCertificates,
    pub(crate) ordered: Arc<Shelf>,
    pub(crate) internal: Option<InternalCa>,
}

/// Where a name's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File(Facts),
    Ordered(Facts),
    Internal,
    None,
}

/// Chooses by the name that the visitor asked for.
pub(crate) struct Certificates {
    files: ArcSwap<FileCertificates>,
    ordered: Arc<Shelf>,
    internal: Option<InternalCa>,
    owner: Box<Owner>,
    sealed: Box<Sealed>,
    /// Names that visitors asked for in vain; no more than are granted.
    missing: Mutex<HashSet<HostnamePattern>>,
}

impl Certificates {
    pub(crate) fn new(sources: Sources, owner: Box<Owner>, sealed: Box<Sealed>) -> Self {
        let Sources { files, ordered, internal } = sources;
        let files = ArcSwap::from_pointee(files);
        Self { files, ordered, internal, owner, sealed, missing: Mutex::default() }
    }

    /// Takes other files; connections that are open keep what they have.
    pub(crate) fn replace(&self, files: FileCertificates) {
        self.files.store(Arc::new(files));
        lock(&self.missing).clear();
    }

    pub(crate) fn is_sealed(&self, hostname: &Hostname) -> bool {
        (self.sealed)(hostname)
    }

    pub(crate) fn find(&self, hostname: &Hostname) -> Option<Arc<CertifiedKey>> {
        if self.is_sealed(hostname) {
            return None;
        }
        if let Some(found) = self.files.load().find(hostname) {
            return Some(found);
        }
        let owner = (self.owner)(hostname)?;
        if let Some(found) = self.ordered.find(&owner) {
            return Some(found);
        }
        let internal = self.internal.as_ref().and_then(|internal| internal.certificate(&owner));
        if internal.is_none() {
            self.warn_of_missing(owner);
        }
        internal
    }

    /// The same, after a while where the first certificate of the name is on its way.
    pub(crate) async fn find_or_wait(&self, hostname: &Hostname) -> Option<Arc<CertifiedKey>> {
        if self.files.load().find(hostname).is_none()
            && let Some(owner) = (self.owner)(hostname)
        {
            self.ordered.wait(&owner, FIRST_CERTIFICATE).await;
        }
        self.find(hostname)
    }

    /// Whether the owner gave a file for all of this.
    pub(crate) fn has_file(&self, name: &HostnamePattern) -> bool {
        self.files.load().cover(name)
    }

    /// The names that files are for.
    pub(crate) fn named_in_files(&self) -> Vec<HostnamePattern> {
        self.files.load().0.keys().cloned().collect()
    }

    /// Where the certificate for a name that is granted or served comes from.
    pub(crate) fn source(&self, name: &HostnamePattern) -> Source {
        if let Some(file) = self.files.load().covering(name) {
            let facts = file.cert.first().and_then(|leaf| Facts::of(leaf).ok());
            return facts.map_or(Source::None, Source::File);
        }
        if let Some(facts) = self.ordered.facts_of(name) {
            return Source::Ordered(facts);
        }
        let signs = self.internal.as_ref().is_some_and(|internal| internal.signs_for(name));
        if signs { Source::Internal } else { Source::None }
    }

    /// Has the internal CA's root permit what it will have to sign for: whoever fetches the root once an agent is there has
    /// the one that the first visitor needs.
    pub(crate) fn expect(&self, mut served: Vec<HostnamePattern>) {
        let Some(internal) = &self.internal else { return };
        let files = self.files.load();
        served.retain(|name| !files.cover(name) && self.ordered.find(name).is_none());
        internal.permit(&served);
    }

    /// Once for each name: the owner of the relay granted it, and no visitor gets past TLS.
    fn warn_of_missing(&self, hostname: HostnamePattern) {
        if !lock(&self.missing).insert(hostname.clone()) {
            return;
        }
        if self.internal.as_ref().is_some_and(|internal| !internal.signs_for(&hostname)) {
            tracing::warn!(
                %hostname,
                "visitors are turned away: this is in none of `internal_ca.domains`, and no certificate in `[[certificate]]` \
                 names it"
            );
        } else {
            tracing::warn!(
                %hostname,
                "visitors are turned away: no certificate in `[[certificate]]` names this, and there is no other; \
                 `relay cert list` says why"
            );
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
