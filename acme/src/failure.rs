//! Why there is no certificate, and what that means for the next attempt.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use instant_acme::{Error, Problem};
use protocol::hostname::HostnamePattern;

use crate::ca::CaError;
use crate::certificate::CertificateError;
use crate::keep::KeepError;
use crate::publish::PublishError;
use crate::reach::ReachError;
use crate::settings::ChallengeKind;

/// Where an order ended.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("`external_account.key_file` `{}` cannot be read", .path.display())]
    ExternalAccount { path: PathBuf, source: io::Error },
    #[error("`external_account.key_file` `{}` does not hold a key in base64url", .0.display())]
    ExternalAccountKey(PathBuf),
    #[error("what is kept of the CA's account cannot be read")]
    Credentials(#[source] serde_json::Error),
    #[error("the CA has no profile `{profile}`: it has {}", if .known.is_empty() { "none" } else { .known.as_str() })]
    Profile { profile: String, known: String },
    #[error("the CA gives no account")]
    Account(#[source] Error),
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error("the CA does not take the order")]
    Order(#[source] Error),
    #[error("the CA's order cannot be followed")]
    Follow(#[source] Error),
    #[error("the CA offers none of the challenges that may be answered here, which are {}", listed(.0))]
    NoChallenge(Vec<ChallengeKind>),
    #[error("`{0}` is a wildcard, which needs dns-01: say in `[acme.dns]` who writes its records")]
    WildcardWithoutDns(HostnamePattern),
    #[error("the record that dns-01 needs cannot be written")]
    Publish(#[source] PublishError),
    #[error("the CA did not find by {kind} that `{name}` is ours: {said}")]
    Challenge { kind: ChallengeKind, name: HostnamePattern, said: String },
    #[error("the CA gave the order up")]
    Invalid,
    #[error(
        "the CA's certificate has less than a third of its time left as it comes: look at the clock here, and at the CA"
    )]
    AlreadyLate,
    #[error("the CA's certificate cannot be used")]
    Certificate(#[from] CertificateError),
    #[error("what must survive a crash cannot be kept")]
    Keep(#[source] KeepError),
    #[error("the order has not come to its end within {} min", .0.as_secs() / 60)]
    Late(Duration),
}

fn listed(kinds: &[ChallengeKind]) -> String {
    kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

impl OrderError {
    /// Whether the order is of no further use: the next attempt begins another.
    #[must_use]
    pub fn ends_order(&self) -> bool {
        match self {
            Self::Challenge { .. }
            | Self::Invalid
            | Self::Certificate(_)
            | Self::NoChallenge(_)
            | Self::AlreadyLate => true,
            Self::Order(error) | Self::Follow(error) => problem(error).is_some_and(is_final),
            Self::Ca(_)
            | Self::ExternalAccount { .. }
            | Self::ExternalAccountKey(_)
            | Self::Credentials(_)
            | Self::Profile { .. }
            | Self::Account(_)
            | Self::Reach(_)
            | Self::WildcardWithoutDns(_)
            | Self::Publish(_)
            | Self::Keep(_)
            | Self::Late(_) => false,
        }
    }

    /// Whether the CA has had enough of whoever is here, for whatever hostname: it gives no account. What it says of an
    /// order is about that hostname, or those beside it, and must not keep others waiting.
    #[must_use]
    pub fn is_about_everybody(&self) -> bool {
        matches!(self, Self::Account(_)) && self.problem_type() == Some("rateLimited")
    }

    /// Whether the CA no longer knows the account, or no longer serves it.
    #[must_use]
    pub fn is_account_gone(&self) -> bool {
        let at_once = matches!(self, Self::Order(_));
        at_once
            && self.problem_type().is_some_and(|kind| matches!(kind, "accountDoesNotExist" | "unauthorized"))
    }

    /// Whether the CA only wants the same to be said again (RFC 8555, section 6.5).
    #[must_use]
    pub fn is_bad_nonce(&self) -> bool {
        self.problem_type() == Some("badNonce")
    }

    /// Whether the CA has spoken, so that what it says of when to come again belongs to this.
    #[must_use]
    pub fn is_of_ca(&self) -> bool {
        matches!(self, Self::Account(_) | Self::Order(_) | Self::Follow(_))
    }

    fn problem_type(&self) -> Option<&str> {
        let (Self::Account(error) | Self::Order(error) | Self::Follow(error)) = self else { return None };
        problem(error).and_then(short_type)
    }
}

pub(crate) fn problem(error: &Error) -> Option<&Problem> {
    if let Error::Api(problem) = error { Some(problem) } else { None }
}

/// What stands behind `urn:ietf:params:acme:error:`.
pub(crate) fn short_type(problem: &Problem) -> Option<&str> {
    problem.r#type.as_deref().map(|kind| kind.rsplit(':').next().unwrap_or(kind))
}

/// What a CA that is only busy or broken says of an order is no word on the order.
fn is_final(problem: &Problem) -> bool {
    !matches!(short_type(problem), None | Some("rateLimited" | "serverInternal" | "badNonce"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: &str) -> Error {
        let said =
            serde_json::json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "no" });
        Error::Api(serde_json::from_value(said).unwrap())
    }

    #[test]
    fn what_a_refusal_means() {
        assert!(OrderError::Account(refused("rateLimited")).is_about_everybody());
        assert!(!OrderError::Order(refused("rateLimited")).is_about_everybody());
        assert!(!OrderError::Follow(refused("rateLimited")).ends_order());
        assert!(OrderError::Follow(refused("malformed")).ends_order());
        assert!(!OrderError::Follow(Error::Str("x")).ends_order());
        assert!(OrderError::Order(refused("accountDoesNotExist")).is_account_gone());
        assert!(!OrderError::Follow(refused("unauthorized")).is_account_gone());
        assert!(!OrderError::Invalid.is_about_everybody() && OrderError::Invalid.ends_order());
    }
}
