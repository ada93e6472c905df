//! Accounts: those that an authority knows from elsewhere, those that it no longer knows, and what stays secret of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tests::acme::leaf::Leaf;
use tests::acme::middle::{Canned, NEW_ACCOUNT, NEW_ORDER};
use tests::acme::pebble::Pebble;
use tests::bed::Relay;
use tests::wait::eventually;

use super::{Bed, OWN, failed, issued, shown};

const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// An authority that takes only whom it knows, and the file with the key for it.
async fn closed() -> (Bed, PathBuf) {
    let authority = Pebble::builder().external_account("kid-1", KEY);
    let bed = Bed::with(Relay::without_ca(""), authority, &[]).await;
    let file = bed.relay.folder().join("hmac");
    fs::write(&file, KEY).expect("a key can be written");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a mode");
    (bed, file)
}

fn external_account(id: &str, file: &Path) -> String {
    format!("external_account = {{ key_id = \"{id}\", key_file = \"{}\" }}\n", file.display())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn an_account_is_bound_to_another_and_keys_are_in_no_log() {
    let (bed, file) = closed().await;
    bed.configure(&external_account("kid-1", &file));
    issued(&bed.relay, OWN).await;
    let bound = &bed.middle.asked_of(NEW_ACCOUNT)[0].payload["externalAccountBinding"];
    assert!(bound.is_object(), "{bound}");
    let log = bed.relay.process.log();
    for secret in ["PRIVATE KEY", KEY] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    for file in ["adit.db", "adit.db-wal"] {
        let Ok(metadata) = fs::metadata(bed.relay.data_folder().join(file)) else { continue };
        assert_eq!(metadata.permissions().mode() & 0o77, 0, "{file} can be read by others");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn a_refused_account_is_told_in_the_authoritys_words_and_can_be_mended() {
    let (bed, file) = closed().await;
    bed.configure("");
    let (row, error) = failed(&bed.relay, OWN).await;
    assert!(error.contains("must include a value for the 'externalAccountBinding' field"), "{row}");
    assert_eq!(bed.made(NEW_ORDER), 0);
    bed.rewrite(|text| text + &external_account("kid-2", &file));
    let unknown = "references a key that is not known to the ACME server";
    let told = async || failed(&bed.relay, OWN).await.1.contains(unknown).then_some(());
    eventually("the authority does not know the key", told).await;
    bed.rewrite(|text| text.replace("kid-2", "kid-1"));
    issued(&bed.relay, OWN).await;
    assert!(!bed.relay.process.log().contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn an_account_that_was_deactivated_gives_way_to_a_new_one() {
    for (status, kind, detail) in [
        (403, "unauthorized", "Account has been deactivated"),
        (400, "accountDoesNotExist", "Account https://ca.test/my-account/1 not found."),
    ] {
        let bed = Bed::new().await;
        bed.configure("");
        issued(&bed.relay, OWN).await;
        let before = shown(&bed.visitor(), OWN).await;
        bed.middle.answer(NEW_ORDER, 1, Canned::problem(status, kind, detail));
        let _said = bed.relay.ask(&["cert", "renew", OWN]);
        renewed(&bed, &before).await;
        let accounts = bed.middle.asked_of(NEW_ACCOUNT);
        assert_eq!(accounts.len(), 2, "{kind}");
        // A deactivated account's key is good for nothing any more; a forgotten one's is as good as a new one.
        let key = |number: usize| &accounts[number].protected["jwk"];
        assert!(kind != "unauthorized" || key(0) != key(1), "the key is the old one");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn an_authority_that_has_forgotten_everybody_is_met_anew() {
    let mut bed = Bed::new().await;
    bed.configure("");
    issued(&bed.relay, OWN).await;
    let before = shown(&bed.visitor(), OWN).await;
    bed.pebble.start_again();
    let _said = bed.relay.ask(&["cert", "renew", OWN]);
    // By the new root, which the old certificate is not from.
    renewed(&bed, &before).await;
    assert_eq!(bed.made(NEW_ACCOUNT), 2);
}

/// Waits for another certificate than this one.
async fn renewed(bed: &Bed, before: &Leaf) {
    let visitor = bed.visitor();
    eventually("there is a new certificate", async || {
        let stream = visitor.connect(OWN, &["http/1.1"]).await.ok()?;
        (Leaf::of(&stream) != *before).then_some(())
    })
    .await;
}
