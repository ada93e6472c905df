//! What the relay has to remember: its own key, the peers and their grants, the tokens (hashed), the pending
//! enrollments, certificates with their keys, and who changed what. Never a private key of a peer, never the text of a
//! token.
//!
//! Every change is one write transaction, which also writes the [`AuditEntry`] that tells of it: after a crash, or
//! where a caller gave up half-way, all of it happened or nothing. Moments are arguments, in seconds since 1970.
//!
//! [`sqlite`] opens the file, [`schema`] lays out its tables, [`row`] turns what was stored into the values of
//! [`record`] again; [`peers`], [`grants`], [`tokens`], [`enrollments`], [`certificates`] and [`audit`] are the queries, in
//! SQL that PostgreSQL understands as well. To those who order certificates the store is what [`keep`] makes of it.

mod audit;
mod certificates;
mod enrollments;
mod error;
mod grants;
mod keep;
mod peers;
mod record;
mod row;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;
mod tokens;

use std::net::IpAddr;
use std::path::Path;

use protocol::id::PeerName;
use protocol::key::{PublicKey, SecretKey};
use protocol::token::TokenHash;

pub(crate) use protocol::roster::Role;

pub(crate) use self::error::StoreError;
pub(crate) use self::record::{
    AuditEntry, Grants, NewPeer, Peer, Pending, Redeemed, Refusal, Requested, Token, TokenState,
};
use self::sqlite::{Connection, Pools};

/// The store. A clone is another handle on the same one.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pools: Pools,
}

/// Opening, closing, and the relay's own key.
impl Store {
    /// Opens the store in this file, which is created where it is missing and readable for its owner alone.
    ///
    /// # Errors
    ///
    /// Where the file cannot be created or opened, is damaged, is no store, or was written by a later version.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { pools: sqlite::open(path).await? })
    }

    /// Waits for what is under way and closes the file. Every handle refuses from then on.
    pub(crate) async fn close(&self) {
        self.pools.close().await;
    }

    /// The relay's key: the one that is stored, or `fresh` (32 random bytes), which is stored by this, where none is.
    pub(crate) async fn relay_secret(&self, fresh: [u8; 32]) -> Result<SecretKey, StoreError> {
        let keep = async |db: &mut Connection| row::relay_secret(db, &fresh).await;
        self.pools.write("read the relay's key", keep).await
    }

    /// What was changed last, the latest first.
    pub(crate) async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.pools.read("read the audit log", async |db| audit::latest(db, limit).await).await
    }
}

/// Peers and their grants.
impl Store {
    /// Every peer, by name.
    pub(crate) async fn peers(&self) -> Result<Vec<Peer>, StoreError> {
        self.pools.read("list the peers", async |db| peers::all(db).await).await
    }

    /// Forgets a peer: its grants, its pending enrollments, and the claim that its key had on the token it used.
    /// Returns it as it was, or nothing where there is no such peer.
    pub(crate) async fn revoke_peer(&self, name: &PeerName, now: i64) -> Result<Option<Peer>, StoreError> {
        self.pools.write("revoke a peer", async |db| peers::revoke(db, name, now).await).await
    }

    /// Lets a peer have these grants too. Returns it as it is now.
    ///
    /// # Errors
    ///
    /// Also where it would have more of a kind than a peer may have ([`StoreError::TooMany`]).
    pub(crate) async fn grant(
        &self,
        name: &PeerName,
        grants: &Grants,
        now: i64,
    ) -> Result<Option<Peer>, StoreError> {
        let change = async |db: &mut Connection| peers::grant(db, name, grants, now).await;
        self.pools.write("grant something to a peer", change).await
    }

    /// Takes these grants, word for word, from a peer. Returns it as it is now.
    pub(crate) async fn ungrant(
        &self,
        name: &PeerName,
        grants: &Grants,
        now: i64,
    ) -> Result<Option<Peer>, StoreError> {
        let change = async |db: &mut Connection| peers::ungrant(db, name, grants, now).await;
        self.pools.write("take grants from a peer", change).await
    }

    /// Notes that the peer with this id was here. Never moves back in time; not audited.
    pub(crate) async fn seen(&self, id: i64, now: i64) -> Result<(), StoreError> {
        self.pools.write("note that a peer was seen", async |db| peers::seen(db, id, now).await).await
    }
}

/// Tokens.
impl Store {
    /// Stores a token, which makes one key a peer as `grant` says, until `expires_at`. Returns the id that people use.
    pub(crate) async fn create_token(
        &self,
        hash: &TokenHash,
        grant: &NewPeer,
        now: i64,
        expires_at: i64,
    ) -> Result<i64, StoreError> {
        let change = async |db: &mut Connection| tokens::create(db, hash, grant, now, expires_at).await;
        self.pools.write("store a token", change).await
    }

    /// Every token that there ever was, the oldest first, in its state at this moment.
    pub(crate) async fn tokens(&self, now: i64) -> Result<Vec<Token>, StoreError> {
        self.pools.read("list the tokens", async |db| tokens::all(db, now).await).await
    }

    /// Makes an unused token worthless. False where there is none, or it was used or revoked before.
    pub(crate) async fn revoke_token(&self, id: i64, now: i64) -> Result<bool, StoreError> {
        self.pools.write("revoke a token", async |db| tokens::revoke(db, id, now).await).await
    }

    /// Spends a token on this key. The peer's name is the token's, else the wished one, else `peer`; a taken name gets
    /// a number. A key that is a peer already keeps its name and role, and is granted what the token carries.
    ///
    /// Spending it again with the same key succeeds for as long as the peer that it made is there.
    pub(crate) async fn redeem_token(
        &self,
        hash: &TokenHash,
        key: &PublicKey,
        wished: Option<&PeerName>,
        now: i64,
    ) -> Result<Redeemed, StoreError> {
        let change = async |db: &mut Connection| tokens::redeem(db, hash, key, wished, now).await;
        self.pools.write("redeem a token", change).await
    }
}

/// Enrollments that wait for somebody's approval.
impl Store {
    /// Asks for this key to become a peer. The same key gets the code that it got before; `fresh_code` is for a
    /// new request, and is what the approver will type.
    ///
    /// # Errors
    ///
    /// Also where `fresh_code` is the code of another request.
    pub(crate) async fn request_enrollment(
        &self,
        key: &PublicKey,
        wished: Option<&PeerName>,
        address: IpAddr,
        fresh_code: &str,
        now: i64,
    ) -> Result<Requested, StoreError> {
        let request = enrollments::Request { key, wished, address, fresh_code };
        let change = async |db: &mut Connection| enrollments::request(db, &request, now).await;
        self.pools.write("note an enrollment", change).await
    }

    /// Who waits at this moment, the longest first.
    pub(crate) async fn pending(&self, now: i64) -> Result<Vec<Pending>, StoreError> {
        self.pools.read("list the pending enrollments", async |db| enrollments::all(db, now).await).await
    }

    /// Makes the key that waits with this code a peer. Case and dashes of the code do not matter; the name follows the
    /// rule of [`Store::redeem_token`]. Nothing where nobody waits with it.
    pub(crate) async fn approve(
        &self,
        code: &str,
        grant: &NewPeer,
        now: i64,
    ) -> Result<Option<Peer>, StoreError> {
        let change = async |db: &mut Connection| enrollments::approve(db, code, grant, now).await;
        self.pools.write("approve an enrollment", change).await
    }
}
