//! The control stream of a session: what this agent offers goes out, what became of it comes in.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::control::{HostnameState, Message as _, Register, Registered};
use protocol::framed;
use protocol::hostname::HostnamePattern;
use protocol::limits;
use quinn::{RecvStream, SendStream};
use tokio_util::sync::CancellationToken;

use super::SessionError;
use crate::board::Board;
use crate::foreign::printable;
use crate::offer::{Offer, Offers};

/// Tells the relay what is offered, now and after every change, until told to stop: then that nothing is. Comes back
/// only when the stream breaks.
pub(super) async fn announce(
    mut send: SendStream,
    mut offers: Offers,
    stop: CancellationToken,
) -> SessionError {
    loop {
        let offer = Arc::clone(&offers.borrow_and_update());
        if let Err(error) = register(&mut send, &offer.register()).await {
            return error;
        }
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            changed = offers.changed() => changed.is_err(),
        };
        if stopped {
            let withdrawn = register(&mut send, &offer.withdrawn()).await;
            return match withdrawn {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            };
        }
    }
}

async fn register(send: &mut SendStream, register: &Register) -> Result<(), SessionError> {
    let frame = register.to_frame().map_err(SessionError::Encode)?;
    framed::write(send, &frame).await.map_err(SessionError::Write)
}

/// Hears what became of it, for as long as the stream lives.
pub(super) async fn hear(mut recv: RecvStream, offers: Offers, board: &Board) -> SessionError {
    let mut said = Said::default();
    loop {
        let answer = match next_answer(&mut recv).await {
            Ok(answer) => answer,
            Err(error) => return error,
        };
        let offer = Arc::clone(&offers.borrow());
        // An answer to what has been replaced since; the next one is on its way.
        if answer.revision < offer.revision() {
            continue;
        }
        let hostnames: Vec<HostnameState> = answer.hostnames.into_iter().map(readable).collect();
        for state in &hostnames {
            said.tell(state, &offer);
        }
        board.hostnames(hostnames);
    }
}

fn readable(state: HostnameState) -> HostnameState {
    HostnameState { refused: state.refused.as_deref().map(printable), ..state }
}

/// The next answer; frames of other kinds are for later versions.
async fn next_answer(recv: &mut RecvStream) -> Result<Registered, SessionError> {
    loop {
        let frame = framed::read(recv, limits::CONTROL_BODY).await.map_err(SessionError::Read)?;
        if let Some(answer) = Registered::from_frame(&frame).map_err(SessionError::Malformed)? {
            return Ok(answer);
        }
    }
}

/// What has been logged of each hostname, so that only news is.
#[derive(Debug, Default)]
struct Said(BTreeMap<HostnamePattern, Option<String>>);

impl Said {
    fn tell(&mut self, state: &HostnameState, offer: &Offer) {
        if !offer.config().hostnames().any(|hostname| *hostname == state.hostname) {
            return;
        }
        let before = self.0.insert(state.hostname.clone(), state.refused.clone());
        if before.is_some_and(|before| before == state.refused) {
            return;
        }
        let hostname = &state.hostname;
        match &state.refused {
            None => tracing::info!(%hostname, "serving"),
            Some(reason) => tracing::warn!(%hostname, reason, "refused by the relay"),
        }
    }
}
