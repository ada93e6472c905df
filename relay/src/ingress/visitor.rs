//! A visitor's connection, as its requests see it: who is there, what is under way, and for how long nothing was.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use protocol::hostname::Hostname;
use tokio::io::AsyncWriteExt;

use super::headers::{Told, Whence};
use crate::edge::admission::Slot;
use crate::edge::guarded::GuardHandle;
use crate::edge::visitor_certificates::VisitorProof;
use crate::lock::lock;
use crate::throttle::InFlight;

/// A connection of many streams begins its first request, and another after the last, within these times.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(300);

/// What the requests of one connection have in common.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) address: SocketAddr,
    /// The hostname that TLS was set up for; none on port 80.
    pub(crate) sni: Option<Hostname>,
    /// The certificate that the visitor showed, where it was asked for one.
    pub(crate) proof: Option<VisitorProof>,
    pub(crate) guard: Option<GuardHandle>,
    usage: Mutex<Usage>,
    /// What the origin was told of this visitor with the last request.
    told: Mutex<Option<Told>>,
    _slot: Slot,
    /// The latest upgrade that did not come about. hyper hands the connection over to it in the end.
    refused: Mutex<Option<OnUpgrade>>,
}

#[derive(Debug)]
struct Usage {
    underway: usize,
    any: bool,
    since: Instant,
}

/// One request that is being answered.
#[derive(Debug)]
pub(crate) struct Underway {
    visitor: Arc<Visitor>,
    in_flight: Option<InFlight>,
}

impl Underway {
    pub(crate) fn visitor(&self) -> &Arc<Visitor> {
        &self.visitor
    }

    /// Counts for its hostname until it is over.
    pub(crate) fn count(&mut self, in_flight: InFlight) {
        self.in_flight = Some(in_flight);
    }
}

impl Visitor {
    pub(crate) fn new(
        address: SocketAddr,
        (sni, proof): (Option<Hostname>, Option<VisitorProof>),
        guard: Option<GuardHandle>,
        slot: Slot,
    ) -> Arc<Self> {
        let usage = Mutex::new(Usage { underway: 0, any: false, since: Instant::now() });
        let (told, refused) = (Mutex::default(), Mutex::default());
        Arc::new(Self { address, sni, proof, guard, usage, told, refused, _slot: slot })
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// What the origin is told of this visitor.
    pub(crate) fn told(&self, whence: &Whence<'_>) -> Option<Told> {
        let mut last = lock(&self.told);
        if !last.as_ref().is_some_and(|told| told.is_for(whence.target)) {
            *last = Told::new(whence);
        }
        last.clone()
    }

    pub(crate) fn begin(self: &Arc<Self>) -> Underway {
        if let Some(guard) = &self.guard {
            guard.request_started();
        }
        let mut used = lock(&self.usage);
        used.underway += 1;
        used.any = true;
        Underway { visitor: Arc::clone(self), in_flight: None }
    }

    pub(crate) fn keep_refused(&self, upgrade: OnUpgrade) {
        *lock(&self.refused) = Some(upgrade);
    }

    /// Says the farewell that hyper leaves to the owner of an upgrade, also to the one who never got it.
    pub(super) async fn close_refused(&self) {
        let Some(upgrade) = lock(&self.refused).take() else { return };
        if let Ok(upgraded) = upgrade.await {
            let _visitor_gone = TokioIo::new(upgraded).shutdown().await;
        }
    }

    /// Nothing is under way, and has not been for longer than a connection may be kept for.
    pub(super) fn is_stale(&self) -> bool {
        let used = lock(&self.usage);
        let limit = if used.any { IDLE } else { FIRST_REQUEST };
        used.underway == 0 && used.since.elapsed() > limit
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(guard) = &self.visitor.guard {
            guard.request_finished();
        }
        let mut used = lock(&self.visitor.usage);
        used.underway -= 1;
        used.since = Instant::now();
    }
}
