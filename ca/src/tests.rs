//! What a root is believed for, by webpki, and what of it stays when it is made anew.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use tempfile::TempDir;
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::error::CaError;
use super::leaf::{self, Leaf};
use super::root::{Found, Root, Subject};
use super::subtrees::Subtrees;

const SUBJECT: &str = "Adit of a test";

fn open_as(folder: &TempDir, subject: Subject<'_>) -> Result<(Root, Found), CaError> {
    Root::open(&folder.path().join("key.pem"), &folder.path().join("ca.pem"), subject)
}

fn open(folder: &TempDir) -> (Root, Found) {
    open_as(folder, Subject::Always(SUBJECT)).unwrap()
}

fn subtrees(domains: &[&str]) -> Subtrees {
    Subtrees::new(domains.iter().map(|domain| domain.parse().unwrap())).unwrap()
}

/// The certificate on the disk.
fn der(root: &Root) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&fs::read(root.file()).unwrap()).unwrap()
}

fn signed(root: &Root, name: &str) -> Leaf {
    root.sign(&name.parse().unwrap(), OffsetDateTime::now_utc()).unwrap()
}

/// What keeps one who trusts this root from believing the leaf.
fn objection(root: &CertificateDer<'_>, leaf: &Leaf) -> Option<webpki::Error> {
    let anchors = [anchor_from_trusted_cert(root).unwrap()];
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let leaf = leaf.certificate();
    let leaf = EndEntityCert::try_from(&leaf.cert[0]).unwrap();
    leaf.verify_for_usage(algorithms, &anchors, &[], now, KeyUsage::server_auth(), None, None).err()
}

#[test]
fn a_leaf_is_believed_for_a_permitted_name_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (root, found) = open(&folder);
    assert_eq!(found, Found::Nothing);
    root.write(&subtrees(&["koda.localhost", "example.com"])).unwrap();
    let der = der(&root);
    for inside in ["koda.localhost", "a.koda.localhost", "example.com", "*.example.com"] {
        assert_eq!(objection(&der, &signed(&root, inside)), None, "{inside}");
    }
    for outside in ["localhost", "other.localhost", "badkoda.localhost", "example.org", "com"] {
        let objection = objection(&der, &signed(&root, outside));
        assert_eq!(objection, Some(webpki::Error::NameConstraintViolation), "{outside}");
    }
}

#[test]
fn no_address_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (root, _) = open(&folder);
    root.write(&subtrees(&["example.com"])).unwrap();
    let (der, now) = (der(&root), OffsetDateTime::now_utc());
    for address in ["192.0.2.1", "127.0.0.1", "2001:db8::1", "::1"] {
        let mut params = leaf::params("a.example.com", now).unwrap();
        params.subject_alt_names.push(SanType::IpAddress(address.parse().unwrap()));
        let leaf = root.sign_params(params, now).unwrap();
        assert_eq!(objection(&der, &leaf), Some(webpki::Error::NameConstraintViolation), "{address}");
    }
}

#[test]
fn the_constraint_is_critical_and_the_root_signs_for_servers_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (root, _) = open(&folder);
    root.write(&subtrees(&["example.com"])).unwrap();
    let der = der(&root);
    let (_, root) = X509Certificate::from_der(&der).unwrap();
    let constraints = root.name_constraints().unwrap().unwrap();
    assert!(constraints.critical);
    let count = |subtrees: &Option<Vec<_>>| subtrees.as_ref().map(Vec::len);
    assert_eq!(count(&constraints.value.permitted_subtrees), Some(1));
    assert_eq!(count(&constraints.value.excluded_subtrees), Some(2));
    let usage = root.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.any && !usage.code_signing && !usage.email_protection);
}

#[test]
fn a_root_that_is_made_anew_keeps_its_key_and_its_old_copies_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (root, _) = open(&folder);
    root.write(&subtrees(&["a.localhost"])).unwrap();
    let old = der(&root);
    drop(root);
    let (root, found) = open(&folder);
    let Found::Permitting(mut permitted) = found else { panic!("{found:?}") };
    permitted.add("b.localhost".parse().unwrap());
    root.write(&permitted).unwrap();
    let new = der(&root);
    assert_ne!(old, new);
    let (a, b) = (signed(&root, "a.localhost"), signed(&root, "b.localhost"));
    assert_eq!((objection(&old, &a), objection(&new, &a)), (None, None));
    let refused = Some(webpki::Error::NameConstraintViolation);
    assert_eq!((objection(&old, &b), objection(&new, &b)), (refused, None));
    assert_eq!(open(&folder).1, Found::Permitting(subtrees(&["a.localhost", "b.localhost"])));
}

#[test]
fn a_root_is_called_what_it_was_called_at_first_or_always() {
    let folder = tempfile::tempdir().unwrap();
    let (root, _) = open_as(&folder, Subject::AtFirst("Adit on laptop")).unwrap();
    root.write(&subtrees(&["a.localhost"])).unwrap();
    let (renamed, _) = open_as(&folder, Subject::AtFirst("Adit on desktop")).unwrap();
    assert_eq!(renamed.subject(), "Adit on laptop");
    let other = open_as(&folder, Subject::Always("Adit on desktop")).unwrap_err();
    assert!(matches!(other, CaError::Foreign(_)), "{other}");
}

#[test]
fn a_root_of_another_key_is_refused_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let (root, _) = open(&folder);
    let other = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
    fs::write(root.file(), other.pem()).unwrap();
    for subject in [Subject::Always(SUBJECT), Subject::AtFirst(SUBJECT)] {
        let error = open_as(&folder, subject).unwrap_err();
        assert!(matches!(error, CaError::Foreign(_)) && error.hint().unwrap().contains("ca.pem"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn the_key_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let key = folder.path().join("key.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = open_as(&folder, Subject::Always(SUBJECT)).unwrap_err();
    assert!(
        matches!(error, CaError::File(_)) && error.hint().unwrap().starts_with("run `chmod 600"),
        "{error}"
    );
}
