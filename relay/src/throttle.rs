//! How many requests: in a second from one address, and at once for one hostname.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use protocol::hostname::HostnamePattern;

use crate::gate::network;
use crate::lock::lock;

/// Addresses whose requests are remembered. With more of them at once all begin anew.
const MOST_ADDRESSES: usize = 100_000;
/// How often those that have been quiet are forgotten, in requests.
const PRUNE_AFTER: u32 = 10_000;

/// Requests a second from one address, on the average and at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) a_second: NonZero<u32>,
    pub(crate) at_once: NonZero<u32>,
}

/// One for the whole relay.
#[derive(Debug)]
pub(crate) struct Throttle {
    addresses: ArcSwapOption<Addresses>,
    in_flight: Mutex<HashMap<HostnamePattern, usize>>,
}

#[derive(Debug)]
struct Addresses {
    rate: Rate,
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    asked: AtomicU32,
}

/// The address asks too often; it may again after so many seconds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooOften(pub(crate) u64);

/// As many requests for the hostname are under way as may be.
#[derive(Debug)]
pub(crate) struct Full;

/// One of the requests under way for a hostname.
#[derive(Debug)]
pub(crate) struct InFlight {
    throttle: Arc<Throttle>,
    hostname: HostnamePattern,
}

impl Throttle {
    pub(crate) fn new(rate: Option<Rate>) -> Arc<Self> {
        let throttle = Self { addresses: ArcSwapOption::empty(), in_flight: Mutex::default() };
        throttle.set_rate(rate);
        Arc::new(throttle)
    }

    /// From now on this rate is in force.
    pub(crate) fn set_rate(&self, rate: Option<Rate>) {
        if self.addresses.load().as_ref().map(|addresses| addresses.rate) != rate {
            self.addresses.store(rate.map(|rate| Arc::new(Addresses::new(rate))));
        }
    }

    /// Counts a request of an address.
    pub(crate) fn ask(&self, address: IpAddr) -> Result<(), TooOften> {
        let addresses = self.addresses.load();
        let Some(addresses) = &*addresses else { return Ok(()) };
        if addresses.is_overfull() {
            // Unless another rate has come into force meanwhile.
            self.addresses.compare_and_swap(addresses, Some(Arc::new(Addresses::new(addresses.rate))));
        }
        let clock = DefaultClock::default();
        addresses
            .limiter
            .check_key(&network(address))
            .map_err(|not_until| TooOften(not_until.wait_time_from(clock.now()).as_secs() + 1))
    }

    /// Counts a request for a hostname for as long as the value lives.
    pub(crate) fn begin(self: &Arc<Self>, hostname: HostnamePattern, most: usize) -> Result<InFlight, Full> {
        let mut in_flight = lock(&self.in_flight);
        let count = in_flight.entry(hostname.clone()).or_default();
        if *count >= most {
            return Err(Full);
        }
        *count += 1;
        Ok(InFlight { throttle: Arc::clone(self), hostname })
    }
}

impl Addresses {
    fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.a_second).allow_burst(rate.at_once);
        Self { rate, limiter: RateLimiter::keyed(quota), asked: AtomicU32::new(0) }
    }

    fn is_overfull(&self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if !asked.is_multiple_of(PRUNE_AFTER) {
            return false;
        }
        self.limiter.retain_recent();
        self.limiter.len() > MOST_ADDRESSES
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut in_flight = lock(&self.throttle.in_flight);
        if let Some(count) = in_flight.get_mut(&self.hostname) {
            *count -= 1;
            if *count == 0 {
                in_flight.remove(&self.hostname);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(a_second: u32, at_once: u32) -> Option<Rate> {
        Some(Rate { a_second: a_second.try_into().unwrap(), at_once: at_once.try_into().unwrap() })
    }

    #[test]
    fn each_address_has_its_own_rate_and_an_ipv6_network_is_one() {
        let throttle = Throttle::new(rate(1, 2));
        let ask = |address: &str| throttle.ask(address.parse().unwrap());
        assert_eq!((ask("2001:db8::1"), ask("2001:db8::2")), (Ok(()), Ok(())));
        assert_eq!(ask("2001:db8::3"), Err(TooOften(1)));
        assert_eq!(ask("192.0.2.1"), Ok(()));
        throttle.set_rate(None);
        assert_eq!(ask("2001:db8::3"), Ok(()));
    }

    #[test]
    fn addresses_that_are_quiet_are_forgotten() {
        let throttle = Throttle::new(rate(1_000_000, 1));
        for number in 0..PRUNE_AFTER * 3 {
            let _often = throttle.ask(IpAddr::from(number.to_be_bytes()));
        }
        let addresses = throttle.addresses.load_full().unwrap();
        assert!(addresses.limiter.len() <= PRUNE_AFTER as usize * 2, "{}", addresses.limiter.len());
    }

    #[test]
    fn requests_under_way_are_counted_a_hostname_each() {
        let throttle = Throttle::new(None);
        let begin = |name: &str| throttle.begin(name.parse().unwrap(), 1);
        let first = begin("a.example.com").unwrap();
        assert!(begin("a.example.com").is_err());
        assert!(begin("b.example.com").is_ok());
        drop(first);
        assert!(begin("a.example.com").is_ok());
        assert!(lock(&throttle.in_flight).is_empty());
    }
}
