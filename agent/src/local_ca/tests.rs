//! What a visitor that trusts the root believes, by handshakes in memory, and what is on the disk.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use time::{Duration, OffsetDateTime};

use super::serve::Served;
use super::*;
use crate::certificate::provider;

fn data_dir() -> (tempfile::TempDir, DataDir) {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = DataDir::new(folder.path().join("adit"));
    (folder, data_dir)
}

fn permitting(data_dir: &DataDir, names: &[&str]) -> LocalCa {
    let names: Vec<LocalName> = names.iter().map(|name| name.parse().unwrap()).collect();
    LocalCa::permitting(data_dir, &names).unwrap()
}

/// A browser that trusts this root, and speaks these protocols.
fn browser(root: &str, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A handshake in memory: what is spoken afterwards, or who objects.
#[expect(clippy::unwrap_in_result, reason = "what is unwrapped cannot fail; the result is of the handshake")]
fn visit(
    server: Arc<ServerConfig>,
    browser: Arc<ClientConfig>,
    name: &str,
) -> Result<Option<Vec<u8>>, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut visitor = ClientConnection::new(browser, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while visitor.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while visitor.wants_write() {
            visitor.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut bytes.as_slice()).unwrap();
        // What the server objects to it says in an alert.
        let objection = server.process_new_packets().err();
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        visitor.read_tls(&mut bytes.as_slice()).unwrap();
        visitor.process_new_packets()?;
        if let Some(objection) = objection {
            return Err(objection);
        }
    }
    Ok(visitor.alpn_protocol().map(<[u8]>::to_vec))
}

#[test]
fn a_visitor_that_trusts_the_root_speaks_http1_under_the_name() {
    let (_folder, data_dir) = data_dir();
    let ca = permitting(&data_dir, &["koda.localhost"]);
    let server = ca.server_config(&"koda.localhost".parse().unwrap()).unwrap();
    let root = ca.pem().unwrap();
    let spoken = visit(Arc::clone(&server), browser(&root, &["h2", "http/1.1"]), "koda.localhost");
    assert_eq!(spoken.unwrap().as_deref(), Some(b"http/1.1".as_slice()));
    assert_eq!(visit(Arc::clone(&server), browser(&root, &[]), "koda.localhost"), Ok(None));
    let only_h2 = visit(Arc::clone(&server), browser(&root, &["h2"]), "koda.localhost").unwrap_err();
    assert!(only_h2.to_string().contains("NoApplicationProtocol"), "{only_h2}");
    for other in ["other.localhost", "a.koda.localhost", "127.0.0.1"] {
        let refused = visit(Arc::clone(&server), browser(&root, &[]), other).unwrap_err();
        assert!(matches!(refused, rustls::Error::AlertReceived(_)), "{other}: {refused}");
    }
}

#[test]
fn a_root_of_other_names_does_not_do() {
    let (_folder, data_dir) = data_dir();
    let old = permitting(&data_dir, &["koda.localhost"]).pem().unwrap();
    let ca = permitting(&data_dir, &["notes.localhost"]);
    let server = ca.server_config(&"notes.localhost".parse().unwrap()).unwrap();
    let visit = |root: &str| visit(Arc::clone(&server), browser(root, &[]), "notes.localhost");
    let refused = visit(&old).unwrap_err();
    assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused}");
    assert_eq!(visit(&ca.pem().unwrap()), Ok(None));
}

#[test]
fn a_name_that_was_not_asked_for_is_refused_with_a_way_out() {
    let (_folder, data_dir) = data_dir();
    let ca = permitting(&data_dir, &["koda.localhost"]);
    let error = ca.server_config(&"notes.localhost".parse().unwrap()).unwrap_err();
    assert!(matches!(error, LocalCaError::NotPermitted(_)), "{error}");
    assert_eq!(error.hint().unwrap(), "run `agent trust notes.localhost`");
    assert!(ca.server_config(&"a.koda.localhost".parse().unwrap()).is_ok());
}

