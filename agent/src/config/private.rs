//! What the file says of private access: `[[private]]`, which of this agent's services other peers may reach, and
//! `[[connect]]` and `[socks5]`, by which doors on this device theirs are reached.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use process::document::{Problems, Spanned, Table};
use protocol::control::Carries;
use protocol::hostname::Hostname;
use protocol::id::{PeerName, ServiceName, Tag};
use protocol::limits;
use protocol::roster::{Role, RosterPeer};
use protocol::service::ServiceAddress;

use super::read::Names;
use super::target::Target;

/// A service for other peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Private {
    pub(super) carries: Carries,
    pub(super) allow: Vec<Allow>,
}

/// Services for other peers, by name.
pub type PrivateServices = BTreeMap<ServiceName, Private>;

/// Who may reach a private service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    Operators,
    Tagged(Tag),
    Peer(PeerName),
}

impl Private {
    /// Whether it may be reached by this peer, as the relay describes it.
    #[must_use]
    pub fn admits(&self, peer: &RosterPeer) -> bool {
        self.allow.iter().any(|allow| match allow {
            Allow::Operators => peer.role == Role::Operator,
            Allow::Tagged(tag) => peer.tags.contains(tag),
            Allow::Peer(name) => peer.name == *name,
        })
    }

    #[must_use]
    pub fn carries(&self) -> Carries {
        self.carries
    }
}

/// `role:operator`, `tag:NAME` or `peer:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `role:operator`, `tag:NAME` or `peer:NAME`")]
pub struct AllowError;

impl FromStr for Allow {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        match text.split_once(':') {
            Some(("role", "operator")) => Ok(Self::Operators),
            Some(("tag", name)) => name.parse().map(Self::Tagged).map_err(|_| AllowError),
            Some(("peer", name)) => name.parse().map(Self::Peer).map_err(|_| AllowError),
            _ => Err(AllowError),
        }
    }
}

pub(super) fn services(tables: Vec<Table<'_>>, names: &Names<'_>) -> PrivateServices {
    let mut services = PrivateServices::new();
    for table in tables {
        if services.len() == limits::PRIVATE_SERVICES {
            let most = limits::PRIVATE_SERVICES;
            table.problems().add(table.place(), format!("an agent offers at most {most} private services"));
        }
        if let Some((service, private)) = service(table, names) {
            let allow = private.allow.clone();
            services.entry(service).and_modify(|known| known.allow.extend(allow)).or_insert(private);
        }
    }
    services
}

fn service(mut table: Table<'_>, names: &Names<'_>) -> Option<(ServiceName, Private)> {
    let problems = table.problems();
    let service = table.required_parsed::<ServiceName>("service");
    let allow = table.required("allow", Table::parsed_list::<Allow>);
    if let Some(service) = &service {
        names.check(service);
    }
    if let Some(allow) = allow.as_ref().filter(|allow| allow.value.is_empty()) {
        problems.add(allow, "nobody could reach this service");
    }
    let allow = allow?.into_inner().into_iter().map(Spanned::into_inner).collect();
    let service = service?.into_inner();
    let carries = names.target(&service).map_or(Carries::Tcp, Target::carries);
    Some((service, Private { carries, allow }))
}

/// A door on this device to one service of another peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Connect {
    pub service: ServiceAddress,
    /// Where to listen; where this is missing, at the port that the service has at its host.
    pub listen: Option<LocalAddress>,
    /// With TLS, under this name.
    pub https: Option<Hostname>,
}

/// An address of this device, or a port of its loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalAddress(pub SocketAddr);

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an address and a port of this device, such as `127.0.0.1:3000`, or a port alone")]
pub struct LocalAddressError;

impl FromStr for LocalAddress {
    type Err = LocalAddressError;

