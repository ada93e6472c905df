//! UDP 443: accepts the connections of agents, and of visitors who speak HTTP/3. One slow or hostile stranger never holds
//! up another.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use process::terminal;
use protocol::close::SessionClose;
use protocol::hostname::Hostname;
use protocol::key::SecretKey;
use protocol::limits;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, ServerConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::buffers::Buffers;
use transport::runtime::LeanRuntime;
use transport::settings::settings;

use super::control;
use super::enroll;
use super::establish::{self, Caller, EstablishError, Established};
use crate::enrollment::Enrollment;
use crate::gate::{Bounds, Gate, Ticket, Verdict};

/// What one stream may have in flight, in bytes: about two bandwidth-delay products of 300 Mbit/s at 80 ms, so that one
/// download fills a long link although news of what was read takes a round trip.
pub(super) const STREAM_WINDOW: u32 = 8 << 20;
/// What one session may have in flight, in bytes; quinn's own default has no bound. Visitors who stop reading could fill
/// it: [`super::crowd`] sees to it that they leave room for the others.
pub(super) const SESSION_WINDOW: u32 = 96 << 20;
/// The same before a key is proven: a handshake fits many times.
const STRANGER_WINDOW: u32 = 64 << 10;
/// A visitor who speaks HTTP/3 needs three, and may have a few that mean nothing (RFC 9114, section 6.2).
const UNIDIRECTIONAL: u32 = 8;
const DOOR: Bounds = Bounds { all: 1024, of_an_address: 64, validate_from: 64 };
/// Devices that wait for approval with a connection open, and how many of one address.
const WAITING: Bounds = Bounds { all: 64, of_an_address: 8, validate_from: usize::MAX };
/// Devices that brought a token: they are answered at once and do not stand in that queue.
const REDEEMING: Bounds = Bounds { all: 256, of_an_address: 64, validate_from: usize::MAX };

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("UDP `{address}` cannot be opened")]
    Bind {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("TLS for sessions cannot be set up")]
    Tls(#[source] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// Opens UDP and prepares to accept sessions.
pub(crate) fn endpoint(
    address: SocketAddr,
    tls: rustls::ServerConfig,
    secret: &SecretKey,
) -> Result<Endpoint, EndpointError> {
    let bind = |source| EndpointError::Bind { address, source };
    let socket = socket(address).map_err(bind)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(EndpointError::Tls)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport())).max_incoming(DOOR.all * 2);
    Endpoint::new(endpoint_config(secret), Some(config), socket, Arc::new(LeanRuntime)).map_err(bind)
}

/// A relay that was started again has to tell agents at once that it knows their connections no longer: both what makes
/// a reset believable and what makes a connection's id recognisable follow from the relay's key.
fn endpoint_config(secret: &SecretKey) -> EndpointConfig {
    let derived =
        |purpose: &[u8]| digest::digest(&digest::SHA256, &[purpose, secret.expose_bytes()].concat());
    let reset = derived(b"adit/1 stateless reset");
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref())));
    let ids = derived(b"adit/1 connection ids");
    let seed = ids.as_ref().iter().take(8).fold(0, |seed: u64, byte| seed << 8 | u64::from(*byte));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(seed)));
    config
}

fn transport() -> TransportConfig {
    let mut transport = settings();
    transport
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .send_window(u64::from(SESSION_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL))
        .max_idle_timeout(Some(VarInt::from_u32(30_000).into()));
    transport
}

fn socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Buffers::enlarge(&socket)?.warn_once();
    Ok(socket.into())
}

/// Takes the connections of visitors.
pub(crate) trait Visitors: Send + Sync + 'static {
    /// Sets the bounds of a connection as soon as it is known to be a visitor's.
    fn bound(&self, connection: &Connection);
    /// A connection, whoever's, was not taken: too many are at their handshake.
    fn crowded(&self);
    /// Serves one whose handshake is over, for the hostname that it named.
    fn serve(&self, connection: Connection, hostname: Hostname);
}

