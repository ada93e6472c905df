//! The way of a connection whose TLS does not end here: by SNI to the agent that serves the hostname, as it came. All that
//! is known of it are its visitor, its hostname, its bytes and its time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use process::terminal;
use protocol::close::StreamReset;
use protocol::hostname::Hostname;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Ingress;
use super::access_log::AccessLine;
use super::carry::Carry;
use super::connection::stalling;
use super::error::IngressError;
use crate::edge::admission::Slot;
use crate::edge::tls::{self, SealedVisit};
use crate::policy::{self, Permit};
use crate::route::table::{Lookup, Serving};
use crate::throttle::{Full, InFlight};
use crate::tunnel::registry::Routes;
use crate::tunnel::session::{Asker, FailureReason, Session};
use crate::tunnel::stream::{StreamFailure, TunnelStream};

/// What a visitor is told that cannot be led on (RFC 8446, section 6.2).
const ACCESS_DENIED: u8 = 49;
const INTERNAL_ERROR: u8 = 80;

/// The agent has to take the ClientHello within this time.
const SAYING: Duration = Duration::from_secs(10);
/// A visitor has to go on with its handshake after the ClientHello: until the origin was reached, and answered.
const OPENING: Duration = Duration::from_secs(30);

type ServingSession = Arc<Serving<Arc<Session>>>;

/// Serves one connection to its end.
pub(crate) async fn serve(ingress: Arc<Ingress>, visit: SealedVisit, address: SocketAddr, slot: Slot) {
    let log = ingress.access_log.load_full();
    let mut line = AccessLine::begin_sealed(ingress.request_ids.next(), address.ip(), log);
    let SealedVisit { stream, said, sni, .. } = visit;
    line.host = Some(sni.to_string());
    match lead(&ingress, &sni, address, &said, &mut line).await {
        Ok(led) => carry(&ingress, (stream, address, said.len()), led, line).await,
        Err(error) => {
            line.error = Some(error.answer().code);
            let denied = matches!(error, IngressError::Denied);
            tls::refuse(stream, if denied { ACCESS_DENIED } else { INTERNAL_ERROR }).await;
        }
    }
    drop(slot);
}

/// Where a connection has led.
struct Led {
    serving: ServingSession,
    stream: TunnelStream,
    /// Counts for its hostname until it is over.
    _in_flight: InFlight,
}

async fn lead(
    ingress: &Ingress,
    sni: &Hostname,
    visitor: SocketAddr,
    said: &[u8],
    line: &mut AccessLine,
) -> Result<Led, IngressError> {
    ingress.may_ask(visitor.ip())?;
    let (serving, permit) = find(&ingress.registry.routes(), sni, visitor)?;
    let limit = ingress.limits.load().requests_in_flight;
    let in_flight = ingress.throttle.begin(serving.exposure.hostname.clone(), limit);
    let in_flight = in_flight.map_err(|Full| IngressError::HostnameBusy)?;
    line.goes_to(&serving, permit.service());
    line.stream = Some(line.id);
    let asker = Asker { visitor, request: line.id };
    let mut stream = serving.session.open_sealed(permit, asker).await.map_err(unopened)?;
    // Where the agent refuses the stream, carrying finds out.
    let saying = tokio::time::timeout(SAYING, stream.write_all(said)).await;
    saying.map_err(|_| IngressError::AgentBusy)?.map_err(|_| IngressError::TunnelLost)?;
    Ok(Led { serving, stream, _in_flight: in_flight })
}

fn unopened(reason: FailureReason) -> IngressError {
    match reason {
        FailureReason::Stream(failure) => failure.into(),
        FailureReason::Busy => IngressError::AgentBusy,
        FailureReason::Http(_) => IngressError::TunnelLost,
    }
}

/// The session whose turn it is among those that seal the hostname, by leave of the policy.
fn find(
    routes: &Routes,
    sni: &Hostname,
    visitor: SocketAddr,
) -> Result<(ServingSession, Permit), IngressError> {
    let Lookup::Served(servers) = routes.lookup(sni) else { return Err(IngressError::AgentOffline) };
    let mut nothing = IngressError::AgentOffline;
    for serving in servers.in_turn().filter(|serving| serving.session.is_open()) {
        match policy::admit_sealed(&serving.exposure, visitor.ip()) {
            Some(Ok(permit)) => return Ok((Arc::clone(serving), permit)),
            Some(Err(policy::Denied)) => nothing = IngressError::Denied,
            None => {}
        }
    }
    Err(nothing)
}

/// An agent also gives a stream up whose visitor broke TLS or went without a farewell: that is no failure of ours, and
/// nobody could tell it where the origin ends TLS.
fn code(failure: StreamFailure) -> Option<&'static str> {
    let is_visitors = matches!(failure, StreamFailure::Reset(StreamReset::Cancelled));
    (!is_visitors).then(|| IngressError::from(failure).answer().code)
}

async fn carry(
    ingress: &Ingress,
    (stream, address, said): (TcpStream, SocketAddr, usize),
    led: Led,
    mut line: AccessLine,
) {
    let Led { serving, stream: mut origin, _in_flight } = led;
    let failure = origin.failure_cell();
    let place = serving.session.join_crowd(address);
    let (idle, carried) = (serving.exposure.timeouts.upgrade_idle, line.upgraded());
    carried.received(said);
    let carry = Carry { carried, idle, opening: Some(OPENING), intake: Some(Arc::clone(&place.intake)) };
    let visitor = stalling(stream, ingress.limits.load().stall_time);
    tokio::select! {
        ended = carry.run(visitor, &mut origin) => if let Err(error) = ended {
            line.error = failure.failure().and_then(code);
            tracing::debug!(error = terminal::chain(&error), "a sealed connection broke");
        },
        () = serving.withdrawn.cancelled() => {}
        () = ingress.stop.cancelled() => {}
    }
    drop((place, origin));
}
