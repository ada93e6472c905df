//! The proof of both keys at the beginning of a stream between two peers.

use std::time::Duration;

use bytes::Bytes;
use protocol::close::StreamReset;
use protocol::key::{PublicKey, SecretKey};
use protocol::private::{
    AwaitDecision, AwaitHost, Context, HEAD, PrivateError, Proven, Records, greeting_length,
};
use protocol::stream::PrivateHeader;
use quinn::ReadExactError;

use crate::splice::{Ends, FromRelay, Outlet as _, SpliceError};

/// From the opening of a stream to the other peer's proof.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error(transparent)]
    Refused(#[from] StreamReset),
    #[error("the stream broke off")]
    Broke(#[source] ReadExactError),
    #[error("the stream took nothing")]
    Write(#[source] SpliceError),
    #[error("the other peer's proof of its key failed")]
    Private(#[source] PrivateError),
    #[error("no answer from the other peer within {} s", DEADLINE.as_secs())]
    TimedOut,
}

impl ProofError {
    fn of_read(error: ReadExactError) -> Self {
        match error {
            ReadExactError::ReadError(quinn::ReadError::Reset(code)) => {
                StreamReset::from_number(code.into_inner()).map_or(Self::Broke(error), Self::Refused)
            }
            ReadExactError::ReadError(_) | ReadExactError::FinishedEarly(_) => Self::Broke(error),
        }
    }
}

/// Operator: says what the stream is for, and has the host prove the key that it is known by.
///
/// # Errors
///
/// Where it does not, or somebody on the way refuses.
pub(crate) async fn begin(
    ends: &mut Ends,
    header: &PrivateHeader,
    secret: &SecretKey,
    host: &PublicKey,
    context: &Context<'_>,
) -> Result<Proven, ProofError> {
    let (greeting, awaiting) = AwaitHost::start(secret, host, context).map_err(ProofError::Private)?;
    let said = [header.encode(), greeting].concat();
    let proving = async {
        ends.to_relay.write(said.into()).await.map_err(ProofError::Write)?;
        let answer = message(&mut ends.from_relay).await?;
        awaiting.receive(&answer).map_err(ProofError::Private)
    };
    match tokio::time::timeout(DEADLINE, proving).await.unwrap_or(Err(ProofError::TimedOut)) {
        // Why nothing could be written is told where the answer would be.
        Err(ProofError::Write(error)) => Err(refusal(&mut ends.from_relay, error).await),
        proven => proven,
    }
}

async fn refusal(from_relay: &mut FromRelay, error: SpliceError) -> ProofError {
    let told = tokio::time::timeout(Duration::from_secs(1), message(from_relay)).await;
    match told {
        Ok(Err(refused @ ProofError::Refused(_))) => refused,
        Ok(_) | Err(_) => ProofError::Write(error),
    }
}

/// Host: hears which key the operator proves.
///
/// # Errors
///
/// Where it proves none for this context.
pub(crate) async fn hear(
    ends: &mut Ends,
    secret: &SecretKey,
    context: &Context<'_>,
) -> Result<AwaitDecision, ProofError> {
    let hearing = async {
        let greeting = message(&mut ends.from_relay).await?;
        AwaitDecision::receive(secret, context, &greeting).map_err(ProofError::Private)
    };
    tokio::time::timeout(DEADLINE, hearing).await.unwrap_or(Err(ProofError::TimedOut))
}

/// Host: proves its own key.
///
/// # Errors
///
/// Where the stream is gone.
pub(crate) async fn answer(ends: &mut Ends, decision: AwaitDecision) -> Result<Proven, ProofError> {
    let (answer, proven) = decision.accept().map_err(ProofError::Private)?;
    ends.to_relay.write(answer.into()).await.map_err(ProofError::Write)?;
    Ok(proven)
}

/// Host: lets a stream in on a connection for which both keys are proven.
///
/// # Errors
///
/// Where the stream is gone.
pub(crate) async fn admit(ends: &mut Ends) -> Result<(), ProofError> {
    ends.to_relay.write(Bytes::from_static(&[0; HEAD])).await.map_err(ProofError::Write)
}

/// Operator: waits until it is.
///
/// # Errors
///
/// Where it is not.
pub(crate) async fn admission(ends: &mut Ends) -> Result<(), ProofError> {
    // A later version may have something to say there.
    message(&mut ends.from_relay).await.map(drop)
}

/// Operator: says that it is there, which a recorded greeting cannot.
///
/// # Errors
///
/// Where the stream is gone.
pub(crate) async fn say_ready(ends: &mut Ends, records: &mut Records) -> Result<(), ProofError> {
    let ready = records.seal_ready().map_err(ProofError::Private)?;
    ends.to_relay.write(ready.into()).await.map_err(ProofError::Write)
}

/// Host: waits until the operator says so.
///
/// # Errors
///
/// Where it does not.
pub(crate) async fn hear_ready(ends: &mut Ends, records: &mut Records) -> Result<(), ProofError> {
    let hearing = async {
        let ready = message(&mut ends.from_relay).await?;
        records.open_ready(&ready).map_err(ProofError::Private)
    };
    tokio::time::timeout(DEADLINE, hearing).await.unwrap_or(Err(ProofError::TimedOut))
}

async fn message(from_relay: &mut FromRelay) -> Result<Vec<u8>, ProofError> {
    let mut head = [0; HEAD];
    from_relay.read_exact(&mut head).await.map_err(ProofError::of_read)?;
    let mut message = vec![0; greeting_length(head).map_err(ProofError::Private)?];
    from_relay.read_exact(&mut message).await.map_err(ProofError::of_read)?;
    Ok(message)
}