/// What every connection needs.
struct Doorway {
    enrollment: Arc<Enrollment>,
    visitors: Arc<dyn Visitors>,
    door: Arc<Gate>,
    waiting: Arc<Gate>,
    redeeming: Arc<Gate>,
}

impl Doorway {
    fn new(enrollment: Arc<Enrollment>, visitors: Arc<dyn Visitors>) -> Self {
        let [door, waiting, redeeming] = [DOOR, WAITING, REDEEMING].map(Gate::new);
        Self { enrollment, visitors, door, waiting, redeeming }
    }
}

/// Accepts until cancelled; then closes every session and waits for them.
pub(crate) async fn run(
    endpoint: Endpoint,
    enrollment: Arc<Enrollment>,
    visitors: Arc<dyn Visitors>,
    cancel: CancellationToken,
) {
    let doorway = Arc::new(Doorway::new(enrollment, visitors));
    let tasks = TaskTracker::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => on_incoming(incoming, &doorway, &tasks),
                None => break,
            },
            () = cancel.cancelled() => break,
        }
    }
    endpoint.close(VarInt::from_u32(SessionClose::Done.number()), b"the relay shuts down");
    tasks.close();
    tasks.wait().await;
    endpoint.wait_idle().await;
}

fn on_incoming(incoming: Incoming, doorway: &Arc<Doorway>, tasks: &TaskTracker) {
    match doorway.door.enter(incoming.remote_address().ip(), incoming.remote_address_validated()) {
        Verdict::Enter(ticket) => {
            tasks.spawn(serve(incoming, Arc::clone(doorway), ticket));
        }
        Verdict::Validate if incoming.may_retry() => {
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
        }
        Verdict::Validate | Verdict::Refuse => {
            doorway.visitors.crowded();
            incoming.refuse();
        }
    }
}

/// One connection, from its first packet to its end.
async fn serve(incoming: Incoming, doorway: Arc<Doorway>, ticket: Ticket) {
    let address = incoming.remote_address();
    let mut connection = None;
    let establishing = async {
        let (connected, caller) = establish::connect(incoming, &*doorway.visitors).await?;
        let connected = connection.insert(connected);
        match caller {
            Caller::Agent => establish::prove(connected, &doorway.enrollment).await,
            Caller::Visitor(hostname) => Ok(Established::Visitor(hostname)),
        }
    };
    // Boxed: a session lives for months, and should not carry room for its beginning.
    let established = tokio::time::timeout(limits::ESTABLISHMENT, Box::pin(establishing)).await;
    drop(ticket);
    match established.unwrap_or(Err(EstablishError::Deadline)) {
        Ok(established) => {
            if let Some(connection) = connection {
                admitted(connection, established, &doorway).await;
            }
        }
        Err(error) => {
            tracing::debug!(%address, error = terminal::chain(&error), "a connection became nothing");
            if let Some(connection) = connection {
                let code = error.close_code();
                connection.close(VarInt::from_u32(code.number()), code.to_string().as_bytes());
            }
        }
    }
}

async fn admitted(connection: Connection, established: Established, doorway: &Doorway) {
    let enrollment = Arc::clone(&doorway.enrollment);
    match established {
        Established::Visitor(hostname) => doorway.visitors.serve(connection, hostname),
        Established::Session { seat, control } => {
            connection.set_receive_window(VarInt::from_u32(SESSION_WINDOW));
            let key = seat.session.key;
            // A store that is slow must not keep a session waiting.
            tokio::join!(Box::pin(enrollment.seen(&key)), control::run(seat, control));
            Box::pin(enrollment.seen(&key)).await;
        }
        Established::Enrolling { key, request, control } => {
            let gate = if request.token.is_some() { &doorway.redeeming } else { &doorway.waiting };
            match gate.enter(establish::address(&connection), true) {
                Verdict::Enter(_place) => {
                    Box::pin(enroll::run(connection, enrollment, key, request, control)).await;
                }
                Verdict::Validate | Verdict::Refuse => {
                    let busy = SessionClose::Busy;
                    connection.close(VarInt::from_u32(busy.number()), busy.to_string().as_bytes());
                }
            }
        }
    }
}
