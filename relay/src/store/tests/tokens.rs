//! One token makes one peer, whatever happens in between.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::task::JoinSet;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_keys_with_one_token_exactly_one_becomes_a_peer() {
    let bed = Bed::new().await;
    let hash = bed.token(200, &host(Some("home"), &["koda.example.com"])).await;
    let stores = [bed.store.clone(), bed.opened_again().await];
    let mut attempts = JoinSet::new();
    for (number, store) in (0..64).zip(stores.iter().cloned().cycle()) {
        attempts.spawn(async move { store.redeem_token(&hash, &key(number), None, NOW).await.unwrap() });
    }
    let winners: Vec<_> = attempts.join_all().await.into_iter().filter_map(peer).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(bed.store.peers().await.unwrap(), winners);
}

#[tokio::test]
async fn the_same_key_may_ask_again_while_its_peer_is_there() {
    let bed = Bed::new().await;
    let home = bed.enrolled(1, &host(Some("home"), &["a.example.com"])).await;
    let hash = TokenHash::of(&[1; 32]);
    let again = bed.store.redeem_token(&hash, &key(1), None, NOW + 2 * HOUR).await.unwrap();
    assert_eq!(again, Redeemed::Enrolled(home.clone()));
    assert_eq!(bed.store.redeem_token(&hash, &key(2), None, NOW).await.unwrap(), Redeemed::Refused);
    assert_eq!(bed.store.peers().await.unwrap(), [home]);
}

#[tokio::test]
async fn a_revoked_peer_cannot_come_back_with_its_used_token() {
    let bed = Bed::new().await;
    let home = bed.enrolled(1, &host(Some("home"), &["a.example.com"])).await;
    let hash = TokenHash::of(&[1; 32]);
    bed.store.revoke_peer(&home.name, NOW).await.unwrap();
    assert_eq!(bed.store.redeem_token(&hash, &key(1), None, NOW).await.unwrap(), Redeemed::Refused);
    assert_eq!(bed.store.peers().await.unwrap(), []);

    // Not even where the same key was admitted anew: the old token says nothing about that.
    bed.enrolled_by_approval(&home.key).await;
    assert_eq!(bed.store.redeem_token(&hash, &key(1), None, NOW).await.unwrap(), Redeemed::Refused);
}

impl Bed {
    async fn enrolled_by_approval(&self, key: &PublicKey) {
        self.store.request_enrollment(key, None, address("::1"), "CODE", NOW).await.unwrap();
        self.store.approve("CODE", &host(None, &[]), NOW).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn unknown_expired_and_revoked_tokens_are_refused_alike() {
    let bed = Bed::new().await;
    let unknown = TokenHash::of(&[9; 32]);
    let (late, revoked) = (bed.token(1, &host(None, &[])).await, bed.token(2, &host(None, &[])).await);
    let last_chance = bed.token(3, &host(None, &[])).await;
    assert!(bed.store.revoke_token(2, NOW).await.unwrap());
    for (hash, now) in [(unknown, NOW), (late, NOW + HOUR), (revoked, NOW)] {
        let refused = bed.store.redeem_token(&hash, &key(1), None, now).await.unwrap();
        assert_eq!(refused, Redeemed::Refused);
    }
    assert_eq!(bed.store.peers().await.unwrap(), []);
    let in_time = bed.store.redeem_token(&last_chance, &key(1), None, NOW + HOUR - 1).await.unwrap();
    assert!(peer(in_time).is_some());
}

#[tokio::test]
async fn tokens_tell_what_became_of_them() {
    let bed = Bed::new().await;
    let grant = host(Some("home"), &["a.example.com", "b.example.com"]);
    bed.enrolled(1, &grant).await;
    bed.token(2, &host(None, &[])).await;
    bed.token(3, &host(None, &["c.example.com"])).await;
    for (id, revoked) in [(1, false), (2, true), (2, false), (7, false)] {
        assert_eq!(bed.store.revoke_token(id, NOW).await.unwrap(), revoked, "token {id}");
    }
    let tokens = bed.store.tokens(NOW).await.unwrap();
    assert_eq!(tokens[0].grant, grant);
    assert_eq!((tokens[0].created_at, tokens[0].expires_at), (NOW, NOW + HOUR));
    let used = TokenState::Used { by: name("home"), at: NOW };
    let states: Vec<_> = tokens.into_iter().map(|token| (token.id, token.state)).collect();
    assert_eq!(states, [(1, used.clone()), (2, TokenState::Revoked { at: NOW }), (3, TokenState::Open)]);

    // Who used it remains known after the peer is gone.
    bed.store.revoke_peer(&name("home"), NOW).await.unwrap();
    let later = bed.store.tokens(NOW + HOUR).await.unwrap();
    assert_eq!((&later[0].state, &later[2].state), (&used, &TokenState::Expired));
}

#[tokio::test]
async fn a_peer_with_a_fresh_token_is_granted_what_it_carries() {
    let bed = Bed::new().await;
    let home = bed.enrolled(1, &host(Some("home"), &["a.example.com"])).await;
    let other = NewPeer { role: Role::Operator, ..host(Some("other"), &["a.example.com", "b.example.com"]) };
    let fresh = bed.token(2, &other).await;
    for _ in 0..2 {
        let peer = peer(bed.store.redeem_token(&fresh, &key(1), None, NOW).await.unwrap()).unwrap();
        assert_eq!((peer.id, &peer.name, peer.role), (home.id, &home.name, Role::Host));
        assert_eq!(peer.grants, other.grants);
    }
    assert_eq!(bed.store.redeem_token(&fresh, &key(2), None, NOW).await.unwrap(), Redeemed::Refused);
}

#[tokio::test]
async fn a_redemption_that_is_given_up_half_way_happened_whole_or_not_at_all() {
    let (mut undone, mut done) = (0, 0);
    for polls in 1..40 {
        let bed = Bed::new().await;
        let hash = bed.token(1, &host(Some("home"), &["a.example.com"])).await;
        let ended = polled(polls, bed.store.redeem_token(&hash, &key(1), None, NOW)).await;

        let state = bed.store.tokens(NOW).await.unwrap().remove(0).state;
        let peers = bed.store.peers().await.unwrap();
        let grants = peers.iter().flat_map(|peer| &peer.grants.hostnames).count();
        let audited = bed.actions().await.len() - 1;
        match state {
            TokenState::Open => undone += 1,
            TokenState::Used { .. } => done += 1,
            TokenState::Revoked { .. } | TokenState::Expired => unreachable!("{state:?}"),
        }
        let expected = if state == TokenState::Open { (0, 0, 0) } else { (1, 1, 2) };
        assert_eq!((peers.len(), grants, audited), expected, "after {polls} polls");

        let retried = bed.store.redeem_token(&hash, &key(1), None, NOW).await.unwrap();
        assert!(peer(retried).is_some(), "after {polls} polls");
        if ended {
            break;
        }
    }
    assert!(undone > 2 && done > 0, "{undone} undone, {done} done");
}

/// Polls an operation so many times and drops it. Whether it had come to its end.
async fn polled<T>(polls: usize, operation: impl Future<Output = T>) -> bool {
    let mut operation = pin!(operation);
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        operation.as_mut().poll(context).map(|_| true)
    })
    .await
}