#[test]
fn it_grows_with_the_same_key_and_name_and_old_copies_go_on() {
    let (_folder, data_dir) = data_dir();
    let first = permitting(&data_dir, &["koda.localhost"]);
    let (old, name) = (first.pem().unwrap(), first.name().to_owned());
    let key = || fs::read(Files::of(&data_dir).key).unwrap();
    let kept = key();
    let grown = permitting(&data_dir, &["notes.localhost", "koda.localhost"]);
    assert_eq!((key(), grown.name()), (kept, name.as_str()));
    assert_eq!(grown.permitted().to_string(), "koda.localhost, notes.localhost");
    let new = grown.pem().unwrap();
    assert_ne!(old, new);
    let server = grown.server_config(&"koda.localhost".parse().unwrap()).unwrap();
    for root in [&old, &new] {
        assert_eq!(visit(Arc::clone(&server), browser(root, &[]), "koda.localhost"), Ok(None));
    }
    // What is permitted already changes nothing.
    assert_eq!(permitting(&data_dir, &["a.koda.localhost"]).pem().unwrap(), new);
    assert_eq!(LocalCa::permitting(&data_dir, &[]).unwrap().pem().unwrap(), new);
    assert_eq!(LocalCa::open(&data_dir).unwrap().permitted(), grown.permitted());
}

#[test]
fn without_a_name_there_is_none_and_none_is_made() {
    let (_folder, data_dir) = data_dir();
    for missing in [LocalCa::open(&data_dir), LocalCa::permitting(&data_dir, &[])] {
        let error = missing.unwrap_err();
        assert!(matches!(error, LocalCaError::NotMade), "{error}");
        assert!(error.hint().unwrap().contains("agent trust koda.localhost"));
    }
    assert!(!data_dir.path().exists());
}

#[test]
fn two_changes_at_once_do_not_lose_a_name() {
    let (_folder, data_dir) = data_dir();
    let ca = permitting(&data_dir, &["koda.localhost"]);
    let held = lock(&data_dir).unwrap();
    let names = ["notes.localhost".parse().unwrap()];
    let error = LocalCa::permitting(&data_dir, &names).unwrap_err();
    assert!(matches!(error, LocalCaError::Locked(_)) && error.hint().is_some(), "{error}");
    drop(held);
    assert!(LocalCa::permitting(&data_dir, &names).unwrap().permitted() != ca.permitted());
}

#[test]
fn certificates_are_renewed_before_they_expire() {
    let (_folder, data_dir) = data_dir();
    let ca = permitting(&data_dir, &["koda.localhost"]);
    let now = OffsetDateTime::now_utc();
    let served = Served::new(Arc::clone(&ca.root), "koda.localhost".parse().unwrap(), now).unwrap();
    let first = served.certificate(now);
    assert!(Arc::ptr_eq(&first, &served.certificate(now + Duration::days(3))));
    let second = served.certificate(now + Duration::days(5));
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &served.certificate(now + Duration::days(6))));
}

#[cfg(unix)]
#[test]
fn folder_and_key_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, data_dir) = data_dir();
    permitting(&data_dir, &["koda.localhost"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data_dir.local_ca()), mode(&Files::of(&data_dir).key)), (0o700, 0o600));
    fs::set_permissions(data_dir.local_ca(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = LocalCa::open(&data_dir).unwrap_err();
    assert!(matches!(error, LocalCaError::Folder(_)) && error.hint().is_some(), "{error}");
}

#[test]
fn a_root_is_called_after_the_device_and_told_from_others() {
    let name = subject(Some("Jörgs MacBook"));
    assert!(name.starts_with("Adit on J-rgs-MacBook "), "{name}");
    assert_ne!(name, subject(Some("Jörgs MacBook")));
    // RFC 5280, appendix A.1: `ub-common-name`.
    assert!(subject(Some(&"a".repeat(100))).len() <= 64 && subject(None).starts_with("Adit on this-device "));
}
