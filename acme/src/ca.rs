//! HTTP with a CA, as `instant-acme` wants it done: under a deadline, with bounded answers, and with an ear for
//! `Retry-After`, which its errors do not carry.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use crate::clock;

/// From a request to the last byte of its answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// What a CA says of when to come again is not believed beyond this.
const LONGEST_WAIT_S: i64 = 30 * 86_400;
/// Directories, orders and chains are a few KiB.
const LARGEST_ANSWER: usize = 1 << 20;

/// Why a CA cannot be spoken with at all.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("`ca_file` `{}` cannot be read", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`ca_file` `{}` holds no certificate in PEM format", .path.display())]
    NoRoots { path: PathBuf, source: Option<pem::Error> },
    #[error("TLS with the CA cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// An answer that is no answer of an ACME CA.
#[derive(Debug, thiserror::Error)]
enum Strange {
    #[error("the CA did not answer within {} s", DEADLINE.as_secs())]
    Late,
    #[error("the CA cannot be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    #[error("the CA's answer broke off, or is longer than {} MiB", LARGEST_ANSWER >> 20)]
    Broke(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the CA answered {0}, with no problem document that says why")]
    Status(StatusCode),
    #[error("there is no ACME directory")]
    Directory(#[source] serde_json::Error),
    #[error("the CA's directory names `{0}`, which is no https URL")]
    Url(String),
}

impl From<Strange> for Error {
    fn from(strange: Strange) -> Self {
        Self::Other(Box::new(strange))
    }
}

tokio::task_local! {
    /// What a CA last said of when to come again, in an answer that was an error: each hostname has a task of its own.
    static COME_AGAIN: Cell<Option<i64>>;
}

/// Runs what speaks with a CA, and may ask [`come_again`].
pub(crate) fn listening<F: Future>(speaking: F) -> impl Future<Output = F::Output> {
    COME_AGAIN.scope(Cell::new(None), speaking)
}

/// Takes what the CA last said of when to come again, as seconds since 1970.
pub(crate) fn come_again() -> Option<i64> {
    COME_AGAIN.try_with(Cell::take).ok().flatten()
}

fn note(headers: &HeaderMap) {
    let said = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(moment);
    if said.is_some() {
        // Outside of such a task nobody asks.
        let _nobody_asks = COME_AGAIN.try_with(|cell| cell.set(said));
    }
}

/// `instant-acme` adds whatever stands there to the time of day, and so ends the task where that is too much.
fn tame(headers: &mut HeaderMap) {
    let Some(said) = headers.get(RETRY_AFTER) else { return };
    let said = said.to_str().ok().and_then(moment);
    let seconds = said.map(|moment| (moment - clock::now()).clamp(0, LONGEST_WAIT_S));
    headers.remove(RETRY_AFTER);
    if let Some(seconds) = seconds {
        headers.insert(RETRY_AFTER, seconds.into());
    }
}

/// The URLs that `instant-acme` takes for URLs without looking.
fn check_directory(body: &[u8]) -> Result<(), Strange> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Urls {
        new_nonce: String,
        new_account: String,
        new_order: String,
    }
    let Urls { new_nonce, new_account, new_order } =
        serde_json::from_slice(body).map_err(Strange::Directory)?;
    for url in [new_nonce, new_account, new_order] {
        let parsed = url.parse::<Uri>().ok();
        if parsed.is_none_or(|url| url.scheme_str() != Some("https") || url.host().is_none()) {
            return Err(Strange::Url(url.chars().take(100).collect()));
        }
    }
    Ok(())
}

/// Seconds from now, or a date (RFC 9110, section 10.2.3).
fn moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let after = text.parse::<u32>().ok().map(|seconds| clock::now() + i64::from(seconds));
    after.or_else(|| httpdate::parse_http_date(text).ok().map(clock::seconds))
}

/// The way to one CA.
pub(crate) struct Ca {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    directory: String,
}

impl Ca {
    pub(crate) async fn new(ca_file: Option<PathBuf>, directory: &str) -> Result<Self, CaError> {
        let tls = tls(ca_file).await?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().enable_http2();
        let client = Client::builder(TokioExecutor::new()).build(connector.build());
        Ok(Self { client, directory: directory.to_owned() })
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").finish_non_exhaustive()
    }
}

