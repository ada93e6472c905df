//! Peers that meet: who is told of whom, which session a stream to a peer leads to, and which of those that run have to
//! end because a grant was taken.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::close::StreamReset;
use protocol::control::Carries;
use protocol::key::PublicKey;
use protocol::limits;
use protocol::private::Purpose;
use protocol::roster::Roster;
use protocol::stream::PrivateHeader;

use super::{Live, Registry, State};
use crate::lock::lock;
use crate::policy::{self, PeerPermit};
use crate::roster::{self, Known};
use crate::store::Peer;
use crate::tunnel::session::Session;

/// Streams of all operators to one host: its visitors have room beside them.
const MOST_TO_A_HOST: usize = 2048;

/// Streams between peers that run, by number.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    next: u64,
    running: HashMap<u64, Running>,
}

/// One of them: who, to whom, for what, and how to end it.
#[derive(Debug)]
struct Running {
    operator: PublicKey,
    host: PublicKey,
    purpose: Purpose,
    revoked: tokio_util::sync::CancellationToken,
}

/// A place among the streams that run, given up when dropped. What it carries is counted.
#[derive(Debug)]
pub(crate) struct Meeting {
    registry: Arc<Registry>,
    number: u64,
}

impl Drop for Meeting {
    fn drop(&mut self) {
        lock(&self.registry.state).meetings.running.remove(&self.number);
    }
}

