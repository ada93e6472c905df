//! Origins: small servers that stand for what runs at home.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What an origin answers with.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// A server that ends with its handle.
#[derive(Debug)]
pub struct Origin {
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Origin {
    /// Serves HTTP/1.1 with a function.
    pub async fn http<F, Fut>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        Self::tcp(move |stream| {
            let answer = Arc::clone(&answer);
            async move {
                let service = service_fn(move |request| {
                    let response = answer(request);
                    async move { Ok::<_, Infallible>(response.await) }
                });
                let connection =
                    http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service);
                drop(connection.with_upgrades().await);
            }
        })
        .await
    }

    /// Serves connections by hand.
    pub async fn tcp<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::tcp_at(([127, 0, 0, 1], 0).into(), serve).await
    }

    /// The same at an address, to come back after a fall.
    pub async fn tcp_at<F, Fut>(address: SocketAddr, serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let accepting = async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
                while connections.try_join_next().is_some() {}
            }
        };
        Self { address, task: tokio::runtime::Handle::current().spawn(accepting) }
    }

    /// Says its name and what it was asked: `{"origin", "method", "path", "headers": [[name, value], ..], "body"}`.
    pub async fn named(name: &'static str) -> Self {
        Self::http(move |request| describe(name, request)).await
    }

    /// Ends it; nothing listens any more when this returns.
    pub async fn stop(mut self) {
        self.task.abort();
        let _cancelled = (&mut self.task).await;
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// See [`Origin::named`].
pub(crate) async fn describe(name: &str, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> =
        parts.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
    let said = serde_json::json!({
        "origin": name,
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().map(ToString::to_string),
        "headers": headers,
        "body": text(&body),
    });
    json(&said)
}

/// A JSON response.
#[must_use]
pub fn json(value: &serde_json::Value) -> Response<Body> {
    let mut response = text(value.to_string());
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// A plain response.
pub fn text(body: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed())
}

/// Keeps every byte that reaches it and answers each head with the same bytes.
#[derive(Debug)]
pub struct Recorder {
    pub origin: Origin,
    arrived: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// Answers `200` with an empty body and keeps the connection.
    pub async fn start() -> Self {
        let arrived: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let kept = Arc::clone(&arrived);
        let origin = Origin::tcp(move |stream| record(stream, Arc::clone(&kept))).await;
        Self { origin, arrived }
    }

    /// What has arrived, a connection each.
    #[must_use]
    pub fn arrived(&self) -> Vec<Vec<u8>> {
        self.arrived.lock().expect("no test panics while it holds the record").clone()
    }

    /// All of it together, and forgets it.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.arrived.lock().expect("no test panics while it holds the record")).concat()
    }
}

async fn record(mut stream: TcpStream, kept: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    let mut answered = 0;
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..length]);
        kept.lock().expect("no test panics while it holds the record").push(buffer[..length].to_vec());
        let heads = all.windows(4).filter(|window| window == b"\r\n\r\n").count();
        while answered < heads {
            answered += 1;
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}
