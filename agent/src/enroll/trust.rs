//! Whether to believe that the key a relay has proven is the key of the relay that was meant. Pure.

use protocol::key::PublicKey;

/// What speaks for or against a relay's key.
#[derive(Debug)]
pub struct Evidence<'e> {
    /// The key that the relay has proven on this connection.
    pub proven: PublicKey,
    /// The key that the enrollment token names.
    pub token: Option<PublicKey>,
    /// The fingerprint that a person gave with `--trust-relay`.
    pub told: Option<&'e str>,
    /// The key from an earlier enrollment at this relay.
    pub known: Option<PublicKey>,
    /// The platform's verdict on this connection's TLS certificate.
    pub certificate: Result<(), rustls::Error>,
}

/// What the trust rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    Token,
    Fingerprint,
    Known,
    Certificate,
}

/// Why the relay is not believed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrustError {
    #[error("the enrollment token belongs to the relay `{expected}`, but `{proven}` answers here")]
    Token { expected: String, proven: String },
    #[error("the relay's fingerprint is `{proven}`, not `{told}` as given with `--trust-relay`")]
    Fingerprint { told: String, proven: String },
    #[error("the relay's key has changed since this device enrolled: it was `{known}` and is `{proven}`")]
    Changed { known: String, proven: String },
    #[error("the relay's TLS certificate is not trusted, and nothing else vouches for the relay `{proven}`")]
    Certificate { proven: String, source: rustls::Error },
}

impl TrustError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Token { .. } => "check `--relay`, or make a new token with `relay token create`".to_owned(),
            Self::Fingerprint { .. } => "compare with `relay status` on the relay".to_owned(),
            Self::Changed { proven, .. } | Self::Certificate { proven, .. } => format!(
                "compare with the fingerprint that `relay status` shows on the relay; if it is the same, add \
                 `--trust-relay {proven}`"
            ),
        }
    }
}

/// Decides. Whatever names a key must name this one; the certificate counts only where nothing does.
///
/// # Errors
///
/// What speaks against the relay.
pub fn decide(evidence: Evidence<'_>) -> Result<Basis, TrustError> {
    let Evidence { proven, token, told, known, certificate } = evidence;
    let fingerprint = proven.fingerprint();
    if let Some(told) = told {
        let same = told.trim().eq_ignore_ascii_case(&fingerprint);
        if !same {
            let told = told.escape_debug().take(64).collect();
            return Err(TrustError::Fingerprint { told, proven: fingerprint });
        }
    }
    if let Some(expected) = token {
        return if expected == proven {
            Ok(Basis::Token)
        } else {
            Err(TrustError::Token { expected: expected.fingerprint(), proven: fingerprint })
        };
    }
    match (told, known) {
        (Some(_), _) => Ok(Basis::Fingerprint),
        (None, Some(known)) if known == proven => Ok(Basis::Known),
        (None, Some(known)) => Err(TrustError::Changed { known: known.fingerprint(), proven: fingerprint }),
        (None, None) => match certificate {
            Ok(()) => Ok(Basis::Certificate),
            Err(source) => Err(TrustError::Certificate { proven: fingerprint, source }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> PublicKey {
        PublicKey::from_bytes([2; 32])
    }

    fn other() -> PublicKey {
        PublicKey::from_bytes([3; 32])
    }

    fn evidence() -> Evidence<'static> {
        let certificate = Err(rustls::Error::NoCertificatesPresented);
        Evidence { proven: relay(), token: None, told: None, known: None, certificate }
    }

    #[test]
    fn a_token_pins_the_key_whatever_the_certificate_says() {
        assert_eq!(decide(Evidence { token: Some(relay()), ..evidence() }), Ok(Basis::Token));
        let wrong = Evidence { token: Some(other()), certificate: Ok(()), ..evidence() };
        assert!(matches!(decide(wrong), Err(TrustError::Token { .. })));
    }

    #[test]
    fn a_fingerprint_must_be_right_and_is_enough() {
        let right = relay().fingerprint().to_ascii_uppercase();
        assert_eq!(decide(Evidence { told: Some(&right), ..evidence() }), Ok(Basis::Fingerprint));
        assert_eq!(
            decide(Evidence { told: Some(&right), known: Some(other()), ..evidence() }),
            Ok(Basis::Fingerprint)
        );
        let wrong = other().fingerprint();
        let wrong = Evidence { told: Some(&wrong), token: Some(relay()), certificate: Ok(()), ..evidence() };
        assert!(matches!(decide(wrong), Err(TrustError::Fingerprint { .. })));
    }

    #[test]
    fn a_known_key_is_kept() {
        assert_eq!(decide(Evidence { known: Some(relay()), ..evidence() }), Ok(Basis::Known));
        let changed = Evidence { known: Some(other()), certificate: Ok(()), ..evidence() };
        assert!(matches!(decide(changed), Err(TrustError::Changed { .. })));
    }

    #[test]
    fn without_any_pin_the_certificate_decides() {
        assert_eq!(decide(Evidence { certificate: Ok(()), ..evidence() }), Ok(Basis::Certificate));
        let error = decide(evidence()).unwrap_err();
        assert!(error.hint().contains(&relay().fingerprint()));
    }
}
