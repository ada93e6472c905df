//! Peers that meet: who is told of whom, which session a stream to a peer leads to, and which of those that run have to
//! end because a grant was taken.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use protocol::close::StreamReset;
use protocol::control::{Carries, PrivateService};
use protocol::key::PublicKey;
use protocol::private::Purpose;
use protocol::roster::Roster;
use protocol::stream::PrivateHeader;

use super::{Live, Registry, State};
use crate::lock::lock;
use crate::policy::{self, PeerPermit};
use crate::roster::{self, Known};
use crate::store::Peer;
use crate::tunnel::session::Session;

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

/// A place among the streams that run, given up when dropped.
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
        let number = *next;
        *next += 1;
        let (purpose, revoked) = (header.purpose.clone(), permit.revoked());
        running.insert(number, Running { operator: asks, host, purpose, revoked });
        Ok(Led { host: session, permit, meeting: Meeting { registry: Arc::clone(self), number } })
    }
}

impl Registry {
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
        let sessions = || self.sessions.values().filter(|live| live.session.key == peer.key);
        let offers: BTreeSet<PrivateService> =
            sessions().flat_map(|live| live.wish.private.iter().cloned()).collect();
        Known { peer, is_online: sessions().next().is_some(), offers }
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
        let has_a_part = |peer: &&Peer| !peer.grants.services.is_empty() || self.offers_something(&peer.key);
        let mut peers: Vec<&Peer> = self.peers.values().filter(has_a_part).collect();
        // A host that is away offers nothing, and is named to those who wait for it.
        let is_waited_for = |host: &Peer| self.peers.values().any(|peer| names(peer, host));
        peers.extend(self.peers.values().filter(|peer| !has_a_part(peer) && is_waited_for(peer)));
        peers.sort_by(|one, other| one.name.cmp(&other.name));
        let known: Vec<Known<'_>> = peers.into_iter().map(|peer| self.known(peer)).collect();
        for live in self.sessions.values() {
            let reader = known.iter().find(|known| known.peer.key == live.session.key);
            let peers = reader.map(|reader| roster::told_to(reader, &known)).unwrap_or_default();
            if reader.is_some_and(|reader| !reader.peer.grants.services.is_empty()) {
                live.session.let_streams_in();
            }
            let observed = Some(live.session.connection.remote_address());
            let roster = Roster { observed, peers };
            live.roster.send_if_modified(|told| {
                // Where it comes from is of use to those alone who have somebody to meet.
                let is_news = told.peers != roster.peers || (*told != roster && !roster.peers.is_empty());
                if is_news {
                    *told = roster;
                }
                is_news
            });
        }
    }

    fn offers_something(&self, peer: &PublicKey) -> bool {
        self.sessions.values().any(|live| live.session.key == *peer && !live.wish.private.is_empty())
    }
}

/// Whether a peer was granted something of this host by its name.
fn names(peer: &Peer, host: &Peer) -> bool {
    let prefix = format!("{}/", host.name);
    peer.grants.services.iter().any(|pattern| pattern.as_str().starts_with(&prefix))
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
