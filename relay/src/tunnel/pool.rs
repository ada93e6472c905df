//! Idle streams to one service, kept for the next request: a visitor who keeps a connection open costs the origin no new
//! one. Where the origin takes each connection for one visitor's, a stream waits for that visitor alone.

use std::net::SocketAddr;
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

/// Whose streams a request may go over: only those that this visitor opened, or everybody's.
pub(crate) type Only = Option<SocketAddr>;

/// One stream that speaks HTTP/1.1, between two requests.
#[derive(Debug)]
pub(crate) struct Http1Stream {
    pub(crate) sender: http1::SendRequest<RequestBody>,
    pub(crate) failure: FailureCell,
    /// The request that opened it: the agent knows the stream by this.
    pub(crate) opener: RequestId,
    /// Who asked for that.
    pub(crate) visitor: SocketAddr,
    /// Reads and writes the stream; aborted, it closes it.
    pub(crate) task: AbortHandle,
}

/// A stream that carries many requests to one h2c service. Every request that is under way holds a clone.
#[derive(Debug, Clone)]
pub(crate) struct Http2Stream {
    pub(crate) sender: http2::SendRequest<RequestBody>,
    pub(crate) failure: FailureCell,
    pub(crate) opener: RequestId,
    visitor: SocketAddr,
    under_way: Arc<()>,
}

impl Http2Stream {
    pub(crate) fn new(
        sender: http2::SendRequest<RequestBody>,
        failure: FailureCell,
        opener: RequestId,
        visitor: SocketAddr,
    ) -> Self {
        Self { sender, failure, opener, visitor, under_way: Arc::new(()) }
    }

    fn under_way(&self) -> usize {
        // The pool's own clone is no request.
        Arc::strong_count(&self.under_way) - 1
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
    /// And when each was last seen in use.
    shared: Mutex<Vec<(Http2Stream, Instant)>>,
}

impl Pool {
    /// The stream that was idle for the shortest time, if one is ready.
    pub(crate) fn take(&self, reuse: Reuse, only: Only) -> Option<Http1Stream> {
        let longest = match reuse {
            Reuse::Any => IDLE,
            Reuse::Young => YOUNG,
            Reuse::No => return None,
        };
        let mut idle = lock(&self.idle);
        idle.retain(|(stream, _)| !stream.sender.is_closed());
        let fits = |(stream, since): &(Http1Stream, Instant)| {
            stream.sender.is_ready() && since.elapsed() < longest && may(only, stream.visitor)
        };
        let at = idle.iter().rposition(fits)?;
        Some(idle.remove(at).0)
    }

    /// Keeps a stream whose response was read to its end. Where there are too many, the one that was idle for the longest
    /// goes: its visitor is the least likely to be back.
    pub(crate) fn put(&self, stream: Http1Stream) {
        if stream.sender.is_closed() {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.len() >= MOST_IDLE {
            idle.remove(0);
        }
        idle.push((stream, Instant::now()));
    }

    /// An h2c stream that has room for another request.
    pub(crate) fn shared(&self, only: Only) -> Option<Http2Stream> {
        let mut shared = lock(&self.shared);
        shared.retain(|(stream, _)| !stream.sender.is_closed());
        let fits = |stream: &Http2Stream| stream.under_way() < MOST_SHARING && may(only, stream.visitor);
        let (stream, used) = shared.iter_mut().find(|(stream, _)| fits(stream))?;
        *used = Instant::now();
        Some(stream.clone())
    }

    /// Lets others use a stream as well. What is under way on another is never cut to make room for it.
    pub(crate) fn share(&self, stream: Http2Stream) {
        let mut shared = lock(&self.shared);
        if shared.len() >= MOST_IDLE {
            let idle = shared.iter().enumerate().filter(|(_, (stream, _))| stream.under_way() == 0);
            let longest = idle.min_by_key(|(_, (_, used))| *used).map(|(at, _)| at);
            let Some(longest) = longest else { return };
            shared.swap_remove(longest);
        }
        shared.push((stream, Instant::now()));
    }

    /// Closes what has been idle for too long.
    pub(crate) fn prune(&self, now: Instant) {
        lock(&self.idle).retain(|(_, since)| now.duration_since(*since) < IDLE);
        lock(&self.shared).retain_mut(|(stream, used)| {
            if stream.under_way() > 0 {
                *used = now;
            }
            now.duration_since(*used) < IDLE
        });
    }
}

fn may(only: Only, opener: SocketAddr) -> bool {
    only.is_none_or(|visitor| visitor == opener)
}

#[cfg(test)]
mod tests;
