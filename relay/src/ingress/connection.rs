//! One visitor connection: TLS, then requests over HTTP/1.1 or HTTP/2 until one side has had enough.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use process::terminal;
use protocol::hostname::Hostname;
use tokio::io::AsyncWriteExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::ResponseBody;
use super::headers::{Told, Whence};
use super::patience::Patience;
use super::{Ingress, http as requests};
use crate::edge::framing::GuardLimits;
use crate::edge::guarded::{GuardHandle, Guarded};
use crate::edge::listener::Slot;
use crate::edge::tls::{self, Visit};
use crate::lock::lock;

/// A visitor that takes nothing for this long while something waits for it is cut.
const WRITE_STALL: Duration = Duration::from_secs(60);
/// An HTTP/2 connection begins its first request, and another after the last, within these times.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
const IDLE_HTTP2: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_secs(5);

/// What the requests of one connection have in common.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) address: SocketAddr,
    /// The hostname that TLS was set up for; none on port 80.
    pub(crate) sni: Option<Hostname>,
    pub(crate) guard: Option<GuardHandle>,
    usage: Mutex<Usage>,
    /// What the origin was told of this visitor with the last request.
    told: Mutex<Option<Told>>,
    _slot: Slot,
    /// The latest upgrade that did not come about. hyper hands the connection over to it in the end.
    refused: Mutex<Option<OnUpgrade>>,
}

#[derive(Debug)]
struct Usage {
    underway: usize,
    any: bool,
    since: Instant,
}

/// One request that is being answered.
#[derive(Debug)]
pub(crate) struct Underway(Arc<Visitor>);

impl Visitor {
    pub(crate) fn new(
        address: SocketAddr,
        sni: Option<Hostname>,
        guard: Option<GuardHandle>,
        slot: Slot,
    ) -> Arc<Self> {
        let usage = Mutex::new(Usage { underway: 0, any: false, since: Instant::now() });
        let (told, refused) = (Mutex::default(), Mutex::default());
        Arc::new(Self { address, sni, guard, usage, told, refused, _slot: slot })
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// What the origin is told of this visitor.
    pub(crate) fn told(&self, whence: &Whence<'_>) -> Option<Told> {
        let mut last = lock(&self.told);
        if !last.as_ref().is_some_and(|told| told.is_for(whence.target)) {
            *last = Told::new(whence);
        }
        last.clone()
    }

    pub(crate) fn begin(self: &Arc<Self>) -> Underway {
        if let Some(guard) = &self.guard {
            guard.request_started();
        }
        let mut used = lock(&self.usage);
        used.underway += 1;
        used.any = true;
        Underway(Arc::clone(self))
    }

    pub(crate) fn keep_refused(&self, upgrade: OnUpgrade) {
        *lock(&self.refused) = Some(upgrade);
    }

    /// Says the farewell that hyper leaves to the owner of an upgrade, also to the one who never got it.
    async fn close_refused(&self) {
        let Some(upgrade) = lock(&self.refused).take() else { return };
        if let Ok(upgraded) = upgrade.await {
            let _visitor_gone = TokioIo::new(upgraded).shutdown().await;
        }
    }

    /// Nothing is under way, and has not been for longer than a connection may be kept for.
    fn is_stale(&self) -> bool {
        let used = lock(&self.usage);
        let limit = if used.any { IDLE_HTTP2 } else { FIRST_REQUEST };
        used.underway == 0 && used.since.elapsed() > limit
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(guard) = &self.0.guard {
            guard.request_finished();
        }
        let mut used = lock(&self.0.usage);
        used.underway -= 1;
        used.since = Instant::now();
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    ingress: Arc<Ingress>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    slot: Slot,
) {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    match tls::accept(&acceptor, stream).await {
        Ok(visit) if visit.http2 => serve_http2(ingress, visit, address, slot).await,
        Ok(visit) => serve_http1(ingress, visit, address, slot).await,
        Err(error) => tracing::debug!(%address, error = terminal::chain(&error), "no TLS with a visitor"),
    }
}

async fn serve_http1(ingress: Arc<Ingress>, visit: Visit, address: SocketAddr, slot: Slot) {
    let (guarded, handle) = Guarded::new(stalling(visit.stream), GuardLimits::default());
    let visitor = Visitor::new(address, Some(visit.sni), Some(handle), slot);
    let (stop, closing) = (ingress.stop.clone(), Arc::clone(&visitor));
    let answer = move |request| {
        let (ingress, visitor) = (Arc::clone(&ingress), Arc::clone(&visitor));
        // Boxed where it is made: hyper moves what a service gives it, and this is kilobytes.
        async move { Box::pin(requests::serve(&ingress, &visitor, request)).await }
    };
    run_http1(guarded, answer, stop, address).await;
    closing.close_refused().await;
}

/// Serves HTTP/1.1 on guarded bytes to the end of the connection.
pub(super) async fn run_http1<IO, F, Fut>(
    io: Guarded<IO>,
    answer: F,
    stop: CancellationToken,
    address: SocketAddr,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> Fut,
    Fut: Future<Output = Response<ResponseBody>>,
{
    let service = service_fn(|request| {
        let response = answer(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut builder = http1::Builder::new();
    // hyper's own limits are no lower than the guard's, which answers with a page. Its 100 fields are left as they are:
    // told of any number, it allocates room for all of them with each request.
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(256 * 1024);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    log_end(ended, address);
}

async fn serve_http2(ingress: Arc<Ingress>, visit: Visit, address: SocketAddr, slot: Slot) {
    let visitor = Visitor::new(address, Some(visit.sni), None, slot);
    let (stop, look_at) = (ingress.stop.clone(), Arc::clone(&visitor));
    let service = service_fn(move |request| {
        let (ingress, visitor) = (Arc::clone(&ingress), Arc::clone(&visitor));
        async move { Ok::<Response<ResponseBody>, Infallible>(requests::serve(&ingress, &visitor, request).await) }
    });
    let tasks = TaskTracker::new();
    let mut builder = http2::Builder::new(Tracked(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(64 * 1024)
        .max_send_buf_size(64 * 1024)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let connection = builder.serve_connection(TokioIo::new(stalling(visit.stream)), service);
    let mut connection = std::pin::pin!(connection);
    let mut look = tokio::time::interval(LOOK);
    let mut asked_to_end = None;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            _ = look.tick() => if look_at.is_stale() {
                let asked: Instant = *asked_to_end.get_or_insert_with(Instant::now);
                // One that is still in its preface, or takes no GOAWAY, is not asked twice.
                if asked.elapsed() > FAREWELL {
                    break Ok(());
                }
                connection.as_mut().graceful_shutdown();
            },
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
        }
    };
    tasks.close();
    tasks.wait().await;
    log_end(ended, address);
}

pub(super) type Stalling<IO> = std::pin::Pin<Box<TimeoutStream<IO>>>;

pub(super) fn stalling<IO: AsyncRead + AsyncWrite>(io: IO) -> Stalling<IO> {
    let mut stream = TimeoutStream::new(io);
    stream.set_write_timeout(Some(WRITE_STALL));
    Box::pin(stream)
}

fn log_end(ended: hyper::Result<()>, address: SocketAddr) {
    if let Err(error) = ended {
        tracing::debug!(%address, error = terminal::chain(&error), "a visitor's connection broke");
    }
}

/// Runs the tasks of an HTTP/2 connection where their owner can wait for them.
#[derive(Debug, Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(Patience::over(task, WRITE_STALL));
    }
}
