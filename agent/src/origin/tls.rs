//! TLS with `https://` origins, by what the configuration trusts.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

use crate::certificate::{DangerousAnyCertificate, provider};
use crate::config::OriginTrust;

/// Prepares TLS for one origin.
pub(super) fn connector(trust: &OriginTrust) -> Result<TlsConnector, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match trust {
        OriginTrust::Platform => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier::new(provider())?))
        }
        OriginTrust::Roots(roots) => builder.with_root_certificates(Arc::clone(roots)),
        OriginTrust::DangerousAnyCertificate => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(DangerousAnyCertificate::new()))
        }
    };
    let mut config = builder.with_no_client_auth();
    // The relay speaks HTTP/1.1 through the stream; an origin that chose h2 would be spoken to in the wrong protocol.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
