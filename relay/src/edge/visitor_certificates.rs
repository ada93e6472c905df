//! Visitors who show a certificate: which hostnames ask for one, and whose certificates count there.
//!
//! A browser uses one connection for several hostnames (RFC 9113, section 9.1.1), and TLS asked only once, for one of
//! them. So what counts for a request is the rule of its own hostname, see [`VisitorCertificates::may_ask`].

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;
use protocol::hostname::{Hostname, HostnamePattern};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::cert::{CertError, Certificates, malformed, read_chain};
use super::tls_config;
use crate::config::visitor_certificates::VisitorCertificate;

/// The rules with what their files hold; not yet in force.
#[derive(Debug, Default)]
pub(crate) struct Authorities(Vec<(Vec<HostnamePattern>, Authority)>);

#[derive(Debug)]
struct Authority {
    /// In one order, so that the same set is known again.
    roots: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Authorities {
    /// Reads all files, and reports everything that is wrong with them.
    pub(crate) fn load(rules: &[VisitorCertificate]) -> Result<Self, Vec<CertError>> {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for rule in rules {
            match Authority::load(&rule.ca_file) {
                Ok(authority) => all.push((rule.hostnames.clone(), authority)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self(all)) } else { Err(errors) }
    }
}

impl Authority {
    fn load(file: &Path) -> Result<Self, CertError> {
        let mut roots = read_chain(file)?;
        roots.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
        roots.dedup();
        let anchors = roots.iter().map(|root| Ok(webpki::anchor_from_trusted_cert(root)?.to_owned()));
        let anchors: Vec<_> = anchors.collect::<Result<_, _>>().map_err(|error| malformed(file, error))?;
        let store = Arc::new(RootCertStore { roots: anchors });
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(store, provider).build();
        let unusable = |source| CertError::Authority { path: file.to_owned(), source };
        Ok(Self { roots, verifier: verifier.map_err(unusable)? })
    }
}

/// Whose certificates count, and TLS that asks for one of them. There is one for each set of authorities, and a set that
/// stays the same keeps it: two of them are equal where they are the same value.
pub(crate) struct Policy {
    authority: Authority,
    pub(super) tls: Arc<ServerConfig>,
}

impl Policy {
    /// Whether a certificate that was shown once counts now.
    pub(super) fn holds_for(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.authority.verifier.verify_client_cert(leaf, intermediates, UnixTime::now()).map(|_verified| ())
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("roots", &self.authority.roots.len()).finish_non_exhaustive()
    }
}

/// What a visitor proved in its handshake.
#[derive(Debug, Clone)]
pub(crate) struct VisitorProof {
    policy: Arc<Policy>,
    /// The value of `Client-Cert`, for the origin.
    client_cert: HeaderValue,
}

impl VisitorProof {
    pub(super) fn new(policy: Arc<Policy>, certificate: &CertificateDer<'_>) -> Option<Self> {
        Some(Self { policy, client_cert: client_cert(certificate)? })
    }

    /// The value of `Client-Cert`: the visitor's certificate.
    pub(crate) fn client_cert(&self) -> HeaderValue {
        self.client_cert.clone()
    }
}

/// RFC 9440, section 2.2: DER as a byte sequence of structured fields.
fn client_cert(certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    let text = data_encoding::BASE64.encode(certificate);
    HeaderValue::from_str(&format!(":{text}:")).ok()
}

type InForce = HashMap<HostnamePattern, Arc<Policy>>;

/// The rules in force.
#[derive(Debug)]
pub(crate) struct VisitorCertificates {
    certificates: Arc<Certificates>,
    in_force: ArcSwap<InForce>,
}

impl VisitorCertificates {
    pub(crate) fn new(
        authorities: Authorities,
        certificates: Arc<Certificates>,
    ) -> Result<Self, rustls::Error> {
        let new = Self { certificates, in_force: ArcSwap::default() };
        new.replace(authorities)?;
        Ok(new)
    }

    /// Takes other rules. Connections stay open, and are asked for every request whether what they proved still counts.
    pub(crate) fn replace(&self, authorities: Authorities) -> Result<(), rustls::Error> {
        let mut known: Vec<Arc<Policy>> = self.in_force.load().values().cloned().collect();
        let mut next = InForce::new();
        for (hostnames, authority) in authorities.0 {
            let policy = match known.iter().find(|policy| policy.authority.roots == authority.roots) {
                Some(policy) => Arc::clone(policy),
                None => {
                    let verifier = Some(Arc::clone(&authority.verifier));
                    let tls = tls_config::for_visitors(Arc::clone(&self.certificates), verifier)?;
                    Arc::new(Policy { authority, tls })
                }
            };
            known.push(Arc::clone(&policy));
            next.extend(hostnames.into_iter().map(|hostname| (hostname, Arc::clone(&policy))));
        }
        self.in_force.store(Arc::new(next));
        Ok(())
    }

    /// The rule for a hostname, its own before one of a wildcard.
    pub(crate) fn policy(&self, hostname: &Hostname) -> Option<Arc<Policy>> {
        let in_force = self.in_force.load();
        if in_force.is_empty() {
            return None;
        }
        let exact = in_force.get(&HostnamePattern::from(hostname.clone()));
        exact.or_else(|| in_force.get(&hostname.wildcard()?)).cloned()
    }

    /// Whether a connection that proved this, or nothing, may ask for a hostname; otherwise the answer is 421.
    pub(crate) fn may_ask(&self, proof: Option<&VisitorProof>, hostname: &Hostname) -> bool {
        may_ask(proof.map(|proof| &proof.policy), self.policy(hostname).as_ref())
    }
}

/// A certificate counts where exactly the authorities are asked for that it was verified under, and is not shown around
/// where nobody asked.
fn may_ask(proven: Option<&Arc<Policy>>, in_force: Option<&Arc<Policy>>) -> bool {
    match (proven, in_force) {
        (None, None) => true,
        (Some(proven), Some(in_force)) => Arc::ptr_eq(proven, in_force),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn root() -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn load(folder: &Path, rules: &[(&[&str], &str)]) -> Authorities {
        let ca_file = folder.join("ca.pem");
        let (mut all, file) = (Vec::new(), &ca_file);
        for (hostnames, pem) in rules {
            std::fs::write(file, pem).unwrap();
            let hostnames = hostnames.iter().map(|name| name.parse().unwrap()).collect();
            let rule = VisitorCertificate { hostnames, ca_file: ca_file.clone() };
            all.append(&mut Authorities::load(&[rule]).unwrap().0);
        }
        Authorities(all)
    }

    #[test]
    fn policies_are_equal_where_the_authorities_are_and_only_there() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (root(), root());
        let (both, turned) = (format!("{one}{two}"), format!("{two}{one}{two}"));
        let certificates = Certificates::new(Default::default(), Box::new(|_| None), Box::new(|_| false));
        let rules: [(&[&str], &str); 4] = [
            (&["a.example.com", "*.example.com"], &one),
            (&["b.example.com"], &both),
            (&["c.example.com"], &turned),
            (&["d.example.com"], &two),
        ];
        let all = VisitorCertificates::new(load(folder.path(), &rules), Arc::new(certificates)).unwrap();
        let policy = |name: &str| all.policy(&name.parse().unwrap());
        let same =
            |one: Option<Arc<Policy>>, other: Option<Arc<Policy>>| may_ask(one.as_ref(), other.as_ref());
        assert!(same(policy("a.example.com"), policy("x.example.com")));
        assert!(same(policy("b.example.com"), policy("c.example.com")));
        assert!(!same(policy("a.example.com"), policy("b.example.com")));
        assert!(!same(policy("d.example.com"), policy("b.example.com")));
        for without in ["example.com", "a.b.example.com", "a.example.net"] {
            assert!(policy(without).is_none(), "{without}");
            assert!(!same(policy("a.example.com"), policy(without)) && !same(None, policy("a.example.com")));
        }
        assert!(same(None, policy("example.com")));
        let (a, b) = (policy("a.example.com"), policy("b.example.com"));
        all.replace(load(folder.path(), &[(&["b.example.com"], &one), (&["a.example.com"], &turned)]))
            .unwrap();
        assert!(same(a, policy("b.example.com")) && same(b, policy("a.example.com")));
        assert!(policy("x.example.com").is_none());
    }

    #[test]
    fn a_certificate_is_told_as_a_byte_sequence() {
        assert_eq!(client_cert(&vec![0xff, 0xfe, 0x00].into()).unwrap(), "://4A:");
    }
}
