//! Puts the relay together, runs it, takes changed files into use, and stops it in order.

mod expected;
mod open;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use acme::keep::KeepError;
use ca::error::CaError;
use process::local::BindError;
use process::private_file::{LockError, PrivateFileError};
use process::terminal;
use rustls::crypto::aws_lc_rs;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::open::Opened;
use crate::admin::Request;
use crate::config::validated::Config;
use crate::edge::cert::CertError;
use crate::edge::listener::{self, Door};
use crate::edge::shards::Shards;
use crate::edge::tls::VisitorTls;
use crate::ingress::access_log::output::AccessLogError;
use crate::ingress::http3::QuicVisitors;
use crate::ingress::{Ingress, connection, redirect};
use crate::metrics_endpoint;
use crate::store::StoreError;
use crate::tunnel::listener::{self as sessions, EndpointError};

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
    #[error("the certificates that are kept cannot be read")]
    Kept(#[source] KeepError),
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
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
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
            Self::AccessLog(error) => error.hint(),
            Self::InternalCa(error) => error.hint(),
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
            | Self::Kept(_)
            | Self::Certificates(_)
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

/// Runs until `stop`, or until a part of it fails. The edge stops first, and the sessions after it, so that what visitors
/// are in the middle of can come to its end.
pub(crate) async fn run(path: PathBuf, config: Config, stop: CancellationToken) -> Result<(), RelayError> {
    let opened = open::open(&config, &stop).await?;
    let (store, upgraded) = (opened.state.enrollment.store.clone(), opened.ingress.upgraded.clone());
    let ingress = Arc::clone(&opened.ingress);
    // Held to the end: what was upgraded, and what carries requests, runs there too.
    let shards = Arc::clone(&opened.shards);
    let over_quic = TaskTracker::new();
    let inner_stop = CancellationToken::new();
    let (mut edge, mut inner) = (JoinSet::new(), JoinSet::new());
    start((&mut edge, &over_quic, &mut inner), opened, (path, config), &inner_stop)?;
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
    over_quic.close();
    let _cut_later = tokio::time::timeout(listener::GRACE, over_quic.wait()).await;
    while edge.join_next().await.is_some() {}
    upgraded.close();
    upgraded.wait().await;
    inner_stop.cancel();
    while inner.join_next().await.is_some() {}
    store.close().await;
    drop(shards);
    ingress.access_log.load().finish();
    first.and_then(Result::err).map_or(Ok(()), |error| Err(RelayError::Part(error)))
}

fn start(
    (edge, over_quic, inner): (&mut JoinSet<()>, &TaskTracker, &mut JoinSet<()>),
    opened: Opened,
    (path, config): (PathBuf, Config),
    inner_stop: &CancellationToken,
) -> Result<(), RelayError> {
    let Opened {
        http,
        https,
        endpoint,
        admin,
        metrics,
        acceptor,
        shards,
        ingress,
        state,
        certificates,
        automatic,
        lock,
    } = opened;
    let enrollment = Arc::clone(&state.enrollment);
    if config.internal_ca.enabled {
        let (registry, certificates) = (Arc::clone(&ingress.registry), Arc::clone(&certificates));
        let stop = inner_stop.clone();
        inner.spawn(async move {
            stop.run_until_cancelled(expected::run(registry, certificates)).await;
        });
    }
    let (ordering, stop) = (Arc::clone(&automatic), inner_stop.clone());
    inner.spawn(async move {
        stop.run_until_cancelled(ordering.run()).await;
    });
    let reload = reload::Reload::new(path, config, (certificates, automatic), Arc::clone(&ingress))?;
    let visitors = Arc::new(QuicVisitors { ingress: Arc::clone(&ingress), tasks: over_quic.clone() });
    inner.spawn(sessions::run(endpoint, enrollment, visitors, inner_stop.clone()));
    if let Some(metrics) = metrics {
        let state = Arc::clone(&state);
        inner.spawn(metrics_endpoint::run(metrics, inner_stop.clone(), move || state.metrics()));
    }
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
    start_edge(edge, (http, https), acceptor, shards, ingress);
    Ok(())
}

fn start_edge(
    edge: &mut JoinSet<()>,
    (http, https): (Option<TcpListener>, TcpListener),
    tls: VisitorTls,
    shards: Arc<Shards>,
    ingress: Arc<Ingress>,
) {
    let door = || {
        let trust = Arc::clone(&ingress);
        Door {
            admission: Arc::clone(&ingress.admission),
            shards: Arc::clone(&shards),
            is_proxy: move |address| trust.trusts(address),
            cancel: ingress.stop.clone(),
        }
    };
    if let Some(http) = http {
        let ingress = Arc::clone(&ingress);
        let serve = move |stream, address, slot| redirect::serve(Arc::clone(&ingress), stream, address, slot);
        edge.spawn(listener::run(http, door(), serve));
    }
    let serve = {
        let ingress = Arc::clone(&ingress);
        move |stream, address, slot| {
            connection::serve(Arc::clone(&ingress), tls.clone(), stream, address, slot)
        }
    };
    edge.spawn(listener::run(https, door(), serve));
}

/// Every TLS configuration takes its provider by name; this is for libraries that ask for the default.
pub(crate) fn install_provider() {
    let _already_installed = aws_lc_rs::default_provider().install_default();
}
