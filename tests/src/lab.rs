//! An internet in network namespaces of Linux: the relay's host, sites whose hosts are behind NAT routers, and a switch
//! between them that can be told what not to carry. Needs root, iproute2 and nftables.
//!
//! Public addresses are 203.0.113.1 (the relay's), .11 (site 1), .21 (site 2) and so on; hosts of site 1 are
//! 192.168.1.2, 192.168.1.3 ... In a lab of both families they also have addresses 2001:db8:1::2 ..., without NAT but
//! behind the same firewall. A namespace stays until the last handle of it is gone.

mod namespace;
mod router;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use self::namespace::Namespace;

pub use self::router::Nat;

/// The only device of a host.
const DEVICE: &str = "eth0";
/// The switch between all sites.
const SWITCH: &str = "internet";
const RELAY: Addresses = Addresses {
    ipv4: Ipv4Addr::new(203, 0, 113, 1),
    ipv4_prefix: 24,
    ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    ipv6_prefix: 32,
};

/// Sites are told apart by their ports of the switch, so that both families are dropped alike.
const SWITCH_RULES: &str = "
table bridge internet {
  set cut { type ifname . ifname; }
  set without_udp { type ifname; }
  chain forward {
    type filter hook forward priority 0;
    iifname . oifname @cut drop
    meta l4proto udp iifname @without_udp drop
    meta l4proto udp oifname @without_udp drop
  }
}";

/// The internet, with the relay's host.
#[derive(Debug)]
pub struct Lab {
    name: String,
    internet: Namespace,
    relay: Host,
    both_families: bool,
    sites: u8,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// Of IPv4 only.
    #[must_use]
    pub fn new() -> Self {
        Self::make(false)
    }

    /// Of IPv4 and IPv6.
    #[must_use]
    pub fn with_ipv6() -> Self {
        Self::make(true)
    }

    fn make(both_families: bool) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("adit-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let internet = Namespace::new(format!("{name}-internet"), both_families);
        // Without snooping, neighbour discovery is not held up until a bridge knows who listens.
        internet.ip(&format!("link add {SWITCH} type bridge mcast_snooping 0\nlink set {SWITCH} up"));
        internet.nft(SWITCH_RULES);
        let relay = Namespace::new(format!("{name}-relay"), both_families);
        relay.plug(DEVICE, (&internet, SWITCH), "relay");
        let relay = Host::new(relay, RELAY, both_families);
        Self { name, internet, relay, both_families, sites: 0 }
    }

    /// What the names of all its namespaces begin with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host with the relay's address, which everybody reaches.
    #[must_use]
    pub fn relay(&self) -> &Host {
        &self.relay
    }

    /// Adds a site with so many hosts (up to 9), up to 24 sites.
    pub fn site(&mut self, nat: Nat, hosts: u8) -> Site {
        self.sites += 1;
        assert!(self.sites <= 24 && hosts <= 9, "no addresses are left");
        router::build(self, nat, hosts)
    }

    /// From now on the site sends and receives no UDP packet.
    pub fn block_udp(&self, site: &Site) {
        self.change("add", "without_udp", &site.port());
    }

    /// The end of [`Self::block_udp`].
    pub fn allow_udp(&self, site: &Site) {
        self.change("delete", "without_udp", &site.port());
    }

    /// From now on nothing passes between the two sites; both reach everybody else.
    pub fn cut_between(&self, one: &Site, other: &Site) {
        self.change("add", "cut", &both_ways(one, other));
    }

    /// The end of [`Self::cut_between`].
    pub fn restore_between(&self, one: &Site, other: &Site) {
        self.change("delete", "cut", &both_ways(one, other));
    }

    fn change(&self, verb: &str, set: &str, elements: &str) {
        self.internet.nft(&format!("{verb} element bridge internet {set} {{ {elements} }}"));
    }
}

fn both_ways(one: &Site, other: &Site) -> String {
    let (one, other) = (one.port(), other.port());
    format!("{one} . {other}, {other} . {one}")
}

/// Hosts that share a router and its public address.
#[derive(Debug)]
pub struct Site {
    number: u8,
    hosts: Vec<Host>,
    /// Held for the hosts' sake.
    _router: Namespace,
}

impl Site {
    /// Its router's, or its first host's if no NAT is before them.
    #[must_use]
    pub fn public_address(&self) -> IpAddr {
        Addresses::public(self.number, 0).ipv4.into()
    }

    /// One of its hosts, counted from 0.
    #[must_use]
    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// Its port of the switch.
    fn port(&self) -> String {
        format!("site{}", self.number)
    }
}

/// Bytes that a host's device has seen, with the headers of all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    pub received: u64,
    pub sent: u64,
}

/// A machine that programs run on.
#[derive(Debug, Clone)]
pub struct Host {
    namespace: Arc<Namespace>,
    ipv4: Ipv4Addr,
    ipv6: Option<Ipv6Addr>,
}

impl Host {
    /// Its device has to be plugged in.
    fn new(namespace: Namespace, addresses: Addresses, both_families: bool) -> Self {
        addresses.give_to(&namespace, DEVICE, both_families);
        let ipv6 = both_families.then_some(addresses.ipv6);
        Self { namespace: Arc::new(namespace), ipv4: addresses.ipv4, ipv6 }
    }

    /// Its own address, which is not the one that others see if it is behind a NAT.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.ipv4.into()
    }

    /// The other one, in a lab of both families.
    #[must_use]
    pub fn ipv6_address(&self) -> Option<IpAddr> {
        self.ipv6.map(IpAddr::V6)
    }

    /// The same command on this host. Keeps its arguments, environment and folder; pipes have to be set afterwards.
    #[must_use]
    pub fn wrap(&self, command: &Command) -> Command {
        self.namespace.wrap(command)
    }

    /// Runs a closure on this host, on a thread of its own. Sockets that it returns stay on this host.
    #[cfg(target_os = "linux")]
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.within(work)
    }

    /// What it has received and sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let shown = self.namespace.show(DEVICE);
        let bytes = |way: &str| shown["stats64"][way]["bytes"].as_u64().expect("a count");
        Traffic { received: bytes("rx"), sent: bytes("tx") }
    }
}

/// What a device is reached at, and how much around that is reached without a router.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    ipv4: Ipv4Addr,
    ipv4_prefix: u8,
    ipv6: Ipv6Addr,
    ipv6_prefix: u8,
}

impl Addresses {
    /// Of a site's router (0), or of its hosts if there is none.
    fn public(site: u8, index: u8) -> Self {
        let last = 10 * site + 1 + index;
        let ipv4 = Ipv4Addr::new(203, 0, 113, last);
        Self { ipv4, ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()), ..RELAY }
    }

    /// Of a site's gateway (1), or of its hosts (2 and up).
    fn local(site: u8, last: u8) -> Self {
        let ipv4 = Ipv4Addr::new(192, 168, site, last);
        let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, site.into(), 0, 0, 0, 0, last.into());
        Self { ipv4, ipv4_prefix: 24, ipv6, ipv6_prefix: 64 }
    }

    fn give_to(self, namespace: &Namespace, device: &str, both_families: bool) {
        namespace.ip(&format!("addr add {}/{} dev {device}", self.ipv4, self.ipv4_prefix));
        if both_families {
            namespace.ip(&format!("addr add {}/{} dev {device} nodad", self.ipv6, self.ipv6_prefix));
        }
    }

    /// The way to everything else.
    fn route(self, namespace: &Namespace, both_families: bool) {
        namespace.ip(&format!("route add default via {}", self.ipv4));
        if both_families {
            namespace.ip(&format!("route add default via {}", self.ipv6));
        }
    }
}
