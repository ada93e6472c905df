//! Where packets may reach this agent: addresses of its own, the one that the relay sees, and one that a router gave.

use std::net::{IpAddr, SocketAddr};

use protocol::talk::ADDRESSES;

/// Addresses of this device that are named at most.
const OWN: usize = 10;

/// All that is worth trying, IPv6 first, each once: what this device has, then how others see it.
pub(super) fn worth_trying(port: u16, seen: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let own = interfaces.iter().filter(|interface| !interface.is_loopback()).map(if_addrs::Interface::ip);
    ordered(own.map(|ip| SocketAddr::new(ip, port)), seen)
}

fn ordered(
    own: impl Iterator<Item = SocketAddr>,
    seen: impl IntoIterator<Item = SocketAddr>,
) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    let own = own.filter(|address| is_sensible(address, false)).take(OWN);
    let seen = seen.into_iter().map(canonical).filter(|address| is_sensible(address, true));
    for address in own.chain(seen) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all.sort_by_key(|address| !address.is_ipv6());
    all.truncate(ADDRESSES);
    all
}

/// What another agent says may be anything.
pub(super) fn sensible(addresses: &[SocketAddr], allow_loopback: bool) -> Vec<SocketAddr> {
    let all = addresses.iter().copied().map(canonical);
    all.filter(|address| is_sensible(address, allow_loopback)).take(ADDRESSES).collect()
}

pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// One that can belong to one device, and needs no word on which interface it is.
fn is_sensible(address: &SocketAddr, allow_loopback: bool) -> bool {
    let ip = address.ip();
    let fits = match ip {
        IpAddr::V4(ip) => !ip.is_broadcast() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    let is_own = ip.is_loopback() && !allow_loopback;
    fits && !is_own && !ip.is_unspecified() && !ip.is_multicast() && address.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn ipv6_goes_first_and_nothing_is_named_twice() {
        let own = parsed(&["192.168.1.2:9", "[2001:db8::2]:9", "[fe80::1]:9", "169.254.0.1:9"]);
        let seen = parsed(&["[::ffff:203.0.113.1]:77", "192.168.1.2:9"]);
        let expected = parsed(&["[2001:db8::2]:9", "192.168.1.2:9", "203.0.113.1:77"]);
        assert_eq!(ordered(own.into_iter(), seen), expected);
    }

    #[test]
    fn what_another_says_is_tamed() {
        let bad = parsed(&[
            "0.0.0.0:1",
            "255.255.255.255:1",
            "224.0.0.1:1",
            "192.0.2.1:0",
            "[ff02::1]:1",
            "127.0.0.1:1",
        ]);
        assert!(sensible(&bad, false).is_empty());
        assert_eq!(sensible(&bad, true), parsed(&["127.0.0.1:1"]));
        let many: Vec<SocketAddr> = (1..100).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
        assert_eq!(sensible(&many, false).len(), ADDRESSES);
    }
}
