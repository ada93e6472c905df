//! An authority that is busy, strict or absent: its words reach whoever asks, and its wish for quiet is kept.

use tests::acme::middle::{Canned, NEW_ORDER};
use tests::acme::pebble::Pebble;
use tests::bed::Relay;

use super::{Bed, OWN, failed, issued, now};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn half_of_all_nonces_may_be_refused() {
    let bed = Bed::with(Relay::without_ca(""), Pebble::builder(), &[("PEBBLE_WFE_NONCEREJECT", "50")]).await;
    bed.configure("");
    issued(&bed.relay, OWN).await;
    let refused = bed.middle.asked().into_iter().filter_map(|asked| Some(asked.answer?.1));
    let refused = refused.filter(|said| said["type"] == "urn:ietf:params:acme:error:badNonce").count();
    assert!(refused > 0, "it went too well");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_busy_authority_is_left_alone_for_as_long_as_it_asks() {
    let page = "<html><body><h1>503 Service Unavailable</h1></body></html>";
    let words = "too many certificates already issued for \"example.com\"";
    for (canned, wait, said) in
        [(Canned::html(503, page), 3600, "503"), (Canned::problem(429, "rateLimited", words), 7200, words)]
    {
        let (bed, begun) = (Bed::new().await, now());
        bed.middle.answer(NEW_ORDER, 1, canned.retry_after(wait));
        bed.configure("");
        let (row, error) = failed(&bed.relay, OWN).await;
        assert!(error.contains(said) && !error.contains("<html>"), "{row}");
        assert!(row["next_at"].as_u64() >= Some(begun + wait), "{begun}: {row}");
        assert!(row["failures"].as_u64() >= Some(1), "{row}");
        assert_eq!(bed.middle.orders(OWN).len(), 1, "{said}");
        let _said = bed.relay.ask(&["cert", "renew", OWN]);
        let row = issued(&bed.relay, OWN).await;
        assert!(row["failures"] == 0 && row["error"].is_null(), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_refused_order_is_told_in_the_authoritys_words() {
    let bed = Bed::new().await;
    let words = "Error creating new order :: policy forbids issuing for \"relay.example.com\"";
    bed.middle.answer(NEW_ORDER, 1, Canned::problem(400, "rejectedIdentifier", words));
    bed.configure("");
    let (row, error) = failed(&bed.relay, OWN).await;
    assert!(error.contains(words), "{row}");
    assert!(row["next_at"].as_u64() > Some(now()), "{row}");
    assert!(bed.relay.ask(&["cert", "list"]).contains(words), "the table has it too");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn an_authority_that_is_not_there_is_tried_again_once_the_file_says_where_it_is() {
    let bed = Bed::new().await;
    let (right, wrong) = (bed.middle.directory(), "https://127.0.0.1:9/dir");
    bed.rewrite(|text| text + &bed.section("").replace(&right, wrong));
    let _refused = failed(&bed.relay, OWN).await;
    bed.rewrite(|text| text.replace(wrong, &right));
    issued(&bed.relay, OWN).await;
}
