//! How many of something may be there, in all and from one address: strangers at the sessions' door, visitors at the edge.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::lock::lock;

/// What the gate says to one more.
#[derive(Debug)]
pub(crate) enum Verdict {
    Enter(Ticket),
    /// Only after the address has proven that it can receive.
    Validate,
    Refuse,
}

/// Bounds; `validate_from` is the load from which addresses have to prove themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) all: usize,
    pub(crate) of_an_address: usize,
    pub(crate) validate_from: usize,
}

#[derive(Debug)]
pub(crate) struct Gate {
    bounds: Bounds,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place at the door, given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, inside: Mutex::default() })
    }

    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, validated: bool) -> Verdict {
        let address = network(address);
        let mut inside = lock(&self.inside);
        if inside.all >= self.bounds.all {
            return Verdict::Refuse;
        }
        if inside.all >= self.bounds.validate_from && !validated {
            return Verdict::Validate;
        }
        let of_address = inside.by_address.entry(address).or_default();
        if *of_address >= self.bounds.of_an_address {
            // Somebody else may be writing this address on the envelope.
            return if validated { Verdict::Refuse } else { Verdict::Validate };
        }
        *of_address += 1;
        inside.all += 1;
        Verdict::Enter(Ticket { gate: Arc::clone(self), address })
    }
}

/// One household has one IPv4 address or one IPv6 /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inside = lock(&self.gate.inside);
        inside.all -= 1;
        if let Some(of_address) = inside.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                inside.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(gate: &Arc<Gate>, address: &str, validated: bool) -> Verdict {
        gate.enter(address.parse().unwrap(), validated)
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let gate = Gate::new(Bounds { all: 3, of_an_address: 2, validate_from: 2 });
        let first = enter(&gate, "192.0.2.1", false);
        let _second = enter(&gate, "192.0.2.1", false);
        assert!(matches!(enter(&gate, "192.0.2.2", false), Verdict::Validate));
        assert!(matches!(enter(&gate, "192.0.2.1", true), Verdict::Refuse));
        let _third = enter(&gate, "2001:db8::1", true);
        assert!(matches!(enter(&gate, "192.0.2.9", true), Verdict::Refuse));
        drop(first);
        assert!(matches!(enter(&gate, "192.0.2.1", true), Verdict::Enter(_)));
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let gate = Gate::new(Bounds { all: 9, of_an_address: 1, validate_from: 9 });
        let _one = enter(&gate, "2001:db8::1", true);
        assert!(matches!(enter(&gate, "2001:db8::2", true), Verdict::Refuse));
        assert!(matches!(enter(&gate, "2001:db8:0:1::2", true), Verdict::Enter(_)));
    }
}
