//! What the store promises, on real files. Here: what the topics share, and peers; the rest by topic.

mod certificates;
mod enrollments;
mod file;
mod grants;
mod tokens;

use std::net::IpAddr;

use protocol::hostname::HostnamePattern;
use protocol::key::PublicKey;
use protocol::token::TokenHash;
use tempfile::TempDir;

use super::*;

const NOW: i64 = 1_800_000_000;
const HOUR: i64 = 3600;

/// A store in a folder of its own.
struct Bed {
    folder: TempDir,
    store: Store,
}

impl Bed {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("relay.db")).await.unwrap();
        Self { folder, store }
    }

    /// Another process's view, or as near as one process comes to it.
    async fn opened_again(&self) -> Store {
        Store::open(&self.folder.path().join("relay.db")).await.unwrap()
    }

    async fn token(&self, number: u8, grant: &NewPeer) -> TokenHash {
        let hash = TokenHash::of(&[number; 32]);
        self.store.create_token(&hash, grant, NOW, NOW + HOUR).await.unwrap();
        hash
    }

    async fn enrolled(&self, number: u8, grant: &NewPeer) -> Peer {
        let hash = self.token(number, grant).await;
        let redeemed = self.store.redeem_token(&hash, &key(number), None, NOW).await.unwrap();
        peer(redeemed).unwrap()
    }

    async fn actions(&self) -> Vec<String> {
        let entries = self.store.audit(100).await.unwrap();
        entries.iter().rev().map(|e| format!("{} {} {}", e.actor, e.action, e.subject)).collect()
    }
}

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn name(text: &str) -> PeerName {
    text.parse().unwrap()
}

fn hostnames(texts: &[&str]) -> Vec<HostnamePattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn exposing(hostnames: &[HostnamePattern]) -> Grants {
    Grants { hostnames: hostnames.to_vec(), ..Grants::default() }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn host(called: Option<&str>, granted: &[&str]) -> NewPeer {
    NewPeer { name: called.map(name), role: Role::Host, grants: exposing(&hostnames(granted)) }
}

fn peer(redeemed: Redeemed) -> Option<Peer> {
    match redeemed {
        Redeemed::Enrolled(peer) => Some(peer),
        Redeemed::Refused => None,
    }
}

/// Compiles only where every operation may be awaited by a task that moves between threads.
#[expect(dead_code, reason = "it is there to be compiled")]
fn operations_are_send(store: &Store, grant: &NewPeer) -> impl Send {
    let hash = TokenHash::of(&[0; 32]);
    async move {
        store.relay_secret([0; 32]).await?;
        store.grant(&name("a"), &Grants::default(), 0).await?;
        store.ungrant(&name("a"), &Grants::default(), 0).await?;
        store.revoke_peer(&name("a"), 0).await?;
        store.create_token(&hash, grant, 0, 0).await?;
        store.redeem_token(&hash, &key(0), None, 0).await?;
        store.request_enrollment(&key(0), None, address("::1"), "a", 0).await?;
        store.approve("a", grant, 0).await?;
        store.peers().await
    }
}

#[tokio::test]
async fn a_peer_is_what_its_token_said() {
    let bed = Bed::new().await;
    let granted = ["koda.example.com", "*.dev.example.com"];
    let grant = NewPeer { role: Role::Operator, ..host(Some("home"), &granted) };
    let peer = bed.enrolled(1, &grant).await;
    assert_eq!((peer.name.as_str(), peer.role, peer.key), ("home", Role::Operator, key(1)));
    assert_eq!(peer.grants.hostnames, hostnames(&["*.dev.example.com", "koda.example.com"]));
    assert_eq!((peer.enrolled_at, peer.last_seen_at), (NOW, None));
    assert_eq!(bed.store.peers().await.unwrap(), [peer]);
}

#[tokio::test]
async fn a_taken_name_gets_a_number() {
    let bed = Bed::new().await;
    let (long, cut) = ("a".repeat(63), format!("{}-2", "a".repeat(61)));
    let wishes = [None, None, Some("home"), Some("home"), Some("home"), Some(long.as_str()), Some(&long)];
    let mut given = Vec::new();
    for (number, wish) in (1..).zip(wishes) {
        let hash = bed.token(number, &host(None, &[])).await;
        let wish = wish.map(name);
        let redeemed = bed.store.redeem_token(&hash, &key(number), wish.as_ref(), NOW).await.unwrap();
        given.push(peer(redeemed).unwrap().name.to_string());
    }
    assert_eq!(given, ["peer", "peer-2", "home", "home-2", "home-3", &long, &cut]);
}

#[tokio::test]
async fn the_tokens_name_goes_before_the_wished_one() {
    let bed = Bed::new().await;
    let hash = bed.token(1, &host(Some("home"), &[])).await;
    let redeemed = bed.store.redeem_token(&hash, &key(1), Some(&name("admin")), NOW).await.unwrap();
    assert_eq!(peer(redeemed).unwrap().name, name("home"));
}

#[tokio::test]
async fn grants_come_and_go() {
    let bed = Bed::new().await;
    let home = bed.enrolled(1, &host(Some("home"), &["a.example.com"])).await;
    let both = hostnames(&["a.example.com", "b.example.com"]);
    let granted = bed.store.grant(&home.name, &exposing(&both), NOW).await.unwrap().unwrap();
    assert_eq!(granted.grants, exposing(&both));
    let left = bed.store.ungrant(&home.name, &exposing(&both[..1]), NOW).await.unwrap().unwrap();
    assert_eq!(left.grants, exposing(&both[1..]));
    bed.store.ungrant(&home.name, &exposing(&both[..1]), NOW).await.unwrap();
    assert_eq!(bed.store.grant(&name("nobody"), &exposing(&both), NOW).await.unwrap(), None);
    assert_eq!(bed.store.ungrant(&name("nobody"), &exposing(&both), NOW).await.unwrap(), None);
    let expected = ["admin granted home: b.example.com", "admin ungranted home: a.example.com"];
    assert_eq!(bed.actions().await[3..], expected);
}

#[tokio::test]
async fn last_seen_never_moves_back() {
    let bed = Bed::new().await;
    let id = bed.enrolled(1, &host(None, &[])).await.id;
    for now in [NOW + 5, NOW + 9, NOW + 7] {
        bed.store.seen(id, now).await.unwrap();
    }
    assert_eq!(bed.store.peers().await.unwrap()[0].last_seen_at, Some(NOW + 9));
}

#[tokio::test]
async fn a_revoked_peer_is_gone_and_its_id_is_never_given_again() {
    let bed = Bed::new().await;
    let home = bed.enrolled(1, &host(Some("home"), &["a.example.com"])).await;
    assert_eq!(bed.store.revoke_peer(&home.name, NOW).await.unwrap().as_ref(), Some(&home));
    assert_eq!(bed.store.revoke_peer(&home.name, NOW).await.unwrap(), None);
    assert_eq!(bed.store.peers().await.unwrap(), []);
    let next = bed.enrolled(2, &host(Some("home"), &[])).await;
    assert!(next.id > home.id && next.grants.is_empty() && next.name == home.name);
}

#[tokio::test]
async fn the_relays_key_is_the_first_one_that_was_offered() {
    let bed = Bed::new().await;
    let other = bed.opened_again().await;
    let first = bed.store.relay_secret([1; 32]).await.unwrap();
    let again = other.relay_secret([2; 32]).await.unwrap();
    assert_eq!(first.expose_bytes(), &[1; 32]);
    assert_eq!(again.public(), first.public());
}
