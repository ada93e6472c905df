//! Idle streams to one service, kept for the next request: a visitor who keeps a connection open costs the origin no new
//! one.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::{http1, http2};

use super::stream::FailureCell;

/// Idle streams that one service of one session keeps at the most.
const MOST_IDLE: usize = 256;
/// An idle stream is closed after this time.
const IDLE: Duration = Duration::from_secs(60);

/// Whatever broke the body on its way from the visitor.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body on its way to the origin.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Streamed(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}

/// One stream that speaks HTTP/1.1, between two requests.
#[derive(Debug)]
pub(crate) struct Http1Stream {
    pub(crate) sender: http1::SendRequest<RequestBody>,
    pub(crate) failure: FailureCell,
}

/// The stream that carries all requests to one h2c service.
#[derive(Debug, Clone)]
pub(crate) struct Http2Stream {
    pub(crate) sender: http2::SendRequest<RequestBody>,
    pub(crate) failure: FailureCell,
}

/// The streams to one service.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<(Http1Stream, Instant)>>,
    shared: Mutex<Option<Http2Stream>>,
}

impl Pool {
    /// The stream that was idle for the shortest time, if one is ready.
    pub(crate) fn take(&self) -> Option<Http1Stream> {
        let mut idle = lock(&self.idle);
        idle.retain(|(stream, _)| !stream.sender.is_closed());
        let ready = idle.iter().rposition(|(stream, _)| stream.sender.is_ready())?;
        Some(idle.remove(ready).0)
    }

    /// Keeps a stream whose response was read to its end.
    pub(crate) fn put(&self, stream: Http1Stream) {
        let mut idle = lock(&self.idle);
        if idle.len() < MOST_IDLE && !stream.sender.is_closed() {
            idle.push((stream, Instant::now()));
        }
    }

    /// The h2c stream, while it is open.
    pub(crate) fn shared(&self) -> Option<Http2Stream> {
        lock(&self.shared).clone().filter(|stream| !stream.sender.is_closed())
    }

    pub(crate) fn share(&self, stream: Http2Stream) {
        *lock(&self.shared) = Some(stream);
    }

    /// Closes what has been idle for too long.
    pub(crate) fn prune(&self, now: Instant) {
        lock(&self.idle).retain(|(_, since)| now.duration_since(*since) < IDLE);
    }
}

/// A poisoned lock means that a holder panicked between two statements that cannot leave a list half-changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
