//! A site's router: which NAT it is, and its firewall.

use super::{Addresses, DEVICE, Host, Lab, SWITCH, Site};
use crate::lab::namespace::Namespace;

/// How a site's hosts appear to the others (RFC 4787, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// A socket keeps its port, whomever it sends to. Only those that it has sent to can answer.
    EndpointIndependent,
    /// A socket has another port, by chance, for everyone that it sends to.
    Symmetric,
    /// The hosts have public addresses, and no firewall.
    None,
}

impl Nat {
    fn masquerade(self) -> Option<&'static str> {
        match self {
            Self::EndpointIndependent => Some("masquerade"),
            Self::Symmetric => Some("masquerade random,fully-random"),
            Self::None => None,
        }
    }
}

/// The site that has this number in the lab.
pub(super) fn build(lab: &Lab, nat: Nat, hosts: u8) -> Site {
    let number = lab.sites;
    let router = Namespace::new(format!("{}-site{number}", lab.name), lab.both_families);
    router.plug("wan", (&lab.internet, SWITCH), &format!("site{number}"));
    router.ip("link add lan type bridge mcast_snooping 0\nlink set lan up");
    let hosts = match nat.masquerade() {
        Some(masquerade) => {
            set_up(lab, &router, masquerade);
            (0..hosts).map(|index| host_behind(lab, &router, index)).collect()
        }
        None => {
            // It is one switch with the internet's.
            router.ip("link set wan master lan");
            (0..hosts).map(|index| plugged(lab, &router, index, Addresses::public(number, index))).collect()
        }
    };
    Site { number, hosts, _router: router }
}

fn set_up(lab: &Lab, router: &Namespace, masquerade: &str) {
    Addresses::public(lab.sites, 0).give_to(router, "wan", lab.both_families);
    Addresses::local(lab.sites, 1).give_to(router, "lan", lab.both_families);
    router.set("net/ipv4/ip_forward", "1");
    if lab.both_families {
        router.set("net/ipv6/conf/all/forwarding", "1");
        router.set("net/ipv6/conf/wan/proxy_ndp", "1");
        router.set("net/ipv6/neigh/wan/proxy_delay", "0");
    }
    router.nft(&rules(masquerade));
}

/// What comes unasked is dropped without a word. Were it answered or let in, the kernel would remember it, and a later
/// packet from inside that meets it would get another port. Packets within the site are met here as well where bridges
/// call netfilter.
fn rules(masquerade: &str) -> String {
    format!(
        "
table inet router {{
  chain input {{
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
  }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname lan accept
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    meta nfproto ipv4 oifname wan {masquerade}
  }}
}}"
    )
}

fn host_behind(lab: &Lab, router: &Namespace, index: u8) -> Host {
    let addresses = Addresses::local(lab.sites, 2 + index);
    let host = plugged(lab, router, index, addresses);
    Addresses::local(lab.sites, 1).route(&host.namespace, lab.both_families);
    if lab.both_families {
        // The others need no route to the site: its router answers for the host.
        router.ip(&format!("neigh add proxy {} dev wan", addresses.ipv6));
    }
    host
}

fn plugged(lab: &Lab, router: &Namespace, index: u8, addresses: Addresses) -> Host {
    let name = format!("{}-host{index}", router.name());
    let namespace = Namespace::new(name, lab.both_families);
    namespace.plug(DEVICE, (router, "lan"), &format!("host{index}"));
    Host::new(namespace, addresses, lab.both_families)
}
