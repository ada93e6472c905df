//! All hostnames: who serves them now, and which are granted to a peer that is away.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::hostname::{Hostname, HostnamePattern};
use tokio_util::sync::CancellationToken;

use super::exposure::Exposure;

/// One hostname of one session.
#[derive(Debug)]
pub(crate) struct Serving<S> {
    pub(crate) exposure: Exposure,
    pub(crate) session: S,
    /// Cancelled when the hostname is taken from the peer: what is under way ends then.
    pub(crate) withdrawn: CancellationToken,
}

/// What is known of a hostname.
#[derive(Debug)]
pub(crate) enum Lookup<'a, S> {
    /// These sessions serve it.
    Served(&'a Servers<S>),
    /// It is granted, and no session serves it.
    Offline,
    Unknown,
}

/// The sessions that serve one hostname; each request begins with another one.
#[derive(Debug)]
pub(crate) struct Servers<S> {
    all: Vec<Arc<Serving<S>>>,
    turn: AtomicUsize,
}

impl<S> Servers<S> {
    /// All of them, beginning with the one whose turn it is.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = &Arc<Serving<S>>> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len();
        self.all[start..].iter().chain(&self.all[..start])
    }
}

/// An immutable snapshot; a change makes a new one.
#[derive(Debug)]
pub(crate) struct RouteTable<S> {
    served: HashMap<HostnamePattern, Servers<S>>,
    granted: HashSet<HostnamePattern>,
    /// What was sealed when it was last served.
    last_sealed: HashSet<HostnamePattern>,
}

impl<S> RouteTable<S> {
    pub(crate) fn new(
        serving: impl IntoIterator<Item = Arc<Serving<S>>>,
        granted: HashSet<HostnamePattern>,
        last_sealed: HashSet<HostnamePattern>,
    ) -> Self {
        let mut served: HashMap<HostnamePattern, Servers<S>> = HashMap::new();
        for one in serving {
            let servers = served.entry(one.exposure.hostname.clone());
            servers.or_insert_with(|| Servers { all: Vec::new(), turn: AtomicUsize::new(0) }).all.push(one);
        }
        Self { served, granted, last_sealed }
    }

    /// A name that is granted by itself never falls to whoever holds the wildcard above it.
    pub(crate) fn lookup(&self, hostname: &Hostname) -> Lookup<'_, S> {
        let known = |pattern: HostnamePattern| match self.served.get(&pattern) {
            Some(servers) => Some(Lookup::Served(servers)),
            None => self.granted.contains(&pattern).then_some(Lookup::Offline),
        };
        patterns(hostname).find_map(known).unwrap_or(Lookup::Unknown)
    }

    /// The served or granted name that this hostname belongs to: itself, or a wildcard.
    pub(crate) fn owner(&self, hostname: &Hostname) -> Option<HostnamePattern> {
        patterns(hostname).find(|pattern| self.served.contains_key(pattern) || self.granted.contains(pattern))
    }

    /// Whether exactly this was granted to some peer.
    pub(crate) fn is_granted(&self, name: &HostnamePattern) -> bool {
        self.granted.contains(name)
    }

    /// Whether somebody serves exactly this.
    pub(crate) fn is_served(&self, name: &HostnamePattern) -> bool {
        self.served.contains_key(name)
    }

    /// Every hostname and wildcard that some peer was granted.
    pub(crate) fn granted(&self) -> impl Iterator<Item = &HostnamePattern> {
        self.granted.iter()
    }

    /// Whether TLS for this hostname ends elsewhere. Where one session says so, no other can have it end here; and while
    /// nobody serves it, what was sealed stays it: an agent that is away must not make visitors talk to the relay.
    pub(crate) fn is_sealed(&self, hostname: &Hostname) -> bool {
        let known = |pattern: HostnamePattern| {
            let is_known = self.served.contains_key(&pattern) || self.granted.contains(&pattern);
            (is_known || self.last_sealed.contains(&pattern)).then(|| self.seals(&pattern))
        };
        patterns(hostname).find_map(known).unwrap_or(false)
    }

    /// The same for a hostname or wildcard as it is served or granted.
    pub(crate) fn seals(&self, pattern: &HostnamePattern) -> bool {
        match self.served.get(pattern) {
            Some(servers) => servers.all.iter().any(|one| one.exposure.sealed().is_some()),
            None => self.last_sealed.contains(pattern),
        }
    }

    /// Every hostname that is served, with those who serve it.
    pub(crate) fn served(&self) -> impl Iterator<Item = &Arc<Serving<S>>> {
        self.served.values().flat_map(|servers| &servers.all)
    }
}

