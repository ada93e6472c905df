//! Who this device is: its key, and the relay that it enrolled at. One private file in the data folder.

use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use process::private_file::{self, Lock, LockError, PrivateFileError};
use process::random;
use protocol::id::PeerName;
use protocol::key::{KEY_LENGTH, KeyError, PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::authority::RelayAddress;

const FILE: &str = "identity.json";

/// Why there is no identity to use.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("this device is not enrolled at a relay")]
    NotEnrolled,
    #[error("the configuration names the relay `{named}`, but this device is enrolled at `{enrolled}`")]
    OtherRelay { named: RelayAddress, enrolled: RelayAddress },
    #[error("cannot use the identity of this device")]
    File(#[source] PrivateFileError),
    #[error("`{}` is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("`{}` holds no usable key", path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error("the identity cannot be written down")]
    Encode(#[source] serde_json::Error),
    #[error("another agent runs here for the same purpose")]
    Running { path: PathBuf },
    #[error("cannot lock `{}`", path.display())]
    Lock { path: PathBuf, source: std::io::Error },
}

impl IdentityError {
    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotEnrolled => Some("run `agent enroll --relay HOST`".to_owned()),
            Self::OtherRelay { named, .. } => {
                Some(format!("run `agent enroll --relay {named}`, or correct `relay` in the configuration"))
            }
            Self::File(error) => error.hint(),
            Self::Damaged { path, .. } | Self::Key { path, .. } => Some(format!(
                "restore `{0}` from a backup, or remove it and run `agent enroll` again",
                path.display()
            )),
            Self::Running { .. } => Some("stop it first, or give this one another `--data-dir`".to_owned()),
            Self::Encode(_) | Self::Lock { .. } => None,
        }
    }
}

/// What came of an enrollment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// As it was given to `agent enroll`.
    #[serde(with = "as_text")]
    pub relay: RelayAddress,
    pub relay_key: PublicKey,
    pub peer: PeerName,
}

/// A device's key, and where it is enrolled, if it is.
#[derive(Debug, Clone)]
pub struct Identity {
    pub secret: SecretKey,
    pub enrolled: Option<Enrolled>,
}

/// The file. The secret is wiped from memory with it.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(with = "wiped")]
    secret_key: Zeroizing<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enrolled: Option<Enrolled>,
}

/// The folder with the identity, the locks and the socket.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

impl DataDir {
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What this agent keeps of the certificates that it orders.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.0.join("certificates")
    }

    /// The keys of other peers.
    #[must_use]
    pub fn peers(&self) -> PathBuf {
        self.0.join("peers.json")
    }

    /// The folder of the CA that signs for services on this device.
    #[must_use]
    pub fn local_ca(&self) -> PathBuf {
        self.0.join("local-ca")
    }

    /// Where `agent status` asks.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    /// The identity, where there is one.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or is damaged.
    pub fn load(&self) -> Result<Option<Identity>, IdentityError> {
        let path = self.0.join(FILE);
        match private_file::read(&path) {
            Ok(bytes) => parse(&bytes, &path).map(Some),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(IdentityError::File(error)),
        }
    }

    /// The identity; a new key, already on the disk, where there is none. So an enrollment that breaks off anywhere can
    /// be repeated with the same key.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or written, or is damaged.
    pub fn load_or_create(&self) -> Result<Identity, IdentityError> {
        private_file::create_folder(&self.0).map_err(IdentityError::File)?;
        if let Some(identity) = self.load()? {
            return Ok(identity);
        }
        let bytes = Zeroizing::new(random::bytes::<KEY_LENGTH>());
        let secret = SecretKey::from_bytes(*bytes)
            .map_err(|source| IdentityError::Key { path: self.0.join(FILE), source })?;
        let identity = Identity { secret, enrolled: None };
        self.save(&identity)?;
        Ok(identity)
    }

    /// Writes the identity down; it is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub fn save(&self, identity: &Identity) -> Result<(), IdentityError> {
        let secret_key = Zeroizing::new(BASE64URL_NOPAD.encode(identity.secret.expose_bytes()));
        let stored = Stored { secret_key, enrolled: identity.enrolled.clone() };
        let bytes = serde_json::to_vec_pretty(&stored).map(Zeroizing::new).map_err(IdentityError::Encode)?;
        private_file::write(&self.0.join(FILE), &bytes).map_err(IdentityError::File)
    }

    /// Makes sure that no second process is this instance of the peer: the two would take the session from each other.
    ///
    /// # Errors
    ///
    /// Where another process is.
    pub fn lock(&self, instance: &str) -> Result<Lock, IdentityError> {
        private_file::create_folder(&self.0).map_err(IdentityError::File)?;
        // `expose:koda.example.com`; no colon, for systems that give it a meaning.
        let path = self.0.join(format!("{}.lock", instance.replace([':', '*'], "-")));
        private_file::lock(&path).map_err(|error| match error {
            LockError::Held { path } => IdentityError::Running { path },
            LockError::Io { path, source } => IdentityError::Lock { path, source },
        })
    }
}

