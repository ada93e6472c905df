//! What the agent knows of its own state, for `agent status` and for `agent expose`, which waits for its hostname.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use protocol::control::HostnameState;
use protocol::id::PeerName;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::dial::STREAMS;
use crate::private::flow::Carrier;

/// The state of the session at one moment.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub phase: Phase,
    /// What the relay said of each hostname, in this session.
    pub hostnames: Vec<HostnameState>,
    /// Why the last attempt or session ended.
    pub last_error: Option<String>,
}

/// What the agent is doing about its session.
#[derive(Debug, Clone, Default)]
pub enum Phase {
    #[default]
    Connecting,
    Waiting {
        until: Instant,
    },
    Up(Up),
}

/// A session that is up.
#[derive(Debug, Clone)]
pub struct Up {
    pub peer: PeerName,
    pub since: SystemTime,
    pub carrier: Carrier,
    pub places: Arc<Semaphore>,
}

impl Up {
    /// Streams open at this moment.
    #[must_use]
    pub fn streams(&self) -> usize {
        (STREAMS as usize).saturating_sub(self.places.available_permits())
    }
}

/// Where the state is written and read. One writes, any number follow.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<watch::Sender<State>>);

impl Board {
    pub fn connecting(&self) {
        self.0.send_modify(|state| {
            state.phase = Phase::Connecting;
            state.hostnames.clear();
        });
    }

    pub fn up(&self, up: Up) {
        self.0.send_modify(|state| state.phase = Phase::Up(up));
    }

    pub fn waiting(&self, error: String, delay: Duration) {
        self.0.send_modify(|state| {
            state.phase = Phase::Waiting { until: Instant::now() + delay };
            state.hostnames.clear();
            state.last_error = Some(error);
        });
    }

    pub fn hostnames(&self, hostnames: Vec<HostnameState>) {
        self.0.send_modify(|state| state.hostnames = hostnames);
    }

    /// The state now.
    #[must_use]
    pub fn read(&self) -> State {
        self.0.borrow().clone()
    }

    #[must_use]
    pub fn follow(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }
}
