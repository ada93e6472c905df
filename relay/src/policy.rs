//! Who may go where. A permit is the proof; forwarding takes one away.

use std::net::IpAddr;

use protocol::control::ServiceProtocol;
use protocol::id::{PeerName, RequestId, ServiceName};
use protocol::private::Purpose;
use protocol::stream::PrivateHeader;
use tokio_util::sync::CancellationToken;

use crate::roster::{self, Known};
use crate::route::exposure::{Decision, Exposure, Target};
use crate::store::Peer;

/// Proof that one request of one visitor may go to one service. Cannot be copied; opening a stream consumes it.
#[derive(Debug)]
pub(crate) struct Permit {
    target: Target,
}

impl Permit {
    /// The service that the request may go to.
    pub(crate) fn service(&self) -> &ServiceName {
        &self.target.service
    }

    /// What is spoken with that service.
    pub(crate) fn protocol(&self) -> ServiceProtocol {
        self.target.protocol
    }

    /// The permit is used up; what is left is where it led.
    pub(crate) fn redeem(self) -> Target {
        self.target
    }
}

/// Proof that one stream of an operator may go to a host. Cannot be copied; carrying the stream consumes it.
#[derive(Debug)]
pub(crate) struct PeerPermit {
    operator: PeerName,
    purpose: Purpose,
    revoked: CancellationToken,
}

impl PeerPermit {
    /// Cancelled when the grant is taken.
    pub(crate) fn revoked(&self) -> CancellationToken {
        self.revoked.clone()
    }

    /// The permit is used up; what is left is what the host is told, and what ends the stream.
    pub(crate) fn redeem(self, request: RequestId) -> (PrivateHeader, CancellationToken) {
        (PrivateHeader { peer: self.operator, purpose: self.purpose, request }, self.revoked)
    }
}

/// Lets a stream of an operator through to a host, or not.
pub(crate) fn admit_peer(operator: &Peer, host: &Known<'_>, purpose: &Purpose) -> Option<PeerPermit> {
    let (name, purpose) = (operator.name.clone(), purpose.clone());
    let revoked = CancellationToken::new();
    roster::may_open(operator, host, &purpose).then(|| PeerPermit { operator: name, purpose, revoked })
}

/// The visitor may not come in.
#[derive(Debug)]
pub(crate) struct Denied;

/// Lets a visitor through to the service of a sealed hostname, or not. None where the hostname is not sealed.
pub(crate) fn admit_sealed(exposure: &Exposure, visitor: IpAddr) -> Option<Result<Permit, Denied>> {
    let target = exposure.sealed()?;
    Some(if exposure.admits(visitor) { Ok(Permit { target: target.clone() }) } else { Err(Denied) })
}

/// Lets a visitor through to where its path leads, or not.
pub(crate) fn admit_visitor(
    exposure: &Exposure,
    decision: Decision,
    visitor: IpAddr,
) -> Result<Permit, Denied> {
    if !exposure.admits(visitor) {
        return Err(Denied);
    }
    let (_, target) = exposure.route(decision);
    Ok(Permit { target: target.clone() })
}
