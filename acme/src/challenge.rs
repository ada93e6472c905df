//! The answers to challenges of open orders, where the ports of HTTP and TLS find them. What was not asked for by an order
//! of ours is not here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use protocol::hostname::Hostname;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use crate::certificate::CertificateError;
use crate::lock::lock;

/// What TLS-ALPN-01 negotiates (RFC 8737).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Where HTTP-01 asks; the token follows.
pub const HTTP_PATH: &str = "/.well-known/acme-challenge/";

/// No more of them than there are orders under way.
#[derive(Debug, Default)]
pub struct Challenges {
    http: Mutex<HashMap<(Hostname, String), String>>,
    tls: Mutex<HashMap<Hostname, Arc<CertifiedKey>>>,
}

impl Challenges {
    /// The answer to HTTP-01, for a path that asks for one.
    #[must_use]
    pub fn http(&self, hostname: &Hostname, path: &str) -> Option<String> {
        let token = path.strip_prefix(HTTP_PATH)?;
        lock(&self.http).get(&(hostname.clone(), token.to_owned())).cloned()
    }

    /// The certificate that answers TLS-ALPN-01. It is shown to whoever negotiates [`ACME_TLS`], and to nobody else.
    #[must_use]
    pub fn tls(&self, hostname: &Hostname) -> Option<Arc<CertifiedKey>> {
        lock(&self.tls).get(hostname).cloned()
    }

    pub(crate) fn answer_http(self: &Arc<Self>, hostname: &Hostname, token: &str, answer: &str) -> Answering {
        let key = (hostname.clone(), token.to_owned());
        lock(&self.http).insert(key.clone(), answer.to_owned());
        Answering { challenges: Arc::clone(self), at: At::Http(key) }
    }

    pub(crate) fn answer_tls(
        self: &Arc<Self>,
        hostname: &Hostname,
        digest: &[u8; 32],
    ) -> Result<Answering, CertificateError> {
        let certificate = certificate(hostname, digest)?;
        lock(&self.tls).insert(hostname.clone(), Arc::clone(&certificate));
        Ok(Answering { challenges: Arc::clone(self), at: At::Tls(hostname.clone(), certificate) })
    }
}

/// Signed by itself, with the digest in it that the CA looks for (RFC 8737, section 3).
fn certificate(hostname: &Hostname, digest: &[u8; 32]) -> Result<Arc<CertifiedKey>, CertificateError> {
    let mut params = CertificateParams::new(vec![hostname.to_string()]).map_err(CertificateError::Make)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(CertificateError::Make)?;
    let leaf = params.self_signed(&key).map_err(CertificateError::Make)?;
    let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let signer = aws_lc_rs::sign::any_supported_type(&secret).map_err(CertificateError::Key)?;
    // Not compared with its key, as others are: what reads it for that stops at the critical extension.
    Ok(Arc::new(CertifiedKey::new(vec![leaf.der().clone()], signer)))
}

/// An answer that is given until this is dropped.
#[derive(Debug)]
pub(crate) struct Answering {
    challenges: Arc<Challenges>,
    at: At,
}

#[derive(Debug)]
enum At {
    Http((Hostname, String)),
    Tls(Hostname, Arc<CertifiedKey>),
}

impl Drop for Answering {
    fn drop(&mut self) {
        match &self.at {
            At::Http(key) => drop(lock(&self.challenges.http).remove(key)),
            At::Tls(hostname, own) => {
                let mut all = lock(&self.challenges.tls);
                // The next attempt may have put its own there.
                if all.get(hostname).is_some_and(|shown| Arc::ptr_eq(shown, own)) {
                    all.remove(hostname);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_there_for_as_long_as_the_order() {
        let challenges = Arc::new(Challenges::default());
        let (name, other): (Hostname, Hostname) =
            ("a.example.com".parse().unwrap(), "b.example.com".parse().unwrap());
        let path = format!("{HTTP_PATH}token");
        let http = challenges.answer_http(&name, "token", "token.thumb");
        let tls = challenges.answer_tls(&name, &[7; 32]).unwrap();
        assert_eq!(challenges.http(&name, &path).as_deref(), Some("token.thumb"));
        assert!(challenges.tls(&name).is_some() && challenges.tls(&other).is_none());
        assert_eq!(challenges.http(&other, &path), None);
        for wrong in ["/token", HTTP_PATH, &format!("{HTTP_PATH}token/"), &format!("{HTTP_PATH}other")] {
            assert_eq!(challenges.http(&name, wrong), None, "{wrong}");
        }
        drop((http, tls));
        assert_eq!(challenges.http(&name, &path), None);
        assert!(challenges.tls(&name).is_none());
    }
}
