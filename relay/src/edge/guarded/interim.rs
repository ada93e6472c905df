//! Writes interim responses (1xx), which hyper cannot, between what hyper writes. hyper flushes when it has nothing left
//! to write: from there to its next write, the visitor is between two messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::handle::Shared;

#[derive(Debug, Default)]
pub(super) struct Between {
    /// hyper has written since it flushed last.
    in_a_message: bool,
    unsent: Vec<u8>,
    sent: usize,
}

impl Between {
    /// Before hyper's bytes: what waits goes first, or no more where a message has begun.
    pub(super) fn poll_before_write<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        shared: &Shared,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let waiting = shared.take_interim();
        if !self.in_a_message
            && let Some(waiting) = waiting
        {
            self.unsent.extend_from_slice(&waiting);
        }
        ready!(self.poll_send(io, cx))?;
        self.in_a_message = true;
        Poll::Ready(Ok(()))
    }

    /// hyper has nothing left to write.
    pub(super) fn poll_at_flush<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        shared: &Shared,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_a_message = false;
        ready!(self.poll_send(io, cx))?;
        if let Some(waiting) = shared.take_interim() {
            self.unsent = waiting;
        }
        self.poll_send(io, cx)
    }

    fn poll_send<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            match ready!(Pin::new(&mut *io).poll_write(cx, &self.unsent[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        if self.sent > 0 {
            (self.unsent, self.sent) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}
