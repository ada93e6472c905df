//! Decides how much a connection may have in flight: BBR after draft-ietf-ccwg-bbr, fitted to quinn's pacer.
//!
//! It measures the path's bandwidth (`delivery`) and its round trip without a queue, keeps what it believes of them
//! (`model`), goes round the draft's phases (`phase`) and makes a window of both (`window`). Time and bytes are arguments:
//! there is no clock here and no I/O.
//!
//! Where it leaves the draft:
//!
//! - quinn asks for a window only and derives the pacing rate from it, so the draft's rates are applied to the window (see
//!   `window`).
//! - Loss that is as frequent while nothing is probed and no queue stands is the path's own. Only what exceeds it counts
//!   against the draft's two in a hundred: a path that loses one packet in ten by chance is filled as well.
//! - A path that became much longer is recognised within a few rounds, not as the old round trip expires.
//! - A bandwidth that losses refuted for a whole cruise is forgotten at once.

mod controller;
mod delivery;
mod filter;
mod model;
mod phase;
mod round;
mod window;

use std::sync::Arc;
use std::time::Instant;

use quinn_proto::congestion::{Controller, ControllerFactory};

pub use controller::Bbr;

/// Packets of the first window. More than the ten of RFC 9002: the pacer spreads them over the first round trip, and each
/// doubling saved is a round trip of every short transfer.
const INITIAL_PACKETS: u64 = 32;

/// Builds a controller for each path.
#[derive(Clone, Debug, Default)]
pub struct Config {
    initial_window: Option<u64>,
}

impl Config {
    /// Sets the bytes that may be in flight before anything is known of the path; without, 32 packets.
    #[must_use]
    pub fn with_initial_window(self, bytes: u64) -> Self {
        Self { initial_window: Some(bytes) }
    }
}

impl ControllerFactory for Config {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let initial = self.initial_window.unwrap_or(INITIAL_PACKETS * u64::from(current_mtu));
        Box::new(Bbr::new(now, current_mtu, initial))
    }
}
