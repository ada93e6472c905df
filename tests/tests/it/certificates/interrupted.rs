//! `kill -9` at every step of an order: the certificate arrives after the next start, by the order that there was.

use tests::acme::middle::{CERTIFICATE, CHALLENGE, FINALIZE, Hold, NEW_ACCOUNT, NEW_ORDER};

use super::{Bed, OWN, issued, shown};

/// Before and after the authority hears of the first request to a path.
async fn killed_at(path: &'static str) {
    for at in [Hold::Before, Hold::After] {
        let mut bed = Bed::new().await;
        let mut held = bed.middle.hold(path, 1, at);
        bed.configure("");
        held.wait().await;
        if path == CHALLENGE && at == Hold::After {
            // It visits the relay by itself, and would not find it.
            bed.pebble.wait_for_log("set VALID");
        }
        bed.relay.process.kill();
        drop(held);
        bed.relay.start_again();
        issued(&bed.relay, OWN).await;
        let _leaf = shown(&bed.visitor(), OWN).await;
        // An order of which nothing was heard is lost; every other one is taken up.
        let lost = usize::from(path == NEW_ORDER && at == Hold::After);
        assert_eq!(bed.made(NEW_ORDER), 1 + lost, "{path} {at:?}");
        if path != NEW_ACCOUNT {
            assert_eq!(bed.made(NEW_ACCOUNT), 1, "{path} {at:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn when_the_account_is_made() {
    killed_at(NEW_ACCOUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn when_the_order_is_made() {
    killed_at(NEW_ORDER).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn when_the_challenge_is_answered() {
    killed_at(CHALLENGE).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn when_the_order_is_finalized() {
    killed_at(FINALIZE).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn when_the_certificate_is_fetched() {
    killed_at(CERTIFICATE).await;
}
