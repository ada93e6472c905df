//! The body of a request over HTTP/3, held to the length that it announces, which `h3` does not do.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::{Code, StreamError};
use h3::server::RequestStream;
use http_body::Frame;

use super::quic::{Allowance, Receiving};
use crate::tunnel::pool::BodyError;

/// Why a body is broken.
#[derive(Debug, thiserror::Error)]
enum Http3BodyError {
    #[error("the stream broke")]
    Stream(#[from] StreamError),
    #[error("the body is not as long as it says")]
    Length,
}

/// A body that is being read.
pub(crate) struct Http3Body {
    stream: RequestStream<Receiving, Bytes>,
    allowance: Allowance,
    /// Bytes of the announced length that have not come yet.
    left: Option<u64>,
    /// The first piece, which was waited for.
    first: Option<Frame<Bytes>>,
    ended: bool,
}

impl Http3Body {
    pub(super) fn new(
        stream: RequestStream<Receiving, Bytes>,
        allowance: Allowance,
        announced: Option<u64>,
    ) -> Self {
        allowance.renew();
        Self { stream, allowance, left: announced, first: None, ended: false }
    }

    /// Waits until it is known whether there is a body at all: HTTP/3 says so only with what follows the head.
    pub(super) async fn begin(&mut self) -> Result<(), BodyError> {
        match poll_fn(|cx| self.poll_next(cx)).await {
            Some(frame) => self.first = Some(frame?),
            None => self.ended = true,
        }
        Ok(())
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.ended && self.first.is_none()
    }

    pub(crate) fn left(&self) -> Option<u64> {
        let waiting = self.first.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
        self.left.map(|left| left + waiting as u64)
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.poll_next(cx).map_err(Into::into),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http3BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let data = ready!(self.stream.poll_recv_data(cx))?;
        self.allowance.renew();
        let Some(mut data) = data else {
            let trailers = ready!(self.stream.poll_recv_trailers(cx))?;
            self.ended = true;
            if self.left.is_some_and(|left| left > 0) {
                return Poll::Ready(Some(Err(Http3BodyError::Length)));
            }
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let data = data.copy_to_bytes(data.remaining());
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(Http3BodyError::Length)?;
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

/// What nobody wants is not to be sent.
impl Drop for Http3Body {
    fn drop(&mut self) {
        if !self.ended {
            self.stream.stop_sending(Code::H3_NO_ERROR);
        }
    }
}

impl std::fmt::Debug for Http3Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http3Body")
            .field("left", &self.left)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
