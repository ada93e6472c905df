//! All sessions, the peers that may have one, and the route table that follows from both.

mod last_sealed;
mod meetings;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use protocol::close::SessionClose;
use protocol::control::{Expose, HostnameState, Register, Registered};
use protocol::handshake::SessionHello;
use protocol::hostname::HostnamePattern;
use protocol::key::PublicKey;
use protocol::limits;
use protocol::roster::{Roster, TooLarge};
use quinn::Connection;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::last_sealed::LastSealed;
use self::meetings::Meetings;
pub(crate) use self::meetings::{Led, Meeting};
use super::session::{Identity, Session};
use crate::config::validated::Timeouts;
use crate::lock::lock;
use crate::route::exposure::Exposure;
use crate::route::table::{RouteTable, Serving};
use crate::store::Peer;

/// Sessions at once, of all peers and of one.
const MOST_SESSIONS: usize = 1024;
const MOST_SESSIONS_OF_A_PEER: usize = 64;
/// Unasked answers that wait for an agent which does not read.
const NEWS: usize = 8;

pub(crate) type Routes = RouteTable<Arc<Session>>;

/// A session's place in the registry, given up when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) session: Arc<Session>,
    pub(crate) registry: Arc<Registry>,
    /// Answers that nobody asked for, after grants changed.
    pub(crate) news: mpsc::Receiver<Registered>,
    /// Whom the session may meet.
    pub(crate) roster: watch::Receiver<Option<Roster>>,
    pub(crate) too_large: mpsc::Receiver<TooLarge>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.registry.leave(self.session.id);
    }
}

/// Readers take a snapshot of the routes; every change makes a new one.
#[derive(Debug)]
pub(crate) struct Registry {
    routes: ArcSwap<Routes>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// Bytes carried between peers since the start.
    carried: AtomicU64,
}

#[derive(Debug)]
struct State {
    peers: HashMap<PublicKey, Peer>,
    sessions: HashMap<u64, Live>,
    last_sealed: LastSealed,
    meetings: Meetings,
    next_id: u64,
    timeouts: Timeouts,
}

/// A session and what it asks for.
#[derive(Debug)]
struct Live {
    session: Arc<Session>,
    wish: Register,
    serving: Vec<Arc<Serving<Arc<Session>>>>,
    /// What the agent no longer exposes, while connections may be left of it: they end where the hostname is taken.
    retired: VecDeque<(HostnamePattern, CancellationToken)>,
    answer: Registered,
    /// None until the agent has said what it offers: who may reach it follows from that.
    roster: watch::Sender<Option<Roster>>,
}

