//! The CA of this device: it signs for services that are reached here under `https` and a name of the user's choice. Its
//! root permits those names and no others, and grows, with the same key, when another is asked for; `agent trust` hands it
//! to the system.

mod name;
mod serve;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ca::error::CaError;
use ca::root::{Found, Root, Subject};
use ca::subtrees::Subtrees;
use data_encoding::HEXLOWER;
use process::private_file::{self, Lock, LockError, PrivateFileError};
use process::random;
use protocol::hostname::Hostname;
use rustls::ServerConfig;

pub use name::{LocalName, LocalNameError};

use crate::device;
use crate::identity::DataDir;

/// Why there is no local CA, or no certificate of it.
#[derive(Debug, thiserror::Error)]
pub enum LocalCaError {
    #[error("there is no local CA on this device yet")]
    NotMade,
    #[error("the local CA's root does not permit `{0}`")]
    NotPermitted(Hostname),
    #[error("the local CA's folder cannot be used")]
    Folder(#[source] PrivateFileError),
    #[error("the local CA is being changed by another agent")]
    Locked(#[source] LockError),
    #[error("the local CA cannot be used")]
    Ca(#[source] CaError),
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

impl LocalCaError {
    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotMade => {
                Some("make one with `agent trust HOSTNAME`, such as `agent trust koda.localhost`".to_owned())
            }
            Self::NotPermitted(name) => Some(format!("run `agent trust {name}`")),
            Self::Folder(error) => error.hint(),
            Self::Ca(error) => error.hint(),
            Self::Locked(LockError::Held { .. }) => Some("run it again when the other has ended".to_owned()),
            Self::Locked(LockError::Io { .. }) | Self::Read { .. } | Self::Tls(_) => None,
        }
    }
}

/// The CA, and what its root permits.
#[derive(Debug)]
pub struct LocalCa {
    root: Arc<Root>,
    permitted: Subtrees,
}

impl LocalCa {
    /// The one that `agent trust` has made.
    ///
    /// # Errors
    ///
    /// Where there is none, or its files cannot be used.
    pub fn open(data_dir: &DataDir) -> Result<Self, LocalCaError> {
        let files = Files::of(data_dir);
        // Opening would make a key.
        if !files.root.exists() || !files.key.exists() {
            return Err(LocalCaError::NotMade);
        }
        private_file::check_private(&data_dir.local_ca()).map_err(LocalCaError::Folder)?;
        let (root, found) = files.open()?;
        let Found::Permitting(permitted) = found else { return Err(LocalCaError::NotMade) };
        Ok(Self { root: Arc::new(root), permitted })
    }

    /// The one that permits these names beside those that it permitted before. It is made, or grows, where that is needed.
    ///
    /// # Errors
    ///
    /// Where there is none and no name to make it for, or its files cannot be used.
    pub fn permitting(data_dir: &DataDir, names: &[LocalName]) -> Result<Self, LocalCaError> {
        if names.is_empty() {
            return Self::open(data_dir);
        }
        private_file::create_folder(&data_dir.local_ca()).map_err(LocalCaError::Folder)?;
        let _changing = lock(data_dir)?;
        let (root, found) = Files::of(data_dir).open()?;
        let before = match found {
            Found::Permitting(permitted) => Some(permitted),
            Found::Nothing | Found::Unconstrained => None,
        };
        let named = names.iter().map(|name| name.hostname().clone());
        let known = before.iter().flat_map(Subtrees::iter).cloned();
        let permitted = Subtrees::new(known.chain(named)).ok_or(LocalCaError::NotMade)?;
        if before.as_ref() != Some(&permitted) {
            root.write(&permitted).map_err(LocalCaError::Ca)?;
        }
        Ok(Self { root: Arc::new(root), permitted })
    }

    /// TLS for connections to this name: HTTP/1.1 alone, since what is behind it speaks that, and an alert for whoever asks for
    /// another name, or for none. Certificates are renewed for as long as it is used.
    ///
    /// # Errors
    ///
    /// Where the root does not permit the name, or signing fails.
    pub fn server_config(&self, name: &Hostname) -> Result<Arc<ServerConfig>, LocalCaError> {
        if !self.permitted.permit(&name.clone().into()) {
            return Err(LocalCaError::NotPermitted(name.clone()));
        }
        serve::config(Arc::clone(&self.root), name)
    }

    /// What people know it by: the common name of its root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.root.subject()
    }

    /// The domains that it is good for, each with everything below it.
    #[must_use]
    pub fn permitted(&self) -> &Subtrees {
        &self.permitted
    }

    /// The root's file. Only its owner may read it.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.root.file()
    }

    /// The root's certificate.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn pem(&self) -> Result<String, LocalCaError> {
        let path = self.root.file();
        fs::read_to_string(path).map_err(|source| LocalCaError::Read { path: path.to_owned(), source })
    }
}

#[derive(Debug)]
struct Files {
    key: PathBuf,
    root: PathBuf,
}

impl Files {
    fn of(data_dir: &DataDir) -> Self {
        let folder = data_dir.local_ca();
        Self { key: folder.join("ca-key.pem"), root: folder.join("ca.pem") }
    }

    fn open(&self) -> Result<(Root, Found), LocalCaError> {
        let subject = subject(device::name().as_deref());
        Root::open(&self.key, &self.root, Subject::AtFirst(&subject)).map_err(LocalCaError::Ca)
    }
}

/// Two that read the root before either has written it would lose a name.
fn lock(data_dir: &DataDir) -> Result<Lock, LocalCaError> {
    private_file::lock(&data_dir.local_ca().join("lock")).map_err(LocalCaError::Locked)
}

/// What a new root is called. The digits tell it from those of other users, and of folders that are gone: stores know roots
/// by their names.
fn subject(device: Option<&str>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let device: String = device.unwrap_or("this-device").chars().map(plain).take(40).collect();
    format!("Adit on {device} {}", HEXLOWER.encode(&random::bytes::<3>()))
}