impl Meeting {
    /// So many bytes were carried.
    pub(crate) fn carried(&self, bytes: usize) {
        self.registry.carried.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Where a stream of an operator leads.
#[derive(Debug)]
pub(crate) struct Led {
    pub(crate) host: Arc<Session>,
    pub(crate) permit: PeerPermit,
    pub(crate) meeting: Meeting,
}

impl Registry {
    /// Leads a stream of an operator to a session of the host, where it may go there.
    pub(crate) fn lead(
        self: &Arc<Self>,
        operator: &Session,
        header: &PrivateHeader,
    ) -> Result<Led, StreamReset> {
        let mut state = lock(&self.state);
        let asks = state.peers.get(&operator.key).ok_or(StreamReset::NotGranted)?;
        let host =
            state.peers.values().find(|peer| peer.name == header.peer).ok_or(StreamReset::NotGranted)?;
        let permit =
            policy::admit_peer(asks, &state.known(host), &header.purpose).ok_or(StreamReset::NotGranted)?;
        let (asks, host) = (asks.key, host.key);
        let session = state.session_for(&host, &header.purpose).ok_or(StreamReset::PeerOffline)?;
        let Meetings { next, running } = &mut state.meetings;
        let of_operator = running.values().filter(|one| one.operator == asks).count();
        let to_host = running.values().filter(|one| one.host == host).count();
        if of_operator >= limits::PRIVATE_STREAMS as usize || to_host >= MOST_TO_A_HOST {
            return Err(StreamReset::Busy);
        }
        let number = *next;
        *next += 1;
        let (purpose, revoked) = (header.purpose.clone(), permit.revoked());
        running.insert(number, Running { operator: asks, host, purpose, revoked });
        Ok(Led { host: session, permit, meeting: Meeting { registry: Arc::clone(self), number } })
    }
}

impl Registry {
    /// Streams between peers that run, and the bytes of all of them since the start.
    pub(crate) fn between_peers(&self) -> (usize, u64) {
        (lock(&self.state).meetings.running.len(), self.carried.load(Ordering::Relaxed))
    }

    /// Tells an agent where it is seen to come from, when that has changed.
    pub(crate) fn note_address(&self, session: &Session, seen_at: &mut std::net::SocketAddr) {
        let address = session.connection.remote_address();
        if std::mem::replace(seen_at, address) != address {
            lock(&self.state).tell_rosters();
        }
    }
}

impl State {
    fn known<'s>(&'s self, peer: &'s Peer) -> Known<'s> {
        let sessions = self.sessions.values().filter(|live| live.session.key == peer.key);
        let (mut offers, mut is_online) = (BTreeSet::new(), false);
        for live in sessions {
            is_online = true;
            let room = limits::PRIVATE_SERVICES - offers.len().min(limits::PRIVATE_SERVICES);
            offers.extend(live.wish.private.iter().take(room).cloned());
        }
        Known { peer, is_online, offers }
    }

    /// The latest of the host's sessions that offers this.
    fn session_for(&self, host: &PublicKey, purpose: &Purpose) -> Option<Arc<Session>> {
        let offers =
            |live: &&Live| live.session.key == *host && live.session.is_open() && live.offers(purpose);
        let latest = self.sessions.values().filter(offers).max_by_key(|live| live.session.id)?;
        Some(Arc::clone(&latest.session))
    }

    /// Ends what runs and may no longer.
    pub(super) fn end_revoked(&mut self) {
        let may_go_on = |running: &Running| {
            let (Some(operator), Some(host)) =
                (self.peers.get(&running.operator), self.peers.get(&running.host))
            else {
                return false;
            };
            match running.purpose.service() {
                Some(service) => roster::may_reach(operator, host, service),
                None => roster::may_open(operator, &self.known(host), &running.purpose),
            }
        };
        for running in self.meetings.running.values().filter(|running| !may_go_on(running)) {
            running.revoked.cancel();
        }
    }

    /// Tells each session whom it may meet now, where that is news to it.
    pub(super) fn tell_rosters(&self) {
        let known = self.all_known();
        let by_key: HashMap<&PublicKey, &Known<'_>> =
            known.iter().map(|known| (&known.peer.key, known)).collect();
        for live in self.sessions.values() {
            let reader = by_key.get(&live.session.key);
            let peers = reader.map(|reader| roster::told_to(reader, &known)).unwrap_or_default();
            if reader.is_some_and(|reader| !reader.peer.grants.services.is_empty()) {
                live.session.let_streams_in();
            }
            if live.wish.revision == 0 {
                continue;
            }
            // Where it comes from is of use to those alone who have somebody to meet.
            let observed = (!peers.is_empty()).then(|| live.session.connection.remote_address());
            // The first is news also where it names nobody: the agent may know of somebody from before.
            let roster = Some(Roster { observed, peers });
            live.roster.send_if_modified(|told| {
                let is_news = *told != roster;
                if is_news {
                    *told = roster;
                }
                is_news
            });
        }
    }

    /// Everybody who has a part in private access, by name: who was granted a service, who offers one, and hosts that are
    /// waited for by their names. Most relays have few of them, and many hosts that only expose hostnames.
    fn all_known(&self) -> Vec<Known<'_>> {
        let operators: Vec<&Peer> =
            self.peers.values().filter(|peer| !peer.grants.services.is_empty()).collect();
        if operators.is_empty() {
            return Vec::new();
        }
        let patterns = operators.iter().flat_map(|peer| &peer.grants.services);
        let waited_for: HashSet<&str> =
            patterns.filter_map(|pattern| Some(pattern.as_str().split_once('/')?.0)).collect();
        let offering: HashSet<PublicKey> = self
            .sessions
            .values()
            .filter(|live| !live.wish.private.is_empty())
            .map(|live| live.session.key)
            .collect();
        let has_a_part = |peer: &&Peer| {
            !peer.grants.services.is_empty()
                || offering.contains(&peer.key)
                || waited_for.contains(peer.name.as_str())
        };
        let mut known: Vec<_> = self.peers.values().filter(has_a_part).map(|peer| self.known(peer)).collect();
        known.sort_by(|one, other| one.peer.name.cmp(&other.peer.name));
        known
    }
}

impl Live {
    fn offers(&self, purpose: &Purpose) -> bool {
        self.wish.private.iter().any(|offer| match purpose {
            Purpose::Tcp(service) => offer.name == *service && offer.carries == Carries::Tcp,
            Purpose::Udp(service) => offer.name == *service && offer.carries == Carries::Udp,
            Purpose::Talk => true,
        })
    }
}
