//! Looks at a published site as a visitor does, and judges what came back.

pub mod judge;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, LOCATION, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::authority::{Authority, AuthorityError};
use crate::certificate::provider;
use judge::{Judgement, Outcome, Seen};

/// For one response.
const DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of a body that are looked at.
const BODY: usize = 1 << 20;
/// From one page to the next on the way to the front page.
const REDIRECTS: usize = 5;

/// Why a response was not seen.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("`{url}` is no `https://` URL of a site")]
    Url { url: String },
    #[error("`{url}` names no host")]
    Host { url: String, source: AuthorityError },
    #[error("cannot read `{}`", path.display())]
    CaFile { path: PathBuf, source: io::Error },
    #[error("`{}` holds no certificates in PEM format", path.display())]
    NoCertificates { path: PathBuf },
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    #[error("cannot connect to `{to}`")]
    Connect { to: Authority, source: io::Error },
    #[error("TLS with `{to}` failed")]
    Handshake { to: Authority, source: io::Error },
    #[error("the request cannot be built")]
    Request(#[source] http::Error),
    #[error("the exchange with `{to}` failed")]
    Http { to: Authority, source: hyper::Error },
    #[error("the response cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no whole response within {} s", DEADLINE.as_secs())]
    TimedOut,
}

/// What to look at.
#[derive(Debug, Clone)]
pub struct Plan {
    pub url: Uri,
    /// Trusts these certificates in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Dials this in place of the URL's host, with its name all the same.
    pub connect_to: Option<Authority>,
    /// Where plain HTTP is looked for; port 80 of the host where nothing is said, nowhere where `connect_to` is.
    pub http_connect_to: Option<Authority>,
    pub api: Option<String>,
    pub sign_in: Vec<String>,
}

/// Looks at everything. A response that does not come is a judgement too.
///
/// # Errors
///
/// Where the plan itself cannot be followed.
pub async fn verify(plan: &Plan) -> Result<Vec<Judgement>, VerifyError> {
    let visitor = Visitor::new(plan)?;
    let mut judged = Vec::new();
    let mut seen = Vec::new();
    match visitor.front().await {
        Ok(page) => {
            judged.push(judge::front(&page));
            seen.push(page);
        }
        Err(error) => judged.push(unseen("front page", &error)),
    }
    if let Some(path) = &plan.api {
        match visitor.get(path).await {
            Ok(answer) => {
                judged.push(judge::api(&answer));
                seen.push(answer);
            }
            Err(error) => judged.push(unseen(&format!("API {path}"), &error)),
        }
    }
    for path in &plan.sign_in {
        match visitor.get(path).await {
            Ok(page) => {
                judged.extend(judge::sign_in(&page));
                seen.push(page);
            }
            Err(error) => judged.push(unseen(&format!("page {path}"), &error)),
        }
    }
    judged.extend(judge::cookies(&seen));
    judged.push(judge::server(&seen));
    judged.push(visitor.redirect(plan).await);
    Ok(judged)
}

fn unseen(check: &str, error: &VerifyError) -> Judgement {
    Judgement::new(check, Outcome::Fail, process::terminal::chain(error))
}

/// Somebody who visits one site.
struct Visitor {
    /// As it stands in the URL, for `Host`.
    host: String,
    site: Authority,
    dials: Authority,
    tls: TlsConnector,
    front: String,
}

impl Visitor {
    fn new(plan: &Plan) -> Result<Self, VerifyError> {
        let url = plan.url.to_string();
        let authority = plan.url.authority().filter(|_| plan.url.scheme_str() == Some("https"));
        let Some(authority) = authority else { return Err(VerifyError::Url { url }) };
        let site =
            Authority::parse(authority.as_str(), 443).map_err(|source| VerifyError::Host { url, source })?;
        let dials = plan.connect_to.clone().unwrap_or_else(|| site.clone());
        let tls = TlsConnector::from(Arc::new(tls(plan.ca_file.as_deref())?));
        let front = plan.url.path().to_owned();
        Ok(Self { host: authority.as_str().to_owned(), site, dials, tls, front })
    }

