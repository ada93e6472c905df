//! The keys of other peers as they were first seen. The relay tells them, and cannot take another one's place later: a
//! key that has changed is believed only after a person has said so. One private file in the data folder, which several
//! processes of this device share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use process::private_file::{self, LockError, PrivateFileError};
use protocol::id::PeerName;
use protocol::key::PublicKey;
use serde::{Deserialize, Serialize};

/// Keys that are kept at most; the relay names no more peers at once.
const MOST: usize = 4096;

/// Why a key is not believed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error(
        "the key of `{name}` is not the one that was first seen: it was {}, and the relay says {} now",
        known.fingerprint(), said.fingerprint()
    )]
    Changed { name: PeerName, known: PublicKey, said: PublicKey },
    #[error("no key of `{0}` has changed")]
    Unchanged(PeerName),
    #[error("the key that the relay says `{name}` has now is another: {}", said.fingerprint())]
    Other { name: PeerName, said: PublicKey },
    #[error("no key of `{0}` has been seen here")]
    Unknown(PeerName),
    #[error("`{}` holds {MOST} keys already", .0.display())]
    Full(PathBuf),
    #[error("cannot use the keys of other peers")]
    File(#[source] PrivateFileError),
    #[error("`{}` is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("the keys of other peers cannot be written down")]
    Encode(#[source] serde_json::Error),
    #[error("the keys of other peers cannot be locked")]
    Lock(#[source] LockError),
}

impl PinError {
    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Changed { name, .. } => Some(format!(
                "where `{name}` was enrolled anew, compare the words of `agent peer verify {name}` with those at its end, \
                 then run the `agent peer accept` that it shows; otherwise somebody is between you"
            )),
            Self::File(error) => error.hint(),
            Self::Damaged { path, .. } => Some(format!(
                "restore `{0}` from a backup, or remove it and compare all keys anew",
                path.display()
            )),
            Self::Unknown(_) => Some("`agent peer list` shows those that have".to_owned()),
            Self::Other { name, .. } => {
                Some(format!("compare the words of `agent peer verify {name}` again"))
            }
            Self::Unchanged(_) | Self::Full(_) | Self::Encode(_) | Self::Lock(_) => None,
        }
    }
}

/// What is kept of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub key: PublicKey,
    /// Another one that the relay has named since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_to: Option<PublicKey>,
}

/// Everybody that was seen.
pub type All = BTreeMap<PeerName, Pin>;

/// The file.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
}

impl Pins {
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Whether this is the peer's key. The first one that is seen is.
    ///
    /// # Errors
    ///
    /// Where it is another, or the file cannot be used.
    pub fn check(&self, name: &PeerName, said: PublicKey) -> Result<(), PinError> {
        let known = load(&self.path)?.get(name).copied();
        if known.is_some_and(|pin| pin.key == said && pin.changed_to.is_none()) {
            return Ok(());
        }
        self.change(|all| match all.get_mut(name) {
            Some(pin) if pin.key == said => {
                pin.changed_to = None;
                Ok(())
            }
            Some(pin) => {
                pin.changed_to = Some(said);
                Err(PinError::Changed { name: name.clone(), known: pin.key, said })
            }
            None => {
                if all.len() >= MOST {
                    return Err(PinError::Full(self.path.clone()));
                }
                all.insert(name.clone(), Pin { key: said, changed_to: None });
                Ok(())
            }
        })
    }

    /// Believes the key that a peer's has changed to, where it is the one with this fingerprint; what it was before.
    ///
    /// # Errors
    ///
    /// Where it has not changed, or to another, or the file cannot be used.
    pub fn accept(&self, name: &PeerName, fingerprint: &str) -> Result<PublicKey, PinError> {
        self.change(|all| {
            let pin = all.get_mut(name).ok_or_else(|| PinError::Unknown(name.clone()))?;
            let key = pin.changed_to.ok_or_else(|| PinError::Unchanged(name.clone()))?;
            if key.fingerprint() != fingerprint {
                return Err(PinError::Other { name: name.clone(), said: key });
            }
            pin.changed_to = None;
            Ok(std::mem::replace(&mut pin.key, key))
        })
    }

    /// All that is kept.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn all(&self) -> Result<All, PinError> {
        load(&self.path)
    }

    /// What is kept of a peer.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn find(&self, name: &PeerName) -> Result<Option<Pin>, PinError> {
        Ok(load(&self.path)?.get(name).copied())
    }

    /// Reads, changes and writes, while no other process does. What `change` has done before it failed is kept as well.
    fn change<T>(&self, change: impl FnOnce(&mut All) -> Result<T, PinError>) -> Result<T, PinError> {
        if let Some(folder) = self.path.parent() {
            private_file::create_folder(folder).map_err(PinError::File)?;
        }
        let _one_at_a_time =
            private_file::wait_lock(&self.path.with_extension("lock")).map_err(PinError::Lock)?;
        let before = load(&self.path)?;
        let mut all = before.clone();
        let changed = change(&mut all);
        if all != before {
            let bytes = serde_json::to_vec_pretty(&all).map_err(PinError::Encode)?;
            private_file::write(&self.path, &bytes).map_err(PinError::File)?;
        }
        changed
    }
}

fn load(path: &Path) -> Result<All, PinError> {
    match private_file::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|source| PinError::Damaged { path: path.to_owned(), source }),
        Err(error) if error.is_missing() => Ok(All::new()),
        Err(error) => Err(PinError::File(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    #[test]
    fn the_first_key_stays_until_a_person_accepts_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adit/peers.json");
        let (pins, home) = (Pins::new(path.clone()), "home".parse().unwrap());
        pins.check(&home, key(1)).unwrap();
        pins.check(&home, key(1)).unwrap();
        let error = pins.check(&home, key(2)).unwrap_err();
        assert!(matches!(error, PinError::Changed { .. }), "{error}");
        assert!(error.hint().unwrap().contains("agent peer verify home"));
        // Another process is no way around, and neither is asking again.
        for pins in [&pins, &Pins::new(path.clone())] {
            assert!(pins.check(&home, key(2)).is_err());
        }
        assert_eq!(pins.find(&home).unwrap(), Some(Pin { key: key(1), changed_to: Some(key(2)) }));
        let other = pins.accept(&home, &key(3).fingerprint());
        assert!(matches!(other, Err(PinError::Other { .. })), "not the one that was compared");
        assert_eq!(Pins::new(path.clone()).accept(&home, &key(2).fingerprint()).unwrap(), key(1));
        pins.check(&home, key(2)).unwrap();
        assert!(pins.check(&home, key(1)).is_err());
        private_file::check_private(&path).unwrap();
    }

    #[test]
    fn a_key_that_changes_back_was_never_another() {
        let folder = tempfile::tempdir().unwrap();
        let (pins, home) = (Pins::new(folder.path().join("adit/peers.json")), "home".parse().unwrap());
        pins.check(&home, key(1)).unwrap();
        assert!(pins.check(&home, key(2)).is_err());
        pins.check(&home, key(1)).unwrap();
        assert!(matches!(pins.accept(&home, "x"), Err(PinError::Unchanged(_))));
        assert!(matches!(pins.accept(&"nobody".parse().unwrap(), "x"), Err(PinError::Unknown(_))));
    }

    #[test]
    fn a_damaged_file_believes_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adit/peers.json");
        private_file::create_folder(&folder.path().join("adit")).unwrap();
        private_file::write(&path, b"{").unwrap();
        let error = Pins::new(path).check(&"home".parse().unwrap(), key(1)).unwrap_err();
        assert!(matches!(error, PinError::Damaged { .. }));
    }
}
