//! Puts the root of the local CA where this device's programs look for roots that they trust, and takes it out again. Which
//! places there are is the [`system`]'s to say; each is a [`Store`].

mod anchors;
mod keychain;
mod nss;
mod program;
pub(crate) mod system;
mod windows;

use std::fmt;
use std::io;
use std::path::PathBuf;

use process::private_file::PrivateFileError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// A root, as stores take it.
#[derive(Debug)]
pub(crate) struct TrustAnchor {
    /// Its common name, by which stores know it.
    pub(crate) name: String,
    pub(crate) pem: String,
    /// Where it lies.
    pub(crate) file: PathBuf,
}

/// What was done to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Installed,
    /// In place of a root of the same name.
    Replaced,
    AlreadyThere,
    Removed,
    NotThere,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Installed => "installed in",
            Self::Replaced => "replaced in",
            Self::AlreadyThere => "already in",
            Self::Removed => "removed from",
            Self::NotThere => "not in",
        })
    }
}

/// A place where programs look for roots. Its `Display` says which, as in "installed in ...".
pub(crate) trait Store: fmt::Debug + fmt::Display {
    /// Makes sure that this root is there, and no other of its name.
    fn install(&self, root: &TrustAnchor) -> Result<Outcome, StoreError>;

    /// Makes sure that no root of this name is there.
    fn remove(&self, root: &TrustAnchor) -> Result<Outcome, StoreError>;
}

/// Why a store is not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("there is no program `{program}` here")]
    NoProgram { program: &'static str, hint: &'static str },
    #[error("`{program}` cannot be started")]
    Start { program: &'static str, source: io::Error },
    #[error("`{command}` failed: {said}")]
    Failed { command: String, said: String, hint: &'static str },
    #[error("cannot {action} `{}`", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("its file cannot be written")]
    File(#[from] PrivateFileError),
    #[error("there is none in any of the places where Debian, Fedora, Arch and openSUSE have it")]
    Unknown,
}

impl StoreError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoProgram { hint, .. } | Self::Failed { hint, .. } => Some((*hint).to_owned()),
            Self::Unknown => {
                Some("install `ca-certificates`, or add what `agent trust --print` prints by hand".to_owned())
            }
            Self::File(error) => error.hint(),
            Self::Start { source, .. } | Self::Io { source, .. } => {
                let denied = source.kind() == io::ErrorKind::PermissionDenied;
                denied.then(|| "run it as the user whom this belongs to".to_owned())
            }
        }
    }
}

/// The certificates of a text, whatever stands around them.
fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

/// What an installation did to a store that held these certificates of the root's name; nothing where it still has to be
/// done.
fn already(held: &[CertificateDer<'_>], root: &TrustAnchor) -> Option<Outcome> {
    (!held.is_empty() && held == certificates(root.pem.as_bytes())).then_some(Outcome::AlreadyThere)
}