    /// The page that a visitor ends up at.
    async fn front(&self) -> Result<Seen, VerifyError> {
        let mut page = self.get(&self.front).await?;
        for _ in 0..REDIRECTS {
            let Some(path) = self.next_path(&page) else { break };
            page = self.get(&path).await?;
        }
        Ok(page)
    }

    /// Where a redirect leads, while it stays on the site.
    fn next_path(&self, page: &Seen) -> Option<String> {
        let location = page.headers.get(LOCATION).filter(|_| page.status.is_redirection())?;
        let uri: Uri = location.to_str().ok()?.parse().ok()?;
        let here = uri.authority().is_none_or(|there| there.as_str().eq_ignore_ascii_case(&self.host));
        here.then(|| uri.path_and_query().map(ToString::to_string)).flatten()
    }

    async fn get(&self, path: &str) -> Result<Seen, VerifyError> {
        let seen = async {
            let tcp = connect(&self.dials).await?;
            let to = self.dials.clone();
            let name = ServerName::try_from(self.site.host().to_string())
                .map_err(|_| VerifyError::Url { url: self.host.clone() })?;
            let stream = self.tls.connect(name, tcp).await;
            let stream = stream.map_err(|source| VerifyError::Handshake { to, source })?;
            exchange(stream, &self.dials, &self.host, path).await
        };
        tokio::time::timeout(DEADLINE, seen).await.unwrap_or(Err(VerifyError::TimedOut))
    }

    async fn redirect(&self, plan: &Plan) -> Judgement {
        const CHECK: &str = "http redirects to https";
        let dials = match (&plan.http_connect_to, &plan.connect_to) {
            (Some(named), _) => named.clone(),
            (None, Some(_)) => {
                return Judgement::new(CHECK, Outcome::Skip, "name its address with `--http-connect-to`");
            }
            (None, None) => Authority::new(self.site.host().clone(), 80),
        };
        let name = self.site.host().to_string();
        let seen = async {
            let tcp = connect(&dials).await?;
            exchange(tcp, &dials, &name, "/").await
        };
        match tokio::time::timeout(DEADLINE, seen).await.unwrap_or(Err(VerifyError::TimedOut)) {
            Ok(seen) => judge::redirect(&seen, &name),
            Err(error) => unseen(CHECK, &error),
        }
    }
}

async fn connect(to: &Authority) -> Result<TcpStream, VerifyError> {
    let connected = TcpStream::connect((to.host().to_string().as_str(), to.port())).await;
    connected.map_err(|source| VerifyError::Connect { to: to.clone(), source })
}

/// One request over a connection of its own.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    to: &Authority,
    host: &str,
    path: &str,
) -> Result<Seen, VerifyError> {
    let failed = |source| VerifyError::Http { to: to.clone(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("adit-verify/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(VerifyError::Request)?;
    let read = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BODY).collect().await.map_err(VerifyError::Body)?;
        let (status, headers) = (parts.status, parts.headers);
        Ok(Seen { path: path.to_owned(), status, headers, body: body.to_bytes().to_vec() })
    };
    // The connection moves the bytes for as long as the response is read; how it ends does not matter any more.
    tokio::pin!(connection, read);
    tokio::select! {
        biased;
        seen = &mut read => seen,
        _ = &mut connection => read.await,
    }
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, VerifyError> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(VerifyError::Tls)?;
    let builder = match ca_file {
        Some(path) => builder.with_root_certificates(roots(path)?),
        None => {
            let platform = Verifier::new(provider()).map_err(VerifyError::Tls)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(platform))
        }
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(path: &Path) -> Result<RootCertStore, VerifyError> {
    let bytes =
        std::fs::read(path).map_err(|source| VerifyError::CaFile { path: path.to_owned(), source })?;
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).flatten());
    if added == 0 { Err(VerifyError::NoCertificates { path: path.to_owned() }) } else { Ok(store) }
}
