//! The certificate that a visitor is shown: who it is, read by hand.

use data_encoding::BASE64URL_NOPAD;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// `authorityKeyIdentifier`, as DER (RFC 5280, section 4.2.1.1).
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x23];

/// A certificate in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf(Vec<u8>);

impl From<CertificateDer<'_>> for Leaf {
    fn from(der: CertificateDer<'_>) -> Self {
        Self(der.to_vec())
    }
}

impl Leaf {
    /// The one that was shown on a connection.
    #[must_use]
    pub fn of(stream: &TlsStream<TcpStream>) -> Self {
        let (_, tls) = stream.get_ref();
        Self(tls.peer_certificates().expect("after the handshake")[0].to_vec())
    }

    /// Its number, as it is in the certificate.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        let certificate = element(&self.0).0;
        let to_be_signed = element(certificate).0;
        let (_version, rest) = element(to_be_signed);
        element(rest).0
    }

    /// By which an authority is asked when to renew it (RFC 9773, section 4.1).
    #[must_use]
    pub fn renewal_id(&self) -> String {
        let found = self.0.windows(AUTHORITY_KEY_IDENTIFIER.len());
        let at =
            found.into_iter().position(|bytes| bytes == AUTHORITY_KEY_IDENTIFIER).expect("one by Pebble");
        let extension = element(&self.0[at + AUTHORITY_KEY_IDENTIFIER.len()..]).0;
        let identifier = element(element(extension).0).0;
        format!("{}.{}", BASE64URL_NOPAD.encode(identifier), BASE64URL_NOPAD.encode(self.serial()))
    }
}

/// What is in the first element of some DER, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (head, length) = match usize::from(der[1]) {
        short @ ..0x80 => (2, short),
        long => {
            let head = 2 + (long & 0x7f);
            (head, der[2..head].iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)))
        }
    };
    der[head..].split_at(length)
}
