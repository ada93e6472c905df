//! What `agent status` asks the running agent, and the answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::hostname::HostnamePattern;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::board::{Board, Phase};
use crate::offer::Offers;
use crate::ordered::CertificateStatus;
use crate::private::doors::{Door, DoorState};
use crate::private::survey::ServiceRow;
use crate::session::Credentials;

/// A command to the running agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    Status,
    /// Whom this device may reach, and how it is with each.
    Services,
}

/// For the running agent to answer, which may have to ask others.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    Status(Box<Status>),
    Services { services: Vec<ServiceRow> },
    Failed { error: String, hint: Option<String> },
}

/// Whether there is a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    Up,
    Down,
}

/// The state of a running agent, as `agent status --json` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub relay: String,
    pub session: SessionState,
    /// What the relay calls this peer; only with a session.
    pub peer: Option<String>,
    /// Since when the session is up, in seconds since 1970.
    pub since_unix_s: Option<u64>,
    pub instance: String,
    pub hostnames: Vec<HostnameStatus>,
    pub services: Vec<ServiceStatus>,
    /// The ways to services of other peers.
    #[serde(default)]
    pub doors: Vec<DoorStatus>,
    /// Of hostnames whose TLS ends at this agent.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// Streams open at this moment.
    pub streams: usize,
    /// From here to the relay and back; only with a session.
    pub rtt_ms: Option<f64>,
    /// Why the last attempt or session ended.
    pub last_error: Option<String>,
    /// Until the next attempt; only while waiting for it.
    pub retry_in_ms: Option<u64>,
    pub version: String,
}

/// A hostname of the configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameStatus {
    pub hostname: HostnamePattern,
    pub serving: bool,
    /// Why the relay does not serve it.
    pub refused: Option<String>,
}

/// A service of the configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: String,
    pub origin: String,
}

/// A way to a service of another peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorStatus {
    /// `home/dashboard`, or `socks5`.
    pub door: String,
    #[serde(flatten)]
    pub state: DoorState,
}

impl From<&(Door, DoorState)> for DoorStatus {
    fn from((door, state): &(Door, DoorState)) -> Self {
        Self { door: door.name(), state: state.clone() }
    }
}

/// Collects the answer.
#[must_use]
pub fn collect(
    credentials: &Credentials,
    offers: &Offers,
    board: &Board,
    (certificates, doors): (Vec<CertificateStatus>, &[(Door, DoorState)]),
) -> Status {
    let state = board.read();
    let up = match &state.phase {
        Phase::Up(up) => Some(up),
        Phase::Connecting | Phase::Waiting { .. } => None,
    };
    let retry_in = match &state.phase {
        Phase::Waiting { until } => Some(until.saturating_duration_since(Instant::now())),
        Phase::Connecting | Phase::Up(_) => None,
    };
    let offer = offers.borrow();
    let services = offer.config().services().iter();
    let hostname = |hostname: &HostnamePattern| {
        let told = state.hostnames.iter().find(|told| told.hostname == *hostname);
        HostnameStatus {
            hostname: hostname.clone(),
            serving: told.is_some_and(|told| told.refused.is_none()),
            refused: told.and_then(|told| told.refused.clone()),
        }
    };
    Status {
        relay: credentials.relay.to_string(),
        session: if up.is_some() { SessionState::Up } else { SessionState::Down },
        peer: up.map(|up| up.peer.to_string()),
        since_unix_s: up.map(|up| unix_seconds(up.since)),
        instance: credentials.instance.clone(),
        hostnames: offer.config().hostnames().map(hostname).collect(),
        services: services
            .map(|(name, service)| ServiceStatus {
                name: name.to_string(),
                origin: service.target().to_string(),
            })
            .collect(),
        doors: doors.iter().map(DoorStatus::from).collect(),
        certificates,
        streams: up.map_or(0, |up| up.streams()),
        rtt_ms: up.map(|up| up.carrier.connection.rtt().as_secs_f64() * 1000.0),
        last_error: state.last_error.clone(),
        retry_in_ms: retry_in.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