async fn tls(ca_file: Option<PathBuf>) -> Result<ClientConfig, CaError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(CaError::Tls)?;
    let builder = match ca_file {
        Some(path) => builder.with_root_certificates(roots(path).await?),
        None => {
            let verifier = Verifier::new(provider).map_err(CaError::Tls)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    Ok(builder.with_no_client_auth())
}

/// Looks whether a file holds roots that a CA can be verified with.
///
/// # Errors
///
/// Where it does not.
pub fn check_roots(path: &Path) -> Result<(), CaError> {
    let path = path.to_owned();
    match std::fs::read(&path) {
        Ok(bytes) => parse_roots(&bytes, path).map(|_| ()),
        Err(source) => Err(CaError::Unreadable { path, source }),
    }
}

async fn roots(path: PathBuf) -> Result<RootCertStore, CaError> {
    match tokio::fs::read(&path).await {
        Ok(bytes) => parse_roots(&bytes, path),
        Err(source) => Err(CaError::Unreadable { path, source }),
    }
}

fn parse_roots(bytes: &[u8], path: PathBuf) -> Result<RootCertStore, CaError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let (found, source) = found.map_or_else(|error| (Vec::new(), Some(error)), |found| (found, None));
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(found) {
        (0, _) => Err(CaError::NoRoots { path, source }),
        _ => Ok(roots),
    }
}

impl HttpClient for Ca {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let is_directory = request.uri() == self.directory.as_str();
        let sent = self.client.request(request);
        Box::pin(async move {
            let answer = async {
                let (parts, body) = sent.await.map_err(Strange::Unreachable)?.into_parts();
                let body = Limited::new(body, LARGEST_ANSWER).collect().await.map_err(Strange::Broke)?;
                Ok::<_, Strange>(Response::from_parts(parts, body.to_bytes()))
            };
            let mut answer = tokio::time::timeout(DEADLINE, answer).await.unwrap_or(Err(Strange::Late))?;
            let failed = answer.status().is_client_error() || answer.status().is_server_error();
            if failed {
                note(answer.headers());
                // A proxy in front of the CA, or one that is down, says so in HTML.
                if serde_json::from_slice::<Problem>(answer.body()).is_err() {
                    return Err(Strange::Status(answer.status()).into());
                }
            }
            if is_directory {
                check_directory(answer.body())?;
            }
            tame(answer.headers_mut());
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_come_again() {
        let in_a_minute = moment("60").unwrap() - clock::now();
        assert!((59..=60).contains(&in_a_minute));
        assert_eq!(moment("Fri, 31 Dec 1999 23:59:59 GMT"), Some(946_684_799));
        for odd in ["", "soon", "-5", "99999999999"] {
            assert_eq!(moment(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_would_end_the_task_is_taken_away() {
        for (said, left) in [
            ("18446744073709551615", None),
            ("soon", None),
            ("4294967295", Some("2592000")),
            ("60", Some("60")),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some("0")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, said.parse().unwrap());
            tame(&mut headers);
            assert_eq!(headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap()), left, "{said}");
        }
        let directory = |nonce: &str| {
            let urls = serde_json::json!({
                "newNonce": nonce,
                "newAccount": "https://ca.example/a",
                "newOrder": "https://ca.example/o",
            });
            check_directory(urls.to_string().as_bytes())
        };
        assert!(directory("https://ca.example/n").is_ok());
        for bad in ["not a url", "", "http://ca.example/n", "/n"] {
            assert!(matches!(directory(bad), Err(Strange::Url(_))), "{bad}");
        }
        assert!(matches!(check_directory(b"<html>"), Err(Strange::Directory(_))));
    }

    #[tokio::test]
    async fn what_the_ca_says_stays_in_its_task() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "60".parse().unwrap());
        note(&headers);
        let heard = listening(async {
            note(&headers);
            let other = listening(async { come_again() }).await;
            (other, come_again().is_some(), come_again())
        });
        assert_eq!(heard.await, (None, true, None));
    }

    #[tokio::test]
    async fn a_root_that_is_none_is_told() {
        let missing = Ca::new(Some("/nowhere/root.pem".into()), "https://ca.example/dir").await;
        assert!(matches!(missing, Err(CaError::Unreadable { .. })));
        let empty = Ca::new(Some("/dev/null".into()), "https://ca.example/dir").await;
        assert!(matches!(empty, Err(CaError::NoRoots { .. })));
    }
}
