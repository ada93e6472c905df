//! A request as it goes to the origin.

use std::sync::Arc;

use http::header::{EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};
use hyper::body::Body;
use protocol::control::ServiceProtocol;

use super::Place;
use super::wish::Wish;
use crate::ingress::body::{self, Upload, UploadPace};
use crate::ingress::error::IngressError;
use crate::ingress::inbound::Inbound;
use crate::ingress::interim::{Expected, Gate};
use crate::ingress::request::Target;
use crate::ingress::{rescue, upgrade};
use crate::tunnel::pool::RequestBody;

const CONTINUE: HeaderValue = HeaderValue::from_static("100-continue");

/// A request as it goes to the origin, and a copy for another attempt where one is allowed.
#[derive(Debug)]
pub(super) struct Outgoing {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Option<RequestBody>,
    /// Holds the body back until the origin wants it.
    pub(super) gate: Option<Gate>,
    pub(super) repeatable: bool,
}

impl Outgoing {
    pub(super) fn new(
        request: Request<Inbound>,
        place: &Place,
        protocol: ServiceProtocol,
        wish: &Wish,
        upload: &Arc<Upload>,
    ) -> Result<Self, IngressError> {
        let (mut parts, body) = request.into_parts();
        let exposure = &place.serving.exposure;
        let most = exposure.max_body.into_iter().chain(wish.max_body).min();
        if let (Some(most), Some(length)) = (most, body.size_hint().exact())
            && length > most
        {
            return Err(IngressError::BodyTooLarge);
        }
        let repeatable = rescue::is_repeatable(&parts.method, !body.is_end_stream());
        if let Some(protocol) = &wish.protocol {
            upgrade::announce(&mut parts.headers, protocol.clone());
        }
        let gate = wish.expects.then(Gate::default);
        let expected = gate.as_ref().map(|gate| {
            match protocol {
                ServiceProtocol::Http1 => drop(parts.headers.insert(EXPECT, CONTINUE)),
                // What it says to it would not be heard.
                ServiceProtocol::H2c => gate.open(),
            }
            Expected::new(gate.clone(), (!wish.is_http1).then(|| wish.interim.clone()))
        });
        let pace = UploadPace { most, idle: exposure.timeouts.idle, crowd: wish.crowd.clone(), expected };
        let body = body::to_origin(body, pace, upload);
        let path = parts.uri.path_and_query().cloned().ok_or(IngressError::NoRoute)?;
        Ok(Self { method: parts.method, path, headers: parts.headers, body: Some(body), gate, repeatable })
    }

    /// The request for one attempt. The header fields stay here where another attempt may need them.
    pub(super) fn take(&mut self, target: &Target, protocol: ServiceProtocol) -> Request<RequestBody> {
        let mut request = Request::new(self.body.take().unwrap_or(RequestBody::Empty));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() =
            if self.repeatable { self.headers.clone() } else { std::mem::take(&mut self.headers) };
        match protocol {
            ServiceProtocol::Http1 => {
                // For GET and HEAD hyper leaves a body of unknown length out, unless it is told of it.
                if request.body().size_hint().exact().is_none() {
                    request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                *request.uri_mut() = Uri::from(self.path.clone());
            }
            ServiceProtocol::H2c => {
                *request.version_mut() = Version::HTTP_2;
                request.headers_mut().remove(HOST);
                // Its word would not be heard, also where the first attempt was at another service.
                request.headers_mut().remove(EXPECT);
                self.gate.iter().for_each(Gate::open);
                *request.uri_mut() = absolute(target, &self.path);
            }
        }
        request
    }

    /// Whether there can be another attempt: with what comes back unsent, or with the copy.
    pub(super) fn restore(&mut self, unsent: Option<Box<Request<RequestBody>>>) -> bool {
        let Some(request) = unsent else { return self.repeatable };
        let (parts, body) = request.into_parts();
        if !self.repeatable {
            self.headers = parts.headers;
        }
        self.body = Some(body);
        true
    }
}

/// HTTP/2 takes `:authority` from the URI.
fn absolute(target: &Target, path: &PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = target.authority.parse::<Authority>().ok();
    parts.path_and_query = Some(path.clone());
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(path.clone()))
}
