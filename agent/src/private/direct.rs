//! Connections directly between two agents, which spare the relay: both send to each other's addresses at the same time,
//! from the socket of their session, until their routers let something through.
//!
//! The operator's agent begins, and says through the relay, unread by it, where it can be reached ([`addresses`]). The host's
//! answers the same, opens its router from inside, and for a moment takes connections from there. Over the first one that
//! comes about both prove their keys ([`meet`]). It is a [`path`] from then on, until it is dead.

mod addresses;
mod meet;
mod path;
mod quic;
mod router;
mod way;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::key::PublicKey;
use protocol::stream::PrivateHeader;
use protocol::talk::Say;
use quinn::Incoming;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use self::path::InUse;
use self::path::Path;
pub use self::quic::SetUpError;
use self::quic::Settings;
pub use self::way::PathStatus;
use self::way::{Way, WayState};
use super::flow::Flow;
use super::host::Host;
use super::operator::{Known, Operator};
use super::peers::Caller;
use crate::board::{Board, Phase, State};
use crate::dial::Ground;
use crate::offer::Offers;
use crate::splice::Ends;

/// How long connections are taken after a host has said where it is.
const MEETING: Duration = Duration::from_secs(6);
/// Meetings that a host has at once, and how often one peer may ask for one.
const MEETINGS: usize = 64;
const BETWEEN_MEETINGS: Duration = Duration::from_secs(2);
/// Connections at once that have proven nothing yet, and of one peer that has.
const STRANGERS: usize = 16;
const OF_A_PEER: usize = 8;
/// After a path that worked has died.
const AFTER_DEATH: Duration = Duration::from_secs(3);
/// What waits to be done.
const ORDERS: usize = 64;

/// What has to be done in the background.
#[derive(Debug)]
enum Order {
    Seek(Known),
    Open { ground: Ground, addresses: Vec<SocketAddr> },
}

/// An agent that was told where this one is, and may come from these addresses for a while.
#[derive(Debug)]
struct Meeting {
    peer: PublicKey,
    from: Vec<IpAddr>,
    begun: Instant,
}

/// A connection of a peer, counted until it is dropped.
#[derive(Debug)]
struct Present {
    direct: Arc<Direct>,
    key: PublicKey,
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut present = lock(&self.direct.present);
        if let Some(count) = present.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                present.remove(&self.key);
            }
        }
    }
}

/// All direct connections of this agent.
#[derive(Debug)]
pub struct Direct {
    settings: Settings,
    board: Board,
    offers: Offers,
    ways: Mutex<HashMap<PublicKey, Way>>,
    meetings: Mutex<Vec<Meeting>>,
    /// Room for those who have proven nothing yet.
    strangers: Semaphore,
    /// Connections of peers that have, by key.
    present: Mutex<HashMap<PublicKey, usize>>,
    orders: mpsc::Sender<Order>,
    waiting: Mutex<Option<mpsc::Receiver<Order>>>,
    /// Where a router lets packets in for this agent.
    given: watch::Sender<Option<SocketAddr>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Direct {
    /// # Errors
    ///
    /// Where QUIC cannot be set up.
    pub fn new(board: Board, offers: Offers) -> Result<Self, SetUpError> {
        let (orders, waiting) = mpsc::channel(ORDERS);
        Ok(Self {
            settings: Settings::new()?,
            board,
            offers,
            ways: Mutex::default(),
            meetings: Mutex::default(),
            strangers: Semaphore::new(STRANGERS),
            present: Mutex::default(),
            orders,
            waiting: Mutex::new(Some(waiting)),
            given: watch::Sender::default(),
        })
    }

    /// Does in the background what has to be done there, for as long as this is polled.
    pub(crate) async fn run(self: &Arc<Self>, operator: &Arc<Operator>, host: &Arc<Host>) {
        // Once in a process.
        let Some(mut orders) = lock(&self.waiting).take() else { return std::future::pending().await };
        let mut running = JoinSet::new();
        let mut state = self.board.follow();
        let mut ground = ground_of(&state.borrow_and_update());
        let mut router = std::pin::pin!(router::ask(self, &operator.peers));
        let mut tidy = tokio::time::interval(MEETING);
        loop {
            tokio::select! {
                Some(order) = orders.recv() => self.on_order(order, operator, &mut running),
                incoming = accept(ground.as_ref()) => self.on_incoming(incoming, host, &mut running),
                _ = state.changed() => self.on_state(&state.borrow_and_update(), &mut ground),
                Some(ended) = running.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a direct path ended by a mistake in this program");
                },
                never = &mut router => match never {},
                _ = tidy.tick() => self.end_meetings(ground.as_ref()),
            }
        }
    }

