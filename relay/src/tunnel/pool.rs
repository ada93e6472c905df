//! Idle streams to one service, kept for the next request: a visitor who keeps a connection open costs the origin no new
//! one.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::{http1, http2};
use protocol::id::RequestId;
use tokio::task::AbortHandle;

use super::stream::FailureCell;
use crate::lock::lock;

/// Idle streams that one service of one session keeps at the most.
const MOST_IDLE: usize = 256;
/// An idle stream is closed after this time.
const IDLE: Duration = Duration::from_secs(60);
const YOUNG: Duration = Duration::from_secs(2);
/// Requests at once over one h2c stream; origins allow 100 and more.
const MOST_SHARING: usize = 64;

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
    /// The request that opened it: the agent knows the stream by this.
    pub(crate) opener: RequestId,
    /// Reads and writes the stream; aborted, it closes it.
    pub(crate) task: AbortHandle,
}

/// A stream that carries many requests to one h2c service. Every request that is under way holds a clone.
#[derive(Debug, Clone)]
pub(crate) struct Http2Stream {
    pub(crate) sender: http2::SendRequest<RequestBody>,
    pub(crate) failure: FailureCell,
    pub(crate) opener: RequestId,
    under_way: Arc<()>,
}

impl Http2Stream {
    pub(crate) fn new(
        sender: http2::SendRequest<RequestBody>,
        failure: FailureCell,
        opener: RequestId,
    ) -> Self {
        Self { sender, failure, opener, under_way: Arc::new(()) }
    }
}

/// Whether a request may go over a stream that others have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    Any,
    /// Only where the last exchange was a moment ago: an origin that closes idle connections has not thought of it yet,
    /// and the request cannot be sent twice.
    Young,
    No,
}

/// The streams to one service.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<(Http1Stream, Instant)>>,
    shared: Mutex<Vec<Http2Stream>>,
}

impl Pool {
    /// The stream that was idle for the shortest time, if one is ready.
    pub(crate) fn take(&self, reuse: Reuse) -> Option<Http1Stream> {
        let longest = match reuse {
            Reuse::Any => IDLE,
            Reuse::Young => YOUNG,
            Reuse::No => return None,
        };
        let mut idle = lock(&self.idle);
        idle.retain(|(stream, _)| !stream.sender.is_closed());
        let fits =
            |(stream, since): &(Http1Stream, Instant)| stream.sender.is_ready() && since.elapsed() < longest;
        let at = idle.iter().rposition(fits)?;
        Some(idle.remove(at).0)
    }

    /// Keeps a stream whose response was read to its end.
    pub(crate) fn put(&self, stream: Http1Stream) {
        let mut idle = lock(&self.idle);
        if idle.len() < MOST_IDLE && !stream.sender.is_closed() {
            idle.push((stream, Instant::now()));
        }
    }

    /// An h2c stream that has room for another request.
    pub(crate) fn shared(&self) -> Option<Http2Stream> {
        let mut shared = lock(&self.shared);
        shared.retain(|stream| !stream.sender.is_closed());
        shared.iter().find(|stream| Arc::strong_count(&stream.under_way) <= MOST_SHARING).cloned()
    }

    pub(crate) fn share(&self, stream: Http2Stream) {
        lock(&self.shared).push(stream);
    }

    /// Closes what has been idle for too long.
    pub(crate) fn prune(&self, now: Instant) {
        lock(&self.idle).retain(|(_, since)| now.duration_since(*since) < IDLE);
    }
}
