//! The root's certificate, and the key behind it. The certificate may be made anew at any time, for other names: subject,
//! key and key identifier stay, so that what was signed before verifies with the old certificate and with the new one.

use std::io;
use std::path::Path;

use process::private_file;
use protocol::hostname::Hostname;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, GeneralSubtree as Parsed};
use x509_parser::prelude::FromDer;

use super::subtrees::Subtrees;
use super::{BACKDATE, CaError};

pub(super) const LIFETIME: Duration = Duration::days(3650);
const SUBJECT: &str = "Adit internal CA";
/// All addresses of a family: its address and its mask are nothing but zeros.
const ALL_IPV4: [u8; 8] = [0; 8];
const ALL_IPV6: [u8; 32] = [0; 32];

/// What is in the place of the root.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// A root of an earlier version, or one that says less than [`write()`] would.
    Unconstrained,
    Permitting(Subtrees),
}

/// Reads the key, or makes one.
pub(super) fn key(key_file: &Path, root_file: &Path) -> Result<KeyPair, CaError> {
    if key_file.exists() {
        let text = private_file::read(key_file)?;
        let text = std::str::from_utf8(&text).map_err(|_| CaError::NotText(key_file.to_owned()))?;
        return Ok(KeyPair::from_pem(text)?);
    }
    // A root whose key is gone signs nothing any more, and would be taken for somebody else's beside the new key.
    if let Err(source) = std::fs::remove_file(root_file)
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(CaError::Root { path: root_file.to_owned(), source });
    }
    let key = KeyPair::generate()?;
    private_file::write(key_file, key.serialize_pem().as_bytes())?;
    Ok(key)
}

/// Signs in the name of the root, whatever its certificate permits.
pub(super) fn issuer(key: KeyPair) -> Issuer<'static, KeyPair> {
    Issuer::new(params(), key)
}

/// What the root's file permits. It has to be this key's.
pub(super) fn read(root_file: &Path, key: &KeyPair) -> Result<Found, CaError> {
    let text = match std::fs::read(root_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(CaError::Root { path: root_file.to_owned(), source }),
    };
    let malformed = || CaError::Malformed(root_file.to_owned());
    let root = CertificateDer::from_pem_slice(&text).map_err(|_| malformed())?;
    let (_, root) = X509Certificate::from_der(&root).map_err(|_| malformed())?;
    let subject = root.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    if subject != Some(SUBJECT) || root.public_key().raw != key.subject_public_key_info() {
        return Err(CaError::Foreign(root_file.to_owned()));
    }
    let permitted = permitted(&root).map_err(|_| malformed())?;
    Ok(permitted.map_or(Found::Unconstrained, Found::Permitting))
}

/// The domains of a root that is constrained as [`write()`] does it; nothing where it is not, in whatever way.
fn permitted(root: &X509Certificate<'_>) -> Result<Option<Subtrees>, X509Error> {
    let for_servers = root.extended_key_usage()?.is_some_and(|usage| usage.value.server_auth);
    let Some(constraints) = root.name_constraints()?.filter(|constraints| constraints.critical) else {
        return Ok(None);
    };
    let constraints = constraints.value;
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    let excludes = |all: &[u8]| excluded.iter().any(|subtree| subtree.base == GeneralName::IPAddress(all));
    if !for_servers || !excludes(&ALL_IPV4) || !excludes(&ALL_IPV6) {
        return Ok(None);
    }
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let domains: Option<Vec<Hostname>> = permitted.iter().map(domain).collect();
    Ok(domains.and_then(Subtrees::new))
}

fn domain(subtree: &Parsed<'_>) -> Option<Hostname> {
    let GeneralName::DNSName(name) = subtree.base else { return None };
    name.parse().ok()
}

/// Writes a root for these names over whatever is there.
pub(super) fn write(
    root_file: &Path,
    issuer: &Issuer<'_, KeyPair>,
    permitted: &Subtrees,
) -> Result<(), CaError> {
    let now = OffsetDateTime::now_utc();
    let mut params = params();
    params.not_before = now - BACKDATE;
    params.not_after = now + LIFETIME;
    params.serial_number = Some(serial().into());
    params.name_constraints = Some(constraints(permitted));
    let root = params.signed_by(issuer.key(), issuer)?;
    Ok(private_file::write(root_file, root.pem().as_bytes())?)
}

/// All that no two roots of one key differ in.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, SUBJECT);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Certificates that sign programs or mail hold no hostname that a constraint could be about.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// An address is no name of the owner's, and a constraint that is about DNS names says nothing of addresses.
fn constraints(permitted: &Subtrees) -> NameConstraints {
    let domains = permitted.iter().map(|domain| GeneralSubtree::DnsName(domain.to_string()));
    let all_addresses = [CidrSubnet::V4([0; 4], [0; 4]), CidrSubnet::V6([0; 16], [0; 16])];
    NameConstraints {
        permitted_subtrees: domains.collect(),
        excluded_subtrees: all_addresses.map(GeneralSubtree::IpAddress).to_vec(),
    }
}

/// Two certificates of one issuer never share theirs (RFC 5280, section 4.1.2.2), and rcgen's own is the key's.
fn serial() -> Vec<u8> {
    let mut serial = process::random::bytes::<16>();
    // Positive, and of the same length each time.
    serial[0] = serial[0] & 0x7f | 0x40;
    serial.to_vec()
}
