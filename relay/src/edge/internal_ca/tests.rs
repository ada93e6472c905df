//! What the root is believed for, by webpki, and what of it stays when it is made anew.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use tempfile::TempDir;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::*;

const OWN: &str = "relay.example.com";

fn open(folder: &TempDir, domains: &[&str]) -> InternalCa {
    let domains = domains.iter().map(|domain| domain.parse().unwrap()).collect();
    InternalCa::open(folder.path(), &OWN.parse().unwrap(), &domains).unwrap()
}

fn not_opened(folder: &TempDir) -> CaError {
    InternalCa::open(folder.path(), &OWN.parse().unwrap(), &BTreeSet::new()).unwrap_err()
}

fn root(folder: &TempDir) -> Vec<u8> {
    fs::read(folder.path().join(ROOT_FILE)).unwrap()
}

fn key(folder: &TempDir) -> Vec<u8> {
    fs::read(folder.path().join("ca-key.pem")).unwrap()
}

fn name(text: &str) -> HostnamePattern {
    text.parse().unwrap()
}

/// Whatever the root says of it.
fn signed(ca: &InternalCa, text: &str) -> Arc<CertifiedKey> {
    ca.root.sign(&name(text), OffsetDateTime::now_utc()).unwrap().certificate()
}

/// What keeps a visitor that trusts this root from believing the leaf.
fn objection(root: &[u8], leaf: &CertifiedKey) -> Option<webpki::Error> {
    let root = CertificateDer::from_pem_slice(root).unwrap();
    let anchors = [anchor_from_trusted_cert(&root).unwrap()];
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let leaf = EndEntityCert::try_from(&leaf.cert[0]).unwrap();
    leaf.verify_for_usage(algorithms, &anchors, &[], now, KeyUsage::server_auth(), None, None).err()
}

fn refused(root: &[u8], leaf: &CertifiedKey) -> bool {
    objection(root, leaf) == Some(webpki::Error::NameConstraintViolation)
}

/// Serial number, subject, public key, and key identifier.
fn identity(root: &[u8]) -> (Vec<u8>, [Vec<u8>; 3]) {
    let root = CertificateDer::from_pem_slice(root).unwrap();
    let (_, root) = X509Certificate::from_der(&root).unwrap();
    let identifier = root.iter_extensions().find_map(|extension| {
        let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
        Some(id.0.to_vec())
    });
    let stays = [root.subject().as_raw().to_vec(), root.public_key().raw.to_vec(), identifier.unwrap()];
    (root.raw_serial().to_vec(), stays)
}

/// A root as earlier versions made it: for every name.
fn write_legacy(folder: &TempDir) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Adit internal CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key).unwrap().pem().into_bytes();
    process::private_file::write(&folder.path().join("ca-key.pem"), key.serialize_pem().as_bytes()).unwrap();
    process::private_file::write(&folder.path().join(ROOT_FILE), &pem).unwrap();
    pem
}

#[test]
fn the_root_is_believed_for_the_domains_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ca = open(&folder, &["example.com", "lan"]);
    let root = root(&folder);
    let long = format!("{}.{}.example.com", "a".repeat(63), "b".repeat(63));
    for inside in ["example.com", OWN, "*.example.com", "a.b.example.com", "nas.lan", &long] {
        let leaf = ca.certificate(&name(inside)).unwrap();
        assert_eq!(objection(&root, &leaf), None, "{inside}");
    }
    for outside in ["example.org", "badexample.com", "*.example.org", "com"] {
        assert!(ca.certificate(&name(outside)).is_none() && !ca.signs_for(&name(outside)), "{outside}");
        assert!(refused(&root, &signed(&ca, outside)), "{outside}");
    }
}

#[test]
fn without_domains_the_root_grows_and_old_copies_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let ca = open(&folder, &[]);
    let first = root(&folder);
    assert_eq!(objection(&first, &signed(&ca, OWN)), None);
    let a = ca.certificate(&name("a.example.com")).unwrap();
    let second = root(&folder);
    assert!(refused(&first, &a));
    assert_eq!(objection(&second, &a), None);

    let wild = ca.certificate(&name("*.example.org")).unwrap();
    let third = root(&folder);
    assert!(refused(&second, &wild));
    for leaf in [&a, &wild, &signed(&ca, OWN)] {
        assert_eq!(objection(&third, leaf), None);
    }
    // What is signed now for a name of the old copy is still believed by it.
    assert_eq!(objection(&second, &signed(&ca, "a.example.com")), None);
    let (old, new) = (identity(&second), identity(&third));
    assert!(old.0 != new.0 && old.1 == new.1, "{old:?} {new:?}");

    // Neither a name that is permitted already nor another start changes anything.
    ca.certificate(&name("b.example.org")).unwrap();
    drop(ca);
    let again = open(&folder, &[]);
    again.permit(&[name("a.example.com")]);
    assert!(again.certificate(&name("a.example.com")).is_some());
    assert_eq!(root(&folder), third);
}

