//! Visitors of our own, where no program does what is wanted: full TLS handshakes, and WebSockets that stay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::ground::{Bench, HOSTNAME};
use crate::stack::Running;

/// How many visitors come at once.
const VISITORS: usize = 16;
/// Bytes of one WebSocket message.
const MESSAGE: usize = 128;
/// Nothing that works takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much was done, and in what time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) times: f64,
    pub(crate) seconds: f64,
}

/// A visitor that shakes hands in full each time, with the one key exchange that all stacks know (X25519), so that all
/// do the same work.
#[derive(Clone)]
struct Visitor {
    tls: TlsConnector,
    port: u16,
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

impl Visitor {
    fn of(bench: &Bench, running: &Running) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(bench.root())?)?;
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
        let builder =
            ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), port: running.https.port() })
    }

    async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.context("TCP")?;
        tcp.set_nodelay(true)?;
        self.tls.connect(ServerName::try_from(HOSTNAME)?, tcp).await.context("TLS")
    }

    /// A new connection, one answered request, and the end.
    async fn visit(&self) -> anyhow::Result<()> {
        let mut stream = self.connect().await?;
        let request = format!("GET /1k HTTP/1.1\r\nHost: {HOSTNAME}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            ensure!(stream.read_buf(&mut answer).await? > 0, "the answer was cut");
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        Ok(())
    }

    /// A WebSocket through which a message has come back.
    async fn open(&self) -> anyhow::Result<Socket> {
        let stream = self.connect().await?;
        let url = format!("wss://{HOSTNAME}:{}/echo", self.port);
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.context("WebSocket")?;
        ask(&mut socket).await?;
        Ok(socket)
    }
}

/// Whether a head and the 1024 bytes of the small file are there.
fn is_whole(answer: &[u8]) -> bool {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    head.is_some_and(|head| answer.len() >= head + 4 + 1024)
}

async fn ask(socket: &mut Socket) -> anyhow::Result<()> {
    let message = Message::binary(vec![7; MESSAGE]);
    socket.send(message.clone()).await?;
    let echo = socket.next().await.context("the WebSocket was closed")??;
    ensure!(echo == message, "something else came back");
    Ok(())
}

/// New visitors for a time, each with a connection of its own.
pub(crate) async fn visits(bench: &Bench, running: &Running, seconds: u64) -> anyhow::Result<Done> {
    let visitor = Visitor::of(bench, running)?;
    for_a_while(seconds, |end| {
        let visitor = visitor.clone();
        async move {
            let mut times = 0;
            while Instant::now() < end {
                tokio::time::timeout(PATIENCE, visitor.visit()).await??;
                times += 1;
            }
            Ok(times)
        }
    })
    .await
}

/// Messages that go through WebSockets and come back, one at a time on each.
pub(crate) async fn echoes(bench: &Bench, running: &Running, seconds: u64) -> anyhow::Result<Done> {
    let visitor = Visitor::of(bench, running)?;
    for_a_while(seconds, |end| {
        let visitor = visitor.clone();
        async move {
            let mut socket = visitor.open().await?;
            let mut times = 0;
            while Instant::now() < end {
                tokio::time::timeout(PATIENCE, ask(&mut socket)).await??;
                times += 1;
            }
            Ok(times)
        }
    })
    .await
}

async fn for_a_while<F, Fut>(seconds: u64, work: F) -> anyhow::Result<Done>
where
    F: Fn(Instant) -> Fut,
    Fut: Future<Output = anyhow::Result<u64>> + Send + 'static,
{
    let begun = Instant::now();
    let mut visitors = JoinSet::new();
    for _ in 0..VISITORS {
        visitors.spawn(work(begun + Duration::from_secs(seconds)));
    }
    let mut times = 0;
    while let Some(done) = visitors.join_next().await {
        times += done??;
    }
    Ok(Done { times: times as f64, seconds: begun.elapsed().as_secs_f64() })
}

/// WebSockets that are open and silent until they are dropped.
#[derive(Debug)]
pub(crate) struct Idle {
    _sockets: Vec<Socket>,
}

/// Opens that many.
pub(crate) async fn idle(bench: &Bench, running: &Running, count: usize) -> anyhow::Result<Idle> {
    let visitor = Visitor::of(bench, running)?;
    let mut sockets = Vec::new();
    while sockets.len() < count {
        let mut opening = JoinSet::new();
        for _ in 0..VISITORS.min(count - sockets.len()) {
            let visitor = visitor.clone();
            opening.spawn(async move { tokio::time::timeout(PATIENCE, visitor.open()).await? });
        }
        while let Some(opened) = opening.join_next().await {
            sockets.push(opened??);
        }
    }
    Ok(Idle { _sockets: sockets })
}
