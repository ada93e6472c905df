//! A device that has proven its key and asks to become a peer: answered at once, or kept waiting for a person.

use std::sync::Arc;
use std::time::Duration;

use protocol::close::SessionClose;
use protocol::control::{EnrollAnswer, Message};
use protocol::framed;
use protocol::handshake::EnrollRequest;
use protocol::key::PublicKey;
use quinn::{Connection, VarInt};
use tokio::time::Instant;

use super::establish::{ControlStream, address};
use crate::enrollment::{Enrollment, accepted};

/// How long an answer may take to arrive before the connection is closed over it.
const DELIVERY: Duration = Duration::from_secs(3);

/// Answers, waits where it must, and closes the connection.
pub(crate) async fn run(
    connection: Connection,
    enrollment: Arc<Enrollment>,
    key: PublicKey,
    request: EnrollRequest,
    mut control: ControlStream,
) {
    let mut changes = enrollment.changes();
    let first = answer(&enrollment, key, request, &connection).await;
    tell(&mut control, &first).await;
    if let EnrollAnswer::Pending { code, expires_in_s } = &first {
        tracing::info!(
            code,
            address = %address(&connection),
            fingerprint = key.fingerprint(),
            "a device asks to be enrolled; admit it with `relay peer approve {code} --hostname ...`"
        );
        let expiry = Instant::now() + Duration::from_secs(*expires_in_s);
        let last = tokio::select! {
            peer = approved(&enrollment, key, &mut changes) => peer,
            () = tokio::time::sleep_until(expiry) => refused("nobody approved this device in time; ask again"),
            _ = connection.closed() => return,
        };
        tell(&mut control, &last).await;
    }
    let _delivered = control.send.finish();
    let _closed = tokio::time::timeout(DELIVERY, connection.closed()).await;
    connection.close(VarInt::from_u32(SessionClose::Done.number()), b"");
}

async fn answer(
    enrollment: &Arc<Enrollment>,
    key: PublicKey,
    request: EnrollRequest,
    connection: &Connection,
) -> EnrollAnswer {
    let answer = enrollment.ask(key, request, address(connection)).await;
    let answer = answer.unwrap_or_else(|error| {
        tracing::error!(error = process::terminal::chain(&error), "an enrollment could not be stored");
        refused("the relay cannot reach its store; try again later")
    });
    let address = address(connection);
    match &answer {
        EnrollAnswer::Accepted { peer, .. } => tracing::info!(%peer, %address, "enrolled"),
        EnrollAnswer::Refused { reason } => tracing::warn!(%address, reason, "an enrollment was refused"),
        EnrollAnswer::Pending { .. } => {}
    }
    answer
}

fn refused(reason: &str) -> EnrollAnswer {
    EnrollAnswer::Refused { reason: reason.into() }
}

async fn approved(
    enrollment: &Enrollment,
    key: PublicKey,
    changes: &mut tokio::sync::watch::Receiver<u64>,
) -> EnrollAnswer {
    loop {
        if let Some(peer) = enrollment.registry.peer(&key) {
            return accepted(peer);
        }
        if changes.changed().await.is_err() {
            return refused("the relay is shutting down; ask again");
        }
    }
}

/// A device that is gone hears it when it asks again.
async fn tell(control: &mut ControlStream, answer: &EnrollAnswer) {
    let sent = match answer.to_frame() {
        Ok(frame) => tokio::time::timeout(DELIVERY, framed::write(&mut control.send, &frame)).await,
        Err(error) => Ok(Err(error.into())),
    };
    if let Err(error) = sent.unwrap_or_else(|late| Err(late.into())) {
        tracing::debug!(%error, "an enrolling device did not hear its answer");
    }
}
