//! Certificates that take care of themselves: which hostnames they are ordered for, and what is to be said of each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acme::keeper::{Keeper, Plan, Row, State, Wishes};
use acme::publish::Publish;
use acme::reach::Here;
use acme::schedule::Lifetime;
use protocol::hostname::{Hostname, HostnamePattern};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::acme::Acme;
use crate::edge::cert::{Certificates, Source};
use crate::enrollment::now;
use crate::lock::lock;
use crate::tunnel::registry::{Registry, Routes};
use crate::zone::Zone;

/// How long changes of the routes gather before they are followed.
const GATHER: Duration = Duration::from_millis(50);

/// The relay's certificates, as far as nobody else looks after them.
#[derive(Debug)]
pub(crate) struct Automatic {
    name: Hostname,
    keeper: Arc<Keeper>,
    registry: Arc<Registry>,
    certificates: Arc<Certificates>,
    plan: Mutex<Option<(Acme, Arc<Plan>)>>,
    wishes: watch::Sender<Wishes>,
}

/// What `relay cert list` says of a hostname. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertRow {
    pub(crate) name: HostnamePattern,
    /// `file`, `acme`, `internal`, `sealed` (it is with the agent or the origin) or `none`.
    pub(crate) source: String,
    pub(crate) issuer: Option<String>,
    pub(crate) not_after: Option<i64>,
    pub(crate) state: State,
    /// What is done next.
    pub(crate) next: Option<String>,
    pub(crate) next_at: Option<i64>,
    /// Orders that failed in a row.
    pub(crate) failures: u32,
    /// Why the last of them did.
    pub(crate) error: Option<String>,
}

impl Automatic {
    pub(crate) fn new(
        name: Hostname,
        keeper: Arc<Keeper>,
        registry: Arc<Registry>,
        certificates: Arc<Certificates>,
    ) -> Self {
        let (plan, (wishes, _)) = (Mutex::default(), watch::channel(Wishes::default()));
        Self { name, keeper, registry, certificates, plan, wishes }
    }

    /// From now on certificates are ordered like this, or not at all. Files may have changed with it.
    pub(crate) fn set(&self, acme: Option<&Acme>) {
        let mut plan = lock(&self.plan);
        if plan.as_ref().map(|(acme, _)| acme) != acme {
            *plan = acme.map(|acme| (acme.clone(), Arc::new(self.plan_of(acme))));
        }
        drop(plan);
        self.wish();
    }

    fn plan_of(&self, acme: &Acme) -> Plan {
        let Acme { settings, dns } = acme.clone();
        let publish = dns.map(|dns| Arc::new(Zone::new(dns, settings.resolver)) as Arc<dyn Publish>);
        let here = Here { name: self.name.to_string(), addresses: settings.addresses.clone() };
        Plan { settings, here, publish }
    }

    /// Orders what is wished for, and follows the routes, for as long as this is polled.
    pub(crate) async fn run(&self) {
        let mut routes = self.registry.changes();
        let follow = async {
            loop {
                self.wish();
                self.forget_sealed().await;
                if routes.changed().await.is_err() {
                    return;
                }
                // Many changes come together, when agents return.
                tokio::time::sleep(GATHER).await;
                routes.mark_unchanged();
            }
        };
        tokio::join!(Arc::clone(&self.keeper).run(self.wishes.subscribe()), follow);
    }

    fn wish(&self) {
        let plan = lock(&self.plan).as_ref().map(|(_, plan)| Arc::clone(plan));
        let names = self.names(&self.registry.routes());
        let wanted = Wishes { plan, names };
        self.wishes.send_if_modified(|wishes| {
            let changed = *wishes != wanted;
            *wishes = wanted;
            changed
        });
    }

    /// What is kept of hostnames that are sealed now: the relay must not be able to stand in for them.
    async fn forget_sealed(&self) {
        let routes = self.registry.routes().clone();
        let kept = self.keeper.shelf.facts().into_keys();
        for name in kept.filter(|name| self.is_sealed(&routes, name)).collect::<Vec<_>>() {
            tracing::info!(hostname = %name, "it is sealed now: the certificate that was ordered here is forgotten");
            self.keeper.forget(&name).await;
        }
    }

    /// Agents dial the relay by its own name, so that is never somebody else's.
    fn is_sealed(&self, routes: &Routes, name: &HostnamePattern) -> bool {
        match name.exact() {
            Some(hostname) => hostname != self.name && routes.is_sealed(&hostname),
            None => routes.seals(name),
        }
    }

