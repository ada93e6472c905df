//! Which hostnames were sealed when they were last served. While their agents are away, visitors must not find TLS that
//! ends at the relay in the place of TLS that did not.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use protocol::hostname::HostnamePattern;
use protocol::key::PublicKey;
use protocol::limits;

use crate::route::table::Serving;

/// Of each peer, no more than one session may expose.
#[derive(Debug, Default)]
pub(super) struct LastSealed(HashMap<PublicKey, HashSet<HostnamePattern>>);

impl LastSealed {
    /// A session of the peer serves this `now`, and what was `before` no longer.
    pub(super) fn note<S>(&mut self, peer: PublicKey, before: &[Arc<Serving<S>>], now: &[Arc<Serving<S>>]) {
        for serving in now.iter().filter(|serving| serving.exposure.sealed().is_none()) {
            self.forget(&serving.exposure.hostname);
        }
        // Who still serves the wildcard above a name, and no longer names it, leaves it to the wildcard.
        for serving in before {
            let name = &serving.exposure.hostname;
            let wildcard = name.exact().and_then(|name| name.wildcard());
            let is_served = |name: &HostnamePattern| now.iter().any(|one| one.exposure.hostname == *name);
            if !is_served(name) && wildcard.is_some_and(|wildcard| is_served(&wildcard)) {
                self.forget(name);
            }
        }
        let sealed = self.0.entry(peer).or_default();
        for serving in now.iter().filter(|serving| serving.exposure.sealed().is_some()) {
            if sealed.len() < limits::EXPOSES {
                sealed.insert(serving.exposure.hostname.clone());
            }
        }
    }

    fn forget(&mut self, name: &HostnamePattern) {
        for sealed in self.0.values_mut() {
            sealed.remove(name);
        }
    }

    /// Keeps what the peer is still granted.
    pub(super) fn retain(&mut self, peer: &PublicKey, is_granted: impl Fn(&HostnamePattern) -> bool) {
        if let Some(sealed) = self.0.get_mut(peer) {
            sealed.retain(is_granted);
        }
    }

    /// The peer is no more.
    pub(super) fn remove(&mut self, peer: &PublicKey) {
        self.0.remove(peer);
    }

    pub(super) fn names(&self) -> HashSet<HostnamePattern> {
        self.0.values().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::validated::Timeouts;
    use crate::route::exposure::Exposure;

    fn peer(number: u8) -> PublicKey {
        PublicKey::from_bytes([number; 32])
    }

    fn serving(hostname: &str, sealed: bool) -> Arc<Serving<()>> {
        let expose = if sealed {
            serde_json::json!({ "hostname": hostname, "routes": [], "sealed": { "service": "web", "end": "passthrough" } })
        } else {
            serde_json::json!({ "hostname": hostname, "routes": [{ "path": "/*", "service": "web" }] })
        };
        let services = serde_json::from_value::<Vec<_>>(serde_json::json!([{ "name": "web" }])).unwrap();
        let expose = serde_json::from_value(expose).unwrap();
        let exposure = Exposure::new(&expose, &services, Timeouts::default()).unwrap();
        Arc::new(Serving { exposure, session: (), withdrawn: CancellationToken::new() })
    }

    fn names(last: &LastSealed) -> Vec<String> {
        let mut names: Vec<_> = last.names().iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_sealed_stays_it_until_it_is_served_otherwise() {
        let mut last = LastSealed::default();
        let both = [serving("a.example.com", true), serving("b.example.com", false)];
        last.note(peer(1), &[], &both);
        assert_eq!(names(&last), ["a.example.com"]);
        last.note(peer(1), &both, &[]);
        assert_eq!(names(&last), ["a.example.com"]);
        last.note(peer(2), &[], &[serving("a.example.com", false)]);
        assert!(names(&last).is_empty());
    }

    #[test]
    fn a_name_is_left_to_the_wildcard_by_whoever_serves_that() {
        let mut last = LastSealed::default();
        let (sealed, wildcard) = (serving("a.example.com", true), serving("*.example.com", false));
        last.note(peer(1), &[], std::slice::from_ref(&sealed));
        last.note(peer(2), &[], std::slice::from_ref(&wildcard));
        assert_eq!(names(&last), ["a.example.com"]);
        last.note(peer(1), &[sealed, Arc::clone(&wildcard)], &[wildcard]);
        assert!(names(&last).is_empty());
    }

    #[test]
    fn no_more_is_kept_than_is_granted_and_can_be_exposed() {
        let mut last = LastSealed::default();
        last.note(peer(1), &[], &[serving("a.example.com", true), serving("b.example.com", true)]);
        last.retain(&peer(1), |name| name.as_str() == "b.example.com");
        assert_eq!(names(&last), ["b.example.com"]);
        for number in 0..2 * limits::EXPOSES {
            last.note(peer(2), &[], &[serving(&format!("h{number}.example.com"), true)]);
        }
        assert_eq!(names(&last).len(), 1 + limits::EXPOSES);
        last.remove(&peer(2));
        assert_eq!(names(&last), ["b.example.com"]);
    }
}
