//! What a request wants beside its answer: interim responses, another protocol, the origin's word before its body.

use http::header::{EXPECT, HeaderValue};
use http::{Request, Version};
use hyper::body::Body;
use protocol::control::ServiceProtocol;

use super::Place;
use crate::ingress::body::Crowd;
use crate::ingress::error::IngressError;
use crate::ingress::inbound::Inbound;
use crate::ingress::interim::Interim;
use crate::ingress::upgrade::{self, VisitorSide};

/// What a request wants beside its answer.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) interim: Interim,
    /// The protocol to change to.
    pub(super) protocol: Option<HeaderValue>,
    /// Nothing else would do: a CONNECT has no other meaning.
    insists: bool,
    /// The body waits for the origin's word.
    pub(super) expects: bool,
    /// The origin has answered without the body that waited.
    pub(super) is_refused_early: bool,
    /// The visitor's protocol says by itself when the body may come.
    pub(super) is_http1: bool,
    /// The relay's own limit of a body's length, and of its standing still.
    pub(super) max_body: Option<u64>,
    pub(super) crowd: Crowd,
}

impl Wish {
    pub(super) fn of(
        request: &Request<Inbound>,
        side: Option<&VisitorSide>,
        interim: Interim,
        (max_body, crowd): (Option<u64>, Crowd),
    ) -> Result<Self, IngressError> {
        let protocol = upgrade::wanted(request, side);
        let insists = matches!(side, Some(VisitorSide::Http2(_)));
        if insists && protocol.is_none() {
            return Err(IngressError::UpgradeUnsupported);
        }
        let expects = request.headers().contains_key(EXPECT)
            && !request.body().is_end_stream()
            && request.version() >= Version::HTTP_11;
        let is_http1 = request.version() < Version::HTTP_2;
        Ok(Self { interim, protocol, insists, expects, is_http1, is_refused_early: false, max_body, crowd })
    }

    /// Keeps of it what the place that was found allows.
    pub(super) fn limit_to(&mut self, place: &Place, protocol: ServiceProtocol) -> Result<(), IngressError> {
        let allowed = |wanted: &HeaderValue| {
            let name = wanted.to_str().unwrap_or_default();
            protocol == ServiceProtocol::Http1 && place.serving.exposure.upgrades(name)
        };
        if self.protocol.as_ref().is_some_and(|wanted| !allowed(wanted)) {
            self.protocol = None;
        }
        if self.insists && self.protocol.is_none() {
            return Err(IngressError::UpgradeUnsupported);
        }
        Ok(())
    }
}
