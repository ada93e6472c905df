//! Opens everything that the relay needs, and gives up at the first thing that cannot be.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use acme::challenge::Challenges;
use acme::keeper::Keeper;
use arc_swap::ArcSwap;
use http::HeaderValue;
use process::local;
use process::private_file;
use quinn::Endpoint;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::RelayError;
use crate::admin::Admin;
use crate::certificates::Automatic;
use crate::config::validated::{Config, Listen};
use crate::edge::admission::Admission;
use crate::edge::cert::{Certificates, FileCertificates, Sources};
use crate::edge::internal_ca::InternalCa;
use crate::edge::shards::Shards;
use crate::edge::visitor_certificates::{Authorities, VisitorCertificates};
use crate::edge::{listener, tls};
use crate::enrollment::Enrollment;
use crate::ingress::access_log::output::AccessLog;
use crate::ingress::error::IngressError;
use crate::ingress::{Ingress, RequestIds};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::throttle::Throttle;
use crate::tunnel::listener as sessions;
use crate::tunnel::registry::Registry;

/// Everything that is open.
pub(super) struct Opened {
    pub(super) http: Option<TcpListener>,
    pub(super) https: TcpListener,
    pub(super) endpoint: Endpoint,
    pub(super) admin: local::Listener,
    pub(super) metrics: Option<TcpListener>,
    pub(super) acceptor: tls::VisitorTls,
    pub(super) shards: Arc<Shards>,
    pub(super) ingress: Arc<Ingress>,
    pub(super) state: Arc<Admin>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) automatic: Arc<Automatic>,
    pub(super) lock: private_file::Lock,
}

pub(super) async fn open(config: &Config, stop: &CancellationToken) -> Result<Opened, RelayError> {
    private_file::create_folder(&config.data_dir)?;
    let lock = private_file::lock(&config.data_dir.join("relay.lock")).map_err(RelayError::Locked)?;
    let store = Store::open(&config.data_dir.join("adit.db")).await?;
    let secret = store.relay_secret(process::random::bytes()).await?;
    let registry = Arc::new(Registry::new(config.timeouts));
    let enrollment = Arc::new(Enrollment::new(store, Arc::clone(&registry), secret).await?);
    let keeper = keeper(&enrollment.store, instance(&config.data_dir)?).await?;
    let certificates = certificates(config, Arc::clone(&registry), &keeper)?;
    let challenges = Arc::clone(&keeper.challenges);
    let automatic = automatic(config, keeper, Arc::clone(&registry), Arc::clone(&certificates));
    let fallback = ca::leaf::self_signed(config.name.as_str())?;
    let visitor_certificates = visitor_certificates(config, Arc::clone(&certificates))?;
    let udp =
        tls::udp(Arc::clone(&certificates), fallback, Arc::clone(&visitor_certificates), config.edge.http3)?;
    let (https, endpoint) = bind_https(config.edge.https, udp, &enrollment)?;
    let https_address = https.local_addr().map_err(listen_error(config.edge.https))?;
    let http = bind_where_told(config.edge.http)?;
    let http_address = http.as_ref().and_then(|listener| listener.local_addr().ok());
    let port = https_address.port();
    let ingress = ingress(config, registry, (Arc::clone(&visitor_certificates), &challenges), port, stop)?;
    let ingress = Arc::new(ingress);
    let fingerprint = enrollment.secret.public().fingerprint();
    let plain = http_address.map_or("off".to_owned(), |address| address.to_string());
    tracing::info!(name = %config.name, https = %https_address, http = plain, fingerprint, "relay up");
    let metrics_listener = bind_where_told(config.metrics)?;
    let metrics_address = metrics_listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let state = Arc::new(Admin {
        enrollment,
        automatic: Arc::clone(&automatic),
        metrics: Arc::clone(&ingress.metrics),
        name: config.name.clone(),
        https_address,
        http_address,
        metrics_address,
    });
    let admin = local::Listener::bind(&config.admin_socket).map_err(RelayError::Admin)?;
    let acceptor = tls::VisitorTls::new(Arc::clone(&certificates), visitor_certificates, challenges)?;
    let shards = Arc::new(Shards::start(threads(config)).map_err(RelayError::Threads)?);
    Ok(Opened {
        http,
        https,
        endpoint,
        admin,
        metrics: metrics_listener,
        acceptor,
        shards,
        ingress,
        state,
        certificates,
        automatic,
        lock,
    })
}

