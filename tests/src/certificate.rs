//! Certificates for tests, in files as somebody who renews them would write them.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A certificate authority of a test.
#[derive(Debug)]
pub struct Authority {
    root: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root").pem();
        Self { root, issuer: Issuer::new(params, key) }
    }

    /// Writes its root where a visitor can read it.
    pub fn write_root(&self, file: &Path) {
        fs::write(file, &self.root).expect("a file");
    }

    /// Writes `STEM.pem` and `STEM.key`, for these hostnames.
    pub fn write(&self, folder: &Path, stem: &str, hostnames: &[&str]) {
        let hostnames: Vec<String> = hostnames.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(hostnames).expect("hostnames");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(folder.join(format!("{stem}.key")), key.serialize_pem()).expect("a file");
        fs::write(folder.join(format!("{stem}.pem")), certificate.pem()).expect("a file");
    }
}