fn patterns(hostname: &Hostname) -> impl Iterator<Item = HostnamePattern> + use<> {
    [Some(HostnamePattern::from(hostname.clone())), hostname.wildcard()].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::validated::Timeouts;

    fn serving(hostname: &str, session: &'static str) -> Arc<Serving<&'static str>> {
        let expose =
            serde_json::json!({ "hostname": hostname, "routes": [{ "path": "/*", "service": "web" }] });
        let services = serde_json::from_value::<Vec<_>>(serde_json::json!([{ "name": "web" }])).unwrap();
        let expose = serde_json::from_value(expose).unwrap();
        let exposure = Exposure::new(&expose, &services, Timeouts::default()).unwrap();
        Arc::new(Serving { exposure, session, withdrawn: CancellationToken::new() })
    }

    fn found(table: &RouteTable<&'static str>, hostname: &str) -> Option<Vec<&'static str>> {
        match table.lookup(&hostname.parse().unwrap()) {
            Lookup::Served(servers) => Some(servers.in_turn().map(|one| one.session).collect()),
            Lookup::Offline => Some(vec![]),
            Lookup::Unknown => None,
        }
    }

    /// CVE-2026-27588 was a router that matched differently beyond a hundred names.
    #[test]
    fn routing_is_the_same_with_1_101_and_10000_hostnames() {
        for count in [1, 101, 10_000] {
            let all = (0..count).map(|n| serving(&format!("h{n}.example.com"), "one"));
            let table = RouteTable::new(all, HashSet::new(), HashSet::new());
            assert_eq!(found(&table, "H0.Example.com."), Some(vec!["one"]));
            assert_eq!(found(&table, &format!("h{}.example.com", count - 1)), Some(vec!["one"]));
            assert_eq!(found(&table, &format!("h{count}.example.com")), None);
        }
    }

    #[test]
    fn two_sessions_take_turns() {
        let both = [serving("a.example.com", "x"), serving("a.example.com", "y")];
        let table = RouteTable::new(both, HashSet::new(), HashSet::new());
        let first = found(&table, "a.example.com");
        let second = found(&table, "a.example.com");
        assert_eq!((first, second), (Some(vec!["x", "y"]), Some(vec!["y", "x"])));
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard_and_a_granted_name_is_offline() {
        let granted = HashSet::from(["away.example.com".parse().unwrap()]);
        let both = [serving("*.example.com", "wild"), serving("a.example.com", "a")];
        let table = RouteTable::new(both, granted, HashSet::new());
        assert_eq!(found(&table, "a.example.com"), Some(vec!["a"]));
        assert_eq!(found(&table, "b.example.com"), Some(vec!["wild"]));
        assert_eq!(found(&table, "b.a.example.com"), None);
        assert_eq!(table.owner(&"b.example.com".parse().unwrap()), Some("*.example.com".parse().unwrap()));
    }

    #[test]
    fn what_was_sealed_stays_it_while_nobody_serves_it() {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<HashSet<_>>();
        let granted = names(&["*.example.com", "*.w.example.com", "own.w.example.com"]);
        let last = names(&["a.example.com", "b.example.com", "*.w.example.com", "gone.example.net"]);
        let table =
            RouteTable::new([serving("*.example.com", "wild"), serving("b.example.com", "b")], granted, last);
        let sealed = |name: &str| table.is_sealed(&name.parse().unwrap());
        assert!(sealed("a.example.com") && sealed("x.w.example.com"));
        assert!(!sealed("b.example.com"), "it is served, and not sealed");
        assert!(!sealed("own.w.example.com"), "it is granted by itself");
        assert!(!sealed("c.example.com") && !sealed("x.example.net"));
    }
}