#[test]
fn names_can_be_permitted_ahead_of_the_first_visitor() {
    let folder = tempfile::tempdir().unwrap();
    let ca = open(&folder, &[]);
    ca.permit(&[name("a.example.com"), name("b.example.com")]);
    let ahead = root(&folder);
    let leaf = ca.certificate(&name("b.example.com")).unwrap();
    assert_eq!(objection(&ahead, &leaf), None);
    assert_eq!(root(&folder), ahead);
}

#[test]
fn a_root_of_an_earlier_version_gives_way_to_one_of_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let legacy = write_legacy(&folder);
    let ca = open(&folder, &[]);
    assert_eq!(root(&folder), legacy);
    let leaf = ca.certificate(&name("a.example.com")).unwrap();
    let new = root(&folder);
    assert_eq!(identity(&new).1, identity(&legacy).1);
    assert_eq!((objection(&legacy, &leaf), objection(&new, &leaf)), (None, None));
    let outside = signed(&ca, "example.org");
    assert_eq!(objection(&legacy, &outside), None);
    assert!(refused(&new, &outside));

    let folder = tempfile::tempdir().unwrap();
    let legacy = write_legacy(&folder);
    let ca = open(&folder, &["example.com"]);
    assert_ne!(root(&folder), legacy);
    assert!(refused(&root(&folder), &signed(&ca, "example.org")));
}

#[test]
fn it_gives_way_where_nothing_was_granted_yet() {
    let folder = tempfile::tempdir().unwrap();
    write_legacy(&folder);
    let ca = open(&folder, &[]);
    ca.permit(&[]);
    assert_eq!(objection(&root(&folder), &signed(&ca, OWN)), None);
    assert!(refused(&root(&folder), &signed(&ca, "a.example.com")));
}

#[test]
fn other_domains_make_another_root_of_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder, &["example.com"]));
    let (before, kept) = (root(&folder), key(&folder));
    drop(open(&folder, &["example.com"]));
    assert_eq!(root(&folder), before);
    let ca = open(&folder, &["example.org"]);
    let after = root(&folder);
    assert_eq!((key(&folder), identity(&after).1), (kept, identity(&before).1));
    assert!(ca.certificate(&name("a.example.com")).is_none());
    assert_eq!(objection(&after, &ca.certificate(&name("a.example.org")).unwrap()), None);
    assert_eq!(root(&folder), after);
}

#[test]
fn a_file_that_is_gone_is_made_and_one_that_is_wrong_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder, &[]));
    let (first, kept) = (root(&folder), key(&folder));
    fs::remove_file(folder.path().join(ROOT_FILE)).unwrap();
    drop(open(&folder, &[]));
    assert_eq!((key(&folder), identity(&root(&folder)).1), (kept, identity(&first).1));

    fs::remove_file(folder.path().join("ca-key.pem")).unwrap();
    let ca = open(&folder, &[]);
    assert_eq!(objection(&root(&folder), &signed(&ca, OWN)), None);

    fs::write(folder.path().join(ROOT_FILE), &first).unwrap();
    let error = not_opened(&folder);
    assert!(matches!(error, CaError::Foreign(_)) && error.hint().unwrap().contains("ca.pem"), "{error}");
    for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(folder.path().join(ROOT_FILE), broken).unwrap();
        assert!(matches!(not_opened(&folder), CaError::Malformed(_)), "{broken:?}");
    }
}

#[test]
fn nothing_is_signed_that_the_root_on_the_disk_does_not_permit() {
    let folder = tempfile::tempdir().unwrap();
    let ca = open(&folder, &[]);
    let kept = ca.certificate(&name("a.example.com")).unwrap();
    let path = folder.path().to_owned();
    drop(folder);
    assert!(ca.certificate(&name("b.example.com")).is_none());
    assert!(Arc::ptr_eq(&ca.certificate(&name("a.example.com")).unwrap(), &kept));
    // The disk is back: after a rest it is tried again.
    fs::create_dir(&path).unwrap();
    assert!(ca.certificate(&name("b.example.com")).is_none());
    lock(&ca.state).failed_at = Some(OffsetDateTime::now_utc() - Duration::from_mins(1));
    assert!(ca.certificate(&name("b.example.com")).is_some());
    fs::remove_dir_all(&path).unwrap();
}
