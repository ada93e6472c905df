//! The way of a request, from the visitor's bytes to a stream and back.
//!
//! [`connection`] serves one visitor connection; [`http`] leads each of its requests: [`request`] checks what it asks for,
//! the route table and the policy of the crate give a permit, [`headers`] are rewritten, [`body`] streams both ways
//! with [`patience`],
//! [`rescue`] says when to try again, [`upgrade`] takes WebSockets. What goes wrong is an [`error`], which becomes a
//! [`page`]. Every request leaves a line in the [`access_log`]. [`redirect`] is what port 80 says.

pub(crate) mod access_log;
pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod headers;
pub(crate) mod http;
pub(crate) mod page;
pub(crate) mod patience;
pub(crate) mod redirect;
pub(crate) mod request;
pub(crate) mod rescue;
pub(crate) mod upgrade;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use protocol::id::RequestId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tunnel::registry::Registry;

/// What every request needs. One for the whole relay.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) registry: Arc<Registry>,
    /// Whose `X-Forwarded-*` are believed.
    pub(crate) trusted_proxies: ArcSwap<Vec<IpNet>>,
    /// Whether requests leave a line.
    pub(crate) access_log: AtomicBool,
    /// The port that visitors use for https, where they do not name another.
    pub(crate) https_port: u16,
    pub(crate) request_ids: RequestIds,
    pub(crate) stop: CancellationToken,
    /// Upgraded connections, which outlive the HTTP connection that they came from.
    pub(crate) upgraded: TaskTracker,
}

impl Ingress {
    pub(crate) fn logs_access(&self) -> bool {
        self.access_log.load(Ordering::Relaxed)
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
