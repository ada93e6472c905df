//! What one session serves under one hostname, checked: routes, header rules, upgrades, limits.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY};
use ipnet::IpNet;
use protocol::control::{Expose, HeaderEdit, Sealed, Service, ServiceProtocol, TlsEnd};
use protocol::field::{self, FieldError};
use protocol::hostname::HostnamePattern;
use protocol::hsts::{Hsts, HstsError};
use protocol::id::ServiceName;
use protocol::limits;
use protocol::path::PathPattern;
use protocol::upgrade::{self, UpgradeError};

use super::readings::{Unreadable, is_plain, readings};
use crate::config::validated::Timeouts;

/// Why an agent's wish to expose a hostname cannot be granted as it stands. Sent to the agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExposureError {
    #[error("the route `{path}` names the service `{service}`, which was not offered")]
    UnknownService { path: PathPattern, service: ServiceName },
    #[error("it has no routes")]
    NoRoutes,
    #[error("it has more than {} routes or {} header rules", limits::ROUTES, limits::HEADER_RULES)]
    TooMany,
    #[error("a header rule cannot be used: {0}")]
    Field(FieldError),
    #[error("`{0}` is not a network such as `192.0.2.0/24`")]
    Network(String),
    #[error("an upgrade cannot be passed on: {0}")]
    Upgrade(UpgradeError),
    #[error("it names more than {} upgrades", limits::UPGRADES)]
    TooManyUpgrades,
    #[error("{0}")]
    Hsts(HstsError),
    #[error(
        "it is sealed, so the relay sees no paths and no fields, and it has routes or rules all the same"
    )]
    SealedWithRules,
    #[error("it is sealed for the service `{0}`, which was not offered")]
    UnknownSealed(ServiceName),
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) service: ServiceName,
    pub(crate) protocol: ServiceProtocol,
    /// A stream to it carries the visitor, address and port, that it was opened for, and nobody else.
    pub(crate) per_visitor: bool,
    /// Where the visitor's TLS ends, if it is not here.
    pub(crate) sealed: Option<TlsEnd>,
}

/// What is changed in a response.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
}

impl Edit {
    fn new(wire: &HeaderEdit) -> Result<Self, FieldError> {
        let name = |text: &str| -> Result<HeaderName, FieldError> {
            let lower = field::check_name(text)?;
            HeaderName::from_bytes(lower.as_bytes()).map_err(|_| FieldError::Name(lower))
        };
        let mut edit = Self::default();
        for text in &wire.remove {
            edit.remove.push(name(text)?);
        }
        for (text, value) in &wire.set {
            field::check_value(text, value)?;
            let value = HeaderValue::from_str(value).map_err(|_| FieldError::Value(text.clone()))?;
            edit.set.push((name(text)?, value));
        }
        Ok(edit)
    }

    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
    }
}

/// What a path leads to: a route and the header rules that go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    route: usize,
    /// One bit a rule.
    rules: u64,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoDecision {
    NoRoute,
    /// Its readings lead to different places.
    Ambiguous,
}

/// One hostname of one session.
#[derive(Debug)]
pub(crate) struct Exposure {
    pub(crate) hostname: HostnamePattern,
    /// The heaviest first.
    routes: Vec<(PathPattern, Target)>,
    everywhere: Edit,
    rules: Vec<(Vec<PathPattern>, Edit)>,
    pub(crate) max_body: Option<u64>,
    allow_from: Vec<IpNet>,
    pub(crate) timeouts: Timeouts,
    upgrades: Vec<String>,
    hsts: Option<HeaderValue>,
    /// Where whole connections go, by SNI alone. There are no routes then.
    sealed: Option<Target>,
}

