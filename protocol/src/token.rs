//! Enrollment tokens: 256 random bits that make one key a peer, once.
//!
//! The text is `adit-` and, in base64url, a version byte, the secret, the relay's public key and four bytes of checksum.
//! Naming the relay's key is what lets a relay with a self-signed certificate be enrolled at without trusting anybody.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::key::{KEY_LENGTH, PublicKey};

const PREFIX: &str = "adit-";
const VERSION: u8 = 1;
const SECRET: usize = 32;
const CHECKSUM: usize = 4;
const LENGTH: usize = 1 + SECRET + KEY_LENGTH + CHECKSUM;

/// Why a text is no token. Never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin with `adit-`.
    #[error("an enrollment token begins with `adit-`")]
    Prefix,
    /// Not base64url, or of another length.
    #[error("the enrollment token is incomplete or has characters that do not belong there")]
    Shape,
    /// Of a later version.
    #[error("the enrollment token is of a version that this program does not know")]
    Version,
    /// The checksum does not fit.
    #[error("the enrollment token has a typing mistake: its checksum does not fit")]
    Checksum,
}

/// The secret of a token. Compared only by its hash; never printed by `Debug`.
#[derive(Clone)]
pub struct EnrollmentToken {
    secret: Zeroizing<[u8; SECRET]>,
    relay: PublicKey,
}

impl EnrollmentToken {
    /// A new token out of 32 random bytes, for the relay with this key.
    #[must_use]
    pub fn new(random: [u8; SECRET], relay: PublicKey) -> Self {
        Self { secret: Zeroizing::new(random), relay }
    }

    /// The key that the relay must prove.
    #[must_use]
    pub fn relay(&self) -> PublicKey {
        self.relay
    }

    /// What the relay stores and looks up.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.secret)
    }

    /// The secret bytes, to be sent inside a handshake that has proven the relay's key.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; SECRET] {
        &self.secret
    }

    /// The text to hand to the person who enrolls.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.push(VERSION);
        bytes.extend_from_slice(self.secret.as_slice());
        bytes.extend_from_slice(self.relay.as_bytes());
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        Zeroizing::new(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::new().chain_update(b"adit/1 token checksum").chain_update(bytes).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

impl FromStr for EnrollmentToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        let bytes =
            Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| TokenError::Shape)?);
        if bytes.first().is_some_and(|version| *version != VERSION) {
            return Err(TokenError::Version);
        }
        let bytes: &[u8; LENGTH] = bytes.as_slice().try_into().map_err(|_| TokenError::Shape)?;
        let (body, sum) = bytes.split_at(LENGTH - CHECKSUM);
        if checksum(body) != sum {
            return Err(TokenError::Checksum);
        }
        let secret = body[1..=SECRET].try_into().map_err(|_| TokenError::Shape)?;
        let relay = body[1 + SECRET..].try_into().map_err(|_| TokenError::Shape)?;
        Ok(Self { secret: Zeroizing::new(secret), relay: PublicKey::from_bytes(relay) })
    }
}

impl fmt::Debug for EnrollmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrollmentToken(for relay {})", self.relay.fingerprint())
    }
}

/// What is left of a token in the relay's store: enough to recognise it, not to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of a secret as it came over the wire.
    #[must_use]
    pub fn of(secret: &[u8; SECRET]) -> Self {
        Self(Sha256::new().chain_update(b"adit/1 enrollment token").chain_update(secret).finalize().into())
    }

    /// Its bytes, for the store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> EnrollmentToken {
        EnrollmentToken::new([3; 32], PublicKey::from_bytes([5; 32]))
    }

    #[test]
    fn golden_text() {
        let text = token().expose_text();
        assert_eq!(
            text.as_str(),
            "adit-AQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUYGhrS"
        );
    }

    #[test]
    fn text_round_trips() {
        let read: EnrollmentToken = format!(" {}\n", *token().expose_text()).parse().unwrap();
        assert_eq!(read.hash(), token().hash());
        assert_eq!(read.relay(), token().relay());
    }

    #[test]
    fn neither_debug_nor_errors_show_the_secret() {
        let text = token().expose_text();
        assert!(!format!("{:?}", token()).contains("AwMD"));
        let broken = format!("{}A", *text);
        assert!(!broken.parse::<EnrollmentToken>().unwrap_err().to_string().contains("AwMD"));
    }

    proptest! {
        #[test]
        fn a_changed_character_is_noticed(at in 5usize..97, with in "[A-Za-z0-9_-]") {
            let text = token().expose_text();
            let mut changed = text.as_bytes().to_vec();
            changed[at] = with.as_bytes()[0];
            prop_assume!(changed != text.as_bytes());
            prop_assert!(String::from_utf8(changed).unwrap().parse::<EnrollmentToken>().is_err());
        }

        #[test]
        fn rubbish_never_panics(text in ".{0,200}") {
            let _ = text.parse::<EnrollmentToken>();
        }
    }
}
