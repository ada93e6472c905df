//! The way of one request: checked, matched, permitted, sent, answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use protocol::control::ServiceProtocol;

use super::Ingress;
use super::access_log::AccessLine;
use super::body::{self, Pace, ResponseBody, Upload};
use super::connection::Visitor;
use super::error::IngressError;
use super::headers;
use super::page::{self, Format};
use super::request::{self, Target};
use super::rescue::{self, Rescue};
use super::upgrade::{self, Junction};
use crate::policy::{self, Permit};
use crate::route::exposure::{Decision, NoDecision};
use crate::route::table::{Lookup, Serving};
use crate::tunnel::pool::{RequestBody, Reuse};
use crate::tunnel::registry::Routes;
use crate::tunnel::session::{Answer, Asker, FailureReason, SendFailure, Session};

/// Answers one request, whatever happens.
pub(crate) async fn serve(
    ingress: &Arc<Ingress>,
    visitor: &Arc<Visitor>,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    let underway = visitor.begin();
    let mut line =
        AccessLine::begin(&request, ingress.request_ids.next(), visitor.ip(), ingress.logs_access());
    let format = Format::wanted(request.headers());
    let asks = request.headers().contains_key(UPGRADE);
    let mut upgrade = asks.then(|| hyper::upgrade::on(&mut request));
    let response = lead(ingress, visitor, request, &mut upgrade, &mut line).await;
    if let Some(refused) = upgrade {
        visitor.keep_refused(refused);
    }
    let mut response = response.unwrap_or_else(|error| {
        line.error = Some(error.answer().code);
        page::respond(error, line.id, format)
    });
    if let Some(guard) = &visitor.guard {
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => guard.upgrade_accepted(),
            _ => guard.upgrade_refused(),
        }
    }
    line.status = response.status().as_u16();
    line.first_byte = Some(line.started.elapsed());
    response.body_mut().end_with(line, underway);
    response
}

async fn lead(
    ingress: &Arc<Ingress>,
    visitor: &Arc<Visitor>,
    mut request: Request<Incoming>,
    upgrade: &mut Option<OnUpgrade>,
    line: &mut AccessLine,
) -> Result<Response<ResponseBody>, IngressError> {
    let target = request::examine(&request)?;
    line.host = Some(target.hostname.to_string());
    check_sni(&ingress.registry.routes(), visitor, &target)?;
    let wanted = upgrade::is_wanted(&request);
    let whence = headers::Whence {
        address: visitor.ip(),
        trusted: ingress.trusted_proxies.load().iter().any(|network| network.contains(&visitor.ip())),
        target: &target,
        https_port: ingress.https_port,
    };
    let told = visitor.told(&whence).ok_or(IngressError::BadHost)?;
    headers::rewrite_request(request.headers_mut(), &whence, &told);
    if wanted {
        upgrade::announce(request.headers_mut());
    }
    let asker = Asker { visitor: visitor.address, request: line.id };
    let attempts = Attempts { ingress, target: &target, asker, passed_over: Vec::new() };
    let (answer, place) = attempts.run(request, line).await?;
    let upgrade = if wanted { upgrade } else { &mut None };
    line.stream = Some(answer.lease.opener);
    respond(ingress, visitor, answer, &place, (upgrade, &line.upload))
}

/// TLS was set up for a hostname; a request for one of another owner belongs on another connection (RFC 9110, section
/// 15.5.20).
fn check_sni(routes: &Routes, visitor: &Visitor, target: &Target) -> Result<(), IngressError> {
    let Some(sni) = visitor.sni.as_ref().filter(|sni| **sni != target.hostname) else { return Ok(()) };
    let owner = routes.owner(&target.hostname);
    if owner.is_some() && owner == routes.owner(sni) { Ok(()) } else { Err(IngressError::Misdirected) }
}

/// Where a request goes.
#[derive(Debug)]
struct Place {
    serving: Arc<Serving<Arc<Session>>>,
    decision: Decision,
}

/// Finds the session whose turn it is among those that have a route for the path, and asks the policy.
fn find(
    routes: &Routes,
    target: &Target,
    path: &str,
    visitor: IpAddr,
    passed_over: &[u64],
) -> Result<(Place, Permit), IngressError> {
    let servers = match routes.lookup(&target.hostname) {
        Lookup::Served(servers) => servers,
        Lookup::Offline => return Err(IngressError::AgentOffline),
        Lookup::Unknown => return Err(IngressError::UnknownHostname),
    };
    let mut nothing = IngressError::AgentOffline;
    for serving in servers.in_turn() {
        if passed_over.contains(&serving.session.id) || !serving.session.is_open() {
            continue;
        }
        match serving.exposure.decide(path) {
            Ok(decision) => match policy::admit_visitor(&serving.exposure, decision, visitor) {
                Ok(permit) => return Ok((Place { serving: Arc::clone(serving), decision }, permit)),
                Err(policy::Denied) => nothing = IngressError::Denied,
            },
            Err(NoDecision::Ambiguous) => nothing = IngressError::AmbiguousPath,
            Err(NoDecision::NoRoute) => nothing = IngressError::NoRoute,
        }
    }
    Err(nothing)
}

/// The attempts at one request.
struct Attempts<'a> {
    ingress: &'a Ingress,
    target: &'a Target,
    asker: Asker,
    /// Sessions that failed.
    passed_over: Vec<u64>,
}

