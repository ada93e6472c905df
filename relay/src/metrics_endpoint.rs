//! Shows the metrics to whoever scrapes them: plain HTTP on a listener of its own, which never meets a visitor's request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::MEDIA_TYPE;

/// Scrapes at once; further ones are turned away.
const MOST: usize = 8;
/// For a whole scrape. Each has a connection of its own.
const DEADLINE: Duration = Duration::from_secs(10);
const BACK_OFF: Duration = Duration::from_millis(100);
const BUFFER: usize = 16 * 1024;

/// Answers with what `text` says at the moment, until cancelled.
pub(crate) async fn run<F>(listener: TcpListener, cancel: CancellationToken, text: F)
where
    F: Fn() -> String + Clone + Send + Sync + 'static,
{
    let mut scrapes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) if scrapes.len() < MOST => {
                    scrapes.spawn(serve(stream, address, text.clone()));
                }
                Ok((_, address)) => tracing::debug!(%address, "too many scrapes at once"),
                Err(error) => {
                    tracing::warn!(%error, "accepting a scrape failed");
                    tokio::time::sleep(BACK_OFF).await;
                }
            },
            Some(ended) = scrapes.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a scrape ended by a mistake in this program");
            },
            () = cancel.cancelled() => return,
        }
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, text: impl Fn() -> String) {
    let answer = service_fn(|request| {
        let response = answer(&request, &text);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(DEADLINE).keep_alive(false).max_buf_size(BUFFER);
    let scrape = builder.serve_connection(TokioIo::new(stream), answer);
    match tokio::time::timeout(DEADLINE, scrape).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%address, %error, "a scrape broke"),
        Err(_) => tracing::debug!(%address, "a scrape took too long"),
    }
}

fn answer(request: &Request<Incoming>, text: impl Fn() -> String) -> Response<Full<Bytes>> {
    match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => {
            let mut response = Response::new(Full::from(text()));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        ("/metrics", _) => {
            let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        _ => refused(StatusCode::NOT_FOUND, "only /metrics is here\n"),
    }
}

fn refused(status: StatusCode, sentence: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(sentence));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
