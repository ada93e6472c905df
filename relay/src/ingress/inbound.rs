//! The body of a visitor's request, whatever protocol it comes over. What ends it before its announced length is an error:
//! an origin never takes half a body for a whole one.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http3::body::Http3Body;
use crate::lock::lock;
use crate::tunnel::pool::BodyError;

/// A request's body as it comes in.
#[derive(Debug)]
pub(crate) enum Inbound {
    Empty,
    Http1(Incoming),
    Http2(Http2Body),
    Http3(Box<Http3Body>),
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2(body) => body.poll_frame(cx).map_err(Into::into),
            Self::Http3(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Http3(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => hint(body.left, body.is_end_stream()),
            Self::Http3(body) => hint(body.left(), body.is_end_stream()),
        }
    }
}

fn hint(announced: Option<u64>, ended: bool) -> SizeHint {
    match announced {
        _ if ended => SizeHint::with_exact(0),
        Some(length) => SizeHint::with_exact(length),
        None => SizeHint::default(),
    }
}

/// Where what nobody reads of a body is kept until the answer has gone out: dropped before, it resets the stream, and curl
/// takes a reset that comes together with an answer for a failure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unread(Arc<Mutex<Option<h2::RecvStream>>>);

impl Unread {
    pub(super) fn take(&self) -> Option<h2::RecvStream> {
        lock(&self.0).take()
    }
}

/// A body over HTTP/2. That it has the length it announces is checked by `h2`.
#[derive(Debug)]
pub(crate) struct Http2Body {
    /// Given up only when the body is.
    stream: Option<h2::RecvStream>,
    unread: Unread,
    /// Bytes of the announced length that have not come yet.
    left: Option<u64>,
    data_ended: bool,
}

impl Http2Body {
    pub(crate) fn new(stream: h2::RecvStream, announced: Option<u64>, unread: Unread) -> Self {
        Self { stream: Some(stream), unread, left: announced, data_ended: false }
    }

    /// Whether it says that nothing comes, and the visitor has not said that this is all.
    pub(super) fn announces_nothing(&self) -> bool {
        self.left == Some(0) && !self.data_ended && !self.is_end_stream()
    }

    /// Waits for the end of a body that announces nothing: the origin would take the head alone for a whole request, and
    /// what comes after all is an error.
    pub(super) async fn end_of_nothing(&mut self) -> Result<(), h2::Error> {
        while !self.data_ended
            && let Some(stream) = &mut self.stream
        {
            match poll_fn(|cx| stream.poll_data(cx)).await {
                Some(data) => drop(self.on_data(data?)?),
                None => self.data_ended = true,
            }
        }
        Ok(())
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(h2::RecvStream::is_end_stream)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        if !self.data_ended {
            if let Some(data) = ready!(stream.poll_data(cx)) {
                return Poll::Ready(Some(data.and_then(|data| self.on_data(data))));
            }
            self.data_ended = true;
        }
        stream.poll_trailers(cx).map(|trailers| Some(trailers.transpose()?.map(Frame::trailers)))
    }

    /// Whoever polls has room for it: the visitor may send as much again.
    fn on_data(&mut self, data: Bytes) -> Result<Frame<Bytes>, h2::Error> {
        if let Some(stream) = &mut self.stream {
            stream.flow_control().release_capacity(data.len())?;
        }
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Ok(Frame::data(data))
    }
}

impl Drop for Http2Body {
    fn drop(&mut self) {
        *lock(&self.unread.0) = self.stream.take().filter(|stream| !stream.is_end_stream());
    }
}
