//! Waiting for approval: by code, few at a time, not for long.

use tokio::task::JoinSet;

use super::*;

const LIFETIME: i64 = 15 * 60;

impl Bed {
    async fn request(&self, number: u8, from: &str, now: i64) -> Requested {
        let code = format!("ABCD-{number:04}");
        self.store.request_enrollment(&key(number), None, address(from), &code, now).await.unwrap()
    }

    async fn waiting(&self, number: u8, from: &str, now: i64) -> Pending {
        match self.request(number, from, now).await {
            Requested::Pending(pending) => pending,
            other @ (Requested::Already(_) | Requested::Refused(_)) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_same_key_waits_with_the_same_code() {
    let bed = Bed::new().await;
    let wished = name("home");
    let ask = async |code, from, now| {
        bed.store.request_enrollment(&key(1), Some(&wished), address(from), code, now).await.unwrap()
    };
    let first = Pending {
        code: "ABCD-1234".into(),
        key: key(1),
        wished: Some(wished.clone()),
        address: address("203.0.113.1"),
        requested_at: NOW,
        expires_at: NOW + LIFETIME,
    };
    assert_eq!(ask("ABCD-1234", "::ffff:203.0.113.1", NOW).await, Requested::Pending(first.clone()));
    let moved = Pending { address: address("203.0.113.2"), ..first };
    assert_eq!(ask("WXYZ-9876", "203.0.113.2", NOW + 60).await, Requested::Pending(moved.clone()));
    assert_eq!(bed.store.pending(NOW + 60).await.unwrap(), [moved]);
}

#[tokio::test]
async fn approval_makes_the_key_a_peer() {
    let bed = Bed::new().await;
    let wished = name("home");
    let (key, from) = (key(1), address("::1"));
    bed.store.request_enrollment(&key, Some(&wished), from, "ABCD-EFGH", NOW).await.unwrap();
    assert_eq!(bed.store.approve("ABCDEFGX", &host(None, &[]), NOW).await.unwrap(), None);
    let peer = bed.store.approve(" ab-cdef-gh", &host(None, &["a.example.com"]), NOW).await.unwrap().unwrap();
    assert_eq!(
        (&peer.name, peer.key, &peer.grants.hostnames),
        (&wished, key, &hostnames(&["a.example.com"]))
    );
    assert_eq!(bed.store.pending(NOW).await.unwrap(), []);
    assert_eq!(bed.request(1, "::1", NOW).await, Requested::Already(peer));
    assert_eq!(bed.actions().await, ["admin approved home: a.example.com"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_approvals_of_one_code_one_succeeds() {
    let bed = Bed::new().await;
    bed.waiting(1, "::1", NOW).await;
    let stores = [bed.store.clone(), bed.opened_again().await];
    let mut approvals = JoinSet::new();
    for (_, store) in (0..16).zip(stores.iter().cloned().cycle()) {
        approvals.spawn(async move { store.approve("abcd0001", &host(None, &[]), NOW).await.unwrap() });
    }
    let approved: Vec<_> = approvals.join_all().await.into_iter().flatten().collect();
    assert_eq!(approved.len(), 1);
    assert_eq!(bed.store.peers().await.unwrap(), approved);
}

#[tokio::test]
async fn a_key_that_used_a_token_waits_no_longer() {
    let bed = Bed::new().await;
    let code = bed.waiting(1, "::1", NOW).await.code;
    bed.enrolled(1, &host(None, &[])).await;
    assert_eq!(bed.store.pending(NOW).await.unwrap(), []);
    assert_eq!(bed.store.approve(&code, &host(None, &["a.example.com"]), NOW).await.unwrap(), None);
}

#[tokio::test]
async fn a_request_expires() {
    let bed = Bed::new().await;
    let code = bed.waiting(1, "::1", NOW).await.code;
    let later = NOW + LIFETIME;
    assert_eq!(bed.store.pending(later - 1).await.unwrap().len(), 1);
    assert_eq!(bed.store.pending(later).await.unwrap(), []);
    assert_eq!(bed.store.approve(&code, &host(None, &[]), later).await.unwrap(), None);
    assert_eq!(bed.waiting(1, "::1", later).await.requested_at, later);
}

#[tokio::test]
async fn one_address_has_four_places() {
    let bed = Bed::new().await;
    let refused = Requested::Refused(Refusal::TooManyFromAddress);
    for number in 0..4 {
        bed.waiting(number, &format!("2001:db8::{number}"), NOW).await;
        bed.waiting(10 + number, "203.0.113.1", NOW).await;
    }
    assert_eq!(bed.request(20, "2001:db8::ffff:0:0:1", NOW).await, refused);
    assert_eq!(bed.request(20, "::ffff:203.0.113.1", NOW).await, refused);
    bed.waiting(3, "2001:db8::3", NOW).await;
    bed.waiting(20, "2001:db8:0:1::1", NOW).await;
    bed.waiting(21, "203.0.113.1", NOW + LIFETIME).await;
}

#[tokio::test]
async fn there_are_32_places_in_all() {
    let bed = Bed::new().await;
    for number in 0..32 {
        bed.waiting(number, &format!("203.0.113.{number}"), NOW).await;
    }
    assert_eq!(bed.request(32, "203.0.113.32", NOW).await, Requested::Refused(Refusal::TooMany));
    bed.waiting(31, "203.0.113.99", NOW).await;
    bed.store.approve("ABCD-0007", &host(None, &[]), NOW).await.unwrap().unwrap();
    bed.waiting(32, "203.0.113.32", NOW).await;
}

#[tokio::test]
async fn a_code_in_use_is_not_given_to_another_key() {
    let bed = Bed::new().await;
    bed.waiting(1, "::1", NOW).await;
    let error =
        bed.store.request_enrollment(&key(2), None, address("::1"), "abcd0001", NOW).await.unwrap_err();
    assert_eq!(error.to_string(), "the store could not note an enrollment");
    assert_eq!(bed.store.pending(NOW).await.unwrap().len(), 1);
}
