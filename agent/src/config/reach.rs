//! Which streams a service takes: those that an exposure leads to it, and no others. So a relay that lies cannot read what
//! only goes to a service sealed. It can connect there itself, as any visitor can.

use std::collections::BTreeSet;

use protocol::control::{Expose, TlsEnd};
use protocol::hostname::Hostname;
use protocol::id::ServiceName;

/// The ways that lead to one service. There are none where no exposure names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    routed: bool,
    passed_through: bool,
    /// Whose TLS this agent ends on the way.
    ended_here: BTreeSet<Hostname>,
}

impl Reach {
    pub(super) fn of(service: &ServiceName, exposes: &[Expose]) -> Self {
        let mut reach = Self::default();
        for expose in exposes {
            match &expose.sealed {
                None => reach.routed |= expose.routes.iter().any(|route| route.service == *service),
                Some(sealed) if sealed.service != *service => {}
                Some(sealed) => match sealed.end {
                    TlsEnd::Origin => reach.passed_through = true,
                    TlsEnd::Agent => reach.ended_here.extend(expose.hostname.exact()),
                },
            }
        }
        reach
    }

    /// Whether streams that are sealed like this lead to the service.
    #[must_use]
    pub fn has(&self, sealed: Option<TlsEnd>) -> bool {
        match sealed {
            None => self.routed,
            Some(TlsEnd::Origin) => self.passed_through,
            Some(TlsEnd::Agent) => !self.ended_here.is_empty(),
        }
    }

    /// Whether a visitor who asks for this name, with TLS that this agent ends, is led to the service.
    #[must_use]
    pub fn has_name(&self, name: &Hostname) -> bool {
        self.ended_here.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::read_text;

    #[test]
    fn a_service_is_reached_the_ways_that_name_it() {
        let config = read_text(
            r#"
[acme]
agree_to_terms = true
[service.web]
origin = "http://127.0.0.1:1"
[service.both]
origin = "https://127.0.0.1:2"
[service.vault]
origin = "tcp://127.0.0.1:3"
[service.unnamed]
origin = "http://127.0.0.1:4"
[[expose]]
hostname = "a.example"
routes = [{ path = "/*", service = "web" }, { path = "/both/*", service = "both" }]
[[expose]]
hostname = "b.example"
tls = "passthrough"
service = "both"
[[expose]]
hostname = "c.example"
tls = "agent"
service = "vault"
"#,
        );
        let config = config.unwrap();
        let kinds = [None, Some(TlsEnd::Origin), Some(TlsEnd::Agent)];
        let reach = |service: &str| config.reach(&service.parse().unwrap());
        let ways = |service: &str| kinds.map(|kind| reach(service).has(kind));
        assert_eq!(ways("web"), [true, false, false]);
        assert_eq!(ways("both"), [true, true, false]);
        assert_eq!(ways("vault"), [false, false, true]);
        assert_eq!(ways("unnamed"), [false; 3]);
        assert_eq!(ways("unknown"), [false; 3]);
        let named = |name: &str| reach("vault").has_name(&name.parse().unwrap());
        assert!(named("c.example") && !named("b.example"));
        assert!(!reach("both").has_name(&"b.example".parse().unwrap()));
    }
}
