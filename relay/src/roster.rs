//! Who may reach whose private services, and what each is told of the others. Pure.

use std::collections::BTreeSet;

use protocol::control::PrivateService;
use protocol::id::ServiceName;
use protocol::limits;
use protocol::private::Purpose;
use protocol::roster::RosterPeer;
use protocol::service::{ServiceAddress, ServicePattern};

use crate::store::Peer;

/// A peer, and what its sessions say.
#[derive(Debug, Clone)]
pub(crate) struct Known<'p> {
    pub(crate) peer: &'p Peer,
    pub(crate) is_online: bool,
    pub(crate) offers: BTreeSet<PrivateService>,
}

/// Whether `operator` was granted this service of `host`.
pub(crate) fn may_reach(operator: &Peer, host: &Peer, service: &ServiceName) -> bool {
    let covers = |pattern: &ServicePattern| pattern.covers(&host.name, &host.grants.tags, service);
    operator.key != host.key && operator.grants.services.iter().any(covers)
}

/// Whether a stream for this purpose may lead from one to the other. The agents may talk where there is something to
/// talk about.
pub(crate) fn may_open(operator: &Peer, host: &Known<'_>, purpose: &Purpose) -> bool {
    match purpose.service() {
        Some(service) => may_reach(operator, host.peer, service),
        None => host.offers.iter().any(|offer| may_reach(operator, host.peer, &offer.name)),
    }
}

/// What a peer is told of the others: by name, as many as a roster may hold. Of a message's bytes each has an equal share;
/// what one offers beyond that is left out, and takes nothing from the others.
pub(crate) fn told_to(reader: &Known<'_>, others: &[Known<'_>]) -> Vec<RosterPeer> {
    let entries = others.iter().filter_map(|other| entry(reader, other)).take(limits::ROSTER);
    let mut told: Vec<RosterPeer> = entries.collect();
    let share = (limits::CONTROL_BODY - 1024) / told.len().max(1);
    for entry in &mut told {
        while weight(entry) > share && (entry.offers.pop().is_some() || shorten(entry)) {}
    }
    told
}

/// Whether there was something to leave out beside the offers.
fn shorten(entry: &mut RosterPeer) -> bool {
    entry.missing.pop().is_some() || entry.reaches.pop().is_some() || entry.tags.pop().is_some()
}

/// The most bytes that an entry takes in the message.
fn weight(entry: &RosterPeer) -> usize {
    let tags: usize = entry.tags.iter().map(|tag| tag.as_str().len() + 3).sum();
    let offers: usize = entry.offers.iter().map(|offer| offer.name.as_str().len() + 32).sum();
    let names = entry.reaches.iter().chain(&entry.missing);
    let names: usize = names.map(|service| service.as_str().len() + 3).sum();
    256 + tags + offers + names
}

/// Nothing where the two have nothing to do with each other.
fn entry(reader: &Known<'_>, other: &Known<'_>) -> Option<RosterPeer> {
    let (peer, me) = (other.peer, reader.peer);
    let offers: Vec<PrivateService> =
        other.offers.iter().filter(|offer| may_reach(me, peer, &offer.name)).cloned().collect();
    let missing = missing(me, other);
    let mine = reader.offers.iter().filter(|offer| may_reach(peer, me, &offer.name));
    let reaches: Vec<ServiceName> = mine.map(|offer| offer.name.clone()).collect();
    let is_stranger = offers.is_empty() && missing.is_empty() && reaches.is_empty();
    (!is_stranger).then(|| RosterPeer {
        name: peer.name.clone(),
        key: peer.key,
        role: peer.role,
        tags: peer.grants.tags.clone(),
        online: other.is_online,
        offers,
        missing,
        reaches,
    })
}

/// What was granted by its full name, and is not offered now: it is waited for.
fn missing(operator: &Peer, host: &Known<'_>) -> Vec<ServiceName> {
    let named = operator.grants.services.iter().filter_map(|pattern| {
        let address: ServiceAddress = pattern.as_str().parse().ok()?;
        (address.peer == host.peer.name && operator.key != host.peer.key).then_some(address.service)
    });
    let is_offered = |name: &ServiceName| host.offers.iter().any(|offer| offer.name == *name);
    named.filter(|name| !is_offered(name)).collect()
}

#[cfg(test)]
mod tests {
    use protocol::control::Carries;
    use protocol::key::PublicKey;

    use super::*;
    use crate::store::{Grants, Role};

