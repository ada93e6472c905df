//! The first certificate: for which names, from where, and for whom it comes before the visitor does.

use tests::acme::middle::{FINALIZE, Hold, NEW_ORDER};
use tests::acme::pebble::Pebble;
use tests::bed::{Agent, Relay};
use tests::certificate::Authority;
use tests::raw::A_WHILE;
use tests::tape::Tape;
use tests::tls::alert;
use tests::visitor::Visitor;
use tests::wait::eventually;

use super::{Bed, HOST, OWN, failed, issued, listed, now};
use crate::tls::expose;

const AWAY: &str = "away.example.com";
const LOST: &str = "lost.example.com";
const OTHER: &str = "b.example.com";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn the_relays_own_name_and_a_granted_one_get_certificates_over_tls() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    bed.configure("");
    let _agent = bed.serve(&tape, &[HOST]);
    for name in [OWN, HOST] {
        let row = issued(&bed.relay, name).await;
        assert!(row["issuer"].as_str().is_some_and(|issuer| issuer.contains("Pebble")), "{row}");
        assert!(row["not_after"].as_u64() > Some(now()), "{row}");
        assert!(row["failures"] == 0 && row["error"].is_null(), "{row}");
        assert_eq!(bed.middle.orders(name).len(), 1, "{name}");
    }
    assert_eq!(bed.visitor().get(HOST, "/").await.status, 200);
    assert_eq!(bed.challenges(), ["tls-alpn-01", "tls-alpn-01"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn port_80_answers_where_that_is_wanted() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    bed.configure("challenges = [\"http-01\"]");
    let _agent = bed.serve(&tape, &[HOST]);
    issued(&bed.relay, HOST).await;
    assert_eq!(bed.visitor().get(HOST, "/").await.status, 200);
    issued(&bed.relay, OWN).await;
    assert_eq!(bed.challenges(), ["http-01", "http-01"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_name_that_leads_elsewhere_is_not_ordered_until_it_leads_here() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    bed.dns.set_a(AWAY, &[[192, 0, 2, 9].into()]);
    bed.dns.fail(LOST);
    bed.configure("");
    let _agent = bed.serve(&tape, &[HOST, AWAY, LOST]);
    issued(&bed.relay, HOST).await;
    let (row, error) = failed(&bed.relay, AWAY).await;
    assert!(error.contains("192.0.2.9"), "{row}");
    let _servfail = failed(&bed.relay, LOST).await;
    for name in [AWAY, LOST] {
        assert!(bed.middle.orders(name).is_empty(), "{name} was ordered");
        let error = bed.visitor().connect(name, &["http/1.1"]).await.expect_err(name);
        assert!(alert(&error).is_some(), "{name}: {error:?}");
    }
    bed.dns.set_a(AWAY, &[]);
    let _said = bed.relay.ask(&["cert", "renew", AWAY]);
    issued(&bed.relay, AWAY).await;
    assert_eq!(bed.visitor().get(AWAY, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_name_may_lead_to_an_address_that_is_told() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    bed.dns.set_a(AWAY, &[[127, 0, 0, 2].into()]);
    bed.configure("addresses = [\"127.0.0.2/32\"]");
    let _agent = bed.serve(&tape, &[AWAY]);
    let ordered = async || (!bed.middle.orders(AWAY).is_empty()).then_some(());
    eventually("it is ordered", ordered).await;
    // The relay does not listen there: now it is the authority that finds nobody.
    let (row, error) = failed(&bed.relay, AWAY).await;
    assert!(error.contains("127.0.0.2") || error.contains("connect"), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_name_that_was_not_granted_gets_none() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    bed.configure("");
    let _agent = Agent::running(&bed.relay, &[HOST], &expose(&tape, &[HOST, OTHER]));
    issued(&bed.relay, HOST).await;
    issued(&bed.relay, OWN).await;
    assert!(bed.middle.orders(OTHER).is_empty());
    let row = listed(&bed.relay, OTHER);
    assert!(row.is_none(), "{row:?}");
    let error = bed.visitor().connect(OTHER, &["http/1.1"]).await.expect_err("no certificate");
    assert!(alert(&error).is_some(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_file_comes_before_the_authority_and_the_authority_before_the_internal_ca() {
    let (tape, files, folder) =
        (Tape::start().await, Authority::new(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().display();
    files.write_root(&folder.path().join("root.pem"));
    files.write(folder.path(), "a", &[HOST]);
    let relay = Relay::with(&format!("[[certificate]]\ncert = \"{path}/a.pem\"\nkey = \"{path}/a.key\"\n"));
    let bed = Bed::with(relay, Pebble::builder(), &[]).await;
    bed.dns.set_a(AWAY, &[[192, 0, 2, 9].into()]);
    bed.configure("");
    let _agent = bed.serve(&tape, &[HOST, OTHER, AWAY]);
    issued(&bed.relay, OTHER).await;
    issued(&bed.relay, OWN).await;
    let _error = failed(&bed.relay, AWAY).await;
    for (name, source, root) in [
        (HOST, "file", folder.path().join("root.pem")),
        (OTHER, "acme", bed.pebble.root_file()),
        (AWAY, "internal", bed.relay.ca_file()),
    ] {
        let row = listed(&bed.relay, name).expect(name);
        assert_eq!(row["source"], source, "{row}");
        assert_eq!(Visitor::new(bed.relay.https, &root).get(name, "/").await.status, 200, "{name}");
    }
    let mut ordered: Vec<_> = bed.middle.asked_of(NEW_ORDER).into_iter().map(|asked| asked.payload).collect();
    ordered.retain(|order| order["identifiers"][0]["value"] != OWN);
    assert_eq!((ordered.len(), bed.middle.orders(OTHER).len()), (1, 1), "{ordered:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_visitor_who_comes_before_the_certificate_waits_for_it() {
    let (tape, bed) = (Tape::start().await, Bed::new().await);
    bed.configure("");
    issued(&bed.relay, OWN).await;
    let mut held = bed.middle.hold(FINALIZE, 1, Hold::Before);
    let _agent = bed.serve(&tape, &[HOST]);
    held.wait().await;
    let visitor = bed.visitor();
    let mut early = std::pin::pin!(visitor.get(HOST, "/"));
    let answered = tokio::time::timeout(A_WHILE, early.as_mut()).await;
    assert!(answered.is_err(), "it was answered before there was a certificate");
    held.release();
    assert_eq!(early.await.status, 200);
}
