//! The door through which `benches/rules.rs` reaches rules that are private to the relay. Only there with the feature
//! `bench`.

use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::control::{Expose, Service};
use protocol::hostname::Hostname;

use crate::config::validated::Timeouts;
use crate::ingress::headers::{self, Told, Whence};
use crate::ingress::request::Target;
use crate::route::exposure::Exposure;

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
        let authority = hostname.to_string();
        Self { fields: all, target: Target { hostname, port: None, authority } }
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