    fn peer(name: &str, number: u8, services: &[&str], tags: &[&str]) -> Peer {
        let services = services.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        Peer {
            id: number.into(),
            name: name.parse().unwrap(),
            key: PublicKey::from_bytes([number; 32]),
            role: if services == [] as [ServicePattern; 0] { Role::Host } else { Role::Operator },
            grants: Grants { hostnames: Vec::new(), services, tags },
            enrolled_at: 0,
            last_seen_at: None,
        }
    }

    fn known<'p>(peer: &'p Peer, offers: &[&str]) -> Known<'p> {
        let offer = |name: &&str| PrivateService { name: name.parse().unwrap(), carries: Carries::Tcp };
        Known { peer, is_online: true, offers: offers.iter().map(offer).collect() }
    }

    fn offered(entries: &[RosterPeer]) -> Vec<String> {
        let one = |entry: &RosterPeer| {
            let services: Vec<_> = entry.offers.iter().map(|offer| offer.name.to_string()).collect();
            format!("{}: {}", entry.name, services.join(" "))
        };
        entries.iter().map(one).collect()
    }

    #[test]
    fn an_operator_hears_of_what_it_may_reach_and_hosts_of_who_may_reach_them() {
        let (home, nas) = (peer("home", 1, &[], &[]), peer("nas", 2, &[], &["media"]));
        let laptop = peer("laptop", 3, &["home/web", "tag:media/*"], &["family"]);
        let all = [known(&home, &["ssh", "web"]), known(&laptop, &[]), known(&nas, &["films", "music"])];
        assert_eq!(offered(&told_to(&all[1], &all)), ["home: web", "nas: films music"]);
        let to_home = told_to(&all[0], &all);
        assert_eq!((to_home.len(), to_home[0].name.as_str()), (1, "laptop"));
        assert_eq!(to_home[0].reaches, ["web".parse().unwrap()]);
        assert_eq!((to_home[0].role, to_home[0].tags.len(), to_home[0].offers.len()), (Role::Operator, 1, 0));
        let stranger = peer("stranger", 4, &[], &[]);
        assert!(told_to(&known(&stranger, &[]), &all).is_empty());
    }

    #[test]
    fn a_host_that_is_away_is_named_where_it_was_granted_by_name() {
        let (home, laptop) = (peer("home", 1, &[], &[]), peer("laptop", 3, &["home/web", "*/ssh"], &[]));
        let away = Known { is_online: false, ..known(&home, &[]) };
        let told = told_to(&known(&laptop, &[]), &[away]);
        assert_eq!((told[0].offers.len(), told[0].online), (0, false));
        assert_eq!(told[0].missing, ["web".parse().unwrap()]);
        // It is back, and has not said yet what it offers.
        let told = told_to(&known(&laptop, &[]), &[known(&home, &[])]);
        assert_eq!((told[0].missing.len(), told[0].online), (1, true));
        let told = told_to(&known(&laptop, &[]), &[known(&home, &["web"])]);
        assert_eq!((offered(&told), told[0].missing.len()), (vec!["home: web".to_owned()], 0));
    }

    #[test]
    fn agents_talk_only_where_one_may_reach_the_other() {
        let (home, laptop) = (peer("home", 1, &[], &[]), peer("laptop", 3, &["home/web"], &[]));
        assert!(may_open(&laptop, &known(&home, &["web"]), &Purpose::Talk));
        assert!(!may_open(&laptop, &known(&home, &["ssh"]), &Purpose::Talk));
        assert!(!may_open(&laptop, &known(&home, &["web"]), &Purpose::Tcp("ssh".parse().unwrap())));
        let itself = peer("home", 1, &["*/*"], &[]);
        assert!(!may_open(&itself, &known(&itself, &["web"]), &Purpose::Tcp("web".parse().unwrap())));
    }

    #[test]
    fn what_one_is_told_fits_into_a_message() {
        use protocol::control::Message as _;
        let laptop = peer("laptop", 255, &["*/*"], &[]);
        let hosts: Vec<Peer> =
            (0..200).map(|n| peer(&format!("{}{n}", "h".repeat(50)), n, &[], &[])).collect();
        let names: Vec<String> = (0..60).map(|n| format!("{}{n}", "s".repeat(55))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all: Vec<_> = hosts.iter().map(|host| known(host, &names)).collect();
        let peers = told_to(&known(&laptop, &[]), &all);
        assert_eq!(peers.len(), 200);
        assert!(peers.iter().all(|peer| (2..60).contains(&peer.offers.len())), "{peers:?}");
        let roster = protocol::roster::Roster { observed: None, peers };
        assert!(roster.to_frame().unwrap().body.len() <= limits::CONTROL_BODY);
    }
}
