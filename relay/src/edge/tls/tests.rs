//! Who is shown which certificate, on TCP and on UDP.

use std::collections::BTreeSet;

use protocol::hostname::HostnamePattern;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::server::{Accepted, Acceptor};
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore};
use tempfile::TempDir;

use super::*;
use crate::config::visitor_certificates::VisitorCertificate;
use crate::edge::cert::Sources;
use crate::edge::internal_ca::InternalCa;
use crate::edge::visitor_certificates::Authorities;

const RELAY: &str = "relay.example.com";
const OPEN: &str = "koda.example.com";
const FAMILY: &str = "admin.example.com";
const UNKNOWN: &str = "nobody.example.com";

/// Certificates for three hostnames, one of which asks visitors for theirs.
fn resolver(folder: &TempDir, http3: bool) -> UdpCertificate {
    let owner =
        |hostname: &Hostname| (hostname.as_str() != UNKNOWN).then(|| HostnamePattern::from(hostname.clone()));
    let internal = Some(InternalCa::open(folder.path(), &RELAY.parse().unwrap(), &BTreeSet::new()).unwrap());
    let sources = Sources { internal, ..Sources::default() };
    let certificates = Arc::new(Certificates::new(sources, Box::new(owner), Box::new(|_| false)));
    let ca_file = folder.path().join("family.pem");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(&ca_file, params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();
    let rule = VisitorCertificate { hostnames: vec![FAMILY.parse().unwrap()], ca_file };
    let authorities = Authorities::load(&[rule]).unwrap();
    let visitor_certificates =
        Arc::new(VisitorCertificates::new(authorities, Arc::clone(&certificates)).unwrap());
    let fallback = ca::leaf::self_signed(RELAY).unwrap();
    UdpCertificate { certificates, fallback, visitor_certificates, http3 }
}

/// The first words of somebody who offers these protocols.
fn hello(hostname: &str, alpn: &[&[u8]]) -> Accepted {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_root_certificates(RootCertStore::empty());
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = hostname.to_owned().try_into().unwrap();
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut bytes).unwrap();
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut bytes.as_slice()).unwrap();
    acceptor.accept().unwrap().unwrap()
}

#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Fallback,
    Public,
}

fn shown(resolver: &UdpCertificate, hostname: &str, alpn: &[&[u8]]) -> Shown {
    let hello = hello(hostname, alpn);
    match resolver.resolve(hello.client_hello()) {
        None => Shown::Nothing,
        Some(key) if Arc::ptr_eq(&key, &resolver.fallback) => Shown::Fallback,
        Some(key) => {
            assert!(Arc::ptr_eq(&key, &resolver.certificates.find(&hostname.parse().unwrap()).unwrap()));
            Shown::Public
        }
    }
}

#[test]
fn on_udp_sessions_are_always_shown_one_and_visitors_by_their_hostname() {
    use Shown::{Fallback, Nothing, Public};
    let folder = tempfile::tempdir().unwrap();
    let resolver = resolver(&folder, true);
    // (hostname, what a session is shown, what a visitor is shown)
    let cases = [
        (RELAY, Public, Public),
        (OPEN, Public, Public),
        (FAMILY, Public, Nothing),
        (UNKNOWN, Fallback, Nothing),
        ("192.0.2.1", Fallback, Nothing),
    ];
    for (hostname, session, visitor) in cases {
        assert_eq!(shown(&resolver, hostname, &[version::ALPN]), session, "{hostname}");
        assert_eq!(shown(&resolver, hostname, &[H3]), visitor, "{hostname}");
        // rustls settles on the session, whatever the order of the offer.
        assert_eq!(shown(&resolver, hostname, &[H3, version::ALPN]), session, "{hostname}");
    }
}

#[test]
fn what_nobody_speaks_on_udp_ends_for_that_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |http3: bool, alpn: &[&[u8]]| {
        let config = configured(resolver(&folder, http3)).unwrap();
        assert_eq!((config.max_early_data_size, config.alpn_protocols.len()), (0, 1 + usize::from(http3)));
        hello(OPEN, alpn).into_connection(Arc::new(config)).err().map(|(error, _alert)| error)
    };
    for http3 in [false, true] {
        assert!(matches!(refused(http3, &[b"h2"]), Some(Error::NoApplicationProtocol)));
        assert!(refused(http3, &[version::ALPN]).is_none());
    }
    assert!(matches!(refused(false, &[H3]), Some(Error::NoApplicationProtocol)));
    assert!(refused(true, &[H3]).is_none());
}
