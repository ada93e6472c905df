//! A proxy in front of Pebble, and the authority that the relay knows: it records what is asked, holds or answers what a
//! test wants to have held or answered, and adds what Pebble 2.4 does not know (`extras`). `Host` passes as it came,
//! for Pebble makes its URLs of it and compares them with those that were signed.

mod extras;
mod record;
mod script;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::extras::Extras;
pub use self::extras::Window;
pub use self::record::Asked;
use self::script::Script;
pub use self::script::{Canned, Held, Hold};
use super::management::trusting;
use super::pebble::Pebble;
use crate::certificate::Authority;
use crate::origin::Origin;
use crate::visitor::background;

/// Where accounts are made.
pub const NEW_ACCOUNT: &str = "/sign-me-up";
/// Where orders are made.
pub const NEW_ORDER: &str = "/order-plz";
/// Authorizations are below.
pub const AUTHORIZATION: &str = "/authZ/";
/// Challenges are below.
pub const CHALLENGE: &str = "/chalZ/";
/// Orders are finalized below.
pub const FINALIZE: &str = "/finalize-order/";
/// Orders are below.
pub const ORDER: &str = "/my-order/";
/// Certificates are below.
pub const CERTIFICATE: &str = "/certZ/";
/// Renewal windows are below.
pub const RENEWAL_INFO: &str = "/renewal-info/";
const DIRECTORY: &str = "/dir";

/// A proxy that ends with its handle.
#[derive(Debug)]
pub struct Middle {
    origin: Origin,
    folder: TempDir,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    pebble: SocketAddr,
    trust: Arc<rustls::ClientConfig>,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    asked: Vec<Asked>,
    script: Script,
    extras: Extras,
}

/// A connection that ends without an answer.
#[derive(Debug)]
struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off")
    }
}

impl std::error::Error for BrokenOff {}

impl Middle {
    /// In front of an authority.
    pub async fn before(pebble: &Pebble) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new();
        authority.write_root(&folder.path().join("ca.pem"));
        authority.write(folder.path(), "middle", &["127.0.0.1", "localhost"]);
        let acceptor = TlsAcceptor::from(Arc::new(certified(&folder)));
        let trust = Arc::new(trusting(&pebble.ca_file()));
        let state = Arc::new(State { pebble: pebble.address, trust, ledger: Mutex::default() });
        let shared = Arc::clone(&state);
        let origin = Origin::tcp(move |stream| serve(stream, acceptor.clone(), Arc::clone(&shared))).await;
        Self { origin, folder, state }
    }

    /// Where an ACME client begins.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}{DIRECTORY}", self.origin.address)
    }

    /// The root to trust when talking to it.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Everything that was asked, in its order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state.ledger().asked.clone()
    }

    /// What was asked at a path, or below it where it ends with `/`.
    #[must_use]
    pub fn asked_of(&self, path: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.is_of(path)).collect()
    }

    /// What was signed to order a certificate for this name, each time it was asked.
    #[must_use]
    pub fn orders(&self, name: &str) -> Vec<Value> {
        let orders = self.asked_of(NEW_ORDER).into_iter().map(|asked| asked.payload);
        orders.filter(|order| order["identifiers"][0]["value"] == name).collect()
    }

    /// Holds the n-th request to a path from now on, where 1 is the next.
    #[must_use]
    pub fn hold(&self, path: &'static str, nth: usize, at: Hold) -> Held {
        self.state.ledger().script.hold(path, nth, at)
    }

    /// Answers the next requests to a path instead of Pebble, so many of them.
    pub fn answer(&self, path: &'static str, times: usize, canned: Canned) {
        self.state.ledger().script.answer(path, times, canned);
    }

    /// Knows renewal windows from now on: the first for the certificate that is asked for first, and so on; the last
    /// one for all that follow. To ask again after `retry_after_s`.
    pub fn suggest_renewal(&self, windows: &[Window], retry_after_s: u64) {
        self.state.ledger().extras.suggest_renewal(windows, retry_after_s);
    }

    /// Knows profiles from now on.
    pub fn offer_profiles(&self, profiles: &[&'static str]) {
        self.state.ledger().extras.offer_profiles(profiles);
    }
}

fn certified(folder: &TempDir) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(folder.path().join("middle.pem")).expect("a chain");
    let chain = chain.collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_file(folder.path().join("middle.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider knows TLS").with_no_client_auth();
    builder.with_single_cert(chain, key).expect("they belong together")
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { state.answer(request).await }
    });
    drop(server::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

impl State {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no test panics while it holds the ledger")
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BrokenOff> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| BrokenOff)?.to_bytes();
        let (number, plan) = self.ledger().expect(Asked::new(&parts, &body));
        script::pass(plan.before).await?;
        let response = match plan.answer {
            Some(canned) => canned.response(),
            None => self.by_rights(number, &parts, body).await?,
        };
        self.ledger().note(number, &response);
        script::pass(plan.after).await?;
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, Full::new(body)))
    }

    /// What Pebble says, or would say if it knew of it.
    async fn by_rights(
        &self,
        number: usize,
        parts: &Parts,
        body: Bytes,
    ) -> Result<Response<Bytes>, BrokenOff> {
        if let Some(id) = parts.uri.path().strip_prefix(RENEWAL_INFO) {
            return Ok(self.ledger().extras.renewal_info(id));
        }
        let response = self.forward(parts, body).await.map_err(|_| BrokenOff)?;
        Ok(self.ledger().complete(number, host(&parts.headers), response))
    }

    async fn forward(&self, parts: &Parts, body: Bytes) -> anyhow::Result<Response<Bytes>> {
        let stream = TcpStream::connect(self.pebble).await?;
        let name = ServerName::IpAddress(self.pebble.ip().into());
        let stream = TlsConnector::from(Arc::clone(&self.trust)).connect(name, stream).await?;
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
        background(async move { drop(connection.await) });
        let mut request = Request::new(Full::new(body));
        request.method_mut().clone_from(&parts.method);
        request.uri_mut().clone_from(&parts.uri);
        *request.headers_mut() = end_to_end(&parts.headers);
        let (mut head, body) = sender.send_request(request).await?.into_parts();
        head.headers = end_to_end(&head.headers);
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

impl Ledger {
    fn expect(&mut self, asked: Asked) -> (usize, script::Plan) {
        let plan = self.script.plan(&asked.path);
        self.asked.push(asked);
        (self.asked.len() - 1, plan)
    }

    fn note(&mut self, number: usize, response: &Response<Bytes>) {
        let body = serde_json::from_slice(response.body()).unwrap_or_default();
        self.asked[number].answer = Some((response.status().as_u16(), body));
    }

    fn complete(&mut self, number: usize, host: &str, response: Response<Bytes>) -> Response<Bytes> {
        self.extras.complete(&self.asked[number], host, response)
    }
}

/// The body's length is that of the body, whatever becomes of it.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        let _removed = headers.remove(name);
    }
    headers
}

fn host(headers: &HeaderMap) -> &str {
    headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}