impl Registry {
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        let (peers, sessions, last_sealed) = (HashMap::new(), HashMap::new(), LastSealed::default());
        let state =
            State { peers, sessions, last_sealed, meetings: Meetings::default(), next_id: 1, timeouts };
        Self {
            routes: ArcSwap::from_pointee(state.routes()),
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            carried: AtomicU64::new(0),
        }
    }

    pub(crate) fn routes(&self) -> arc_swap::Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// Changes with every change of the routes: hostnames are granted, taken, served or no longer served.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn publish(&self, state: &State) {
        state.tell_rosters();
        self.routes.store(Arc::new(state.routes()));
        self.changed.send_replace(());
    }

    /// Who has this key.
    pub(crate) fn peer(&self, key: &PublicKey) -> Option<Peer> {
        lock(&self.state).peers.get(key).cloned()
    }

    pub(crate) fn peer_count(&self) -> usize {
        lock(&self.state).peers.len()
    }

    /// All sessions, the oldest first.
    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        let mut all: Vec<_> =
            lock(&self.state).sessions.values().map(|live| Arc::clone(&live.session)).collect();
        all.sort_by_key(|session| session.id);
        all
    }

    /// Takes the peers as the store has them when the relay starts.
    pub(crate) fn set_peers(&self, peers: Vec<Peer>) {
        let mut state = lock(&self.state);
        state.peers = peers.into_iter().map(|peer| (peer.key, peer)).collect();
        self.publish(&state);
    }

    /// A peer is new, or is granted other hostnames than before: its wishes are judged anew.
    pub(crate) fn put_peer(&self, peer: Peer) {
        let mut state = lock(&self.state);
        state.last_sealed.retain(&peer.key, |hostname| is_granted(&peer, hostname));
        state.peers.insert(peer.key, peer);
        state.judge_all();
        state.end_revoked();
        self.publish(&state);
    }

    /// A peer is no more: its sessions end.
    pub(crate) fn forget_peer(&self, peer: Peer) {
        let mut state = lock(&self.state);
        state.peers.remove(&peer.key);
        state.last_sealed.remove(&peer.key);
        state.sessions.retain(|_, live| {
            let stays = live.session.key != peer.key;
            if !stays {
                live.session.close(SessionClose::Revoked);
            }
            stays
        });
        state.end_revoked();
        self.publish(&state);
    }

    /// From now on these time-outs stand in for those that an exposure does not name.
    pub(crate) fn set_timeouts(&self, timeouts: Timeouts) {
        let mut state = lock(&self.state);
        state.timeouts = timeouts;
        state.judge_all();
        self.publish(&state);
    }

    /// Begins the session of a proven key. A session of the same instance ends: it is what is left of a lost
    /// connection.
    pub(crate) fn admit(
        self: &Arc<Self>,
        key: PublicKey,
        hello: &SessionHello,
        connection: Connection,
    ) -> Result<Seat, SessionClose> {
        let mut state = lock(&self.state);
        let peer = state.peers.get(&key).map(|peer| peer.name.clone()).ok_or(SessionClose::NotEnrolled)?;
        let instance = shortened(&hello.instance);
        state.supersede(&key, &instance);
        let of_peer = state.sessions.values().filter(|live| live.session.key == key).count();
        if of_peer >= MOST_SESSIONS_OF_A_PEER || state.sessions.len() >= MOST_SESSIONS {
            return Err(SessionClose::Busy);
        }
        let id = state.next_id;
        state.next_id += 1;
        let (sender, news) = mpsc::channel(NEWS);
        let (tell_too_large, too_large) = mpsc::channel(NEWS);
        let who = Identity { peer, key, instance, software: shortened(&hello.software) };
        let session = Arc::new(Session::new(id, who, connection, (sender, tell_too_large)));
        let live = Live {
            session: Arc::clone(&session),
            wish: Register::default(),
            serving: Vec::new(),
            retired: VecDeque::new(),
            answer: Registered::default(),
            roster: watch::Sender::default(),
        };
        let roster = live.roster.subscribe();
        state.sessions.insert(id, live);
        self.publish(&state);
        Ok(Seat { session, registry: Arc::clone(self), news, roster, too_large })
    }

    /// Takes a session's wish in place of its earlier one.
    pub(crate) fn register(&self, session: u64, wish: Register) -> Registered {
        let mut state = lock(&self.state);
        let State { peers, sessions, last_sealed, timeouts, .. } = &mut *state;
        let Some(live) = sessions.get_mut(&session) else { return Registered::default() };
        live.wish = wish;
        // What is behind a service may have changed: idle streams lead to what was there before.
        live.session.forget_pools();
        live.judge(peers, last_sealed, *timeouts);
        let answer = live.answer.clone();
        self.publish(&state);
        answer
    }

    fn leave(&self, session: u64) {
        let mut state = lock(&self.state);
        if state.sessions.remove(&session).is_some() {
            self.publish(&state);
        }
    }
}

fn is_granted(peer: &Peer, hostname: &HostnamePattern) -> bool {
    peer.grants.hostnames.iter().any(|granted| granted.covers(hostname))
}

/// What an agent says of itself goes to logs and lists.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(80).collect()
}

impl State {
    fn routes(&self) -> Routes {
        let granted = self.peers.values().flat_map(|peer| peer.grants.hostnames.iter().cloned()).collect();
        let mut lives: Vec<&Live> = self.sessions.values().collect();
        lives.sort_by_key(|live| live.session.id);
        let serving = lives.into_iter().flat_map(|live| live.serving.iter().cloned());
        RouteTable::new(serving, granted, self.last_sealed.names())
    }

