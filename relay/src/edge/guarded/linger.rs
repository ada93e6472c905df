//! What a visitor still sends after a refusal is read and dropped for a while: closing a socket with unread bytes
//! resets it, and the reset overtakes the answer on its way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::patience::Patience;

const MAX_BYTES: usize = 512 * 1024;
const MAX_TIME: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Linger {
    discarded: usize,
    peer_done: bool,
    /// When our side was shut.
    shut: Option<Instant>,
}

impl Linger {
    pub(super) fn is_shut(&self) -> bool {
        self.shut.is_some()
    }

    pub(super) fn on_shut(&mut self) {
        self.shut = Some(Instant::now());
    }

    /// Drops what is there, with the free part of `buf` to read into. Ends with the caller's task registered for
    /// more, or with no more wanted.
    pub(super) fn discard<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> io::Result<()> {
        let before = buf.filled().len();
        while !self.is_enough() {
            let Poll::Ready(read) = Pin::new(&mut *io).poll_read(cx, buf) else { break };
            read?;
            let len = buf.filled().len() - before;
            buf.set_filled(before);
            self.discarded += len;
            self.peer_done = len == 0;
        }
        Ok(())
    }

    /// Ready when the visitor has closed as well or has had its time.
    pub(super) fn poll<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        patience: &mut Patience,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut space = [0; 4096];
        let failed = self.discard(io, cx, &mut ReadBuf::new(&mut space)).is_err();
        if failed || self.is_enough() {
            return Poll::Ready(());
        }
        let Some(shut) = self.shut else { return Poll::Ready(()) };
        ready!(patience.poll_past(shut + MAX_TIME, cx));
        Poll::Ready(())
    }

    fn is_enough(&self) -> bool {
        self.peer_done || self.discarded >= MAX_BYTES
    }
}
