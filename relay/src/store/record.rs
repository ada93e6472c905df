//! The values that go into the store and come out of it.

use std::fmt;
use std::net::IpAddr;

use protocol::hostname::HostnamePattern;
use protocol::id::{PeerName, Tag};
use protocol::key::PublicKey;
use protocol::roster::Role;
use protocol::service::ServicePattern;
use serde::{Deserialize, Serialize};

/// How many hostnames, services and tags, of each, one peer or token may have.
pub(super) const MOST_OF_A_KIND: usize = 256;

/// What a peer may do, and what others may do with it. What comes out of the store is in alphabetical order, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Grants {
    /// What it may expose.
    pub(crate) hostnames: Vec<HostnamePattern>,
    /// What it may reach.
    pub(crate) services: Vec<ServicePattern>,
    /// The groups it belongs to, which patterns of services and the allow lists of homes may name.
    pub(crate) tags: Vec<Tag>,
}

/// A peer or a token would have too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a peer or a token has {MOST_OF_A_KIND} {what} at most")]
pub(crate) struct TooMany {
    what: &'static str,
}

impl Grants {
    /// What is granted here and not there.
    pub(super) fn minus(&self, other: &Self) -> Self {
        fn minus<T: PartialEq + Clone>(all: &[T], without: &[T]) -> Vec<T> {
            all.iter().filter(|one| !without.contains(one)).cloned().collect()
        }
        Self {
            hostnames: minus(&self.hostnames, &other.hostnames),
            services: minus(&self.services, &other.services),
            tags: minus(&self.tags, &other.tags),
        }
    }

    /// Whether what grew since `before` is still within the bound.
    pub(super) fn check_growth(&self, before: &Self) -> Result<(), TooMany> {
        let sizes = [
            ("hostnames", before.hostnames.len(), self.hostnames.len()),
            ("services", before.services.len(), self.services.len()),
            ("tags", before.tags.len(), self.tags.len()),
        ];
        let grown_over = |&(_, before, now): &(_, usize, usize)| now > before && now > MOST_OF_A_KIND;
        sizes.into_iter().find(grown_over).map_or(Ok(()), |(what, ..)| Err(TooMany { what }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hostnames.is_empty() && self.services.is_empty() && self.tags.is_empty()
    }
}

/// `koda.example.com, home/dashboard, tag family`.
impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hostnames = self.hostnames.iter().map(|hostname| ("", hostname.as_str()));
        let services = self.services.iter().map(|service| ("", service.as_str()));
        let tags = self.tags.iter().map(|tag| ("tag ", tag.as_str()));
        for (number, (kind, value)) in hostnames.chain(services).chain(tags).enumerate() {
            let between = if number == 0 { "" } else { ", " };
            write!(f, "{between}{kind}{value}")?;
        }
        Ok(())
    }
}

/// An enrolled identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Never given to another peer, not even after this one is revoked.
    pub(crate) id: i64,
    pub(crate) name: PeerName,
    pub(crate) key: PublicKey,
    pub(crate) role: Role,
    pub(crate) grants: Grants,
    pub(crate) enrolled_at: i64,
    pub(crate) last_seen_at: Option<i64>,
}

/// What a key becomes: carried by a token, or said by whoever approves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewPeer {
    /// Goes before what the peer wishes to be called.
    pub(crate) name: Option<PeerName>,
    pub(crate) role: Role,
    pub(crate) grants: Grants,
}

/// A token, without what would make it usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// A small number, for people.
    pub(crate) id: i64,
    pub(crate) grant: NewPeer,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) state: TokenState,
}

/// What has become of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// It can be used.
    Open,
    /// It made this peer, which may be revoked by now, or added to its grants.
    Used { by: PeerName, at: i64 },
    /// Made worthless before anybody used it.
    Revoked { at: i64 },
    /// Nobody used it in time.
    Expired,
}

/// What came of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redeemed {
    /// The key is this peer.
    Enrolled(Peer),
    /// Unknown, expired, revoked, or used by another: one answer, found in the same steps.
    Refused,
}

/// A key that waits for approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    /// What the agent shows and the approver types.
    pub(crate) code: String,
    pub(crate) key: PublicKey,
    pub(crate) wished: Option<PeerName>,
    /// Where it asked from, the last time.
    pub(crate) address: IpAddr,
    pub(crate) requested_at: i64,
    pub(crate) expires_at: i64,
}

/// What came of asking for approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Requested {
    /// It waits.
    Pending(Pending),
    /// The key is a peer: there is nothing to wait for.
    Already(Peer),
    /// It may come back later.
    Refused(Refusal),
}

/// Why nobody else may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many wait.
    TooMany,
    /// Too many of those who wait asked from this address (IPv6: this /64).
    TooManyFromAddress,
}

/// One change, and who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditEntry {
    pub(crate) at: i64,
    /// `admin`, `token 3`, or the fingerprint of a device's key.
    pub(crate) actor: String,
    /// `enrolled`, `approved`, `revoked`, `granted`, `ungranted`, `token created`, `token revoked`, `token redeemed`.
    pub(crate) action: String,
    /// `home`, `home: koda.example.com`, `laptop: home/dashboard, tag family`, `token 3`.
    pub(crate) subject: String,
}
