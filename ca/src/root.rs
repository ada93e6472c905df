//! The root's certificate, and the key behind it. The certificate may be made anew at any time, for other names: subject,
//! key and key identifier stay, so that what was signed before verifies with the old certificate and with the new one.

use std::io;
use std::path::{Path, PathBuf};

use process::private_file;
use protocol::hostname::{Hostname, HostnamePattern};
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

use super::BACKDATE;
use super::error::CaError;
use super::leaf::{self, Leaf};
use super::subtrees::Subtrees;

pub(crate) const LIFETIME: Duration = Duration::days(3650);
/// All addresses of a family: its address and its mask are nothing but zeros.
const ALL_IPV4: [u8; 8] = [0; 8];
const ALL_IPV6: [u8; 32] = [0; 32];

/// What a root is called: its certificate's common name, by which people know it in the list of those they trust.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// This; a root of another name is somebody else's.
    Always(&'a str),
    /// Whatever the root that is there is called, and this where there is none.
    AtFirst(&'a str),
}

/// What is in the place of the root.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// A root of an earlier version, or one that says less than [`Root::write()`] would.
    Unconstrained,
    Permitting(Subtrees),
}

/// A key, and the place of its certificate.
#[derive(Debug)]
pub struct Root {
    file: PathBuf,
    subject: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    /// The root whose key and certificate are in these files. A key is made where there is none, a certificate by
    /// [`Root::write()`] alone. The folder exists.
    ///
    /// # Errors
    ///
    /// Where a file cannot be used, or the certificate is not the key's.
    pub fn open(key_file: &Path, file: &Path, subject: Subject<'_>) -> Result<(Self, Found), CaError> {
        let key = key(key_file, file)?;
        let (subject, found) = read(file, &key, subject)?;
        let issuer = Issuer::new(params(&subject), key);
        Ok((Self { file: file.to_owned(), subject, issuer }, found))
    }

    /// Where everybody who is to trust it gets it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Writes a certificate for these names over whatever is there.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub fn write(&self, permitted: &Subtrees) -> Result<(), CaError> {
        let now = OffsetDateTime::now_utc();
        let mut params = params(&self.subject);
        params.not_before = now - BACKDATE;
        params.not_after = now + LIFETIME;
        params.serial_number = Some(serial().into());
        params.name_constraints = Some(constraints(permitted));
        let root = params.signed_by(self.issuer.key(), &self.issuer)?;
        Ok(private_file::write(&self.file, root.pem().as_bytes())?)
    }

    /// Signs for this name, whatever the certificate permits.
    ///
    /// # Errors
    ///
    /// Where that fails.
    pub fn sign(&self, name: &HostnamePattern, now: OffsetDateTime) -> Result<Leaf, CaError> {
        self.sign_params(leaf::params(name.as_str(), now)?, now)
    }

    pub(crate) fn sign_params(
        &self,
        mut params: CertificateParams,
        now: OffsetDateTime,
    ) -> Result<Leaf, CaError> {
        let key = KeyPair::generate()?;
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf::new(leaf::certified(leaf.der().clone(), &key)?, now))
    }
}

/// Reads the key, or makes one.
fn key(key_file: &Path, root_file: &Path) -> Result<KeyPair, CaError> {
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

/// What the root in the file is called and permits. It has to be this key's.
fn read(file: &Path, key: &KeyPair, subject: Subject<'_>) -> Result<(String, Found), CaError> {
    let (Subject::Always(name) | Subject::AtFirst(name)) = subject;
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((name.to_owned(), Found::Nothing));
        }
        Err(source) => return Err(CaError::Root { path: file.to_owned(), source }),
    };
    let malformed = || CaError::Malformed(file.to_owned());
    let root = CertificateDer::from_pem_slice(&text).map_err(|_| malformed())?;
    let (_, root) = X509Certificate::from_der(&root).map_err(|_| malformed())?;
    let called = root.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let ours = |called: &&str| matches!(subject, Subject::AtFirst(_)) || *called == name;
    let called = called.filter(ours).ok_or_else(|| CaError::Foreign(file.to_owned()))?;
    if root.public_key().raw != key.subject_public_key_info() {
        return Err(CaError::Foreign(file.to_owned()));
    }
    let permitted = permitted(&root).map_err(|_| malformed())?;
    Ok((called.to_owned(), permitted.map_or(Found::Unconstrained, Found::Permitting)))
}

/// The domains of a root that is constrained as [`Root::write()`] does it; nothing where it is not, in whatever way.
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

/// All that no two roots of one key differ in.
fn params(subject: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, subject);
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
