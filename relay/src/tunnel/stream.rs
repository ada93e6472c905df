//! One stream to an agent's service as a byte stream. Whatever ends it without a clean shutdown resets it, so that an
//! origin never takes half a request for a whole one.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use protocol::close::StreamReset;
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use transport::urgency::{Shares, Urgency};

/// What broke a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamFailure {
    /// The agent reset it and said why.
    #[error(transparent)]
    Reset(#[from] StreamReset),
    /// The agent reset it with a code that this version does not know.
    #[error("the agent reset the stream with code {0}")]
    UnknownReset(u64),
    /// The session is gone.
    #[error("the session with the agent was lost")]
    SessionLost,
}

impl StreamFailure {
    fn from_code(code: VarInt) -> Self {
        StreamReset::from_number(code.into_inner()).map_or(Self::UnknownReset(code.into_inner()), Self::Reset)
    }

    fn from_read(error: &ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::from_code(*code),
            ReadError::ConnectionLost(_) | ReadError::ClosedStream | ReadError::IllegalOrderedRead => {
                Self::SessionLost
            }
            ReadError::ZeroRttRejected => Self::SessionLost,
        }
    }

    fn from_write(error: &WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::from_code(*code),
            WriteError::ConnectionLost(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                Self::SessionLost
            }
        }
    }
}

/// Remembers the first failure of a stream for whoever asks after HTTP has lost sight of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailureCell(Arc<OnceLock<StreamFailure>>);

impl FailureCell {
    pub(crate) fn failure(&self) -> Option<StreamFailure> {
        self.0.get().copied()
    }

    fn note(&self, failure: StreamFailure) -> io::Error {
        let _already_known = self.0.set(failure);
        io::Error::new(io::ErrorKind::ConnectionReset, failure)
    }
}

/// Both halves of a stream.
#[derive(Debug)]
pub(crate) struct TunnelStream {
    send: SendStream,
    recv: RecvStream,
    urgency: Urgency,
    failure: FailureCell,
    finished: bool,
}

impl TunnelStream {
    pub(crate) fn new(send: SendStream, recv: RecvStream, shares: Arc<Shares>) -> Self {
        let urgency = Urgency::new(shares);
        Self { send, recv, urgency, failure: FailureCell::default(), finished: false }
    }

    pub(crate) fn failure_cell(&self) -> FailureCell {
        self.failure.clone()
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = this.recv.poll_read_buf(cx, buf);
        if read.is_ready() {
            this.urgency.heard(&this.send);
        }
        read.map_err(|error| this.failure.note(StreamFailure::from_read(&error)))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.send).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            this.urgency.sent(&this.send, *count);
        }
        written.map_err(|error| this.failure.note(StreamFailure::from_write(&error)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        // An error says that the other side has reset the stream: reading tells.
        let _already_over = self.send.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        let cancelled = VarInt::from_u32(StreamReset::Cancelled.number());
        if !self.finished {
            let _already_over = self.send.reset(cancelled);
        }
        let _already_over = self.recv.stop(cancelled);
    }
}
