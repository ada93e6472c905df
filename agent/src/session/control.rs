//! The control stream of a session: what this agent offers goes out, what became of it and who else there is comes in.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::control::{HostnameState, Message, Register, Registered};
use protocol::frame::Frame;
use protocol::framed;
use protocol::hostname::HostnamePattern;
use protocol::limits;
use quinn::{RecvStream, SendStream};
use tokio_util::sync::CancellationToken;

use super::SessionError;
use crate::board::Board;
use crate::foreign::printable;
use crate::offer::{Offer, Offers};
use crate::private::flow::Carrier;
use crate::private::peers::Peers;

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

/// Whom what the relay says is for.
pub(super) struct Hearing<'h> {
    pub(super) offers: Offers,
    pub(super) board: &'h Board,
    pub(super) peers: &'h Peers,
    pub(super) carrier: &'h Carrier,
}

impl Hearing<'_> {
    /// Hears the relay, for as long as the stream lives.
    pub(super) async fn run(self, mut recv: RecvStream) -> SessionError {
        let mut said = Said::default();
        loop {
            let heard = framed::read(&mut recv, limits::CONTROL_BODY).await.map_err(SessionError::Read);
            if let Err(error) = heard.and_then(|frame| self.on_frame(&frame, &mut said)) {
                return error;
            }
        }
    }

    /// Frames of other kinds are for later versions.
    fn on_frame(&self, frame: &Frame, said: &mut Said) -> Result<(), SessionError> {
        if let Some(answer) = message(frame)? {
            self.on_answer(answer, said);
        } else if let Some(roster) = message(frame)? {
            self.peers.there_are(roster);
        } else if let Some(too_large) = message(frame)? {
            self.carrier.flows.did_not_fit(too_large);
        }
        Ok(())
    }

    /// What became of what was offered.
    fn on_answer(&self, answer: Registered, said: &mut Said) {
        let offer = Arc::clone(&self.offers.borrow());
        // An answer to what has been replaced since; the next one is on its way.
        if answer.revision < offer.revision() {
            return;
        }
        let hostnames: Vec<HostnameState> = answer.hostnames.into_iter().map(readable).collect();
        for state in &hostnames {
            said.tell(state, &offer);
        }
        self.board.hostnames(hostnames);
    }
}

fn message<M: Message>(frame: &Frame) -> Result<Option<M>, SessionError> {
    M::from_frame(frame).map_err(SessionError::Malformed)
}

fn readable(state: HostnameState) -> HostnameState {
    HostnameState { refused: state.refused.as_deref().map(printable), ..state }
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