    fn on_order(self: &Arc<Self>, order: Order, operator: &Arc<Operator>, running: &mut JoinSet<()>) {
        match order {
            Order::Seek(known) => {
                drop(running.spawn(meet::seek(Arc::clone(self), Arc::clone(operator), known)))
            }
            // In another network meanwhile, nobody is met on the old socket.
            Order::Open { ground, .. }
                if ground_of(&self.board.read()).is_none_or(|now| !now.is(&ground)) => {}
            Order::Open { ground, addresses } => {
                ground.endpoint.set_server_config(Some(self.settings.server.clone()));
                running.spawn(meet::open_router(ground, addresses));
            }
        }
    }

    /// Nobody else is answered, not even with a refusal.
    fn on_incoming(
        self: &Arc<Self>,
        incoming: Option<Incoming>,
        host: &Arc<Host>,
        running: &mut JoinSet<()>,
    ) {
        let Some(incoming) = incoming else { return };
        let from = incoming.remote_address().ip().to_canonical();
        let is_expected =
            lock(&self.meetings).iter().any(|meeting| meeting.is_on() && meeting.from.contains(&from));
        if is_expected {
            running.spawn(meet::welcome(Arc::clone(self), Arc::clone(host), incoming));
        } else {
            incoming.ignore();
        }
    }

    /// In another network everything may be different.
    fn on_state(&self, state: &State, ground: &mut Option<Ground>) {
        let Some(now) = ground_of(state) else { return };
        if ground.as_ref().is_none_or(|before| !before.is(&now)) {
            if let Some(before) = ground.replace(now) {
                before.endpoint.set_server_config(None);
            }
            for way in lock(&self.ways).values_mut() {
                if let WayState::Not { again, .. } = &mut way.state {
                    *again = Instant::now();
                }
            }
        }
    }

    /// Once nobody is expected any more, this agent takes no connections.
    fn end_meetings(&self, ground: Option<&Ground>) {
        let mut meetings = lock(&self.meetings);
        meetings.retain(Meeting::is_on);
        if let Some(ground) = ground.filter(|_| meetings.is_empty()) {
            ground.endpoint.set_server_config(None);
        }
    }

    /// A peer that has proven its key takes one of its places.
    fn enter(self: &Arc<Self>, caller: &Caller) -> Option<Present> {
        let mut present = lock(&self.present);
        let count = present.entry(caller.key).or_default();
        (*count < OF_A_PEER).then(|| {
            *count += 1;
            Present { direct: Arc::clone(self), key: caller.key }
        })
    }

    fn is_wanted(&self) -> bool {
        self.offers.borrow().config().direct().enabled
    }

    /// Where this agent may be reached.
    fn own_addresses(&self, ground: &Ground, observed: Option<SocketAddr>) -> Vec<SocketAddr> {
        let given = *self.given.borrow();
        let port = ground.local_address().map_or(0, |address| address.port());
        addresses::worth_trying(port, observed.into_iter().chain(given))
    }

    /// Host: answers an agent that says where it is.
    pub(crate) fn meet_as_host(
        &self,
        caller: &Caller,
        observed: Option<SocketAddr>,
        theirs: &[SocketAddr],
    ) -> Say {
        let Some(ground) = ground_of(&self.board.read()).filter(|_| self.is_wanted()) else {
            return Say::Apart;
        };
        let is_here = observed.is_some_and(|observed| observed.ip().to_canonical().is_loopback());
        let addresses = addresses::sensible(theirs, is_here);
        if !self.expect(caller, &addresses) {
            return Say::Apart;
        }
        let own = self.own_addresses(&ground, observed);
        match self.orders.try_send(Order::Open { ground, addresses }) {
            Ok(()) => Say::Meet { addresses: own },
            Err(_) => Say::Apart,
        }
    }

    fn expect(&self, caller: &Caller, addresses: &[SocketAddr]) -> bool {
        let mut meetings = lock(&self.meetings);
        meetings.retain(Meeting::is_on);
        let too_soon =
            |meeting: &Meeting| meeting.peer == caller.key && meeting.begun.elapsed() < BETWEEN_MEETINGS;
        if meetings.len() >= MEETINGS || meetings.iter().any(too_soon) || addresses.is_empty() {
            return false;
        }
        // One of a peer at a time.
        meetings.retain(|meeting| meeting.peer != caller.key);
        let from = addresses.iter().map(SocketAddr::ip).collect();
        meetings.push(Meeting { peer: caller.key, from, begun: Instant::now() });
        true
    }