    fn from_str(text: &str) -> Result<Self, LocalAddressError> {
        if let Ok(port) = text.parse::<u16>() {
            return Ok(Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        let text =
            text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}")).unwrap_or(text.into());
        text.parse().map(Self).map_err(|_| LocalAddressError)
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(super) fn connects(tables: Vec<Table<'_>>, problems: &Problems) -> Vec<Connect> {
    let mut connects: Vec<Connect> = Vec::new();
    for mut table in tables {
        let service = table.required_parsed::<ServiceAddress>("service");
        let listen = table.parsed::<LocalAddress>("listen");
        let https = table.parsed::<Hostname>("https").map(Spanned::into_inner);
        let is_taken = |listen: &LocalAddress| {
            listen.0.port() != 0 && connects.iter().any(|other| other.listen.as_ref() == Some(listen))
        };
        if let Some(twice) = listen.as_ref().filter(|listen| is_taken(&listen.value)) {
            problems.add(twice, format!("`{}` is listened on twice", twice.value));
        }
        let listen = listen.map(Spanned::into_inner);
        connects.extend(service.map(|service| Connect { service: service.into_inner(), listen, https }));
    }
    connects
}

/// Whether and how other agents are met directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectConfig {
    pub enabled: bool,
    /// Whether the router is asked to let packets in.
    pub port_mapping: bool,
}

impl Default for DirectConfig {
    fn default() -> Self {
        Self { enabled: true, port_mapping: true }
    }
}

pub(super) fn direct(table: Option<Table<'_>>) -> DirectConfig {
    let Some(mut table) = table else { return DirectConfig::default() };
    let mut is_on = |key| table.bool(key).is_none_or(|value| value.into_inner());
    DirectConfig { enabled: is_on("enabled"), port_mapping: is_on("port_mapping") }
}

pub(super) fn socks5(table: Option<Table<'_>>) -> Option<LocalAddress> {
    table?.required_parsed::<LocalAddress>("listen").map(Spanned::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::read_text;

    #[test]
    fn who_is_allowed() {
        assert_eq!("role:operator".parse(), Ok(Allow::Operators));
        assert_eq!("peer:laptop".parse(), Ok(Allow::Peer("laptop".parse().unwrap())));
        assert_eq!("tag:family".parse(), Ok(Allow::Tagged("family".parse().unwrap())));
        for text in ["operator", "role:host", "peer:", "peer:A", "tag:"] {
            assert_eq!(text.parse::<Allow>(), Err(AllowError), "{text}");
        }
    }

    #[test]
    fn only_who_is_on_the_list_is_admitted() {
        let peer = |name: &str, role, tags: &[&str]| RosterPeer {
            name: name.parse().unwrap(),
            key: protocol::key::PublicKey::from_bytes([1; 32]),
            role,
            tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
            online: true,
            offers: vec![],
            missing: vec![],
            reaches: vec![],
        };
        let admits = |allow: &str, peer: &RosterPeer| {
            Private { carries: Carries::Tcp, allow: vec![allow.parse().unwrap()] }.admits(peer)
        };
        let laptop = peer("laptop", Role::Operator, &["family"]);
        let nas = peer("nas", Role::Host, &[]);
        assert!(admits("role:operator", &laptop) && !admits("role:operator", &nas));
        assert!(admits("peer:nas", &nas) && !admits("peer:nas", &laptop));
        assert!(admits("tag:family", &laptop) && !admits("tag:family", &nas));
        assert!(!Private { carries: Carries::Tcp, allow: vec![] }.admits(&laptop));
    }

    #[test]
    fn private_services_and_doors_are_read() {
        let config = read_text(
            r#"
[service.web]
origin = "http://127.0.0.1:1"
[service.dns]
origin = "udp://127.0.0.1:53"
[[private]]
service = "web"
allow = ["role:operator"]
[[private]]
service = "web"
allow = ["peer:nas"]
[[private]]
service = "dns"
allow = ["tag:family"]
[[connect]]
service = "nas/photos"
listen = "127.0.0.1:3000"
https = "photos.localhost"
[[connect]]
service = "nas/ssh"
[socks5]
listen = 1080
[direct]
port_mapping = false
"#
            .replace("listen = 1080", "listen = \"1080\"")
            .as_str(),
        )
        .unwrap();
        let web = &config.private()[&"web".parse().unwrap()];
        assert_eq!((web.carries, web.allow.len()), (Carries::Tcp, 2));
        assert_eq!(config.private()[&"dns".parse().unwrap()].carries, Carries::Udp);
        assert_eq!(config.register(1).private.len(), 2);
        assert_eq!(config.connects()[0].listen.unwrap().to_string(), "127.0.0.1:3000");
        assert_eq!(config.connects()[1].listen, None);
        assert_eq!(config.socks5().unwrap().0, "127.0.0.1:1080".parse().unwrap());
        assert_eq!(config.direct(), DirectConfig { enabled: true, port_mapping: false });
    }

    #[test]
    fn addresses_of_this_device() {
        for (text, address) in
            [("8080", "127.0.0.1:8080"), ("localhost:1", "127.0.0.1:1"), ("[::1]:2", "[::1]:2")]
        {
            assert_eq!(text.parse::<LocalAddress>().unwrap().0, address.parse().unwrap());
        }
        for text in ["", "127.0.0.1", "example.com:1", "70000"] {
            assert_eq!(text.parse::<LocalAddress>(), Err(LocalAddressError), "{text}");
        }
    }
}
