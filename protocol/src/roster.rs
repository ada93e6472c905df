//! What the relay tells a peer of the others: those whose services it may reach, and those that may reach its own.
//!
//! The relay's word alone. Keys are pinned when they are first seen, and each side proves its own in [`crate::private`].

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::control::{Message, PrivateService};
use crate::frame::FrameKind;
use crate::id::{PeerName, ServiceName, Tag};
use crate::key::PublicKey;

/// Relay to agent: everybody that it may meet. Takes the place of what was said before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Roster {
    /// From where the relay sees this session come.
    pub observed: Option<SocketAddr>,
    /// By name.
    pub peers: Vec<RosterPeer>,
}

/// Another peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterPeer {
    /// Its name.
    pub name: PeerName,
    /// Its static key, as the relay knows it.
    pub key: PublicKey,
    /// What it is here for.
    #[serde(default)]
    pub role: Role,
    /// The groups that it belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Whether it has a session.
    #[serde(default)]
    pub online: bool,
    /// Those of its services that the reader may reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offers: Vec<PrivateService>,
    /// Services that the reader was granted by their full names, and that this peer does not offer now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<ServiceName>,
    /// Those of the reader's services that it may reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<ServiceName>,
}

/// What a peer is here for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It offers services.
    #[default]
    Host,
    /// It reaches private services.
    Operator,
}

/// Why a text is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role is `host` or `operator`")]
pub struct RoleError;

impl Role {
    /// The role as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
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

/// Relay to agent: a datagram of its did not fit the path behind the relay, and was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TooLarge {
    /// Of which flow: the number of its stream, in the agent's session.
    pub stream: u64,
    /// Bytes that there were, as they are encrypted.
    pub size: u64,
    /// Bytes that there may be.
    pub limit: u64,
}

impl Message for Roster {
    const KIND: FrameKind = FrameKind::Roster;
}

impl Message for TooLarge {
    const KIND: FrameKind = FrameKind::TooLarge;
}

impl Roster {
    /// Who has this key.
    #[must_use]
    pub fn by_key(&self, key: &PublicKey) -> Option<&RosterPeer> {
        self.peers.iter().find(|peer| peer.key == *key)
    }

    /// Who has this name.
    #[must_use]
    pub fn by_name(&self, name: &PeerName) -> Option<&RosterPeer> {
        self.peers.iter().find(|peer| peer.name == *name)
    }
}

impl RosterPeer {
    /// The service of this name, where the reader may reach it.
    #[must_use]
    pub fn offer(&self, service: &ServiceName) -> Option<&PrivateService> {
        self.offers.iter().find(|offer| offer.name == *service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Carries;
    use crate::frame::Frame;
    use crate::limits;

    fn roster() -> Roster {
        let home = RosterPeer {
            name: "home".parse().unwrap(),
            key: PublicKey::from_bytes([2; 32]),
            role: Role::Operator,
            tags: vec!["media".parse().unwrap()],
            online: true,
            offers: vec![PrivateService { name: "dns".parse().unwrap(), carries: Carries::Udp }],
            missing: vec!["web".parse().unwrap()],
            reaches: vec!["ssh".parse().unwrap()],
        };
        Roster { observed: Some("192.0.2.7:9".parse().unwrap()), peers: vec![home] }
    }

    #[test]
    fn golden_bytes() {
        let frame = roster().to_frame().unwrap();
        let body = concat!(
            r#"{"observed":"192.0.2.7:9","peers":[{"name":"home","key":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI","#,
            r#""role":"operator","tags":["media"],"online":true,"offers":[{"name":"dns","carries":"udp"}],"missing":["web"],"reaches":["ssh"]}]}"#
        );
        assert_eq!((frame.number, std::str::from_utf8(&frame.body).unwrap()), (34, body));
        let frame = TooLarge { stream: 5, size: 1400, limit: 1200 }.to_frame().unwrap();
        assert_eq!(
            (frame.number, frame.body.as_slice()),
            (35, br#"{"stream":5,"size":1400,"limit":1200}"#.as_slice())
        );
    }

    #[test]
    fn what_is_missing_takes_its_default() {
        let key = PublicKey::from_bytes([2; 32]);
        let body = format!(r#"{{"later":1,"peers":[{{"name":"home","key":"{key}","colour":"red"}}]}}"#);
        let read = Roster::from_frame(&Frame::new(FrameKind::Roster, body.into())).unwrap().unwrap();
        let peer = read.by_key(&key).unwrap();
        assert_eq!((peer.role, peer.online, peer.offers.len()), (Role::Host, false, 0));
        assert_eq!(read.by_name(&"home".parse().unwrap()), Some(peer));
        assert!(roster().peers[0].offer(&"dns".parse().unwrap()).is_some());
    }

    #[test]
    fn as_many_peers_as_may_be_named_fit_into_a_frame() {
        let mut all = roster();
        let peer = RosterPeer { name: "a".repeat(63).parse().unwrap(), ..all.peers[0].clone() };
        all.peers = vec![peer; limits::ROSTER];
        assert!(all.to_frame().unwrap().body.len() < limits::CONTROL_BODY);
    }
}
