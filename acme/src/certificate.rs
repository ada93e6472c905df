//! Certificates and their keys, from PEM to what TLS shows and what a schedule needs to know.

use std::sync::Arc;

use instant_acme::CertificateIdentifier;
use protocol::hostname::HostnamePattern;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::keep::{Issued, Secret};
use crate::schedule::Lifetime;

/// Chains have a few KiB, and go through every handshake.
const LONGEST_CHAIN: usize = 64 << 10;

/// Why something is no certificate for a hostname.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate is not PEM")]
    Pem(#[source] pem::Error),
    #[error("the chain is longer than {} KiB", LONGEST_CHAIN >> 10)]
    TooLong,
    #[error("the chain holds no certificate")]
    Empty,
    #[error("the certificate cannot be understood")]
    Malformed(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    #[error("the key does not belong to the certificate, or cannot be used")]
    Key(#[source] rustls::Error),
    #[error("the certificate is not for `{0}`")]
    OtherName(HostnamePattern),
    #[error("a key cannot be made")]
    Make(#[source] rcgen::Error),
}

/// A certificate, ready for TLS.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub certified: Arc<CertifiedKey>,
    pub facts: Facts,
}

/// What people and schedules ask of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub issuer: String,
    pub lifetime: Lifetime,
    /// Differs from certificate to certificate and stays the same for one.
    pub chance: u32,
}

impl Certificate {
    /// Reads what a CA gave for a hostname.
    ///
    /// # Errors
    ///
    /// Where it is for other names or another key, or is no certificate.
    pub fn read(name: &HostnamePattern, issued: &Issued) -> Result<Self, CertificateError> {
        if issued.chain.len() > LONGEST_CHAIN {
            return Err(CertificateError::TooLong);
        }
        let chain: Vec<_> = CertificateDer::pem_slice_iter(issued.chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(CertificateError::Pem)?;
        let leaf = chain.first().ok_or(CertificateError::Empty)?;
        let facts = Facts::of(leaf)?;
        if !names(leaf)?.iter().any(|own| own.eq_ignore_ascii_case(name.as_str())) {
            return Err(CertificateError::OtherName(name.clone()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(issued.key.expose().as_bytes()).map_err(CertificateError::Pem)?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        Ok(Self { certified: Arc::new(certified.map_err(CertificateError::Key)?), facts })
    }
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn of(leaf: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(CertificateError::Malformed)?;
        let validity = parsed.validity();
        let lifetime = Lifetime {
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        };
        let digest = Sha256::digest(leaf);
        let chance = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        Ok(Self { issuer: issuer(&parsed), lifetime, chance })
    }
}

/// As people call it: its common name, or all of it where it has none.
fn issuer(certificate: &X509Certificate<'_>) -> String {
    let issuer = certificate.issuer();
    let common = issuer.iter_common_name().next().and_then(|name| name.as_str().ok().map(str::to_owned));
    let text = common.unwrap_or_else(|| issuer.to_string());
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(CertificateError::Malformed)?;
    let names = parsed.subject_alternative_name().ok().flatten();
    let dns = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| {
        if let x509_parser::prelude::GeneralName::DNSName(name) = name {
            Some((*name).to_owned())
        } else {
            None
        }
    });
    Ok(dns.collect())
}

/// What a CA calls a certificate when it speaks of renewals; none where it has no authority key identifier.
pub(crate) fn identifier(certified: &CertifiedKey) -> Option<CertificateIdentifier<'static>> {
    let leaf = certified.cert.first()?;
    CertificateIdentifier::try_from(leaf).ok().map(CertificateIdentifier::into_owned)
}

/// A new key, as PEM.
pub(crate) fn new_key() -> Result<Secret, CertificateError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CertificateError::Make)?;
    Ok(Secret::new(key.serialize_pem()))
}

/// The request of a certificate for a hostname, as DER (PKCS #10).
pub(crate) fn request(name: &HostnamePattern, key: &Secret) -> Result<Vec<u8>, CertificateError> {
    let key = KeyPair::from_pem(key.expose()).map_err(CertificateError::Make)?;
    let mut params = CertificateParams::new(vec![name.to_string()]).map_err(CertificateError::Make)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(CertificateError::Make)?;
    Ok(request.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(name: &str, key: &Secret) -> Issued {
        let pair = KeyPair::from_pem(key.expose()).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(2_000_000_000).unwrap();
        let chain = params.self_signed(&pair).unwrap().pem();
        Issued { directory: "https://ca.example/dir".into(), chain, key: key.clone() }
    }

    #[test]
    fn a_certificate_is_for_its_own_name_and_key() {
        let key = new_key().unwrap();
        let good = issued("a.example.com", &key);
        let name: HostnamePattern = "a.example.com".parse().unwrap();
        let read = Certificate::read(&name, &good).unwrap();
        assert_eq!(read.facts.lifetime.not_after, 2_000_000_000);
        assert_eq!(read.facts, Certificate::read(&name, &good).unwrap().facts);
        let other = "b.example.com".parse().unwrap();
        assert!(matches!(Certificate::read(&other, &good), Err(CertificateError::OtherName(_))));
        let strange = Issued { key: new_key().unwrap(), ..good.clone() };
        assert!(matches!(Certificate::read(&name, &strange), Err(CertificateError::Key(_))));
        let empty = Issued { chain: String::new(), ..good };
        assert!(matches!(Certificate::read(&name, &empty), Err(CertificateError::Empty)));
    }

    #[test]
    fn no_key_is_shown() {
        let key = new_key().unwrap();
        assert!(key.expose().contains("PRIVATE KEY"));
        assert_eq!(format!("{:?}", issued("a.example.com", &key).key), "Secret");
        assert!(!request(&"*.example.com".parse().unwrap(), &key).unwrap().is_empty());
    }
}
