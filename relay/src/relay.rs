//! Puts the relay together, runs it, takes changed files into use, and stops it in order.

mod reload;

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use process::local::{self, BindError};
use process::private_file::{self, LockError, PrivateFileError};
use process::terminal;
use quinn::Endpoint;
use rustls::crypto::aws_lc_rs;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{Admin, Request};
use crate::config::validated::{Config, Listen};
use crate::edge::cert::{CertError, Certificates, FileCertificates};
use crate::edge::internal_ca::{self, CaError, InternalCa};
use crate::edge::shards::Shards;
use crate::edge::{listener, tls};
use crate::enrollment::Enrollment;
use crate::ingress::{Ingress, RequestIds, connection, redirect};
use crate::store::{Store, StoreError};
use crate::tunnel::listener::{self as sessions, EndpointError};
use crate::tunnel::registry::Registry;

/// Why the relay does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("the data folder cannot be used")]
    DataFolder(#[from] PrivateFileError),
    #[error("the data folder cannot be locked")]
    Locked(#[source] LockError),
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    #[error("{}", .0.iter().map(|error| terminal::chain(error)).collect::<Vec<_>>().join("\nerror: "))]
    Certificates(Vec<CertError>),
    #[error("the internal CA cannot be used")]
    InternalCa(#[from] CaError),
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("TCP `{address}` cannot be opened")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("sessions cannot be accepted")]
    Endpoint(#[from] EndpointError),
    #[error("the admin socket cannot be opened")]
    Admin(#[source] BindError),
    #[error("files cannot be watched")]
    Watch(#[from] process::watch::WatchError),
    #[error("the threads for visitors cannot be started")]
    Threads(#[source] io::Error),
    #[error("a part of the relay ended unexpectedly")]
    Part(#[source] tokio::task::JoinError),
}

impl RelayError {
    /// The way out, where there is a usual one.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::DataFolder(error) => error.hint(),
            Self::Admin(error) => error.hint(),
            Self::Locked(LockError::Held { .. }) => {
                Some("another relay runs with this `data_dir`; stop it first".into())
            }
            Self::Locked(LockError::Io { .. }) => {
                Some("run it as the owner of `data_dir`, or name another".into())
            }
            Self::Listen { source, .. } | Self::Endpoint(EndpointError::Bind { source, .. }) => {
                listen_hint(source)
            }
            Self::Store(_)
            | Self::Certificates(_)
            | Self::InternalCa(_)
            | Self::Tls(_)
            | Self::Endpoint(EndpointError::Tls(_))
            | Self::Watch(_)
            | Self::Threads(_)
            | Self::Part(_) => None,
        }
    }
}

fn listen_hint(source: &io::Error) -> Option<String> {
    if source.kind() == io::ErrorKind::PermissionDenied {
        return Some(
            "ports below 1024 need CAP_NET_BIND_SERVICE; deploy/adit-relay.service grants it".into(),
        );
    }
    let in_use = source.kind() == io::ErrorKind::AddrInUse;
    in_use.then(|| "another program listens there; `ss -lnp` says which".into())
}

/// Everything that is open.
struct Opened {
    http: Option<TcpListener>,
    https: TcpListener,
    endpoint: Endpoint,
    admin: local::Listener,
    acceptor: tokio_rustls::TlsAcceptor,
    shards: Arc<Shards>,
    ingress: Arc<Ingress>,
    state: Arc<Admin>,
    certificates: Arc<Certificates>,
    max_connections: usize,
    lock: private_file::Lock,
}

/// Runs until `stop`, or until a part of it fails. The edge stops first, and the sessions after it, so that what visitors
/// are in the middle of can come to its end.
pub(crate) async fn run(path: PathBuf, config: Config, stop: CancellationToken) -> Result<(), RelayError> {
    let opened = open(&config, &stop).await?;
    let (store, upgraded) = (opened.state.enrollment.store.clone(), opened.ingress.upgraded.clone());
    // Held to the end: what was upgraded, and what carries requests, runs there too.
    let shards = Arc::clone(&opened.shards);
    let inner_stop = CancellationToken::new();
    let (mut edge, mut inner) = (JoinSet::new(), JoinSet::new());
    start(&mut edge, &mut inner, opened, (path, config), &inner_stop)?;
    // Systemd alone wants to know; without it this does nothing.
    let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let first = tokio::select! {
        () = stop.cancelled() => None,
        ended = edge.join_next() => ended,
        ended = inner.join_next() => ended,
    };
    let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping");
    stop.cancel();
    while edge.join_next().await.is_some() {}
    upgraded.close();
    upgraded.wait().await;
    inner_stop.cancel();
    while inner.join_next().await.is_some() {}
    store.close().await;
    drop(shards);
    first.and_then(Result::err).map_or(Ok(()), |error| Err(RelayError::Part(error)))
}

fn start(
    edge: &mut JoinSet<()>,
    inner: &mut JoinSet<()>,
    opened: Opened,
    (path, config): (PathBuf, Config),
    inner_stop: &CancellationToken,
) -> Result<(), RelayError> {
    let Opened {
        http,
        https,
        endpoint,
        admin,
        acceptor,
        shards,
        ingress,
        state,
        certificates,
        max_connections,
        lock,
    } = opened;
    let (enrollment, stop) = (Arc::clone(&state.enrollment), ingress.stop.clone());
    let reload = reload::Reload::new(path, config, certificates, Arc::clone(&ingress))?;
    inner.spawn(sessions::run(endpoint, enrollment, inner_stop.clone()));
    let answer = move |request: Request| {
        let state = Arc::clone(&state);
        async move { state.answer(request).await }
    };
    inner.spawn(admin.serve(inner_stop.clone(), answer));
    let inner_stop = inner_stop.clone();
    inner.spawn(async move {
        tokio::select! {
            () = reload.run() => {}
            () = inner_stop.cancelled() => {}
        }
        drop(lock);
    });
    if let Some(http) = http {
        let ingress = Arc::clone(&ingress);
        let serve = move |stream, address, slot| redirect::serve(Arc::clone(&ingress), stream, address, slot);
        edge.spawn(listener::run(http, max_connections, Arc::clone(&shards), stop.clone(), serve));
    }
    let serve = move |stream, address, slot| {
        connection::serve(Arc::clone(&ingress), acceptor.clone(), stream, address, slot)
    };
    edge.spawn(listener::run(https, max_connections, shards, stop, serve));
    Ok(())
}

async fn open(config: &Config, stop: &CancellationToken) -> Result<Opened, RelayError> {
    private_file::create_folder(&config.data_dir)?;
    let lock = private_file::lock(&config.data_dir.join("relay.lock")).map_err(RelayError::Locked)?;
    let store = Store::open(&config.data_dir.join("adit.db")).await?;
    let secret = store.relay_secret(process::random::bytes()).await?;
    let registry = Arc::new(Registry::new(config.timeouts));
    let enrollment = Arc::new(Enrollment::new(store, Arc::clone(&registry), secret).await?);
    let certificates = certificates(config, Arc::clone(&registry))?;
    let fallback = internal_ca::self_signed(config.name.as_str())?;
    let session_tls = tls::sessions(Arc::clone(&certificates), fallback)?;
    let (https, endpoint) = bind_https(config.edge.https, session_tls, &enrollment)?;
    let https_address = https.local_addr().map_err(listen_error(config.edge.https))?;
    let http = match config.edge.http {
        Listen::At(address) => Some(listener::bind(address).map_err(listen_error(address))?),
        Listen::Off => None,
    };
    let http_address = http.as_ref().and_then(|listener| listener.local_addr().ok());
    let ingress = Arc::new(Ingress {
        registry,
        trusted_proxies: ArcSwap::from_pointee(config.edge.trusted_proxies.clone()),
        access_log: AtomicBool::new(config.access_log),
        https_port: config.edge.public_https_port.unwrap_or(https_address.port()),
        request_ids: RequestIds::new(),
        stop: stop.clone(),
        upgraded: TaskTracker::new(),
    });
    let fingerprint = enrollment.secret.public().fingerprint();
    let plain = http_address.map_or("off".to_owned(), |address| address.to_string());
    tracing::info!(name = %config.name, https = %https_address, http = plain, fingerprint, "relay up");
    let state = Arc::new(Admin { enrollment, name: config.name.clone(), https_address, http_address });
    let admin = local::Listener::bind(&config.admin_socket).map_err(RelayError::Admin)?;
    let acceptor = tls::visitors(Arc::clone(&certificates))?;
    let shards = Arc::new(Shards::start(threads(config)).map_err(RelayError::Threads)?);
    let max_connections = config.edge.max_connections;
    Ok(Opened {
        http,
        https,
        endpoint,
        admin,
        acceptor,
        shards,
        ingress,
        state,
        certificates,
        max_connections,
        lock,
    })
}

fn threads(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    config.edge.threads.unwrap_or_else(cores)
}

fn listen_error(address: SocketAddr) -> impl Fn(io::Error) -> RelayError {
    move |source| RelayError::Listen { address, source }
}

fn certificates(config: &Config, registry: Arc<Registry>) -> Result<Arc<Certificates>, RelayError> {
    let files = FileCertificates::load(&config.certificates).map_err(RelayError::Certificates)?;
    let internal = config.internal_ca.then(|| InternalCa::open(&config.data_dir)).transpose()?;
    let name = config.name.clone();
    let owner = Box::new(move |hostname: &protocol::hostname::Hostname| {
        if *hostname == name { Some(name.clone().into()) } else { registry.routes().owner(hostname) }
    });
    Ok(Arc::new(Certificates::new(files, internal, owner)))
}

/// How often a free TCP port is tried whose UDP twin is taken; only where the kernel chooses the port.
const PORT_TRIES: usize = 20;

/// TCP and UDP on the same port.
fn bind_https(
    address: SocketAddr,
    tls: rustls::ServerConfig,
    enrollment: &Enrollment,
) -> Result<(TcpListener, Endpoint), RelayError> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let https = listener::bind(address).map_err(listen_error(address))?;
        let bound = https.local_addr().map_err(listen_error(address))?;
        match sessions::endpoint(bound, tls.clone(), &enrollment.secret) {
            Ok(endpoint) => return Ok((https, endpoint)),
            Err(error) if tries == 0 => return Err(error.into()),
            Err(_) => {}
        }
    }
}

/// Every TLS configuration takes its provider by name; this is for libraries that ask for the default.
pub(crate) fn install_provider() {
    let _already_installed = aws_lc_rs::default_provider().install_default();
}