impl Exposure {
    /// Checks what an agent asks for. `defaults` stand in for the time-outs that it does not name.
    pub(crate) fn new(
        wire: &Expose,
        services: &[Service],
        defaults: Timeouts,
    ) -> Result<Self, ExposureError> {
        let sealed = wire.sealed.as_ref().map(|sealed| sealed_target(wire, sealed, services)).transpose()?;
        if wire.routes.is_empty() && sealed.is_none() {
            return Err(ExposureError::NoRoutes);
        }
        if wire.routes.len() > limits::ROUTES || wire.headers.len() > limits::HEADER_RULES {
            return Err(ExposureError::TooMany);
        }
        let mut rules = Vec::with_capacity(wire.headers.len());
        for rule in &wire.headers {
            rules.push((rule.paths.clone(), Edit::new(&rule.edit).map_err(ExposureError::Field)?));
        }
        Ok(Self {
            hostname: wire.hostname.clone(),
            routes: targets(wire, services)?,
            everywhere: Edit::new(&wire.response_headers).map_err(ExposureError::Field)?,
            rules,
            max_body: wire.max_body,
            allow_from: networks(&wire.allow_from)?,
            timeouts: if sealed.is_some() { of_sealed(wire, defaults) } else { timeouts(wire, defaults) },
            upgrades: upgrades(wire.upgrades.as_deref())?,
            hsts: wire.hsts.map(hsts).transpose()?,
            sealed,
        })
    }

    /// Where a path leads, if all its readings lead there.
    pub(crate) fn decide(&self, path: &str) -> Result<Decision, NoDecision> {
        if is_plain(path.as_bytes()) {
            return self.decide_plain(path.as_bytes()).ok_or(NoDecision::NoRoute);
        }
        let readings = readings(path).map_err(|Unreadable| NoDecision::Ambiguous)?;
        let mut decisions = readings.iter().map(|reading| self.decide_plain(reading));
        let first = decisions.next().flatten();
        if decisions.any(|other| other != first) {
            return Err(NoDecision::Ambiguous);
        }
        first.ok_or(NoDecision::NoRoute)
    }

    fn decide_plain(&self, plain: &[u8]) -> Option<Decision> {
        let route = self.routes.iter().position(|(pattern, _)| pattern.matches(plain))?;
        let applies =
            |(_, (paths, _)): &(usize, &(Vec<PathPattern>, Edit))| paths.iter().any(|p| p.matches(plain));
        let rules = self.rules.iter().enumerate().filter(applies).fold(0, |bits, (at, _)| bits | 1 << at);
        Some(Decision { route, rules })
    }

    /// The route that was decided on.
    pub(crate) fn route(&self, decision: Decision) -> (&PathPattern, &Target) {
        let (pattern, target) = &self.routes[decision.route];
        (pattern, target)
    }

    /// Where whole connections go whose TLS does not end here.
    pub(crate) fn sealed(&self) -> Option<&Target> {
        self.sealed.as_ref()
    }

    /// Whether a visitor from this address may come in at all.
    pub(crate) fn admits(&self, visitor: IpAddr) -> bool {
        self.allow_from.is_empty() || self.allow_from.iter().any(|network| network.contains(&visitor))
    }

    /// Changes a response's header fields as the owner of the hostname asked for.
    pub(crate) fn edit_response(&self, decision: Decision, headers: &mut HeaderMap) {
        self.everywhere.apply(headers);
        for (at, (_, edit)) in self.rules.iter().enumerate() {
            if decision.rules & (1 << at) != 0 {
                edit.apply(headers);
            }
        }
        if let Some(value) = self.hsts() {
            headers.insert(STRICT_TRANSPORT_SECURITY, value.clone());
        }
    }

    /// What browsers have to remember of the hostname: for every response under it, of whomever, over TLS.
    pub(crate) fn hsts(&self) -> Option<&HeaderValue> {
        self.hsts.as_ref()
    }

    /// Whether a connection may become this, as `Upgrade` names it: one protocol, with its version where it has one.
    pub(crate) fn upgrades(&self, protocol: &str) -> bool {
        self.upgrades.iter().any(|known| known.eq_ignore_ascii_case(protocol))
    }

    /// All routes, the heaviest first.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &(PathPattern, Target)> {
        self.routes.iter()
    }
}

