//! How this device becomes a peer: at once with a token, or after a person has approved it at the relay.

pub mod trust;

use std::io;
use std::time::Duration;

use process::{random, terminal};
use protocol::close::SessionClose;
use protocol::control::{EnrollAnswer, Message as _};
use protocol::framed::{self, ReadError};
use protocol::handshake::{AwaitRelayKey, EnrollRequest, HandshakeError, TokenSecret};
use protocol::hostname::HostnamePattern;
use protocol::id::PeerName;
use protocol::key::{PublicKey, SecretKey};
use protocol::limits;
use protocol::service::ServicePattern;
use protocol::token::EnrollmentToken;
use quinn::{ConnectionError, RecvStream, SendStream};
use tokio::time::Instant;

use crate::authority::RelayAddress;
use crate::backoff::Backoff;
use crate::dial::{self, DialError, Tunnel};
use crate::foreign::printable;
use trust::{Evidence, TrustError};

/// For the relay's first answer after the question.
const ANSWER: Duration = Duration::from_secs(10);

/// Why this device is not a peer.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    #[error("cannot reach the relay `{relay}`")]
    Dial { relay: RelayAddress, source: DialError },
    #[error("no answer from the relay `{relay}` within {} s", limits::ESTABLISHMENT.as_secs())]
    TimedOut { relay: RelayAddress },
    #[error("the relay is not trusted, so nothing was sent to it")]
    Trust(#[source] TrustError),
    #[error("the relay refused: {reason}")]
    Refused { reason: String },
    #[error("nobody approved the request in time")]
    Expired,
    #[error("the relay closed the connection")]
    Closed(#[source] SessionClose),
    #[error("the connection to the relay was lost")]
    Lost(#[source] ConnectionError),
    #[error("the enrollment broke off")]
    Read(#[source] ReadError),
    #[error("the enrollment broke off")]
    Write(#[source] io::Error),
    #[error("the handshake with the relay failed")]
    Handshake(#[source] HandshakeError),
    #[error("an answer of the relay is malformed")]
    Malformed(#[source] serde_json::Error),
}

impl EnrollError {
    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Trust(error) => Some(error.hint()),
            Self::Dial { relay, .. } | Self::TimedOut { relay } => {
                Some(format!("run `agent doctor --relay {relay}` to see what this network lets through"))
            }
            Self::Expired => Some("run the same command again for a new code".to_owned()),
            Self::Closed(_) | Self::Lost(_) | Self::Read(_) | Self::Write(_) => {
                Some("run the same command again: this device keeps its key, so nothing is lost".to_owned())
            }
            Self::Refused { .. } | Self::Handshake(_) | Self::Malformed(_) => None,
        }
    }

    /// Whether another connection may still bring the answer.
    fn is_network(&self) -> bool {
        match self {
            Self::Dial { .. } | Self::TimedOut { .. } | Self::Lost(_) | Self::Read(_) | Self::Write(_) => {
                true
            }
            Self::Closed(close) => close.is_retryable_soon(),
            Self::Trust(_)
            | Self::Refused { .. }
            | Self::Expired
            | Self::Handshake(_)
            | Self::Malformed(_) => false,
        }
    }

    fn or_of_connection(self, connection: &quinn::Connection) -> Self {
        match connection.close_reason() {
            None => self,
            Some(ConnectionError::ApplicationClosed(close)) => {
                SessionClose::from_number(close.error_code.into_inner()).map_or(self, Self::Closed)
            }
            Some(
                lost @ (ConnectionError::VersionMismatch
                | ConnectionError::TransportError(_)
                | ConnectionError::ConnectionClosed(_)
                | ConnectionError::Reset
                | ConnectionError::TimedOut
                | ConnectionError::LocallyClosed
                | ConnectionError::CidsExhausted),
            ) => Self::Lost(lost),
        }
    }
}

/// What this device brings along.
#[derive(Debug)]
pub struct Applicant {
    pub secret: SecretKey,
    pub relay: RelayAddress,
    pub name: Option<PeerName>,
    pub token: Option<EnrollmentToken>,
    /// A fingerprint from a person.
    pub told: Option<String>,
    /// The relay's key from an earlier enrollment there.
    pub known: Option<PublicKey>,
}

/// A new peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub peer: PeerName,
    pub relay_key: PublicKey,
    pub hostnames: Vec<HostnamePattern>,
    pub services: Vec<ServicePattern>,
}

/// A request that a person has to approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub code: String,
    pub expires_in: Duration,
}

/// Asks the relay and waits for its answer, over as many connections as it takes while a request is pending there.
/// `on_pending` hears of each new code.
///
/// # Errors
///
/// Why the relay was not trusted or not reached, or did not accept.
pub async fn enroll(
    applicant: &Applicant,
    mut on_pending: impl FnMut(&Pending),
) -> Result<Accepted, EnrollError> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
    let mut waiting: Option<(Pending, Instant)> = None;
    loop {
        let mut heard = |pending: Pending| {
            let known = waiting.as_ref().is_some_and(|(known, _)| known.code == pending.code);
            if !known {
                on_pending(&pending);
            }
            backoff.reset();
            let until = Instant::now() + pending.expires_in;
            waiting = Some((pending, until));
        };
        let error = match attempt(applicant, &mut heard).await {
            Ok(accepted) => return Ok(accepted),
            Err(error) => error,
        };
        let Some((_, until)) = waiting.as_ref().filter(|_| error.is_network()) else { return Err(error) };
        if Instant::now() >= *until {
            return Err(EnrollError::Expired);
        }
        tracing::warn!(
            error = terminal::chain(&error),
            "the connection broke off, still waiting for approval"
        );
        tokio::time::sleep(backoff.next_delay(u32::from_be_bytes(random::bytes()))).await;
    }
}

async fn attempt(
    applicant: &Applicant,
    on_pending: &mut impl FnMut(Pending),
) -> Result<Accepted, EnrollError> {
    let asked = tokio::time::timeout(limits::ESTABLISHMENT, ask(applicant)).await;
    let asked = asked.unwrap_or_else(|_| Err(EnrollError::TimedOut { relay: applicant.relay.clone() }));
    let Asked { tunnel, mut answers, relay_key } = asked?;
    match await_decision(&mut answers, relay_key, on_pending).await {
        Ok(accepted) => {
            tunnel.close(SessionClose::Done).await;
            Ok(accepted)
        }
        Err(error) => {
            let error = error.or_of_connection(tunnel.connection());
            tunnel.close(SessionClose::Done).await;
            Err(error)
        }
    }
}

/// The question is on its way.
struct Asked {
    tunnel: Tunnel,
    answers: Answers,
    relay_key: PublicKey,
}

/// The control stream once everything was asked. Its sending half is kept: dropping it would end it, as if this device
/// had gone away.
struct Answers {
    recv: RecvStream,
    _send: SendStream,
}

async fn ask(applicant: &Applicant) -> Result<Asked, EnrollError> {
    let failed = |source| EnrollError::Dial { relay: applicant.relay.clone(), source };
    let (tls, verdict) = dial::tls::recording().map_err(|error| failed(DialError::Tls(error)))?;
    let tunnel = dial::connect(&applicant.relay, tls).await.map_err(failed)?;
    match prove(applicant, &tunnel, verdict.certificate()).await {
        Ok((answers, relay_key)) => Ok(Asked { tunnel, answers, relay_key }),
        Err(error) => {
            let error = error.or_of_connection(tunnel.connection());
            tunnel.close(SessionClose::Done).await;
            Err(error)
        }
    }
}

async fn prove(
    applicant: &Applicant,
    tunnel: &Tunnel,
    certificate: Result<(), rustls::Error>,
) -> Result<(Answers, PublicKey), EnrollError> {
    let failed = |source| EnrollError::Dial { relay: applicant.relay.clone(), source };
    let (mut send, mut recv) = tunnel.connection().open_bi().await.map_err(EnrollError::Lost)?;
    let exporter = tunnel.exporter().map_err(failed)?;
    let (frame, awaiting) =
        AwaitRelayKey::start(&applicant.secret, &exporter).map_err(EnrollError::Handshake)?;
    framed::write(&mut send, &frame).await.map_err(EnrollError::Write)?;
    let frame = framed::read(&mut recv, limits::HANDSHAKE_BODY).await.map_err(EnrollError::Read)?;
    let relay = awaiting.receive(&frame).map_err(EnrollError::Handshake)?;
    let relay_key = relay.relay();
    let evidence = Evidence {
        proven: relay_key,
        token: applicant.token.as_ref().map(EnrollmentToken::relay),
        told: applicant.told.as_deref(),
        known: applicant.known,
        certificate,
    };
    let basis = trust::decide(evidence).map_err(EnrollError::Trust)?;
    tracing::debug!(?basis, relay_key = relay_key.fingerprint(), "the relay is trusted");
    // Only now does the token leave this device.
    let token = applicant.token.as_ref().map(TokenSecret::of);
    let request = EnrollRequest { name: applicant.name.clone(), token };
    let frame = relay.ask(&request).map_err(EnrollError::Handshake)?;
    framed::write(&mut send, &frame).await.map_err(EnrollError::Write)?;
    Ok((Answers { recv, _send: send }, relay_key))
}

async fn await_decision(
    answers: &mut Answers,
    relay_key: PublicKey,
    on_pending: &mut impl FnMut(Pending),
) -> Result<Accepted, EnrollError> {
    let first = tokio::time::timeout(ANSWER, next_answer(answers)).await;
    let mut answer = first.unwrap_or(Err(EnrollError::Lost(ConnectionError::TimedOut)))?;
    loop {
        match answer {
            EnrollAnswer::Accepted { peer, hostnames, services } => {
                return Ok(Accepted { peer, relay_key, hostnames, services });
            }
            EnrollAnswer::Refused { reason } => {
                return Err(EnrollError::Refused { reason: printable(&reason) });
            }
            EnrollAnswer::Pending { code, expires_in_s } => {
                let code = printable(&code);
                on_pending(Pending { code, expires_in: Duration::from_secs(expires_in_s.min(30 * 86_400)) });
            }
        }
        answer = next_answer(answers).await?;
    }
}

/// The next answer; frames of other kinds are for later versions.
async fn next_answer(answers: &mut Answers) -> Result<EnrollAnswer, EnrollError> {
    loop {
        let frame = framed::read(&mut answers.recv, limits::CONTROL_BODY).await.map_err(EnrollError::Read)?;
        if let Some(answer) = EnrollAnswer::from_frame(&frame).map_err(EnrollError::Malformed)? {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests;
