//! Connects to the services of this agent's own configuration, and to nothing else.

mod proxy;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::close::StreamReset;
use protocol::id::ServiceName;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use socket2::SockRef;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, Host};
use crate::config::{Config, ProxyProtocol, Reach, ServiceConfig, Target};

/// From the first look at the name to the end of the TLS handshake.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why an origin cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("cannot set up TLS for the service `{service}`")]
    Tls { service: ServiceName, source: rustls::Error },
    #[error("`{host}` cannot be the name in a certificate, which the service `{service}` needs")]
    Name { service: ServiceName, host: Host, source: InvalidDnsNameError },
}

impl PrepareError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tls { .. } => Some(
                "name a certificate file with `tls_ca_file`, or install the system's certificates".to_owned(),
            ),
            Self::Name { .. } => None,
        }
    }
}

/// Why an origin was not reached.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error("`{name}` does not resolve")]
    Resolve { name: String, source: io::Error },
    #[error("cannot connect to `{target}`")]
    Connect { target: String, source: io::Error },
    #[error("no connection to `{target}` within {} s", DEADLINE.as_secs())]
    TimedOut { target: String },
    #[error("TLS with `{target}` failed")]
    Tls { target: String, source: io::Error },
}

impl OriginError {
    /// What the relay is told.
    #[must_use]
    pub fn reset(&self) -> StreamReset {
        match self {
            Self::Resolve { .. } => StreamReset::OriginUnresolved,
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
                StreamReset::OriginTimeout
            }
            Self::Connect { .. } => StreamReset::OriginRefused,
            Self::TimedOut { .. } => StreamReset::OriginTimeout,
            Self::Tls { .. } => StreamReset::OriginTls,
        }
    }
}

/// Every origin of one configuration, ready to be connected to. A service that is not in here cannot be reached.
#[derive(Debug, Default)]
pub struct Origins(BTreeMap<ServiceName, Arc<Origin>>);

impl Origins {
    /// Sets up TLS where an origin needs it.
    ///
    /// # Errors
    ///
    /// Where the system has no trusted certificates, or a host cannot stand in one.
    pub fn prepare(config: &Config) -> Result<Self, PrepareError> {
        let origins = config.services().iter().map(|(name, service)| {
            let origin = Origin::prepare(name, service, config.reach(name))?;
            Ok((name.clone(), Arc::new(origin)))
        });
        origins.collect::<Result<_, PrepareError>>().map(Self)
    }

    #[must_use]
    pub fn find(&self, service: &ServiceName) -> Option<Arc<Origin>> {
        self.0.get(service).map(Arc::clone)
    }
}

/// One origin, ready to be connected to.
pub struct Origin {
    target: Target,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    proxy_protocol: Option<ProxyProtocol>,
    reach: Reach,
}

impl Origin {
    fn prepare(name: &ServiceName, service: &ServiceConfig, reach: Reach) -> Result<Self, PrepareError> {
        let target = service.target().clone();
        let tls = match &target {
            Target::Https(authority) => {
                let connector = tls::connector(service.trust())
                    .map_err(|source| PrepareError::Tls { service: name.clone(), source })?;
                let host = authority.host().clone();
                let server_name = ServerName::try_from(host.to_string())
                    .map_err(|source| PrepareError::Name { service: name.clone(), host, source })?;
                Some((connector, server_name))
            }
            Target::Http(_) | Target::H2c(_) | Target::Tcp(_) | Target::Udp(_) | Target::Unix(_) => None,
        };
        Ok(Self { target, tls, proxy_protocol: service.proxy_protocol(), reach })
    }

    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether each connection is for one visitor alone: it begins with the visitor's address.
    #[must_use]
    pub fn is_per_visitor(&self) -> bool {
        self.proxy_protocol.is_some()
    }

    /// Which streams may come here, by the configuration that this origin is of.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Connects, within one deadline over everything, and tells the origin the visitor where it wants to know; none where
    /// it is for another peer.
    ///
    /// # Errors
    ///
    /// Where the origin's name does not resolve, nothing answers there, or TLS fails.
    pub async fn connect(&self, visitor: Option<SocketAddr>) -> Result<OriginStream, OriginError> {
        self.in_time(async {
            let connected = self.dial(visitor).await?;
            self.begin_tls(connected).await
        })
        .await
    }

    /// The same without TLS of this agent's own, for a visitor who brings TLS along.
    ///
    /// # Errors
    ///
    /// Where the origin's name does not resolve, or nothing answers there.
    pub async fn connect_bare(&self, visitor: Option<SocketAddr>) -> Result<OriginStream, OriginError> {
        self.in_time(self.dial(visitor)).await
    }

    async fn in_time(
        &self,
        connecting: impl Future<Output = Result<OriginStream, OriginError>>,
    ) -> Result<OriginStream, OriginError> {
        let connected = tokio::time::timeout(DEADLINE, connecting).await;
        connected.unwrap_or_else(|_| Err(OriginError::TimedOut { target: self.target.to_string() }))
    }

