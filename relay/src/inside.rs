//! The door to rules that are private to the relay: for `benches/rules.rs`, and for `tests/fuzz`, which hunts for bytes
//! that break what [`fields`], [`framing`] and [`path`] say. Only there with the feature `inside`, and in tests.

#[cfg(test)]
mod corpus;
pub mod fields;
pub mod framing;
pub mod path;

use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::control::{Expose, Message as _, Register, Service};
use protocol::frame::Frame;
use protocol::hostname::Hostname;

use crate::config::validated::Timeouts;
use crate::ingress::headers::{self, Told, Whence};
use crate::ingress::request::Target;
use crate::route::exposure::Exposure;

/// Reads a configuration file of whatever text, and what is said of its mistakes.
pub fn read_config(text: &str) {
    if let Err(rejected) = crate::config::parse("relay.toml", text) {
        assert!(!rejected.to_string().is_empty(), "refused without a word");
    }
}

/// Does with a registration of whatever agent what the relay does.
pub fn register(frame: &Frame) {
    let Ok(Some(register)) = Register::from_frame(frame) else { return };
    for expose in &register.expose {
        match Exposure::new(expose, &register.services, Timeouts::default()) {
            Ok(exposure) => {
                for path in ["/", "/api/x", "/a%2f..%2fb"] {
                    if let Ok(decision) = exposure.decide(path) {
                        exposure.edit_response(decision, &mut HeaderMap::new());
                    }
                }
            }
            Err(error) => assert!(!error.to_string().is_empty(), "refused without a word"),
        }
    }
}

/// What one agent exposes under one hostname.
#[derive(Debug)]
pub struct Routes(Exposure);

impl Routes {
    /// Out of what an agent sends. Nothing where it would be refused.
    #[must_use]
    pub fn new(expose: &Expose, services: &[Service]) -> Option<Self> {
        Exposure::new(expose, services, Timeouts::default()).ok().map(Self)
    }

    /// Whether a path leads anywhere.
    #[must_use]
    pub fn lead(&self, path: &str) -> bool {
        self.0.decide(path).is_ok()
    }

    /// Where a path leads, told by what the routes and header rules of [`path::routes`] do.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<path::Place> {
        let decision = self.0.decide(path).ok()?;
        let service = self.0.route(decision).1.service.to_string();
        let mut fields = HeaderMap::new();
        self.0.edit_response(decision, &mut fields);
        let number = |name: &HeaderName| name.as_str().strip_prefix("rule-")?.parse().ok();
        let mut rules: Vec<usize> = fields.keys().filter_map(number).collect();
        rules.sort_unstable();
        Some(path::Place { service, rules })
    }
}

/// A request's fields and the visitor they came from.
#[derive(Debug)]
pub struct Rewriting {
    fields: HeaderMap,
    target: Target,
}

impl Rewriting {
    /// Of these fields, sent to this hostname.
    #[must_use]
    pub fn new(hostname: Hostname, fields: &[(&'static str, &'static str)]) -> Self {
        let mut all = HeaderMap::new();
        for (name, value) in fields {
            all.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Self::of(hostname, all)
    }

    /// The same of fields that may stand several times.
    #[must_use]
    pub fn of(hostname: Hostname, fields: HeaderMap) -> Self {
        let authority = hostname.to_string();
        Self { fields, target: Target { hostname, port: None, authority } }
    }

    /// The fields as the origin gets them.
    #[must_use]
    pub fn rewrite(&self) -> HeaderMap {
        let address = std::net::Ipv4Addr::new(203, 0, 113, 7).into();
        let whence = Whence { address, trusted: false, target: &self.target, https_port: 443 };
        let mut fields = self.fields.clone();
        if let Some(told) = Told::new(&whence) {
            headers::rewrite_request(&mut fields, &whence, &told);
        }
        fields
    }
}
