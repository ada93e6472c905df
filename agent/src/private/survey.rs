//! What this device may reach, and how it is with each at this moment.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use process::terminal;
use protocol::control::{Carries, PrivateService};
use protocol::id::ServiceName;
use protocol::roster::RosterPeer;
use protocol::talk::Say;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::operator::{Operator, ReachError};
use super::peers::Told;

/// Peers that are asked at once.
const AT_ONCE: usize = 16;
/// For one of them to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// A service, as `agent services --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// `home/dashboard`.
    pub service: String,
    pub carries: Carries,
    pub online: bool,
    /// How its peer is reached; not where it is not.
    pub path: Option<Path>,
    /// From here to the peer and back, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Why it is relayed and not direct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_direct: Option<String>,
    /// Why it cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    Relayed,
    Direct,
}

/// How it is with one peer.
#[derive(Debug, Default)]
struct Condition {
    path: Option<Path>,
    rtt: Option<Duration>,
    not_direct: Option<String>,
    error: Option<String>,
    /// What the peer says that this device may reach, where it says so.
    allowed: Option<Vec<ServiceName>>,
}

impl Condition {
    fn error_of(&self, service: &ServiceName) -> Option<String> {
        let is_refused = self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(service));
        let refused = || is_refused.then(|| "its own list does not allow this device".to_owned());
        self.error.clone().or_else(refused)
    }
}

/// Asks everybody.
///
/// # Errors
///
/// Where there is no session.
pub async fn survey(operator: &Operator) -> Result<Vec<ServiceRow>, ReachError> {
    let told = operator.told().await?;
    operator.session()?;
    let peers: Vec<RosterPeer> = told
        .roster
        .peers
        .iter()
        .filter(|peer| !(peer.offers.is_empty() && peer.missing.is_empty()))
        .cloned()
        .collect();
    let asked = stream::iter(peers).map(|peer| asked(operator, &told, peer));
    let rows: Vec<Vec<ServiceRow>> = asked.buffered(AT_ONCE).collect().await;
    Ok(rows.into_iter().flatten().collect())
}

async fn asked(operator: &Operator, told: &Told, peer: RosterPeer) -> Vec<ServiceRow> {
    rows(&peer, &condition(operator, told, &peer).await)
}

fn rows(peer: &RosterPeer, condition: &Condition) -> Vec<ServiceRow> {
    let row = |offer: &PrivateService| ServiceRow {
        service: format!("{}/{}", peer.name, offer.name),
        carries: offer.carries,
        online: peer.online,
        path: condition.path,
        rtt_ms: condition.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        not_direct: condition.not_direct.clone(),
        error: condition.error_of(&offer.name),
    };
    let missing = peer.missing.iter().map(|name| ServiceRow {
        error: Some(if peer.online { "not offered now" } else { "its peer is offline" }.to_owned()),
        ..row(&PrivateService { name: name.clone(), carries: Carries::Tcp })
    });
    peer.offers.iter().map(row).chain(missing).collect()
}

async fn condition(operator: &Operator, told: &Told, peer: &RosterPeer) -> Condition {
    let failed = |error: String| Condition { error: Some(error), ..Condition::default() };
    let known = match operator.know(told, &peer.name) {
        Ok(known) if !known.online => return Condition::default(),
        Ok(known) => known,
        Err(error) => return failed(terminal::chain(&error)),
    };
    if let Some(rtt) = operator.direct.as_ref().and_then(|direct| direct.rtt(&known)) {
        return Condition { path: Some(Path::Direct), rtt: Some(rtt), ..Condition::default() };
    }
    let not_direct = operator.direct.as_ref().and_then(|direct| direct.why_not(&known));
    let begun = Instant::now();
    match tokio::time::timeout(ANSWER, operator.talk(&known)).await {
        Ok(Ok(mut talk)) => {
            // The proof of both keys is one round trip.
            let (path, rtt) = (Some(Path::Relayed), Some(begun.elapsed()));
            let allowed = match talk.ask(&Say::Describe).await {
                Ok(Say::Services { services }) => Some(services.into_iter().map(|one| one.name).collect()),
                Ok(Say::Describe | Say::Meet { .. } | Say::Apart | Say::Unknown) | Err(_) => None,
            };
            Condition { path, rtt, not_direct, error: None, allowed }
        }
        Ok(Err(error)) => failed(terminal::chain(&error)),
        Err(_) => failed(format!("no answer within {} s", ANSWER.as_secs())),
    }
}
