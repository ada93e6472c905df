//! How many connections visitors may have: in all, and from one address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::shards::Place;
use crate::gate::{Bounds, Gate, Ticket, Verdict};
use crate::metrics::{Metrics, OpenGuard, Refusal, Transport};

/// The edge's places, over TCP and QUIC together.
#[derive(Debug)]
pub(crate) struct Admission {
    all: Arc<Semaphore>,
    most: usize,
    /// Visitors over TCP had to wait, the last time that one was to be accepted.
    full: AtomicBool,
    addresses: Arc<Gate>,
    metrics: Arc<Metrics>,
}

/// One of the connections that visitors can have at once; upgraded ones count. Free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _of_all: OwnedSemaphorePermit,
    /// None for a proxy in front, through which many come.
    of_its_address: Option<Ticket>,
    /// None over QUIC, where all are on the relay's own thread.
    _on_its_shard: Option<Place>,
    _open: OpenGuard,
}

impl Slot {
    /// Counts the connection for a visitor whom the proxy in front has named.
    pub(crate) fn claim(&mut self, admission: &Admission, address: IpAddr) -> Result<(), TooMany> {
        match admission.addresses.enter(address, true) {
            Verdict::Enter(ticket) => self.of_its_address = Some(ticket),
            Verdict::Validate | Verdict::Refuse => return Err(admission.refuse(Refusal::AddressLimit)),
        }
        Ok(())
    }
}

/// There are as many connections as there may be, in all or from one address.
#[derive(Debug)]
pub(crate) struct TooMany;

impl Admission {
    pub(crate) fn new(all: usize, of_an_address: usize, metrics: Arc<Metrics>) -> Self {
        let addresses = Bounds { all: usize::MAX, of_an_address, validate_from: usize::MAX };
        let (places, full) = (Arc::new(Semaphore::new(all)), AtomicBool::new(false));
        Self { all: places, most: all, full, addresses: Gate::new(addresses), metrics }
    }

    /// Waits for a place among all. Counted once for as long as there is none: nobody knows how many wait.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.all).try_acquire_owned() {
            self.full.store(false, Ordering::Relaxed);
            return Some(place);
        }
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::debug!(most = self.most, "as many connections as there may be; more visitors wait");
            self.metrics.connection_refused(Refusal::AllLimit);
        }
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// A place among all, if one is free now.
    pub(crate) fn place_now(&self) -> Result<OwnedSemaphorePermit, TooMany> {
        Arc::clone(&self.all).try_acquire_owned().map_err(|_| self.refuse(Refusal::AllLimit))
    }

    /// Few places are left: who does nothing with theirs is in the way.
    pub(crate) fn is_crowded(&self) -> bool {
        self.all.available_permits() * 4 < self.most
    }

    fn refuse(&self, why: Refusal) -> TooMany {
        self.metrics.connection_refused(why);
        TooMany
    }

    /// A slot for a visitor whose address has proven itself.
    pub(crate) fn admit(
        &self,
        of_all: OwnedSemaphorePermit,
        address: IpAddr,
        is_proxy: bool,
        on_its_shard: Option<Place>,
    ) -> Result<Slot, TooMany> {
        let of_its_address = match is_proxy {
            true => None,
            false => match self.addresses.enter(address, true) {
                Verdict::Enter(ticket) => Some(ticket),
                Verdict::Validate | Verdict::Refuse => return Err(self.refuse(Refusal::AddressLimit)),
            },
        };
        let transport = if on_its_shard.is_some() { Transport::Tcp } else { Transport::Quic };
        let open = self.metrics.connection_open(transport);
        Ok(Slot { _of_all: of_all, of_its_address, _on_its_shard: on_its_shard, _open: open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Standing;

    #[tokio::test]
    async fn a_full_edge_is_crowded_and_is_counted_once() {
        let metrics = Arc::new(Metrics::new([]));
        let admission = Admission::new(5, 9, Arc::clone(&metrics));
        let mut places = Vec::new();
        for _ in 0..5 {
            places.push(admission.place().await.unwrap());
            assert_eq!(admission.is_crowded(), places.len() > 3, "{}", places.len());
        }
        // One listener looks up from time to time while it waits.
        for _ in 0..3 {
            let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), admission.place());
            assert!(waiting.await.is_err());
        }
        assert!(admission.place_now().is_err());
        let shown = metrics.text(&Standing::default());
        assert!(shown.contains("_refused_total{reason=\"all-limit\"} 2\n"), "{shown}");
        places.pop();
        assert!(admission.place().await.is_some() && admission.place_now().is_ok());
    }

    #[test]
    fn an_address_has_so_many_and_a_proxy_in_front_any_number() {
        let admission = Admission::new(4, 1, Arc::new(Metrics::new([])));
        let address = "192.0.2.1".parse().unwrap();
        let admit = |is_proxy| admission.admit(admission.place_now().unwrap(), address, is_proxy, None);
        let first = admit(false).unwrap();
        assert!(admit(false).is_err());
        let _proxied = [admit(true).unwrap(), admit(true).unwrap()];
        drop(first);
        assert!(admit(false).is_ok());
    }
}
