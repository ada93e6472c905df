//! Names that people give: to peers, to services, and to groups of peers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::textual::textual;

/// Longest name of a peer or a service, in bytes.
const LONGEST: usize = 63;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: 1 to 63 of a-z, 0-9, `-` and `_`, the first a letter or digit")]
pub struct NameError(String);

fn checked(text: &str) -> Result<Box<str>, NameError> {
    let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if starts_well && text.len() <= LONGEST && text.chars().all(allowed) {
        Ok(text.into())
    } else {
        Err(NameError(text.chars().take(LONGEST + 1).map(|c| if c.is_control() { '?' } else { c }).collect()))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Box<str>);

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                checked(text).map(Self)
            }
        }

        textual!($type, NameError);
    };
}

name! {
    /// What a peer is called, unique within one relay: `home`.
    PeerName
}

name! {
    /// What an agent calls a local service: `dashboard`. Only the agent knows the origin behind it.
    ServiceName
}

name! {
    /// What a group of peers is called: `family`. The relay says who belongs to it.
    Tag
}

/// Names one request in the logs of both sides: 128 bits that no other request has, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u128);

impl RequestId {
    /// From 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The 16 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_lower_case_words() {
        for good in ["a", "home", "control-plane", "0_x", &"a".repeat(63)] {
            assert_eq!(good.parse::<ServiceName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "_a", "Home", "a b", "a/b", "é", "a\n", &"a".repeat(64)] {
            assert!(bad.parse::<PeerName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_name_is_shown_without_control_characters() {
        assert!(!"a\x1b[31m".parse::<PeerName>().unwrap_err().to_string().contains('\x1b'));
    }
}