    async fn dial(&self, visitor: Option<SocketAddr>) -> Result<OriginStream, OriginError> {
        let authority = match &self.target {
            Target::Unix(path) => return self.unix(path, visitor).await,
            Target::Http(authority)
            | Target::Https(authority)
            | Target::H2c(authority)
            | Target::Tcp(authority) => authority,
            Target::Udp(_) => {
                let source = io::ErrorKind::Unsupported.into();
                return Err(OriginError::Connect { target: self.target.to_string(), source });
            }
        };
        let mut tcp = self.tcp(authority).await?;
        let address = tcp.peer_addr().ok();
        self.introduce(&mut tcp, visitor, address).await?;
        Ok(OriginStream::Tcp(tcp))
    }

    async fn begin_tls(&self, connected: OriginStream) -> Result<OriginStream, OriginError> {
        let (connector, name, tcp) = match (&self.tls, connected) {
            (Some((connector, name)), OriginStream::Tcp(tcp)) => (connector, name, tcp),
            (_, connected) => return Ok(connected),
        };
        match connector.connect(name.clone(), tcp).await {
            Ok(tls) => Ok(OriginStream::Tls(Box::new(tls))),
            Err(source) => Err(OriginError::Tls { target: self.target.to_string(), source }),
        }
    }

    /// A socket of its own for one flow of datagrams.
    ///
    /// # Errors
    ///
    /// Where the origin takes no datagrams, or its name does not resolve.
    pub async fn datagrams(&self) -> Result<UdpSocket, OriginError> {
        let failed = |source| OriginError::Connect { target: self.target.to_string(), source };
        let Target::Udp(authority) = &self.target else {
            return Err(failed(io::ErrorKind::Unsupported.into()));
        };
        let opening = async {
            let addresses = resolve(authority).await?;
            let address = addresses.first().copied().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
            let any: IpAddr =
                if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
            socket.connect(address).await.map_err(failed)?;
            Ok(socket)
        };
        let opened = tokio::time::timeout(DEADLINE, opening).await;
        opened.unwrap_or_else(|_| Err(OriginError::TimedOut { target: self.target.to_string() }))
    }

    async fn tcp(&self, authority: &Authority) -> Result<TcpStream, OriginError> {
        let addresses = resolve(authority).await?;
        let failed = |source| OriginError::Connect { target: self.target.to_string(), source };
        // One address after the other, in the order of the system.
        let tcp = TcpStream::connect(addresses.as_slice()).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        // From here on closing is a reset, also if this task is dropped; `OriginStream::settle` takes that back.
        SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).map_err(failed)?;
        Ok(tcp)
    }

    /// The first bytes of a connection, before TLS.
    async fn introduce(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        visitor: Option<SocketAddr>,
        origin: Option<SocketAddr>,
    ) -> Result<(), OriginError> {
        let Some(version) = self.proxy_protocol else { return Ok(()) };
        let failed = |source| OriginError::Connect { target: self.target.to_string(), source };
        let header = proxy::header(version, visitor, origin).map_err(failed)?;
        stream.write_all(&header).await.map_err(failed)
    }

    #[cfg(unix)]
    async fn unix(&self, path: &Path, visitor: Option<SocketAddr>) -> Result<OriginStream, OriginError> {
        let failed = |source| OriginError::Connect { target: self.target.to_string(), source };
        let mut stream = UnixStream::connect(path).await.map_err(failed)?;
        self.introduce(&mut stream, visitor, None).await?;
        Ok(OriginStream::Unix(stream))
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_async, reason = "the same signature as where there are such sockets")]
    async fn unix(&self, _path: &Path, _visitor: Option<SocketAddr>) -> Result<OriginStream, OriginError> {
        let source = io::ErrorKind::Unsupported.into();
        Err(OriginError::Connect { target: self.target.to_string(), source })
    }
}

async fn resolve(authority: &Authority) -> Result<Vec<SocketAddr>, OriginError> {
    match authority.host() {
        Host::Address(address) => Ok(vec![SocketAddr::new(*address, authority.port())]),
        Host::Name(name) => tokio::net::lookup_host((name.as_ref(), authority.port()))
            .await
            .map(Iterator::collect)
            .map_err(|source| OriginError::Resolve { name: name.to_string(), source }),
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("target", &self.target).finish_non_exhaustive()
    }
}

/// A connection to an origin. Dropping it resets a TCP connection, so that an origin never takes what broke off for the
/// whole.
#[derive(Debug)]
pub enum OriginStream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl OriginStream {
    /// Both directions have ended as they should: closing is no longer a reset.
    pub fn settle(&self) {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
            #[cfg(unix)]
            Self::Unix(_) => return,
        };
        // Fails only where the connection is gone already.
        let _ = SockRef::from(tcp).set_linger(None);
    }
}

#[cfg(test)]
mod tests;
