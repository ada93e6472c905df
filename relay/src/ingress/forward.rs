//! The way of one request: checked, matched, permitted, sent, answered. [`wish`] is what it wants beside its answer,
//! [`outgoing`] is how it goes to the origin.

mod outgoing;
mod wish;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{ALT_SVC, CONNECTION, CONTENT_LENGTH, HeaderValue, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use protocol::control::ServiceProtocol;

use self::outgoing::Outgoing;
use self::wish::Wish;
use super::Ingress;
use super::access_log::AccessLine;
use super::body::{Crowd, Pace, ResponseBody, Upload};
use super::error::IngressError;
use super::headers;
use super::inbound::Inbound;
use super::interim::{Gate, Interim};
use super::page::{self, Format};
use super::request::{self, Target};
use super::rescue::{self, Rescue};
use super::upgrade::{self, Junction, VisitorSide};
use super::visitor::{Underway, Visitor};
use crate::config::limits::Limits;
use crate::edge::visitor_certificates::VisitorProof;
use crate::policy::{self, Permit};
use crate::route::exposure::{Decision, NoDecision};
use crate::route::table::{Lookup, Serving};
use crate::throttle::Full;
use crate::tunnel::pool::Reuse;
use crate::tunnel::registry::Routes;
use crate::tunnel::session::{Answer, Asker, FailureReason, SendFailure, Session};

/// One request as its protocol hands it over.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request<Inbound>,
    /// Where the request may end in another protocol.
    pub(crate) upgrade: Option<VisitorSide>,
    pub(crate) interim: Interim,
}

/// Answers one request, whatever happens.
pub(crate) async fn serve(
    ingress: &Arc<Ingress>,
    visitor: &Arc<Visitor>,
    asked: Asked,
) -> Response<ResponseBody> {
    let Asked { request, mut upgrade, interim } = asked;
    let mut underway = visitor.begin();
    let mut line =
        AccessLine::begin(&request, ingress.request_ids.next(), visitor.ip(), ingress.access_log.load_full());
    let (format, version) = (Format::wanted(request.headers()), request.version());
    let led = lead(ingress, &mut underway, request, (&mut upgrade, interim), &mut line).await;
    if let Some(VisitorSide::Http1(refused)) = upgrade {
        visitor.keep_refused(refused);
    }
    let led = led.unwrap_or_else(|error| {
        line.error = Some(error.answer().code);
        let mut response = page::respond(error, line.id, format);
        if let Some(hsts) = line.host.as_deref().and_then(|host| hsts(ingress, host)) {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
        }
        Led::Answered(response)
    });
    if let Some(guard) = &visitor.guard {
        match led {
            Led::Switched(..) => guard.upgrade_accepted(),
            Led::Answered(_) => guard.upgrade_refused(),
        }
    }
    line.first_byte = Some(line.started.elapsed());
    match led {
        Led::Answered(mut response) => {
            announce_http3(ingress, visitor, version, response.headers_mut());
            line.status = response.status().as_u16();
            response.body_mut().end_with(line, underway);
            response
        }
        Led::Switched(response, junction) => {
            line.status = response.status().as_u16();
            upgrade::join(ingress, *junction, line, underway);
            response
        }
    }
}

/// What browsers have to remember of a hostname, also where the relay answers in its name (RFC 6797, section 7.1).
fn hsts(ingress: &Ingress, host: &str) -> Option<HeaderValue> {
    let routes = ingress.registry.routes();
    let Lookup::Served(servers) = routes.lookup(&host.parse().ok()?) else { return None };
    servers.in_turn().find_map(|serving| serving.exposure.hsts().cloned())
}

/// An origin's own word on where else it is to be found means its neighbours at home. Over QUIC nobody can be asked for a
/// certificate, so who had to show one is not sent there.
fn announce_http3(ingress: &Ingress, visitor: &Visitor, version: Version, headers: &mut HeaderMap) {
    headers.remove(ALT_SVC);
    if let Some(alt_svc) = &ingress.alt_svc
        && version < Version::HTTP_3
        && visitor.sni.is_some()
        && visitor.proof.is_none()
        // The proxy in front could not say over QUIC who comes.
        && !ingress.proxy_protocol.load(Ordering::Relaxed)
    {
        headers.insert(ALT_SVC, alt_svc.clone());
    }
}

/// Where a request has led.
#[derive(Debug)]
enum Led {
    Answered(Response<ResponseBody>),
    Switched(Response<ResponseBody>, Box<Junction>),
}