    fn supersede(&mut self, key: &PublicKey, instance: &str) {
        self.sessions.retain(|_, live| {
            let same = live.session.key == *key && live.session.instance == instance;
            if same {
                live.session.close(SessionClose::Superseded);
            }
            !same
        });
    }

    /// Judges every wish again and tells the agents for which something changed.
    fn judge_all(&mut self) {
        for live in self.sessions.values_mut() {
            let before = live.answer.clone();
            live.judge(&self.peers, &mut self.last_sealed, self.timeouts);
            // An agent that does not read its news hears it when it registers again.
            if live.answer != before && live.session.news.try_send(live.answer.clone()).is_err() {
                tracing::debug!(peer = %live.session.peer, "the agent does not read its control stream");
            }
        }
    }
}

/// What was retired and is exposed again.
fn returned(
    retired: &mut VecDeque<(HostnamePattern, CancellationToken)>,
    hostname: &HostnamePattern,
) -> Option<CancellationToken> {
    let at = retired.iter().position(|(retired, _)| retired == hostname)?;
    retired.remove(at).map(|(_, withdrawn)| withdrawn)
}

impl Live {
    fn judge(&mut self, peers: &HashMap<PublicKey, Peer>, last_sealed: &mut LastSealed, timeouts: Timeouts) {
        let before = std::mem::take(&mut self.serving);
        self.answer = Registered { revision: self.wish.revision, hostnames: Vec::new() };
        let Some(peer) = peers.get(&self.session.key) else { return };
        for expose in &self.wish.expose {
            let earlier = before.iter().find(|serving| serving.exposure.hostname == expose.hostname);
            let withdrawn = earlier.map(|earlier| earlier.withdrawn.clone());
            let withdrawn =
                withdrawn.or_else(|| returned(&mut self.retired, &expose.hostname)).unwrap_or_default();
            let refused = match self.exposure(peer, expose, timeouts) {
                Ok(exposure) => {
                    let session = Arc::clone(&self.session);
                    self.serving.push(Arc::new(Serving { exposure, session, withdrawn }));
                    None
                }
                Err(reason) => Some(reason),
            };
            self.answer.hostnames.push(HostnameState { hostname: expose.hostname.clone(), refused });
        }
        self.retire(peer, &before);
        last_sealed.note(self.session.key, &before, &self.serving);
    }

    /// Ends what is left of hostnames that were taken, also of those that the agent had stopped to expose before. Of the
    /// latter as many are remembered as a session may expose.
    fn retire(&mut self, peer: &Peer, before: &[Arc<Serving<Arc<Session>>>]) {
        for serving in before {
            let hostname = &serving.exposure.hostname;
            if !self.serving.iter().any(|one| one.exposure.hostname == *hostname) {
                self.retired.push_back((hostname.clone(), serving.withdrawn.clone()));
            }
        }
        let surplus = self.retired.len().saturating_sub(limits::EXPOSES);
        self.retired.drain(..surplus).for_each(|(_, withdrawn)| withdrawn.cancel());
        self.retired.retain(|(hostname, withdrawn)| {
            let stays = is_granted(peer, hostname);
            if !stays {
                withdrawn.cancel();
            }
            stays
        });
    }

    fn exposure(&self, peer: &Peer, expose: &Expose, timeouts: Timeouts) -> Result<Exposure, String> {
        if !is_granted(peer, &expose.hostname) {
            let (peer, hostname) = (&peer.name, &expose.hostname);
            return Err(format!(
                "`{hostname}` is not granted to `{peer}`; on the relay: relay peer grant {peer} --hostname {hostname}"
            ));
        }
        if self.serving.len() >= limits::EXPOSES {
            return Err(format!("more than {} hostnames in one session", limits::EXPOSES));
        }
        if self.serving.iter().any(|other| other.exposure.hostname == expose.hostname) {
            return Err(format!("`{}` is exposed twice", expose.hostname));
        }
        Exposure::new(expose, &self.wish.services, timeouts).map_err(|error| error.to_string())
    }
}
