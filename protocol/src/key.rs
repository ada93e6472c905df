//! Static keys: one X25519 pair for each peer and one for the relay. They never expire; revoking is forgetting the
//! public half.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use zeroize::Zeroizing;

/// Bytes of a key, either half.
pub const KEY_LENGTH: usize = 32;

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key is 43 characters of base64url")]
pub struct KeyError;

/// The public half: who somebody is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; KEY_LENGTH]);

impl PublicKey {
    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// A short text for people to compare: 100 bits of the key's hash in five groups of four characters.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::new().chain_update(b"adit/1 fingerprint").chain_update(self.0).finalize();
        let text = BASE32_NOPAD.encode(&digest).to_ascii_lowercase();
        let groups = [&text[..4], &text[4..8], &text[8..12], &text[12..16], &text[16..20]];
        groups.join("-")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| KeyError)?;
        bytes.try_into().map(Self).map_err(|_| KeyError)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// The secret half, and the public one that belongs to it. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct SecretKey {
    secret: Zeroizing<[u8; KEY_LENGTH]>,
    public: PublicKey,
}

impl SecretKey {
    /// From 32 bytes that are random, or that an earlier [`SecretKey::expose_bytes`] gave.
    ///
    /// # Errors
    ///
    /// Where the cryptography library was built without X25519, which the manifest rules out.
    pub fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Result<Self, KeyError> {
        let secret = Zeroizing::new(bytes);
        let mut pair = DefaultResolver.resolve_dh(&DHChoice::Curve25519).ok_or(KeyError)?;
        pair.set(secret.as_slice());
        let public = pair.pubkey().try_into().map_err(|_| KeyError)?;
        Ok(Self { secret, public: PublicKey(public) })
    }

    /// The half that others may know.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The secret itself, to be stored in a private file or given to the handshake.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.secret
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748, section 5.2: the first iteration, whose scalar is the base point's coordinate.
    #[test]
    fn the_public_half_follows_rfc_7748() {
        let mut secret = [0; 32];
        secret[0] = 9;
        let public = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
        let key = SecretKey::from_bytes(secret).unwrap().public();
        assert_eq!(data_encoding::HEXLOWER.encode(key.as_bytes()), public);
    }

    #[test]
    fn a_secret_is_never_printed() {
        let key = SecretKey::from_bytes([7; 32]).unwrap();
        let debug = format!("{key:?}");
        assert!(!debug.contains("7, 7") && !debug.contains("0707"));
    }

    #[test]
    fn text_round_trips_and_rubbish_is_refused() {
        let key = SecretKey::from_bytes([9; 32]).unwrap().public();
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        assert_eq!(key.fingerprint().len(), 24);
        for bad in ["", "AAAA", &"A".repeat(44), "!!"] {
            assert!(bad.parse::<PublicKey>().is_err());
        }
    }
}
