//! The next certificate: when it is due, what the authority wishes, and that no visitor notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tests::acme::leaf::Leaf;
use tests::acme::middle::{RENEWAL_INFO, Window};
use tests::acme::pebble::Pebble;
use tests::bed::Relay;
use tests::tape::Tape;
use tests::visitor::{Visitor, empty, read, request};
use tests::wait::eventually;
use tokio::task::JoinSet;

use super::{Bed, HOST, OWN, issued, listed, now, shown};

/// Visitors who ask all the time, each of whom has to be answered.
pub(super) struct Crowd {
    visits: JoinSet<()>,
    enough: Arc<AtomicBool>,
    answered: Arc<[AtomicUsize; 2]>,
}

impl Crowd {
    pub(super) fn of(visitor: &Visitor) -> Self {
        let mut crowd = Self { visits: JoinSet::new(), enough: Arc::default(), answered: Arc::default() };
        for _ in 0..2 {
            let kept = keep_asking(visitor.clone(), Arc::clone(&crowd.enough), Arc::clone(&crowd.answered));
            crowd.visits.spawn(kept);
            let anew = keep_coming(visitor.clone(), Arc::clone(&crowd.enough), Arc::clone(&crowd.answered));
            crowd.visits.spawn(anew);
        }
        crowd
    }

    /// Waits until both kinds have been answered this often more.
    pub(super) async fn is_answered(&self, times: usize) {
        let counts = || [0, 1].map(|kind: usize| self.answered[kind].load(Ordering::Relaxed));
        let before = counts();
        eventually("visitors are answered", async || {
            counts().iter().zip(before).all(|(now, before)| now - before >= times).then_some(())
        })
        .await;
    }

    pub(super) async fn end(mut self) {
        self.enough.store(true, Ordering::Relaxed);
        while let Some(ended) = self.visits.join_next().await {
            ended.expect("every visit is answered");
        }
    }
}

/// One request after the other on one connection.
async fn keep_asking(visitor: Visitor, enough: Arc<AtomicBool>, answered: Arc<[AtomicUsize; 2]>) {
    let mut sender = visitor.http1(HOST).await;
    while !enough.load(Ordering::Relaxed) {
        sender.ready().await.expect("the connection stays");
        let get = request("GET", HOST, "/").body(empty()).expect("a request");
        assert_eq!(read(sender.send_request(get).await.expect("a response")).await.status, 200);
        answered[0].fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection for every request.
async fn keep_coming(visitor: Visitor, enough: Arc<AtomicBool>, answered: Arc<[AtomicUsize; 2]>) {
    while !enough.load(Ordering::Relaxed) {
        assert_eq!(visitor.get(HOST, "/").await.status, 200);
        answered[1].fetch_add(1, Ordering::Relaxed);
    }
}

/// The certificate that takes the place of another.
pub(super) async fn successor(visitor: &Visitor, hostname: &str, before: &Leaf) -> Leaf {
    eventually("a new certificate is shown", async || {
        let leaf = shown(visitor, hostname).await;
        (leaf.serial() != before.serial()).then_some(leaf)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn no_visitor_notices_a_renewal() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    bed.configure("");
    let _agent = bed.serve(&tape, &[HOST]);
    issued(&bed.relay, HOST).await;
    let visitor = bed.visitor();
    let (before, crowd) = (shown(&visitor, HOST).await, Crowd::of(&visitor));
    crowd.is_answered(20).await;
    let _said = bed.relay.ask(&["cert", "renew", HOST]);
    let after = successor(&visitor, HOST, &before).await;
    crowd.is_answered(20).await;
    crowd.end().await;
    // Nobody is shown the old one again.
    for _ in 0..20 {
        assert_eq!(shown(&visitor, HOST).await, after);
    }
    let orders = bed.middle.orders(HOST);
    assert_eq!(orders.len(), 2);
    assert!(
        orders[1].get("replaces").is_none(),
        "an authority without renewal windows does not know the word"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_renewed_certificate_outlives_a_restart() {
    let mut bed = Bed::new().await;
    bed.configure("");
    issued(&bed.relay, OWN).await;
    let visitor = bed.visitor();
    let before = shown(&visitor, OWN).await;
    let _said = bed.relay.ask(&["cert", "renew", OWN]);
    let after = successor(&visitor, OWN, &before).await;
    bed.relay.process.kill();
    bed.relay.start_again();
    assert_eq!(shown(&visitor, OWN).await, after);
    assert_eq!(bed.middle.orders(OWN).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_certificate_is_renewed_before_it_ends() {
    let authority = Pebble::builder().validity(Duration::from_secs(24));
    let bed = Bed::with(Relay::without_ca(""), authority, &[]).await;
    bed.configure("");
    let visitor = bed.visitor();
    let first = eventually("the first certificate", async || {
        Some(Leaf::of(&visitor.connect(OWN, &["http/1.1"]).await.ok()?))
    });
    let first = first.await;
    // A visitor who is shown one that is over ends with an error here.
    let _second = successor(&visitor, OWN, &first).await;
    assert!(bed.middle.orders(OWN).len() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_renewal_is_due_within_the_life_of_the_certificate() {
    let authority = Pebble::builder().validity(Duration::from_hours(24 * 90));
    let bed = Bed::with(Relay::without_ca(""), authority, &[]).await;
    bed.configure("");
    let row = issued(&bed.relay, OWN).await;
    let days = |key: &str| row[key].as_u64().expect("a time").saturating_sub(now()) / 86400;
    assert_eq!(days("not_after"), 89, "{row}");
    assert!((45..85).contains(&days("next_at")), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn the_authority_says_when_to_renew_and_is_told_what_is_replaced() {
    let bed = Bed::new().await;
    let later = Window::after_days(30);
    bed.middle.suggest_renewal(&[Window::gone(), later], 6 * 3600);
    bed.configure("");
    let orders = eventually("it is renewed at once", async || {
        Some(bed.middle.orders(OWN)).filter(|orders| orders.len() == 2)
    })
    .await;
    assert!(orders[0].get("replaces").is_none(), "{orders:?}");
    let first = &bed.middle.asked_of(RENEWAL_INFO)[0].path;
    assert_eq!(orders[1]["replaces"].as_str(), first.strip_prefix(RENEWAL_INFO));
    let due = async || listed(&bed.relay, OWN)?["next_at"].as_u64().filter(|at| *at >= later.start);
    assert!(eventually("it waits for the second window", due).await <= later.end);
    let id = shown(&bed.visitor(), OWN).await.renewal_id();
    let last = bed.middle.asked_of(RENEWAL_INFO).pop().expect("it was asked");
    assert_eq!(last.path.strip_prefix(RENEWAL_INFO), Some(&*id));
    assert_eq!(bed.middle.orders(OWN).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_profile_is_asked_for_where_one_is_chosen() {
    let bed = Bed::new().await;
    bed.middle.offer_profiles(&["classic", "shortlived"]);
    bed.configure("profile = \"shortlived\"");
    issued(&bed.relay, OWN).await;
    assert_eq!(bed.middle.orders(OWN)[0]["profile"], "shortlived");
}
