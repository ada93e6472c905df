//! How it is with one peer: a direct path, an attempt at one, or why there is none.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::path::Path;
use crate::backoff::Backoff;
use crate::private::operator::Known;

/// Between two attempts at one peer.
const SHORTEST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How it is with a peer that this agent may reach.
#[derive(Debug)]
pub(super) struct Way {
    name: String,
    pub(super) state: WayState,
    pub(super) backoff: Backoff,
}

#[derive(Debug)]
pub(super) enum WayState {
    Trying,
    Direct(Path),
    Not { why: String, again: Instant },
}

/// A path as `agent status --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathStatus {
    pub peer: String,
    /// Whether new streams go directly.
    pub direct: bool,
    /// Where to; only where it is direct.
    pub address: Option<SocketAddr>,
    pub rtt_ms: Option<f64>,
    /// Why it is not.
    pub why_not: Option<String>,
}

impl Way {
    pub(super) fn new(known: &Known) -> Self {
        let state = WayState::Not { why: "not tried yet".to_owned(), again: Instant::now() };
        Self { name: known.name.to_string(), state, backoff: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE) }
    }

    pub(super) fn why_not(&self) -> Option<String> {
        match &self.state {
            WayState::Trying => Some("being tried".to_owned()),
            WayState::Direct(path) if path.is_open() => None,
            WayState::Direct(_) => Some("the path that there was has closed".to_owned()),
            WayState::Not { why, .. } => Some(why.clone()),
        }
    }

    pub(super) fn report(&self) -> PathStatus {
        let path = match &self.state {
            WayState::Direct(path) if path.is_open() => Some(path),
            WayState::Direct(_) | WayState::Trying | WayState::Not { .. } => None,
        };
        PathStatus {
            peer: self.name.clone(),
            direct: path.is_some(),
            address: path.map(Path::address),
            rtt_ms: path.map(|path| path.carrier.connection.rtt().as_secs_f64() * 1000.0),
            why_not: self.why_not(),
        }
    }
}