    /// Operator: looks for a way to a peer, unless there is one or it is not the time.
    pub(crate) fn seek(&self, known: &Known) {
        if !self.is_wanted() || !known.online {
            return;
        }
        let mut ways = lock(&self.ways);
        let way = ways.entry(known.key).or_insert_with(|| Way::new(known));
        let is_due = match &way.state {
            WayState::Trying => false,
            WayState::Direct(path) => !path.is_open(),
            WayState::Not { again, .. } => *again <= Instant::now(),
        };
        if is_due && self.orders.try_send(Order::Seek(known.clone())).is_ok() {
            way.state = WayState::Trying;
        }
    }

    fn path(&self, known: &Known) -> Option<Path> {
        if !self.is_wanted() {
            return None;
        }
        match &lock(&self.ways).get(&known.key)?.state {
            WayState::Direct(path) if path.is_open() => Some(path.clone()),
            WayState::Direct(_) | WayState::Trying | WayState::Not { .. } => None,
        }
    }

    /// A stream to the peer, where there is a direct way. Where there is none, one is looked for meanwhile.
    pub(crate) async fn open(&self, known: &Known, header: &PrivateHeader) -> Option<(Ends, InUse)> {
        let Some(path) = self.path(known) else {
            self.seek(known);
            return None;
        };
        path.open(header).await
    }

    /// The same for datagrams.
    pub(crate) async fn flow(&self, known: &Known, header: &PrivateHeader) -> Option<(Flow, InUse)> {
        let path = self.path(known);
        let (ends, in_use) = self.open(known, header).await?;
        Some((Flow::new(&path?.carrier, ends), in_use))
    }

    /// To the peer and back, where there is a direct way.
    pub(crate) fn rtt(&self, known: &Known) -> Option<Duration> {
        self.path(known).map(|path| path.carrier.connection.rtt())
    }

    /// Why there is none.
    pub(crate) fn why_not(&self, known: &Known) -> Option<String> {
        if !self.is_wanted() {
            return Some("`[direct]` is turned off".to_owned());
        }
        lock(&self.ways).get(&known.key)?.why_not()
    }

    /// This agent stops.
    pub(crate) fn close(&self) {
        for way in lock(&self.ways).values() {
            if let WayState::Direct(path) = &way.state {
                path.close();
            }
        }
    }

    /// All ways, by the names of their peers.
    #[must_use]
    pub fn report(&self) -> Vec<PathStatus> {
        let mut all: Vec<_> = lock(&self.ways).values().map(Way::report).collect();
        all.sort_by(|one, other| one.peer.cmp(&other.peer));
        all
    }

    fn found(&self, known: &Known, path: &Path) {
        let (peer, address) = (&known.name, path.address());
        tracing::info!(%peer, %address, rtt_ms = path.carrier.connection.rtt().as_millis(), "a direct path");
        if let Some(way) = lock(&self.ways).get_mut(&known.key) {
            way.state = WayState::Direct(path.clone());
            way.backoff.reset();
        }
    }

    fn lost(&self, known: &Known, why: &str) {
        tracing::info!(peer = %known.name, why, "the direct path is gone; back to the relay");
        if let Some(way) = lock(&self.ways).get_mut(&known.key) {
            let why = format!("the path that there was is gone: {why}");
            way.state = WayState::Not { why, again: Instant::now() + AFTER_DEATH };
        }
    }

    fn not_found(&self, known: &Known, why: String) {
        tracing::info!(peer = %known.name, why, "no direct path; the relay carries on");
        if let Some(way) = lock(&self.ways).get_mut(&known.key) {
            let random = u32::from_be_bytes(process::random::bytes());
            let again = Instant::now() + way.backoff.next_delay(random);
            way.state = WayState::Not { why, again };
        }
    }
}

impl Meeting {
    fn is_on(&self) -> bool {
        self.begun.elapsed() < MEETING
    }
}

fn ground_of(state: &State) -> Option<Ground> {
    match &state.phase {
        Phase::Up(up) => Some(up.ground.clone()),
        Phase::Connecting | Phase::Waiting { .. } => None,
    }
}

/// The next connection to the ground, where there is one.
async fn accept(ground: Option<&Ground>) -> Option<Incoming> {
    match ground {
        Some(ground) => match ground.endpoint.accept().await {
            // It is closed, and another will be there with the next session.
            None => std::future::pending().await,
            incoming => incoming,
        },
        None => std::future::pending().await,
    }
}
