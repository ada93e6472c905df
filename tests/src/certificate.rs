//! Certificates for tests, in files as somebody who renews them would write them.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

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
        // Of its own: OpenSSL takes a certificate that names itself as its issuer for self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
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
        self.sign(folder, stem, CertificateParams::new(hostnames).expect("hostnames"));
    }

    /// The same for a hostname of its own, of which so many seconds are left.
    pub fn write_brief(&self, folder: &Path, stem: &str, seconds: u64) {
        let mut params = CertificateParams::new(vec![format!("{stem}.example")]).expect("a hostname");
        params.not_after = (SystemTime::now() + Duration::from_secs(seconds)).into();
        self.sign(folder, stem, params);
    }

    fn sign(&self, folder: &Path, stem: &str, params: CertificateParams) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(folder.join(format!("{stem}.key")), key.serialize_pem()).expect("a file");
        fs::write(folder.join(format!("{stem}.pem")), certificate.pem()).expect("a file");
    }
}