fn targets(wire: &Expose, services: &[Service]) -> Result<Vec<(PathPattern, Target)>, ExposureError> {
    let mut routes = Vec::with_capacity(wire.routes.len());
    for route in &wire.routes {
        let Some(service) = services.iter().find(|service| service.name == route.service) else {
            let (path, service) = (route.path.clone(), route.service.clone());
            return Err(ExposureError::UnknownService { path, service });
        };
        routes.push((route.path.clone(), target(service, None)));
    }
    routes.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.weight()));
    Ok(routes)
}

fn target(service: &Service, sealed: Option<TlsEnd>) -> Target {
    let Service { name, protocol, per_visitor } = service;
    Target { service: name.clone(), protocol: *protocol, per_visitor: *per_visitor, sealed }
}

/// What the relay could do only if it saw the requests is not accepted: the owner would count on it.
fn sealed_target(wire: &Expose, sealed: &Sealed, services: &[Service]) -> Result<Target, ExposureError> {
    let Expose { routes, response_headers, headers, max_body, upgrades, hsts, .. } = wire;
    let has_rules = *response_headers != HeaderEdit::default()
        || !headers.is_empty()
        || max_body.is_some()
        || upgrades.is_some()
        || hsts.is_some();
    if has_rules || !routes.is_empty() {
        return Err(ExposureError::SealedWithRules);
    }
    let service = services.iter().find(|service| service.name == sealed.service);
    let service = service.ok_or_else(|| ExposureError::UnknownSealed(sealed.service.clone()))?;
    // A connection is one visitor's from its first byte to its last.
    Ok(Target { per_visitor: true, ..target(service, Some(sealed.end)) })
}

fn networks(texts: &[String]) -> Result<Vec<IpNet>, ExposureError> {
    let network = |text: &String| -> Result<IpNet, ExposureError> {
        let alone = text.parse::<IpAddr>().map(IpNet::from).ok();
        alone
            .or_else(|| text.parse().ok())
            .ok_or_else(|| ExposureError::Network(text.escape_debug().collect()))
    };
    texts.iter().map(network).collect()
}

fn upgrades(named: Option<&[String]>) -> Result<Vec<String>, ExposureError> {
    let Some(named) = named else { return Ok(vec![upgrade::DEFAULT.to_owned()]) };
    if named.len() > limits::UPGRADES {
        return Err(ExposureError::TooManyUpgrades);
    }
    named.iter().map(|name| upgrade::check(name).map_err(ExposureError::Upgrade)).collect()
}

fn hsts(wire: Hsts) -> Result<HeaderValue, ExposureError> {
    let value = wire.check().map_err(ExposureError::Hsts)?.to_string();
    // Digits, letters, `;` and `=` are always a value.
    HeaderValue::try_from(value).map_err(|_| ExposureError::Hsts(HstsError::TooLong))
}

/// Editing sessions last: an upgraded connection is never cut in its first idle hour.
const SHORTEST_UPGRADE_IDLE: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

fn timeouts(wire: &Expose, defaults: Timeouts) -> Timeouts {
    let or = |ms: Option<u64>, default: Duration| ms.map_or(default, Duration::from_millis).min(LONGEST);
    Timeouts {
        first_byte: or(wire.timeouts.first_byte_ms, defaults.first_byte),
        idle: or(wire.timeouts.idle_ms, defaults.idle),
        upgrade_idle: or(wire.timeouts.upgrade_idle_ms, defaults.upgrade_idle).max(SHORTEST_UPGRADE_IDLE),
    }
}

/// What a sealed connection carries may be a WebSocket, so it is not cut for standing still unless that is asked for.
fn of_sealed(wire: &Expose, defaults: Timeouts) -> Timeouts {
    let usual = timeouts(wire, defaults);
    let idle = wire.timeouts.idle_ms.map(|ms| Duration::from_millis(ms).min(LONGEST));
    Timeouts { upgrade_idle: idle.unwrap_or(usual.upgrade_idle), ..usual }
}

#[cfg(test)]
mod tests;