    /// The relay's own name, and what a peer serves by right; what was served once is kept up while it is granted by
    /// its own name. What has a file, or ends its TLS elsewhere, needs nothing.
    fn names(&self, routes: &Routes) -> BTreeSet<HostnamePattern> {
        let served = routes.served().map(|serving| serving.exposure.hostname.clone());
        let once = self.keeper.shelf.facts().into_keys();
        let once = once.filter(|name| routes.is_granted(name));
        let own = HostnamePattern::from(self.name.clone());
        let all = std::iter::once(own).chain(served).chain(once);
        all.filter(|name| !self.certificates.has_file(name) && !self.is_sealed(routes, name)).collect()
    }

    /// Orders anew at once. False where nobody tends the hostname.
    pub(crate) fn renew(&self, name: &HostnamePattern) -> bool {
        self.keeper.renew(name)
    }

    /// Certificates that were come by, and orders that were in vain, since the relay was started.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let counts = &self.keeper.counts;
        let of = |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
        (of(&counts.issued), of(&counts.failed))
    }

    /// Every hostname that is granted, served or has a file, and the relay's own.
    pub(crate) fn rows(&self) -> Vec<CertRow> {
        let (routes, tended) = (self.registry.routes(), self.keeper.rows());
        let mut names = self.names(&routes);
        names.extend(routes.granted().cloned());
        names.extend(routes.served().map(|serving| serving.exposure.hostname.clone()));
        names.extend(self.certificates.named_in_files());
        let row = |name: HostnamePattern| {
            let tended = tended.get(&name);
            if self.is_sealed(&routes, &name) { sealed(name) } else { self.row(name, tended) }
        };
        names.into_iter().map(row).collect()
    }

    fn row(&self, name: HostnamePattern, tended: Option<&Row>) -> CertRow {
        let source = self.certificates.source(&name);
        let (text, facts) = match &source {
            Source::File(facts) => ("file", Some(facts)),
            Source::Ordered(facts) => ("acme", Some(facts)),
            Source::Internal => ("internal", None),
            Source::None => ("none", None),
        };
        let state = state(&source, facts.map(|facts| facts.lifetime), tended, now());
        CertRow {
            name,
            source: text.to_owned(),
            issuer: facts.map(|facts| facts.issuer.clone()),
            not_after: facts.map(|facts| facts.lifetime.not_after),
            state,
            next: tended.map(|row| row.next.to_owned()),
            next_at: tended.and_then(|row| row.next_at),
            failures: tended.map_or(0, |row| row.failures),
            error: tended.and_then(|row| row.error.clone()),
        }
    }
}

fn sealed(name: HostnamePattern) -> CertRow {
    CertRow {
        name,
        source: "sealed".to_owned(),
        issuer: None,
        not_after: None,
        state: State::Ok,
        next: None,
        next_at: None,
        failures: 0,
        error: None,
    }
}

fn state(source: &Source, lifetime: Option<Lifetime>, tended: Option<&Row>, now: i64) -> State {
    if tended.is_some_and(|row| row.ordering) {
        return State::Ordering;
    }
    match (source, lifetime) {
        (_, Some(lifetime)) if lifetime.is_late(now) => State::Warning,
        (Source::File(_) | Source::Ordered(_) | Source::Internal, _) => State::Ok,
        (Source::None, _) if tended.is_some() => State::Waiting,
        (Source::None, _) => State::Missing,
    }
}

#[cfg(test)]
mod tests {
    use acme::certificate::Facts;

    use super::*;

    #[test]
    fn how_a_certificate_stands() {
        let lifetime = Lifetime { not_before: 0, not_after: 90 };
        let file = Source::File(Facts { issuer: "x".into(), lifetime, chance: 0 });
        let row = |ordering| Row { ordering, next: "renew", next_at: None, failures: 0, error: None };
        assert_eq!(state(&file, Some(lifetime), None, 60), State::Ok);
        assert_eq!(state(&file, Some(lifetime), None, 61), State::Warning);
        assert_eq!(state(&file, Some(lifetime), Some(&row(true)), 61), State::Ordering);
        assert_eq!(state(&Source::None, None, Some(&row(false)), 0), State::Waiting);
        assert_eq!(state(&Source::None, None, None, 0), State::Missing);
    }
}
