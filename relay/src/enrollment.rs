//! How a key becomes a peer, and stops being one. Every change goes to the store first and to the live sessions at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::control::EnrollAnswer;
use protocol::handshake::EnrollRequest;
use protocol::id::PeerName;
use protocol::key::{PublicKey, SecretKey};
use protocol::token::{EnrollmentToken, TokenHash};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinError;
use tokio_util::task::TaskTracker;

use crate::store::{Grants, NewPeer, Peer, Redeemed, Refusal, Requested, Store, StoreError};
use crate::tunnel::registry::Registry;

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The store, and the sessions that have to hear of its changes.
#[derive(Debug)]
pub(crate) struct Enrollment {
    pub(crate) store: Store,
    pub(crate) registry: Arc<Registry>,
    pub(crate) secret: SecretKey,
    /// One change after the other, so that the registry hears of them in the order of the store.
    changing: Mutex<()>,
    changed: watch::Sender<u64>,
    tasks: TaskTracker,
}

/// What a change of the store means for the live sessions.
type Effect = fn(&Registry, Peer);

impl Enrollment {
    /// Loads the peers into the registry.
    pub(crate) async fn new(
        store: Store,
        registry: Arc<Registry>,
        secret: SecretKey,
    ) -> Result<Self, StoreError> {
        registry.set_peers(store.peers().await?);
        let (changed, _) = watch::channel(0);
        Ok(Self { store, registry, secret, changing: Mutex::new(()), changed, tasks: TaskTracker::new() })
    }

    /// Changes whenever a peer came or went.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Changes the store, then the live sessions. Goes on to its end where nobody waits for it any longer: a command
    /// that is broken off leaves no session of a peer that is gone.
    async fn change(
        self: &Arc<Self>,
        change: impl Future<Output = Result<Option<Peer>, StoreError>> + Send + 'static,
        effect: Effect,
    ) -> Result<Option<Peer>, StoreError> {
        let this = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let _one_at_a_time = this.changing.lock().await;
            let peer = change.await?;
            if let Some(peer) = &peer {
                effect(&this.registry, peer.clone());
                this.changed.send_modify(|count| *count += 1);
            }
            Ok(peer)
        });
        match task.await.map_err(JoinError::try_into_panic) {
            Ok(changed) => changed,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // Only the end of the runtime cancels it, and that ends this as well.
            Err(Err(_cancelled)) => std::future::pending().await,
        }
    }

    /// Answers a device that has proven its key.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        key: PublicKey,
        request: EnrollRequest,
        address: IpAddr,
    ) -> Result<EnrollAnswer, StoreError> {
        match request.token {
            Some(token) => match self.redeem(key, token.hash(), request.name).await {
                // Of a peer that enrolls again, with a token that carries yet more.
                Err(StoreError::TooMany(error)) => Ok(EnrollAnswer::Refused { reason: error.to_string() }),
                redeemed => Ok(redeemed_answer(redeemed?)),
            },
            None => {
                let code = fresh_code();
                let wished = request.name.as_ref();
                let requested = self.store.request_enrollment(&key, wished, address, &code, now()).await?;
                Ok(requested_answer(requested))
            }
        }
    }

    async fn redeem(
        self: &Arc<Self>,
        key: PublicKey,
        hash: TokenHash,
        wished: Option<PeerName>,
    ) -> Result<Option<Peer>, StoreError> {
        let store = self.store.clone();
        let redeem = async move {
            Ok(match store.redeem_token(&hash, &key, wished.as_ref(), now()).await? {
                Redeemed::Enrolled(peer) => Some(peer),
                Redeemed::Refused => None,
            })
        };
        self.change(redeem, Registry::put_peer).await
    }

    /// Admits the device that waits with this code.
    pub(crate) async fn approve(
        self: &Arc<Self>,
        code: String,
        grant: NewPeer,
    ) -> Result<Option<Peer>, StoreError> {
        let store = self.store.clone();
        self.change(async move { store.approve(&code, &grant, now()).await }, Registry::put_peer).await
    }

    /// Forgets a peer; its sessions are closed before this returns.
    pub(crate) async fn revoke(self: &Arc<Self>, name: PeerName) -> Result<Option<Peer>, StoreError> {
        let store = self.store.clone();
        self.change(async move { store.revoke_peer(&name, now()).await }, Registry::forget_peer).await
    }

    /// Grants more to a peer; live sessions hear of it.
    pub(crate) async fn grant(
        self: &Arc<Self>,
        name: PeerName,
        grants: Grants,
    ) -> Result<Option<Peer>, StoreError> {
        let store = self.store.clone();
        self.change(async move { store.grant(&name, &grants, now()).await }, Registry::put_peer).await
    }

    /// Takes grants from a peer. When this returns, no new request is served under hostnames that were taken, and what
    /// was under way is cut.
    pub(crate) async fn ungrant(
        self: &Arc<Self>,
        name: PeerName,
        grants: Grants,
    ) -> Result<Option<Peer>, StoreError> {
        let store = self.store.clone();
        self.change(async move { store.ungrant(&name, &grants, now()).await }, Registry::put_peer).await
    }

    /// Notes that a peer was here. That the store is away harms no session.
    pub(crate) async fn seen(&self, key: &PublicKey) {
        let Some(peer) = self.registry.peer(key) else { return };
        if let Err(error) = self.store.seen(peer.id, now()).await {
            tracing::warn!(peer = %peer.name, error = process::terminal::chain(&error), "not noted as seen");
        }
    }

    /// A new token, and the id that it is listed by.
    pub(crate) async fn create_token(
        &self,
        grant: &NewPeer,
        lifetime_s: u64,
    ) -> Result<(i64, EnrollmentToken), StoreError> {
        let token = EnrollmentToken::new(process::random::bytes(), self.secret.public());
        let now = now();
        let expires = now.saturating_add_unsigned(lifetime_s);
        let id = self.store.create_token(&token.hash(), grant, now, expires).await?;
        Ok((id, token))
    }
}

