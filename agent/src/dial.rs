//! Connects to the relay: all its addresses in staggered order, the first that answers wins (RFC 8305).

pub mod socket;
pub mod tls;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use protocol::close::SessionClose;
use protocol::noise::Exporter;
use protocol::version;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, EndpointConfig, TransportConfig, VarInt};

use transport::runtime::LeanRuntime;
use transport::settings::settings;

use crate::authority::RelayAddress;
use crate::resolve::{self, ResolveError};

/// How long an address may be silent before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(30);
const INITIAL_MTU: u16 = 1200;
/// Guessed before the first answer. Less than the standard's 333 ms, so that a lost first packet, or a relay that comes
/// back a moment later, costs a third of a second and not a whole one.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Streams that the relay may have open at once.
pub const STREAMS: u32 = 4096;
/// How long the word that a connection is closed may take to leave.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why there is no connection to the relay.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot find the relay")]
    Resolve(#[source] ResolveError),
    #[error("cannot open a UDP socket")]
    Socket(#[source] io::Error),
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    #[error("this system's TLS cannot be used for QUIC")]
    Quic(#[source] quinn::crypto::rustls::NoInitialCipherSuite),
    #[error("`{address}` cannot be dialled")]
    Address { address: SocketAddr, source: quinn::ConnectError },
    #[error("no connection to `{address}`")]
    Connect { address: SocketAddr, source: ConnectionError },
    #[error("the TLS connection gives no keying material")]
    Exporter,
}

/// A QUIC connection and the socket under it.
#[derive(Debug)]
pub struct Tunnel {
    ground: Ground,
    connection: Connection,
}

/// A socket, as QUIC uses it and as it is.
#[derive(Debug, Clone)]
pub struct Ground {
    pub(crate) endpoint: Endpoint,
    /// For packets that are not QUIC's: they open the way through a router for those that are.
    pub(crate) bare: Arc<UdpSocket>,
}

impl Tunnel {
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Keying material of this very connection, which the Noise handshake is bound to.
    ///
    /// # Errors
    ///
    /// Where the TLS library has none to give.
    pub fn exporter(&self) -> Result<Exporter, DialError> {
        let mut exporter = Exporter::default();
        let exported = self.connection.export_keying_material(&mut exporter, version::EXPORTER_LABEL, b"");
        exported.map_err(|_| DialError::Exporter).map(|()| exporter)
    }

    /// Ends the connection and waits until the relay can have heard of it.
    pub async fn close(self, code: SessionClose) {
        self.connection.close(code.number().into(), b"");
        // Late is fine: the relay would notice by itself.
        let _ = tokio::time::timeout(FAREWELL, self.ground.endpoint.wait_idle()).await;
    }

    /// What it stands on.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }
}

impl Ground {
    /// Where the socket is bound to; its port is the one of everything that it sends.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.endpoint.local_addr().ok()
    }

    /// Whether the two are one socket.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bare, &other.bare)
    }

    /// Sends a packet that QUIC has nothing to do with.
    ///
    /// # Errors
    ///
    /// Where it cannot be sent, or not at once.
    pub(crate) fn knock(&self, address: SocketAddr, packet: &[u8]) -> io::Result<()> {
        let is_ipv6 = self.local_address().is_some_and(|own| own.is_ipv6());
        // A socket of both families knows IPv4 by its IPv6 spelling.
        let address = match address {
            SocketAddr::V4(v4) if is_ipv6 => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
            SocketAddr::V4(_) | SocketAddr::V6(_) => address,
        };
        self.bare.send_to(packet, address).map(drop)
    }
}

/// Connects to the first address of the relay that answers. The caller sets the deadline.
///
/// # Errors
///
/// Where the name does not resolve, or with what the last address failed.
pub async fn connect(relay: &RelayAddress, tls: rustls::ClientConfig) -> Result<Tunnel, DialError> {
    let addresses = resolve::addresses(relay.authority()).await.map_err(DialError::Resolve)?;
    connect_to(&addresses, &relay.authority().host().to_string(), tls).await
}

/// Connects to the first of these addresses that answers.
///
/// # Errors
///
/// With what the last address failed.
pub async fn connect_to(
    addresses: &[SocketAddr],
    server_name: &str,
    tls: rustls::ClientConfig,
) -> Result<Tunnel, DialError> {
    let ground = ground()?;
    let quic = QuicClientConfig::try_from(tls).map_err(DialError::Quic)?;
    let mut config = quinn::ClientConfig::new(Arc::new(quic));
    config.transport_config(Arc::new(transport()));
    let mut attempts = FuturesUnordered::new();
    let mut waiting = addresses.iter().copied();
    let mut last = DialError::Resolve(ResolveError::Empty { name: server_name.to_owned() });
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(attempt(&ground.endpoint, config.clone(), address, server_name));
        } else if attempts.is_empty() {
            return Err(last);
        }
        // With nothing left to add, the running attempts have all the time that the caller gives.
        let stagger = if waiting.len() == 0 { Duration::MAX } else { STAGGER };
        match tokio::time::timeout(stagger, attempts.next()).await {
            Ok(Some(Ok(connection))) => return Ok(Tunnel { ground: ground.clone(), connection }),
            Ok(Some(Err(error))) => last = error,
            Ok(None) | Err(_) => {}
        }
    }
}

async fn attempt(
    endpoint: &Endpoint,
    config: quinn::ClientConfig,
    address: SocketAddr,
    server_name: &str,
) -> Result<Connection, DialError> {
    let connecting = endpoint.connect_with(config, address, server_name);
    let connecting = connecting.map_err(|source| DialError::Address { address, source })?;
    connecting.await.map_err(|source| DialError::Connect { address, source })
}

/// A socket of its own for every connection: a path that a middlebox has given up is not used again.
fn ground() -> Result<Ground, DialError> {
    let (socket, buffers) = socket::bind().map_err(DialError::Socket)?;
    buffers.warn_once();
    let bare = Arc::new(socket.try_clone().map_err(DialError::Socket)?);
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(LeanRuntime));
    Ok(Ground { endpoint: endpoint.map_err(DialError::Socket)?, bare })
}

pub(crate) fn transport() -> TransportConfig {
    let mut transport = settings();
    transport
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(CONNECTION_WINDOW.into())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(quinn::IdleTimeout::from(VarInt::from_u32(IDLE.as_millis() as u32))))
        .initial_mtu(INITIAL_MTU)
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(STREAMS.into());
    transport
}
