//! How much of anything one side accepts from the other.

use std::time::Duration;

/// Largest body of a frame before the other side has proven who it is, in bytes.
pub const HANDSHAKE_BODY: usize = 4 * 1024;

/// Largest body of a control frame of an authenticated peer, in bytes.
pub const CONTROL_BODY: usize = 256 * 1024;

/// Largest header of a data stream, in bytes.
pub const STREAM_HEADER: usize = 512;

/// From the first packet to a proven session.
pub const ESTABLISHMENT: Duration = Duration::from_secs(5);

/// Hostnames that one session may register.
pub const EXPOSES: usize = 256;

/// Routes of one hostname.
pub const ROUTES: usize = 256;

/// Header rules of one hostname.
pub const HEADER_RULES: usize = 64;

/// Protocols that one hostname's requests may upgrade to.
pub const UPGRADES: usize = 16;

/// Longest name of such a protocol, in bytes.
pub const UPGRADE_NAME: usize = 64;

/// Private services that one session may register.
pub const PRIVATE_SERVICES: usize = 256;

/// Peers that one [`crate::roster::Roster`] may name.
pub const ROSTER: usize = 512;

/// Streams that an agent may have open at once to other peers' services.
pub const PRIVATE_STREAMS: u32 = 1024;
