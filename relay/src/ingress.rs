//! The way of a request, from the visitor's bytes to a stream and back.
//!
//! [`connection`] gives a [`visitor`]'s connection to [`http1`] or [`http2`], the sessions' port gives it to [`http3`]; the
//! latter two answer many requests at once, each in an [`exchange`]. [`forward`] leads a request: [`request`] checks what it
//! asks for, the route table and the policy of the crate give a permit, [`headers`] are rewritten, its [`inbound`] body and
//! that of the response stream through [`body`], [`interim`] responses go ahead, [`rescue`] says when to try again, and
//! [`upgrade`] takes WebSockets. Connections of [`sealed`] hostnames go by as they are; these two [`carry`] bytes. What goes wrong is an [`error`], which becomes a [`page`]. Every request leaves a line in
//! the [`access_log`]. [`redirect`] is what port 80 says.

pub(crate) mod access_log;
pub(crate) mod body;
mod carry;
pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod exchange;
pub(crate) mod forward;
pub(crate) mod headers;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod http3;
pub(crate) mod inbound;
pub(crate) mod interim;
pub(crate) mod page;
pub(crate) mod redirect;
pub(crate) mod request;
pub(crate) mod rescue;
pub(crate) mod sealed;
pub(crate) mod upgrade;
pub(crate) mod visitor;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acme::challenge::Challenges;
use arc_swap::ArcSwap;
use http::HeaderValue;
use ipnet::IpNet;
use process::terminal;
use protocol::id::RequestId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::access_log::output::AccessLog;
use self::error::IngressError;
use crate::config::limits::Limits;
use crate::edge::admission::Admission;
use crate::edge::visitor_certificates::VisitorCertificates;
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::throttle::{Throttle, TooOften};
use crate::tunnel::registry::Registry;

const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// What every request needs. One for the whole relay.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) registry: Arc<Registry>,
    /// Whose `X-Forwarded-*` are believed.
    pub(crate) trusted_proxies: ArcSwap<Vec<IpNet>>,
    /// Whether their connections begin with a PROXY header.
    pub(crate) proxy_protocol: AtomicBool,
    /// When the owner was told last of a proxy that does not say whom it brings.
    pub(crate) proxy_warned: Mutex<Option<Instant>>,
    /// Which hostnames ask visitors for a certificate.
    pub(crate) visitor_certificates: Arc<VisitorCertificates>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where requests leave a line, if they do.
    pub(crate) access_log: ArcSwap<AccessLog>,
    /// The port that visitors use for https, where they do not name another.
    pub(crate) https_port: u16,
    pub(crate) request_ids: RequestIds,
    pub(crate) limits: ArcSwap<Limits>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) admission: Arc<Admission>,
    /// What port 80 answers to a CA.
    pub(crate) challenges: Arc<Challenges>,
    /// What visitors over TCP are told of HTTP/3, where it is on.
    pub(crate) alt_svc: Option<HeaderValue>,
    pub(crate) stop: CancellationToken,
    /// Upgraded connections, which outlive the HTTP connection that they came from.
    pub(crate) upgraded: TaskTracker,
}

impl Ingress {
    /// A proxy that should have said whom it brings did not: its owner wants to know, though not for each connection.
    pub(crate) fn warn_of_proxy(&self, address: SocketAddr, error: &(dyn Error + 'static)) {
        let mut last = lock(&self.proxy_warned);
        if last.is_none_or(|last| last.elapsed() > BETWEEN_WARNINGS) {
            *last = Some(Instant::now());
            let error = terminal::chain(error);
            tracing::warn!(%address, error, "a connection of a trusted proxy was closed: `edge.proxy_protocol` is on");
        }
    }

    /// Whether a connection from here begins with a PROXY header.
    pub(crate) fn expects_proxy_header(&self, address: IpAddr) -> bool {
        self.proxy_protocol.load(Ordering::Relaxed) && self.trusts(address)
    }

    /// Counts a request against what its visitor's address may ask for; a proxy asks for many.
    pub(crate) fn may_ask(&self, address: IpAddr) -> Result<(), IngressError> {
        if self.trusts(address) {
            return Ok(());
        }
        self.throttle.ask(address).map_err(|TooOften(_)| IngressError::TooManyRequests)
    }

    /// Whether this is a proxy whose word counts.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies.load().iter().any(|network| network.contains(&address))
    }
}

/// Names requests: a random half for this run of the relay, and a number. Only has to be unique, not secret.
#[derive(Debug)]
pub(crate) struct RequestIds {
    run: [u8; 8],
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self { run: process::random::bytes(), next: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> RequestId {
        let mut bytes = [0; 16];
        let (run, number) = bytes.split_at_mut(8);
        run.copy_from_slice(&self.run);
        number.copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        RequestId::from_bytes(bytes)
    }
}
