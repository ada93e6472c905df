//! The agent as a whole: one supervisor over the session, the configuration's reloads and the local commands.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use acme::keep::KeepError;
use process::local::{BindError, Listener};
use process::watch::{Change, Watch, WatchError};
use process::{random, terminal};
use protocol::close::SessionClose;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::config;
use crate::dispatch::Behind;
use crate::foreign::printable;
use crate::identity::DataDir;
use crate::offer::{Offer, Offers};
use crate::ordered::Ordered;
use crate::private::direct::{Direct, SetUpError};
use crate::private::doors::{Door, DoorState, Doors, Patience};
use crate::private::host::Host;
use crate::private::operator::Operator;
use crate::private::peers::Peers;
use crate::private::pins::Pins;
use crate::private::survey::survey;
use crate::private::talk::Talks;
use crate::session::state::{Ending, Reconnection};
use crate::session::{Credentials, Session, SessionError};
use crate::status::{self, Answer, Request};
use crate::terminate::Terminator;

/// Why a running agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot read the certificates that are kept")]
    Kept(#[source] KeepError),
    #[error("cannot set up TLS for visitors")]
    Tls(#[source] rustls::Error),
    #[error("cannot set up direct paths to other agents")]
    Direct(#[source] SetUpError),
    #[error("cannot answer local commands")]
    Socket(#[source] BindError),
    #[error("cannot watch the configuration")]
    Watch(#[source] WatchError),
}

impl AgentError {
    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Socket(error) => error.hint(),
            Self::Kept(_) | Self::Tls(_) | Self::Direct(_) | Self::Watch(_) => None,
        }
    }
}

/// An agent that is about to run.
#[derive(Debug)]
pub struct Agent {
    credentials: Arc<Credentials>,
    offer: watch::Sender<Arc<Offer>>,
    ordered: Arc<Ordered>,
    behind: Behind,
    operator: Arc<Operator>,
    direct: Arc<Direct>,
    data_dir: DataDir,
    board: Board,
}

impl Agent {
    /// `data_dir` has the certificates that this agent orders, and what it knows of other peers.
    ///
    /// # Errors
    ///
    /// Where TLS cannot be set up.
    pub fn new(credentials: Credentials, offer: Offer, data_dir: &DataDir) -> Result<Self, AgentError> {
        let ordered = Arc::new(Ordered::new(data_dir.certificates(), &credentials.relay));
        let terminator = Arc::new(Terminator::new(ordered.resolver()).map_err(AgentError::Tls)?);
        let (offer, offers) = watch::channel(Arc::new(offer));
        let (credentials, board) = (Arc::new(credentials), Board::default());
        let peers = Arc::new(Peers::new(credentials.secret.clone(), Pins::new(data_dir.peers())));
        let direct = Direct::new(board.clone(), offers.clone()).map_err(AgentError::Direct)?;
        let direct = Arc::new(direct);
        let talks = Talks { meeting: Some(Arc::clone(&direct)) };
        let host = Host::new(Arc::clone(&peers), offers.clone(), talks);
        let behind = Behind { offers, terminator, host: Arc::new(host) };
        let operator = Operator { peers, board: board.clone(), direct: Some(Arc::clone(&direct)) };
        Ok(Self {
            credentials,
            offer,
            ordered,
            behind,
            operator: Arc::new(operator),
            direct,
            data_dir: data_dir.clone(),
            board,
        })
    }

    /// The way to other peers' services.
    #[must_use]
    pub fn operator(&self) -> &Arc<Operator> {
        &self.operator
    }

    /// What is offered at the moment.
    #[must_use]
    pub fn offers(&self) -> Offers {
        self.offer.subscribe()
    }

    /// Where its state can be followed.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Keeps the session up until `stop` is cancelled.
    pub async fn keep_up(&self, stop: &CancellationToken) {
        process::open_files::raise_limit();
        tokio::select! {
            () = keep_up(self, stop) => {}
            () = self.direct.run(&self.operator, &self.behind.host) => {}
            never = self.leave_when(stop) => match never {},
        }
    }

    /// Other agents hear at once that this one stops.
    async fn leave_when(&self, stop: &CancellationToken) -> Infallible {
        stop.cancelled().await;
        self.direct.close();
        std::future::pending().await
    }

    /// Keeps the session up, follows changes of the file and answers local commands, until `stop` is cancelled.
    ///
    /// # Errors
    ///
    /// Where the socket or the watch cannot be set up, or a certificate that is kept cannot be read.
    pub async fn run(
        &self,
        file: PathBuf,
        socket: &Path,
        stop: &CancellationToken,
    ) -> Result<(), AgentError> {
        self.ordered.load().await.map_err(AgentError::Kept)?;
        let watch = Watch::new([file.clone()]).map_err(AgentError::Watch)?;
        let doors = Doors::new(Arc::clone(&self.operator), self.data_dir.clone(), Patience::Endless);
        let commands = self.commands(socket, doors.follow(), stop)?;
        notify(&[sd_notify::NotifyState::Ready]);
        let supervised = async {
            tokio::join!(self.keep_up(stop), commands);
        };
        tokio::select! {
            () = supervised => {}
            () = self.follow(watch, &file) => {}
            () = self.ordered.run(self.offer.subscribe(), &self.board) => {}
            never = doors.run(self.offers()) => match never {},
        }
        Ok(())
    }

    /// Answers `agent status`. Where this system has no such sockets the agent runs without.
    fn commands(
        &self,
        socket: &Path,
        doors: watch::Receiver<Vec<(Door, DoorState)>>,
        stop: &CancellationToken,
    ) -> Result<impl Future<Output = ()> + use<>, AgentError> {
        let listener = match Listener::bind(socket) {
            Ok(listener) => Some(listener),
            Err(BindError::Unsupported) => None,
            Err(error) => return Err(AgentError::Socket(error)),
        };
        let (credentials, offers) = (Arc::clone(&self.credentials), self.offer.subscribe());
        let (board, ordered, stop) = (self.board.clone(), Arc::clone(&self.ordered), stop.clone());
        let (operator, direct) = (Arc::clone(&self.operator), Arc::clone(&self.direct));
        Ok(async move {
            let Some(listener) = listener else { return };
            let answer = move |request: Request| {
                let status = status::collect(
                    &credentials,
                    &offers,
                    &board,
                    (ordered.status(), &doors.borrow(), direct.report()),
                );
                let operator = Arc::clone(&operator);
                async move {
                    match request {
                        Request::Status => Answer::Status(Box::new(status)),
                        Request::Services => services(&operator).await,
                    }
                }
            };
            listener.serve(stop, answer).await;
        })
    }

    /// Takes every valid change into force; an invalid one is reported and changes nothing.
    async fn follow(&self, mut watch: Watch, file: &Path) {
        loop {
            let change = watch.changed().await;
            notify(&[sd_notify::NotifyState::Reloading, monotonic()]);
            self.on_change(change, file);
            notify(&[sd_notify::NotifyState::Ready]);
        }
    }

    fn on_change(&self, change: Change, file: &Path) {
        let current = Arc::clone(&self.offer.borrow());
        let config = match config::load(file) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("the changed configuration is not used, the old one stays in force: {error}");
                return;
            }
        };
        if config.relay().is_some_and(|relay| *relay != self.credentials.relay) {
            tracing::warn!(
                "`relay` was changed: that needs `agent enroll` and a restart, the rest is used now"
            );
        }
        match current.replaced_by(config) {
            Ok(offer) => {
                let (services, hostnames) =
                    (offer.config().services().len(), offer.config().hostnames().len());
                tracing::info!(?change, services, hostnames, "the configuration was read anew");
                self.offer.send_replace(Arc::new(offer));
            }
            Err(error) => {
                let error = terminal::chain(&error);
                tracing::error!(error, "the changed configuration is not used, the old one stays in force");
            }
        }
    }
}

