//! The control stream of a session: takes what the agent registers, answers, and passes on news.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt, stream};
use process::terminal;
use protocol::close::SessionClose;
use protocol::control::{HostnameState, Message, Register, Registered};
use protocol::frame::{Frame, FrameKind};
use protocol::{framed, limits};
use quinn::{ConnectionError, RecvStream, SendStream};

use super::establish::ControlStream;
use super::registry::{Registry, Seat};
use super::session::Session;
use super::{datagrams, private};

/// How often idle streams are looked through.
const PRUNE: Duration = Duration::from_secs(15);

/// An agent that does not read what it is told for this long is gone.
const READING: Duration = Duration::from_secs(10);
const BETWEEN_REGISTRATIONS: Duration = Duration::from_millis(250);
/// Hostnames that one answer leaves a log line for; the rest is counted.
const LOGGED: usize = 32;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    #[error("the connection ended")]
    Connection(#[source] ConnectionError),
    #[error("the control stream broke")]
    Control(#[source] framed::ReadError),
    #[error("the control stream took no more")]
    Write(#[source] std::io::Error),
    #[error("the agent asked for {0} hostnames, more than a session may have")]
    TooMany(usize),
    #[error("the agent offers {0} private services, more than a session may have")]
    TooManyPrivate(usize),
    #[error("the agent sent a message that cannot be read")]
    Malformed(#[source] serde_json::Error),
}

impl SessionEnd {
    /// What the agent is told, where it can still be told anything.
    fn close_code(&self) -> SessionClose {
        match self {
            Self::Malformed(_) | Self::Control(_) | Self::TooMany(_) | Self::TooManyPrivate(_) => {
                SessionClose::Protocol
            }
            Self::Connection(_) | Self::Write(_) => SessionClose::Done,
        }
    }
}

/// Runs until the session ends; says why, once.
pub(crate) async fn run(mut seat: Seat, control: ControlStream) {
    let (session, registry) = (Arc::clone(&seat.session), Arc::clone(&seat.registry));
    let (peer, address) = (&session.peer, session.connection.remote_address());
    tracing::info!(%peer, %address, instance = session.instance, software = session.software, "session up");
    let end = tokio::select! {
        end = run_inner(&mut seat, control) => end,
        never = session.watch_crowd() => match never {},
        never = private::serve(&session, &registry) => match never {},
        never = datagrams::carry(&session) => match never {},
    };
    drop(seat);
    session.close(end.close_code());
    session.drained().await;
    tracing::info!(%peer, %address, reason = terminal::chain(&end), "session down");
}

async fn run_inner(seat: &mut Seat, control: ControlStream) -> SessionEnd {
    let Seat { session, registry, news, roster, too_large } = seat;
    let mut seen_at = session.connection.remote_address();
    let ControlStream { send, recv } = control;
    let mut teller = Teller { send, told: Vec::new() };
    let mut frames = std::pin::pin!(frames(recv));
    let mut prune = tokio::time::interval(PRUNE);
    loop {
        let outcome = tokio::select! {
            frame = frames.next() => on_frame(frame, session, registry, &mut teller).await,
            Some(changed) = news.recv() => teller.tell(changed, session).await,
            Ok(()) = roster.changed() => {
                let told = roster.borrow_and_update().clone();
                match told {
                    Some(roster) => teller.send(&roster).await,
                    None => Ok(()),
                }
            }
            Some(datagram) = too_large.recv() => teller.send(&datagram).await,
            _ = prune.tick() => {
                session.prune(Instant::now());
                registry.note_address(session, &mut seen_at);
                Ok(())
            }
            error = session.connection.closed() => Err(SessionEnd::Connection(error)),
        };
        if let Err(end) = outcome {
            return end;
        }
    }
}

/// Reading a frame must not be cut short; as a stream, what was read stays between two polls.
fn frames(recv: RecvStream) -> impl Stream<Item = Result<Frame, framed::ReadError>> {
    stream::unfold(recv, |mut recv| async move {
        Some((framed::read(&mut recv, limits::CONTROL_BODY).await, recv))
    })
}

async fn on_frame(
    frame: Option<Result<Frame, framed::ReadError>>,
    session: &Session,
    registry: &Registry,
    teller: &mut Teller,
) -> Result<(), SessionEnd> {
    let frame = frame.unwrap_or(Err(framed::ReadError::Ended)).map_err(SessionEnd::Control)?;
    if frame.kind() != Some(FrameKind::Register) {
        tracing::debug!(peer = %session.peer, kind = frame.number, "a frame of a kind that is not for the relay");
        return Ok(());
    }
    match Register::from_frame(&frame).map_err(SessionEnd::Malformed)? {
        Some(wish) if wish.expose.len() > limits::EXPOSES => Err(SessionEnd::TooMany(wish.expose.len())),
        Some(wish) if wish.private.len() > limits::PRIVATE_SERVICES => {
            Err(SessionEnd::TooManyPrivate(wish.private.len()))
        }
        Some(wish) => {
            teller.tell(registry.register(session.id, wish), session).await?;
            // Every registration makes a new route table for all; an agent that sends many waits for the next.
            tokio::time::sleep(BETWEEN_REGISTRATIONS).await;
            Ok(())
        }
        None => Ok(()),
    }
}

/// The relay's half of the control stream, and what it said last.
struct Teller {
    send: SendStream,
    told: Vec<HostnameState>,
}

impl Teller {
    /// Logs what has changed, and tells the agent all of it.
    async fn tell(&mut self, answer: Registered, session: &Session) -> Result<(), SessionEnd> {
        let changed: Vec<_> = answer.hostnames.iter().filter(|state| !self.told.contains(state)).collect();
        if changed.len() > LOGGED {
            tracing::info!(peer = %session.peer, more = changed.len() - LOGGED, "further hostnames have changed");
        }
        for state in changed.into_iter().take(LOGGED) {
            let hostname = &state.hostname;
            match &state.refused {
                None => tracing::info!(peer = %session.peer, %hostname, "serving"),
                Some(reason) => tracing::warn!(peer = %session.peer, %hostname, reason, "not served"),
            }
        }
        let told = self.send(&answer).await;
        self.told = answer.hostnames;
        told
    }

    async fn send(&mut self, message: &impl Message) -> Result<(), SessionEnd> {
        let frame = message.to_frame().map_err(SessionEnd::Malformed)?;
        let writing = tokio::time::timeout(READING, framed::write(&mut self.send, &frame)).await;
        writing.unwrap_or_else(|late| Err(late.into())).map_err(SessionEnd::Write)
    }
}