/// One answer for a token that is unknown, expired, revoked or used: nobody learns which.
fn redeemed_answer(redeemed: Option<Peer>) -> EnrollAnswer {
    redeemed.map_or_else(
        || EnrollAnswer::Refused {
            reason:
                "the token is not valid: it may be used, expired or revoked; `relay token create` makes another"
                    .into(),
        },
        accepted,
    )
}

fn requested_answer(requested: Requested) -> EnrollAnswer {
    let refused = |reason: &str| EnrollAnswer::Refused { reason: reason.into() };
    match requested {
        Requested::Already(peer) => accepted(peer),
        Requested::Pending(pending) => EnrollAnswer::Pending {
            code: pending.code,
            expires_in_s: u64::try_from(pending.expires_at - now()).unwrap_or(0),
        },
        Requested::Refused(Refusal::TooMany) => refused(
            "too many devices are waiting for approval at the relay; try again later, or enroll with a token",
        ),
        Requested::Refused(Refusal::TooManyFromAddress) => refused(
            "too many devices of this network are waiting for approval; try again later, or enroll with a token",
        ),
    }
}

/// What a device hears when it is a peer.
pub(crate) fn accepted(peer: Peer) -> EnrollAnswer {
    let Grants { hostnames, services, .. } = peer.grants;
    EnrollAnswer::Accepted { peer: peer.name, hostnames, services }
}

/// Without the characters that people mix up when they read them aloud.
const CODE_SYMBOLS: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";

/// Eight symbols and a dash: `k7mw-3xfp`.
fn fresh_code() -> String {
    let mut code = String::with_capacity(9);
    while code.len() < 9 {
        let [byte] = process::random::bytes::<1>();
        // Of 32 values one has no symbol: drawn again, so that all are as likely.
        if let Some(symbol) = CODE_SYMBOLS.get(usize::from(byte % 32)) {
            code.push(char::from(*symbol));
        }
        if code.len() == 4 {
            code.push('-');
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_short_and_differ() {
        let (one, other) = (fresh_code(), fresh_code());
        assert_ne!(one, other);
        assert_eq!((one.len(), one.as_bytes()[4]), (9, b'-'));
        assert!(one.bytes().all(|b| b == b'-' || CODE_SYMBOLS.contains(&b)));
    }
}