async fn services(operator: &Operator) -> Answer {
    match survey(operator).await {
        Ok(services) => Answer::Services { services },
        Err(error) => Answer::Failed { error: terminal::chain(&error), hint: error.hint() },
    }
}

/// Session after session. Never gives up.
async fn keep_up(agent: &Agent, stop: &CancellationToken) {
    let Agent { credentials, behind, board, .. } = agent;
    let mut reconnection = Reconnection::default();
    while !stop.is_cancelled() {
        board.connecting();
        let established = tokio::select! {
            () = stop.cancelled() => return,
            established = Session::establish(credentials) => established,
        };
        let (error, lasted) = match established {
            Err(error) => (error, None),
            Ok(session) => {
                on_up(credentials, &session);
                let began = Instant::now();
                let Some(error) = session.run(behind, board, stop).await else { return };
                (error, Some(began.elapsed()))
            }
        };
        let delay = on_end(&error, lasted, &mut reconnection, (board, &behind.host.peers));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

fn on_up(credentials: &Credentials, session: &Session) {
    let welcome = session.welcome();
    tracing::info!(
        relay = %credentials.relay,
        peer = %welcome.peer,
        relay_version = printable(&welcome.software),
        rtt_ms = session.rtt().as_millis(),
        "connected"
    );
}

fn on_end(
    error: &SessionError,
    lasted: Option<Duration>,
    reconnection: &mut Reconnection,
    (board, peers): (&Board, &Peers),
) -> Duration {
    let random = u32::from_be_bytes(random::bytes());
    let next = reconnection.handle_end(error.ending(), lasted, random);
    let cause = terminal::chain(error);
    if matches!(error.ending(), Ending::Closed(SessionClose::Revoked | SessionClose::NotEnrolled)) {
        peers.there_is_nobody();
    }
    let retry_in_ms = next.delay.as_millis();
    let message = match (error.ending(), lasted) {
        (Ending::Closed(SessionClose::Superseded), _) => "another agent with this identity took over",
        (Ending::Closed(_) | Ending::Broken, Some(_)) => "connection lost",
        (Ending::Closed(_) | Ending::Broken, None) => "cannot connect",
    };
    match next.advice {
        Some(hint) => tracing::warn!(error = cause, retry_in_ms, hint, "{message}"),
        None => tracing::warn!(error = cause, retry_in_ms, "{message}"),
    }
    board.waiting(cause, next.delay);
    next.delay
}

/// Tells systemd, where it wants to know. That it cannot be told is no reason to stop.
pub fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}

/// systemd wants to know when a reload began (sd_notify(3), `MONOTONIC_USEC`).
fn monotonic() -> sd_notify::NotifyState<'static> {
    sd_notify::NotifyState::monotonic_usec_now().unwrap_or(sd_notify::NotifyState::Reloading)
}
