//! The values that go into the store and come out of it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use protocol::hostname::HostnamePattern;
use protocol::id::PeerName;
use protocol::key::PublicKey;

/// What a peer is here for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// It offers services.
    Host,
    /// It reaches private services.
    Operator,
}

/// Why a text is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role is `host` or `operator`")]
pub(crate) struct RoleError;

impl Role {
    /// The role as text.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Operator => "operator",
        }
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        [Self::Host, Self::Operator].into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
    /// What it may expose, in alphabetical order.
    pub(crate) hostnames: Vec<HostnamePattern>,
    pub(crate) enrolled_at: i64,
    pub(crate) last_seen_at: Option<i64>,
}

/// What a key becomes: carried by a token, or said by whoever approves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewPeer {
    /// Goes before what the peer wishes to be called.
    pub(crate) name: Option<PeerName>,
    pub(crate) role: Role,
    pub(crate) hostnames: Vec<HostnamePattern>,
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
    /// `home`, `home: koda.example.com`, `token 3`.
    pub(crate) subject: String,
}
