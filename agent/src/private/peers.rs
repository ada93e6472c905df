//! What is known of other peers: who this device is to them, and the relay's word on who they are and what they may.

use std::sync::Arc;
use std::time::Duration;

use protocol::id::{PeerName, ServiceName};
use protocol::key::{PublicKey, SecretKey};
use protocol::private::Purpose;
use protocol::roster::{Roster, RosterPeer};
use tokio::sync::watch;

use super::pins::{PinError, Pins};
use crate::offer::Offers;

/// How long the relay's word that a peer may come in may be behind the peer.
const BEHIND: Duration = Duration::from_secs(2);

/// How long a peer may be missing where the relay was started again, and it has not come back yet.
const GONE: Duration = Duration::from_secs(2);

/// What the relay has said last. It stays where the session is gone.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// What the relay calls this device.
    pub me: Option<PeerName>,
    pub roster: Arc<Roster>,
}

/// This device among the others.
#[derive(Debug)]
pub struct Peers {
    pub(crate) secret: SecretKey,
    pub(crate) pins: Pins,
    told: watch::Sender<Told>,
}

/// Why a peer may not come in.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the relay does not say that this key may come in as `{0}`")]
    NotGranted(PeerName),
    #[error("`[[private]]` does not allow `{0}`")]
    NotAllowed(PeerName),
    #[error(transparent)]
    Pin(#[from] PinError),
}

impl Peers {
    #[must_use]
    pub fn new(secret: SecretKey, pins: Pins) -> Self {
        Self { secret, pins, told: watch::Sender::default() }
    }

    /// A session has begun, and the relay has said who this is.
    pub fn is_called(&self, me: PeerName) {
        self.told.send_if_modified(|told| told.me.replace(me.clone()).is_none_or(|before| before != me));
    }

    /// The relay has said who there is.
    pub fn there_are(&self, roster: Roster) {
        self.told.send_modify(|told| told.roster = Arc::new(roster));
    }

    /// The relay no longer knows this device: nobody has a part in it any more.
    pub fn there_is_nobody(&self) {
        self.there_are(Roster::default());
    }

    /// Comes back when the relay has not named a peer by this key for a while.
    pub(crate) async fn until_gone(&self, peer: &Caller) {
        let mut told = self.follow();
        let is_gone = |told: &Told| told.peer(peer).is_none();
        loop {
            // What sends outlives every path.
            let _ = told.wait_for(is_gone).await;
            let is_back = told.wait_for(|told| !is_gone(told));
            if tokio::time::timeout(GONE, is_back).await.is_err() {
                return;
            }
        }
    }

    /// What was said last.
    #[must_use]
    pub fn told(&self) -> Told {
        self.told.borrow().clone()
    }

    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// Lets a peer in that has proven this key, or not: by the relay's word, by the key that was first seen, and by this
    /// agent's own list.
    ///
    /// # Errors
    ///
    /// Which of these is against it.
    pub(crate) async fn admit(
        &self,
        caller: &Caller,
        purpose: &Purpose,
        offers: &Offers,
    ) -> Result<(), Refusal> {
        let granted = |told: &Told| told.peer(caller).is_some_and(|peer| reaches(peer, purpose));
        let mut told = self.follow();
        let heard = tokio::time::timeout(BEHIND, told.wait_for(granted)).await;
        if !matches!(heard, Ok(Ok(_))) {
            return Err(Refusal::NotGranted(caller.name.clone()));
        }
        self.check(caller, purpose, offers)?;
        Ok(self.pins.check(&caller.name, caller.key)?)
    }

    /// The same again, for what runs: without waiting, and the key has not changed.
    pub(crate) fn check(&self, caller: &Caller, purpose: &Purpose, offers: &Offers) -> Result<(), Refusal> {
        let told = self.told.borrow();
        let Some(peer) = told.peer(caller).filter(|peer| reaches(peer, purpose)) else {
            return Err(Refusal::NotGranted(caller.name.clone()));
        };
        let offer = offers.borrow();
        let private = offer.config().private();
        let is_allowed = match purpose.service() {
            Some(service) => private.get(service).is_some_and(|private| private.admits(peer)),
            None => private.values().any(|private| private.admits(peer)),
        };
        if is_allowed { Ok(()) } else { Err(Refusal::NotAllowed(caller.name.clone())) }
    }

    /// Waits until a peer that came in may no longer be here.
    pub(crate) async fn until_refused(
        &self,
        caller: &Caller,
        purpose: &Purpose,
        mut offers: Offers,
    ) -> Refusal {
        let mut told = self.follow();
        loop {
            if let Err(refusal) = self.check(caller, purpose, &offers) {
                return refusal;
            }
            // What sends outlives every stream.
            let _either = tokio::select! {
                changed = told.changed() => changed,
                changed = offers.changed() => changed,
            };
        }
    }
}

/// A peer by what it has proven.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    pub(crate) name: PeerName,
    pub(crate) key: PublicKey,
}

impl Told {
    fn peer(&self, caller: &Caller) -> Option<&RosterPeer> {
        self.roster.by_name(&caller.name).filter(|peer| peer.key == caller.key)
    }
}

fn reaches(peer: &RosterPeer, purpose: &Purpose) -> bool {
    match purpose.service() {
        Some(service) => peer.reaches.iter().any(|reached: &ServiceName| reached == service),
        None => !peer.reaches.is_empty(),
    }
}
