//! Certificates by a record in DNS (DNS-01), in a zone of a real BIND.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests::acme::named::{Named, SECRET};
use tests::acme::pebble::Pebble;
use tests::bed::Relay;
use tests::tape::Tape;
use tests::wait::eventually;

use super::{Bed, HOST, OWN, failed, issued};

const WILDCARD: &str = "*.w.example.com";
const RECORD: &str = "_acme-challenge.w.example.com";

/// The zone `example.com`, which the authority asks as well.
async fn bed() -> Bed<Named> {
    let named = Named::start("example.com", &["w", "relay", "a"]);
    let address = named.address();
    Bed::around(Relay::without_ca(""), (named, address), Pebble::builder(), &[]).await
}

fn section(named: &Named, server: &str, key_file: &Path, more: &str) -> String {
    format!(
        "[acme.dns]\nprovider = \"rfc2136\"\nserver = \"{server}\"\nkey_name = \"{}\"\nkey_file = \"{}\"\n\
         key_algorithm = \"hmac-sha256\"\n{more}\n",
        named.key_name,
        key_file.display()
    )
}

/// Whether BIND was given a record for a name.
fn was_added(named: &Named, name: &str) -> bool {
    named.log().contains(&format!("adding an RR at '{name}' TXT"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble and named"]
async fn a_wildcard_gets_a_certificate_and_its_record_goes_away() {
    for (transport, zone) in [("", "zone = \"example.com\""), ("tcp://", "")] {
        let (tape, bed) = (Tape::start().await, bed().await);
        let server = format!("{transport}{}", bed.dns.address());
        bed.configure(&section(&bed.dns, &server, &bed.dns.key_file(), zone));
        let _agent = bed.serve(&tape, &[WILDCARD]);
        issued(&bed.relay, WILDCARD).await;
        assert_eq!(bed.visitor().get("x.w.example.com", "/").await.status, 200);
        assert!(was_added(&bed.dns, RECORD), "{}", bed.dns.log());
        eventually("the record is gone", async || bed.dns.txt(RECORD).is_empty().then_some(())).await;
        issued(&bed.relay, OWN).await;
        let mut kinds = bed.challenges();
        kinds.sort();
        assert_eq!(kinds, ["dns-01", "tls-alpn-01"], "only what needs it goes by DNS");
        assert!(!bed.relay.process.log().contains(SECRET));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble and named"]
async fn everything_goes_by_dns_where_that_is_wanted() {
    let (tape, bed) = (Tape::start().await, bed().await);
    let section = section(&bed.dns, &bed.dns.address().to_string(), &bed.dns.key_file(), "");
    bed.configure(&format!("challenges = [\"dns-01\"]\n{section}"));
    let _agent = bed.serve(&tape, &[HOST]);
    for name in [OWN, HOST] {
        issued(&bed.relay, name).await;
        let record = format!("_acme-challenge.{name}");
        assert!(was_added(&bed.dns, &record), "{}", bed.dns.log());
        eventually("the record is gone", async || bed.dns.txt(&record).is_empty().then_some(())).await;
    }
    assert_eq!(bed.challenges(), ["dns-01", "dns-01"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble and named"]
async fn a_wildcard_waits_for_the_key_that_may_write_its_record() {
    let (tape, bed) = (Tape::start().await, bed().await);
    let wrong = bed.relay.folder().join("wrong");
    fs::write(&wrong, SECRET.replacen('I', "J", 1)).expect("a key can be written");
    fs::set_permissions(&wrong, Permissions::from_mode(0o600)).expect("a mode");
    bed.configure(&section(&bed.dns, &bed.dns.address().to_string(), &wrong, ""));
    let _agent = bed.serve(&tape, &[WILDCARD]);
    let (row, _error) = failed(&bed.relay, WILDCARD).await;
    assert_ne!(row["source"], "acme", "{row}");
    assert!(bed.dns.log().contains("BADSIG") && !was_added(&bed.dns, RECORD), "{}", bed.dns.log());
    issued(&bed.relay, OWN).await;
    let right = bed.dns.key_file().display().to_string();
    bed.rewrite(|text| text.replace(&wrong.display().to_string(), &right));
    issued(&bed.relay, WILDCARD).await;
}
