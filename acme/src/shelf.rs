//! The certificates that TLS may show, and those it may wait for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use protocol::hostname::HostnamePattern;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::certificate::{Certificate, Facts};

/// Readers take a snapshot; a change makes a new one.
#[derive(Debug)]
pub struct Shelf {
    held: ArcSwap<HashMap<HostnamePattern, Certificate>>,
    /// What the first certificate is being fetched for at this moment, and by how many.
    awaited: watch::Sender<HashMap<HostnamePattern, usize>>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self { held: ArcSwap::default(), awaited: watch::channel(HashMap::new()).0 }
    }
}

impl Shelf {
    #[must_use]
    pub fn find(&self, name: &HostnamePattern) -> Option<Arc<CertifiedKey>> {
        self.held.load().get(name).map(|certificate| Arc::clone(&certificate.certified))
    }

    /// What is known of each certificate.
    #[must_use]
    pub fn facts(&self) -> BTreeMap<HostnamePattern, Facts> {
        self.held.load().iter().map(|(name, held)| (name.clone(), held.facts.clone())).collect()
    }

    /// What is known of one.
    #[must_use]
    pub fn facts_of(&self, name: &HostnamePattern) -> Option<Facts> {
        self.held.load().get(name).map(|held| held.facts.clone())
    }

    /// Waits while the first certificate of a hostname is being fetched, at most so long. Tells whether it waited.
    pub async fn wait(&self, name: &HostnamePattern, longest: Duration) -> bool {
        let mut awaited = self.awaited.subscribe();
        if !awaited.borrow_and_update().contains_key(name) {
            return false;
        }
        let over = awaited.wait_for(|awaited| !awaited.contains_key(name));
        // In vain or not: the caller looks again.
        let _fetched_or_not = tokio::time::timeout(longest, over).await;
        true
    }

    pub(crate) fn put(&self, name: &HostnamePattern, certificate: Certificate) {
        self.held.rcu(|held| {
            let mut held = HashMap::clone(held);
            held.insert(name.clone(), certificate.clone());
            held
        });
    }

    pub(crate) fn remove(&self, name: &HostnamePattern) {
        self.held.rcu(|held| {
            let mut held = HashMap::clone(held);
            held.remove(name);
            held
        });
    }

    pub(crate) fn get(&self, name: &HostnamePattern) -> Option<Certificate> {
        self.held.load().get(name).cloned()
    }

    /// Lets handshakes wait until the guard is dropped; where there is a certificate already, nobody does.
    pub(crate) fn fetching(self: &Arc<Self>, name: &HostnamePattern) -> Option<Fetching> {
        if self.find(name).is_some() {
            return None;
        }
        self.awaited.send_modify(|awaited| *awaited.entry(name.clone()).or_default() += 1);
        Some(Fetching { shelf: Arc::clone(self), name: name.clone() })
    }
}

/// A certificate that is on its way.
#[derive(Debug)]
pub(crate) struct Fetching {
    shelf: Arc<Shelf>,
    name: HostnamePattern,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.shelf.awaited.send_modify(|awaited| {
            let left = awaited.remove(&self.name).unwrap_or_default().saturating_sub(1);
            if left > 0 {
                awaited.insert(self.name.clone(), left);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_handshake_waits_only_for_what_is_on_its_way_and_not_for_ever() {
        let shelf = Arc::new(Shelf::default());
        let name: HostnamePattern = "a.example.com".parse().unwrap();
        assert!(!shelf.wait(&name, Duration::from_secs(5)).await);
        let fetching = shelf.fetching(&name);
        let began = tokio::time::Instant::now();
        assert!(shelf.wait(&name, Duration::from_secs(5)).await);
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        let waiting = shelf.wait(&name, Duration::from_secs(3600));
        let (waited, ()) = tokio::join!(waiting, async { drop(fetching) });
        assert!(waited && began.elapsed() < Duration::from_secs(6));
        assert!(!shelf.wait(&name, Duration::from_secs(5)).await);
    }
}
