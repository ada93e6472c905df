//! A session with the relay, from the dialling to its end.

mod control;
pub mod state;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use protocol::close::SessionClose;
use protocol::framed::{self, ReadError};
use protocol::handshake::{AwaitWelcome, HandshakeError, SessionHello, SessionWelcome};
use protocol::key::{PublicKey, SecretKey};
use protocol::limits;
use quinn::{ConnectionError, RecvStream, SendStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use state::Ending;

use crate::authority::RelayAddress;
use crate::board::{Board, Up};
use crate::dial::{self, DialError, STREAMS, Tunnel};
use crate::dispatch::{Behind, Dispatch};
use crate::private::flow::Carrier;

/// How long streams may go on when the agent stops.
const GRACE: Duration = Duration::from_secs(10);
/// For the relay to hear that this agent stops.
const SHORTEST_FAREWELL: Duration = Duration::from_millis(50);
const LONGEST_FAREWELL: Duration = Duration::from_millis(500);

/// Why there is no session, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("cannot reach the relay")]
    Dial(#[source] DialError),
    #[error("no answer from the relay within {} s", limits::ESTABLISHMENT.as_secs())]
    TimedOut,
    #[error("the relay's proof of its key failed")]
    Handshake(#[source] HandshakeError),
    #[error("the relay closed the session")]
    Closed(#[source] SessionClose),
    #[error("the relay closed the session with code {0}, which this version does not know")]
    ClosedUnknown(u64),
    #[error("the connection to the relay was lost")]
    Lost(#[source] ConnectionError),
    #[error("the control stream broke")]
    Read(#[source] ReadError),
    #[error("the control stream broke")]
    Write(#[source] io::Error),
    #[error("a message of the relay is malformed")]
    Malformed(#[source] serde_json::Error),
    #[error("a message to the relay cannot be written")]
    Encode(#[source] serde_json::Error),
}

impl SessionError {
    /// What the reconnection needs to know of it.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self {
            Self::Closed(close) => Ending::Closed(*close),
            Self::Dial(_)
            | Self::TimedOut
            | Self::Handshake(_)
            | Self::ClosedUnknown(_)
            | Self::Lost(_)
            | Self::Read(_)
            | Self::Write(_)
            | Self::Malformed(_)
            | Self::Encode(_) => Ending::Broken,
        }
    }

    /// What the relay is told when this side ends the session because of it.
    fn close(&self) -> SessionClose {
        match self {
            Self::Handshake(_) => SessionClose::Handshake,
            Self::Read(_) | Self::Malformed(_) => SessionClose::Protocol,
            Self::TimedOut => SessionClose::Establishment,
            Self::Dial(_)
            | Self::Closed(_)
            | Self::ClosedUnknown(_)
            | Self::Lost(_)
            | Self::Write(_)
            | Self::Encode(_) => SessionClose::Done,
        }
    }

    /// A stream breaks when its connection does; then why the connection did is the reason.
    fn or_of_connection(self, connection: &quinn::Connection) -> Self {
        connection.close_reason().map_or(self, Self::of_connection)
    }

    fn of_connection(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let code = close.error_code.into_inner();
                SessionClose::from_number(code).map_or(Self::ClosedUnknown(code), Self::Closed)
            }
            lost @ (ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::Reset
            | ConnectionError::TimedOut
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted) => Self::Lost(lost),
        }
    }
}

/// Who this agent is, and whom it talks to.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub secret: SecretKey,
    pub relay: RelayAddress,
    pub relay_key: PublicKey,
    /// Which of the peer's processes this is.
    pub instance: String,
}

/// A session in which both sides have proven their keys.
#[derive(Debug)]
pub struct Session {
    tunnel: Tunnel,
    send: SendStream,
    recv: RecvStream,
    welcome: SessionWelcome,
}

impl Session {
    /// Looks up, dials and proves, all within one deadline.
    ///
    /// # Errors
    ///
    /// What of it failed.
    pub async fn establish(credentials: &Credentials) -> Result<Self, SessionError> {
        let establishment = tokio::time::timeout(limits::ESTABLISHMENT, establish(credentials));
        establishment.await.unwrap_or(Err(SessionError::TimedOut))
    }

    /// What the relay said of itself and of this peer.
    #[must_use]
    pub fn welcome(&self) -> &SessionWelcome {
        &self.welcome
    }

    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.tunnel.connection().rtt()
    }

    /// Serves until the session ends or `stop` is cancelled: nothing in that case.
    pub async fn run(self, behind: &Behind, board: &Board, stop: &CancellationToken) -> Option<SessionError> {
        let Self { tunnel, send, recv, welcome } = self;
        let connection = tunnel.connection().clone();
        let places = Arc::new(Semaphore::new(STREAMS as usize));
        let (since, peer) = (SystemTime::now(), welcome.peer);
        let (carrier, offers) = (Carrier::new(connection.clone()), &behind.offers);
        behind.host.peers.is_called(peer.clone());
        board.up(Up { peer, since, carrier: carrier.clone(), places: Arc::clone(&places) });
        let hearing =
            control::Hearing { offers: offers.clone(), board, peers: &behind.host.peers, carrier: &carrier };
        let dispatch = Dispatch::new(carrier.clone(), behind.clone(), Arc::clone(&places));
        let error = tokio::select! {
            error = connection.closed() => Some(SessionError::of_connection(error)),
            error = control::announce(send, offers.clone(), stop.clone()) => Some(error),
            error = hearing.run(recv) => Some(error),
            error = dispatch.run() => Some(SessionError::of_connection(error)),
            () = drained(stop, &places, &connection) => None,
        };
        let error = error.map(|error| error.or_of_connection(&connection));
        tunnel.close(error.as_ref().map_or(SessionClose::Done, SessionError::close)).await;
        error
    }
}

/// Ends some time after `stop`: when no stream is left, or when the grace is over.
async fn drained(stop: &CancellationToken, places: &Semaphore, connection: &quinn::Connection) {
    stop.cancelled().await;
    // The relay hears that nothing is offered any longer; streams that it opened before that are still served.
    tokio::time::sleep((connection.rtt() * 2).clamp(SHORTEST_FAREWELL, LONGEST_FAREWELL)).await;
    // From here on new streams find no place, and the relay takes them elsewhere.
    // Over in either case.
    let _ = tokio::time::timeout(GRACE, places.acquire_many(STREAMS)).await;
}

async fn establish(credentials: &Credentials) -> Result<Session, SessionError> {
    let tls = dial::tls::dangerous_any_certificate();
    let tls = tls.map_err(|error| SessionError::Dial(DialError::Tls(error)))?;
    let tunnel = dial::connect(&credentials.relay, tls).await.map_err(of_dial)?;
    match prove(&tunnel, credentials).await {
        Ok((send, recv, welcome)) => Ok(Session { tunnel, send, recv, welcome }),
        Err(error) => {
            let error = error.or_of_connection(tunnel.connection());
            tunnel.close(error.close()).await;
            Err(error)
        }
    }
}

/// A relay that has no room says so while the connection is being made.
fn of_dial(error: DialError) -> SessionError {
    match error {
        DialError::Connect { source: closed @ ConnectionError::ApplicationClosed(_), .. } => {
            SessionError::of_connection(closed)
        }
        DialError::Connect { .. }
        | DialError::Resolve(_)
        | DialError::Socket(_)
        | DialError::Tls(_)
        | DialError::Quic(_)
        | DialError::Address { .. }
        | DialError::Exporter => SessionError::Dial(error),
    }
}

async fn prove(
    tunnel: &Tunnel,
    credentials: &Credentials,
) -> Result<(SendStream, RecvStream, SessionWelcome), SessionError> {
    let (mut send, mut recv) = tunnel.connection().open_bi().await.map_err(SessionError::Lost)?;
    let exporter = tunnel.exporter().map_err(SessionError::Dial)?;
    let software = env!("CARGO_PKG_VERSION").to_owned();
    let hello = SessionHello { software, instance: credentials.instance.clone() };
    let (frame, awaiting) =
        AwaitWelcome::start(&credentials.secret, &credentials.relay_key, &exporter, &hello)
            .map_err(SessionError::Handshake)?;
    framed::write(&mut send, &frame).await.map_err(SessionError::Write)?;
    let frame = framed::read(&mut recv, limits::HANDSHAKE_BODY).await.map_err(SessionError::Read)?;
    let welcome = awaiting.receive(&frame).map_err(SessionError::Handshake)?;
    Ok((send, recv, welcome))
}

#[cfg(test)]
mod tests;