impl Identity {
    /// The enrollment at the relay that the configuration names, or at whichever relay where it names none.
    ///
    /// # Errors
    ///
    /// Where this device is not enrolled, or elsewhere.
    pub fn enrolled_at(&self, named: Option<&RelayAddress>) -> Result<&Enrolled, IdentityError> {
        let enrolled = self.enrolled.as_ref().ok_or(IdentityError::NotEnrolled)?;
        match named {
            Some(named) if *named != enrolled.relay => {
                Err(IdentityError::OtherRelay { named: named.clone(), enrolled: enrolled.relay.clone() })
            }
            Some(_) | None => Ok(enrolled),
        }
    }
}

fn parse(bytes: &[u8], path: &Path) -> Result<Identity, IdentityError> {
    let stored: Stored = serde_json::from_slice(bytes)
        .map_err(|source| IdentityError::Damaged { path: path.to_owned(), source })?;
    let unusable = |source| IdentityError::Key { path: path.to_owned(), source };
    let decoded = BASE64URL_NOPAD.decode(stored.secret_key.as_bytes()).map(Zeroizing::new);
    let bytes = decoded.ok().and_then(|bytes| <[u8; KEY_LENGTH]>::try_from(bytes.as_slice()).ok());
    let secret = SecretKey::from_bytes(bytes.ok_or(KeyError).map_err(unusable)?).map_err(unusable)?;
    Ok(Identity { secret, enrolled: stored.enrolled })
}

mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::authority::RelayAddress;

    pub(super) fn serialize<S: Serializer>(relay: &RelayAddress, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(relay)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<RelayAddress, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A text that leaves no copy behind.
mod wiped {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(secret: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, DataDir) {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::new(folder.path().join("adit"));
        (folder, data_dir)
    }

    fn enrolled() -> Enrolled {
        Enrolled {
            relay: "relay.example.com".parse().unwrap(),
            relay_key: PublicKey::from_bytes([2; 32]),
            peer: "home".parse().unwrap(),
        }
    }

    #[test]
    fn the_key_is_on_the_disk_before_it_is_used() {
        let (_folder, data_dir) = folder();
        assert!(data_dir.load().unwrap().is_none());
        let mut identity = data_dir.load_or_create().unwrap();
        let again = data_dir.load_or_create().unwrap();
        assert_eq!(identity.secret.public(), again.secret.public());
        assert!(matches!(again.enrolled_at(None), Err(IdentityError::NotEnrolled)));
        identity.enrolled = Some(enrolled());
        data_dir.save(&identity).unwrap();
        let loaded = data_dir.load().unwrap().unwrap();
        assert_eq!(loaded.secret.public(), identity.secret.public());
        assert_eq!(loaded.enrolled_at(None).unwrap(), &enrolled());
    }

    #[test]
    fn another_relay_in_the_configuration_is_an_error_with_a_way_out() {
        let (_folder, data_dir) = folder();
        let mut identity = data_dir.load_or_create().unwrap();
        identity.enrolled = Some(enrolled());
        let same = "relay.example.com:443".parse().unwrap();
        assert!(identity.enrolled_at(Some(&same)).is_ok());
        let other = "other.example.com".parse().unwrap();
        let hint = identity.enrolled_at(Some(&other)).unwrap_err().hint().unwrap();
        assert!(hint.starts_with("run `agent enroll --relay other.example.com`"), "{hint}");
    }

    #[test]
    fn one_process_an_instance() {
        let (_folder, data_dir) = folder();
        let _held = data_dir.lock("run").unwrap();
        assert!(matches!(data_dir.lock("run"), Err(IdentityError::Running { .. })));
        data_dir.lock("expose:*.example.com").unwrap();
    }

    #[test]
    fn a_damaged_file_is_said_to_be_and_its_secret_is_not_shown() {
        let (_folder, data_dir) = folder();
        data_dir.load_or_create().unwrap();
        let path = data_dir.path().join(FILE);
        private_file::write(&path, b"{\"secret_key\": \"c2VjcmV0\"}").unwrap();
        let error = data_dir.load().unwrap_err();
        assert!(matches!(error, IdentityError::Key { .. }));
        assert!(!format!("{error:?}").contains("c2VjcmV0"));
    }
}