fn ingress(
    config: &Config,
    registry: Arc<Registry>,
    (visitor_certificates, challenges): (Arc<VisitorCertificates>, &Arc<Challenges>),
    port: u16,
    stop: &CancellationToken,
) -> Result<Ingress, RelayError> {
    let metrics = Arc::new(Metrics::new(IngressError::codes()));
    let (edge, limits) = (&config.edge, config.limits);
    let admission =
        Admission::new(edge.max_connections, limits.connections_per_address, Arc::clone(&metrics));
    let access_log = AccessLog::open(&config.access_log, Arc::clone(&metrics))?;
    Ok(Ingress {
        registry,
        trusted_proxies: ArcSwap::from_pointee(edge.trusted_proxies.clone()),
        proxy_protocol: AtomicBool::new(edge.proxy_protocol),
        proxy_warned: Mutex::default(),
        visitor_certificates,
        metrics,
        access_log: ArcSwap::from_pointee(access_log),
        https_port: edge.public_https_port.unwrap_or(port),
        request_ids: RequestIds::new(),
        limits: ArcSwap::from_pointee(limits),
        admission: Arc::new(admission),
        challenges: Arc::clone(challenges),
        throttle: Throttle::new(limits.rate),
        alt_svc: alt_svc(config, port),
        stop: stop.clone(),
        upgraded: TaskTracker::new(),
    })
}

/// Tells visitors over TCP where HTTP/3 is spoken (RFC 7838), for a day.
fn alt_svc(config: &Config, bound: u16) -> Option<HeaderValue> {
    let port = config.edge.public_https_port.unwrap_or(bound);
    let text = format!("h3=\":{port}\"; ma=86400");
    config.edge.http3.then(|| HeaderValue::from_str(&text).ok()).flatten()
}

fn bind_where_told(listen: Listen) -> Result<Option<TcpListener>, RelayError> {
    match listen {
        Listen::At(address) => listener::bind(address).map(Some).map_err(listen_error(address)),
        Listen::Off => Ok(None),
    }
}

fn threads(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    config.edge.threads.unwrap_or_else(cores)
}

fn listen_error(address: SocketAddr) -> impl Fn(io::Error) -> RelayError {
    move |source| RelayError::Listen { address, source }
}

/// Who this relay is among those that share a store: a number in its data folder, drawn the first time.
fn instance(data_dir: &Path) -> Result<String, RelayError> {
    let path = data_dir.join("instance");
    if !path.exists() {
        let drawn = u128::from_be_bytes(process::random::bytes());
        private_file::write(&path, format!("{drawn:032x}").as_bytes())?;
    }
    Ok(String::from_utf8_lossy(&private_file::read(&path)?).trim().to_owned())
}

async fn keeper(store: &Store, instance: String) -> Result<Arc<Keeper>, RelayError> {
    let keeper = Keeper::new(Arc::new(store.clone()), instance);
    keeper.load().await.map_err(RelayError::Kept)?;
    Ok(Arc::new(keeper))
}

fn automatic(
    config: &Config,
    keeper: Arc<Keeper>,
    registry: Arc<Registry>,
    certificates: Arc<Certificates>,
) -> Arc<Automatic> {
    let automatic = Automatic::new(config.name.clone(), keeper, registry, certificates);
    automatic.set(config.acme.as_ref());
    Arc::new(automatic)
}

fn certificates(
    config: &Config,
    registry: Arc<Registry>,
    keeper: &Keeper,
) -> Result<Arc<Certificates>, RelayError> {
    let files = FileCertificates::load(&config.certificates).map_err(RelayError::Certificates)?;
    let name = config.name.clone();
    let ca = &config.internal_ca;
    let internal = ca.enabled.then(|| InternalCa::open(&config.data_dir, &name, &ca.domains)).transpose()?;
    let sources = Sources { files, ordered: Arc::clone(&keeper.shelf), internal };
    let (served, own) = (Arc::clone(&registry), config.name.clone());
    let owner = Box::new(move |hostname: &protocol::hostname::Hostname| {
        if *hostname == name { Some(name.clone().into()) } else { registry.routes().owner(hostname) }
    });
    // Agents dial the relay by its own name, so that is never somebody else's.
    let sealed = Box::new(move |hostname: &protocol::hostname::Hostname| {
        *hostname != own && served.routes().is_sealed(hostname)
    });
    Ok(Arc::new(Certificates::new(sources, owner, sealed)))
}

fn visitor_certificates(
    config: &Config,
    certificates: Arc<Certificates>,
) -> Result<Arc<VisitorCertificates>, RelayError> {
    let authorities = Authorities::load(&config.visitor_certificates).map_err(RelayError::Certificates)?;
    Ok(Arc::new(VisitorCertificates::new(authorities, certificates)?))
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
