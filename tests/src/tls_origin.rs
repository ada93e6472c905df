//! Origins that end TLS themselves, as those behind a sealed hostname do: by hyper, by hand, or in the test's own hands.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::Authority;
use crate::origin::{Origin, describe};
use crate::wait::PATIENCE;

const STEM: &str = "origin";
const ROOT: &str = "root.pem";

/// A certificate that an origin shows, of an authority of its own.
#[derive(Debug)]
pub struct Certified {
    folder: TempDir,
}

impl Certified {
    /// For these hostnames.
    #[must_use]
    pub fn new(hostnames: &[&str]) -> Self {
        let (folder, authority) = (tempfile::tempdir().expect("a temporary folder"), Authority::new());
        authority.write_root(&folder.path().join(ROOT));
        authority.write(folder.path(), STEM, hostnames);
        Self { folder }
    }

    /// What a visitor has to believe.
    #[must_use]
    pub fn root_file(&self) -> PathBuf {
        self.folder.path().join(ROOT)
    }

    /// The chain, in PEM.
    #[must_use]
    pub fn chain_file(&self) -> PathBuf {
        self.folder.path().join(format!("{STEM}.pem"))
    }

    /// Its key, in PEM.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join(format!("{STEM}.key"))
    }

    /// What a visitor is shown.
    #[must_use]
    pub fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.chain_file()).expect("a certificate")
    }

    /// The origin's side of TLS, which speaks these protocols.
    #[must_use]
    pub fn acceptor(&self, alpn: &[&str]) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_file(self.key_file()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("the provider knows TLS").with_no_client_auth();
        let mut config = builder.with_single_cert(vec![self.leaf()], key).expect("they belong together");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// An origin that serves HTTP/2, or HTTP/1.1 where nothing else was agreed on, as [`Origin::named`] does.
    pub async fn named(&self, name: &'static str) -> Origin {
        let acceptor = self.acceptor(&["h2", "http/1.1"]);
        Origin::tcp(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // Who does not believe the certificate breaks off.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                serve(stream, name).await;
            }
        })
        .await
    }

    /// An origin whose connections lie in the test's own hands, once their handshake is done.
    pub async fn held(&self, alpn: &[&str]) -> Connections {
        let (acceptor, (sender, accepted)) = (self.acceptor(alpn), mpsc::channel(16));
        let origin = Origin::tcp(move |stream| {
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                drop(sender.send(stream).await);
            }
        });
        Connections { origin: origin.await, accepted }
    }
}

/// Serves one connection after its handshake, by the protocol that was agreed on.
pub async fn serve<IO>(stream: TlsStream<IO>, name: &'static str)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(describe(name, request).await) });
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let server = http2::Builder::new(TokioExecutor::new());
        drop(server.serve_connection(TokioIo::new(stream), service).await);
    } else {
        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    }
}

/// See [`Certified::held`].
#[derive(Debug)]
pub struct Connections {
    pub origin: Origin,
    accepted: mpsc::Receiver<TlsStream<TcpStream>>,
}

impl Connections {
    /// The next one, which has to come.
    pub async fn next(&mut self) -> TlsStream<TcpStream> {
        let next = tokio::time::timeout(PATIENCE, self.accepted.recv()).await;
        next.expect("a connection comes").expect("the origin listens")
    }

    /// Whether nobody has come whom [`Self::next`] has not told of.
    #[must_use]
    pub fn is_left_alone(&mut self) -> bool {
        self.accepted.try_recv().is_err()
    }
}