impl Attempts<'_> {
    async fn run(
        mut self,
        request: Request<Incoming>,
        line: &mut AccessLine,
    ) -> Result<(Answer, Place), IngressError> {
        let path = request.uri().path().to_owned();
        let (mut place, mut permit) = self.find(&path)?;
        let mut outgoing = Outgoing::new(request, &place, &line.upload)?;
        let mut reuse = if outgoing.repeatable { Reuse::Any } else { Reuse::Young };
        let mut left = rescue::ATTEMPTS;
        loop {
            left -= 1;
            line.peer = Some(place.serving.session.peer.clone());
            line.service = Some(permit.service().clone());
            let request = outgoing.take(self.target, permit.protocol());
            let sending = place.serving.session.send(permit, self.asker, request, reuse);
            let limit = place.serving.exposure.timeouts.first_byte;
            let mut failure = match in_time(sending, &line.upload, limit).await? {
                Ok(answer) => return Ok((answer, place)),
                Err(failure) => failure,
            };
            let error = self.log(&failure, &place, line);
            let intact = outgoing.restore(failure.unsent.take());
            match rescue::judge(&failure, intact) {
                _ if left == 0 => return Err(error),
                Rescue::No => return Err(error),
                Rescue::Fresh => reuse = Reuse::No,
                Rescue::Elsewhere => self.passed_over.push(place.serving.session.id),
            }
            // The routes may have changed since: an agent that came back has a new session.
            (place, permit) = self.find(&path).map_err(|_| error)?;
        }
    }

    fn find(&self, path: &str) -> Result<(Place, Permit), IngressError> {
        let routes = self.ingress.registry.routes();
        find(&routes, self.target, path, self.asker.visitor.ip(), &self.passed_over)
    }

    fn log(&self, failure: &SendFailure, place: &Place, line: &AccessLine) -> IngressError {
        let reason = process::terminal::chain(&failure.reason);
        tracing::debug!(request = %self.asker.request, peer = %place.serving.session.peer, reason, "no response");
        line.upload.fault().unwrap_or(match &failure.reason {
            FailureReason::Stream(failure) => (*failure).into(),
            FailureReason::Busy => IngressError::AgentBusy,
            FailureReason::Http(error) if error.is_parse() => IngressError::OriginInvalid,
            FailureReason::Http(_) => IngressError::OriginBroke,
        })
    }
}

/// A request as it goes to the origin, and a copy for another attempt where one is allowed.
#[derive(Debug)]
struct Outgoing {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Option<RequestBody>,
    repeatable: bool,
}

impl Outgoing {
    fn new(request: Request<Incoming>, place: &Place, upload: &Arc<Upload>) -> Result<Self, IngressError> {
        let (parts, body) = request.into_parts();
        let exposure = &place.serving.exposure;
        if let (Some(most), Some(length)) = (exposure.max_body, body.size_hint().exact())
            && length > most
        {
            return Err(IngressError::BodyTooLarge);
        }
        let repeatable = rescue::is_repeatable(&parts.method, !body.is_end_stream());
        let body = body::to_origin(body, exposure.max_body, exposure.timeouts.idle, upload);
        let path = parts.uri.path_and_query().cloned().ok_or(IngressError::NoRoute)?;
        Ok(Self { method: parts.method, path, headers: parts.headers, body: Some(body), repeatable })
    }

    /// The request for one attempt. The header fields stay here where another attempt may need them.
    fn take(&mut self, target: &Target, protocol: ServiceProtocol) -> Request<RequestBody> {
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
                *request.uri_mut() = absolute(target, &self.path);
            }
        }
        request
    }

    /// Whether there can be another attempt: with what comes back unsent, or with the copy.
    fn restore(&mut self, unsent: Option<Box<Request<RequestBody>>>) -> bool {
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

/// The time to the first byte of a response counts from the last byte of the request: an upload takes as long as it takes.
async fn in_time<T>(
    sending: impl Future<Output = T>,
    upload: &Upload,
    limit: Duration,
) -> Result<T, IngressError> {
    let mut sending = std::pin::pin!(sending);
    loop {
        let moved = upload.last_moved();
        let due = tokio::time::Instant::from_std(moved + limit);
        match tokio::time::timeout_at(due, sending.as_mut()).await {
            Ok(outcome) => return Ok(outcome),
            Err(_) if upload.last_moved() > moved => {}
            Err(_) => return Err(upload.fault().unwrap_or(IngressError::FirstByteTimeout)),
        }
    }
}

fn respond(
    ingress: &Arc<Ingress>,
    visitor: &Arc<Visitor>,
    answer: Answer,
    place: &Place,
    (upgrade, upload): (&mut Option<OnUpgrade>, &Arc<Upload>),
) -> Result<Response<ResponseBody>, IngressError> {
    let Answer { mut response, lease } = answer;
    let Serving { exposure, withdrawn, .. } = &*place.serving;
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let origin = switching.then(|| upgrade::accepted(&mut response)).transpose()?;
    headers::rewrite_response(response.headers_mut());
    exposure.edit_response(place.decision, response.headers_mut());
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let Some(origin) = origin else {
        let pace =
            Pace { idle: exposure.timeouts.idle, upload: Arc::clone(upload), withdrawn: withdrawn.clone() };
        return Ok(Response::from_parts(parts, ResponseBody::origin(body, lease, pace)));
    };
    let asked = upgrade.take().ok_or(IngressError::OriginInvalid)?;
    upgrade::announce(&mut parts.headers);
    let junction = Junction {
        visitor: asked,
        origin,
        idle: exposure.timeouts.upgrade_idle,
        withdrawn: withdrawn.clone(),
        lease,
        connection: Arc::clone(visitor),
    };
    upgrade::join(ingress, junction);
    Ok(Response::from_parts(parts, ResponseBody::local("")))
}