async fn lead(
    ingress: &Arc<Ingress>,
    underway: &mut Underway,
    mut request: Request<Inbound>,
    (upgrade, interim): (&mut Option<VisitorSide>, Interim),
    line: &mut AccessLine,
) -> Result<Led, IngressError> {
    let limits = ingress.limits.load();
    // What is malformed is answered as that, and counts all the same.
    let may_ask = ingress.may_ask(underway.visitor().ip());
    let target = request::examine(&request, &limits)?;
    line.host = Some(target.hostname.to_string());
    may_ask?;
    count(ingress, underway, &target, &limits)?;
    let visitor = &Arc::clone(underway.visitor());
    let crowd = Crowd { admission: Arc::clone(&ingress.admission), limit: limits.stall_time };
    let wish = Wish::of(&request, upgrade.as_ref(), interim, (limits.max_body, crowd))?;
    let whence = headers::Whence {
        address: visitor.ip(),
        trusted: ingress.trusts(visitor.ip()),
        target: &target,
        https_port: ingress.https_port,
    };
    let told = visitor.told(&whence).ok_or(IngressError::BadHost)?;
    headers::rewrite_request(request.headers_mut(), &whence, &told);
    if let Some(certificate) = visitor.proof.as_ref().map(VisitorProof::client_cert) {
        request.headers_mut().insert(headers::CLIENT_CERT, certificate);
    }
    let asker = Asker { visitor: visitor.address, request: line.id };
    let attempts = Attempts { ingress, target: &target, asker, wish, passed_over: Vec::new() };
    let (answer, place, wish) = attempts.run(request, line).await?;
    line.stream = Some(answer.lease.opener);
    let mut led = respond(visitor, answer, &place, (upgrade, wish.protocol), &line.upload)?;
    if let (Led::Answered(response), true) = (&mut led, wish.is_refused_early) {
        // The body will not be read, and on HTTP/1 it stands before the next request (RFC 9110, section 10.1.1).
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(led)
}

/// Counts a request against what its hostname may have, if it is one that this connection may be used for.
fn count(
    ingress: &Ingress,
    underway: &mut Underway,
    target: &Target,
    limits: &Limits,
) -> Result<(), IngressError> {
    let visitor = underway.visitor();
    let routes = ingress.registry.routes();
    check_sni(&routes, visitor, target)?;
    if !ingress.visitor_certificates.may_ask(visitor.proof.as_ref(), &target.hostname) {
        return Err(IngressError::Misdirected);
    }
    if let Some(owner) = routes.owner(&target.hostname) {
        let in_flight = ingress.throttle.begin(owner, limits.requests_in_flight);
        underway.count(in_flight.map_err(|Full| IngressError::HostnameBusy)?);
    }
    Ok(())
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
    // Its connections never come here; a request for it does over one that was made for another hostname.
    if routes.is_sealed(&target.hostname) {
        return Err(IngressError::Misdirected);
    }
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
    wish: Wish,
    /// Sessions that failed.
    passed_over: Vec<u64>,
}

impl Attempts<'_> {
    async fn run(
        mut self,
        request: Request<Inbound>,
        line: &mut AccessLine,
    ) -> Result<(Answer, Place, Wish), IngressError> {
        let path = request.uri().path().to_owned();
        let (mut place, mut permit) = self.find(&path)?;
        self.wish.limit_to(&place, permit.protocol())?;
        let mut outgoing = Outgoing::new(request, &place, permit.protocol(), &self.wish, &line.upload)?;
        let mut reuse = if outgoing.repeatable { Reuse::Any } else { Reuse::Young };
        let mut left = rescue::ATTEMPTS;
        loop {
            left -= 1;
            line.goes_to(&place.serving, permit.service());
            let mut request = outgoing.take(self.target, permit.protocol());
            if permit.protocol() == ServiceProtocol::Http1 {
                self.wish.interim.listen(&mut request, outgoing.gate.clone());
            }
            let sending = place.serving.session.send(permit, self.asker, request, reuse);
            let limit = place.serving.exposure.timeouts.first_byte;
            let mut failure = match in_time(sending, &line.upload, limit).await? {
                Ok(mut answer) => {
                    if outgoing.gate.as_ref().is_some_and(Gate::close) {
                        answer.lease.end_with_response();
                        self.wish.is_refused_early = true;
                    }
                    return Ok((answer, place, self.wish));
                }
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
    visitor: &Arc<Visitor>,
    answer: Answer,
    place: &Place,
    (upgrade, wanted): (&mut Option<VisitorSide>, Option<HeaderValue>),
    upload: &Arc<Upload>,
) -> Result<Led, IngressError> {
    let Answer { mut response, lease } = answer;
    let Serving { exposure, withdrawn, .. } = &*place.serving;
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if headers::is_unclear(response.headers()) {
        return Err(IngressError::OriginInvalid);
    }
    let wanted = wanted.filter(|_| switching);
    let origin = wanted.as_ref().map(|wanted| upgrade::accepted(&mut response, wanted)).transpose()?;
    headers::rewrite_response(response.headers_mut());
    exposure.edit_response(place.decision, response.headers_mut());
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    if parts.status == StatusCode::NO_CONTENT {
        // RFC 9110, section 8.6; over HTTP/2 it would be the length of a body that does not come.
        parts.headers.remove(CONTENT_LENGTH);
    }
    let (Some(origin), Some(wanted)) = (origin, wanted) else {
        if switching || (matches!(upgrade, Some(VisitorSide::Http2(_))) && parts.status.is_success()) {
            return Err(IngressError::OriginInvalid);
        }
        let pace =
            Pace { idle: exposure.timeouts.idle, upload: Arc::clone(upload), withdrawn: withdrawn.clone() };
        return Ok(Led::Answered(Response::from_parts(parts, ResponseBody::origin(body, lease, pace))));
    };
    let asked = upgrade.take().ok_or(IngressError::OriginInvalid)?;
    upgrade::conclude(&asked, wanted, &mut parts)?;
    let junction = Junction {
        visitor: asked,
        origin,
        idle: exposure.timeouts.upgrade_idle,
        withdrawn: withdrawn.clone(),
        lease,
        connection: Arc::clone(visitor),
    };
    Ok(Led::Switched(Response::from_parts(parts, ResponseBody::local("")), Box::new(junction)))
}
