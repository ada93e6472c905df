//! The framing guard on a connection: sits between the TLS stream and hyper's HTTP/1 server and hands hyper only
//! bytes that [`Framing`] released. Also keeps the time of heads and of idle connections, which hyper does not.

mod handle;
mod interim;
mod linger;
mod patience;
mod stash;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::framing::{Awaits, Framing, GuardLimits, REFUSE_METHOD, Step, Violation};
use handle::Shared;
use interim::Between;
use linger::Linger;
use patience::Patience;
use stash::Stash;

pub(crate) use handle::GuardHandle;

/// Goes on with the read, or ends it with what the caller's buffer holds (nothing, for end-of-file).
type Flow = ControlFlow<()>;

/// An `IO` whose reading side is guarded. Writing passes through.
#[derive(Debug)]
pub(crate) struct Guarded<IO> {
    io: IO,
    limits: GuardLimits,
    framing: Framing,
    stash: Stash,
    patience: Patience,
    shared: Arc<Shared>,
    /// The synthetic request is in the stash or gone out already.
    refusal_sent: bool,
    linger: Linger,
    between: Between,
    ended: bool,
}

impl<IO> Guarded<IO> {
    /// The wait for the first head begins here.
    pub(crate) fn new(io: IO, limits: GuardLimits) -> (Self, GuardHandle) {
        let (shared, handle) = Shared::new();
        let guarded = Self {
            io,
            limits,
            framing: Framing::new(limits),
            stash: Stash::default(),
            patience: Patience::new(),
            shared,
            refusal_sent: false,
            linger: Linger::default(),
            between: Between::default(),
            ended: false,
        };
        (guarded, handle)
    }

    /// How many of the first bytes may stay where they were read to, which is the usual case for all of them.
    fn judge_in_place(&mut self, bytes: &[u8]) -> usize {
        let mut judged = 0;
        while let Step::Release(len) = self.framing.step(&bytes[judged..]) {
            judged += len;
        }
        if judged > 0 {
            self.patience.on_release();
        }
        judged
    }

    fn head_has_begun(&self) -> bool {
        // The one empty line that may precede a head is no head yet: it may be the end of the previous body.
        self.framing.awaits() == Awaits::Head && !b"\r\n".starts_with(self.stash.window())
    }

    /// When waiting becomes too long, if ever.
    fn due(&mut self) -> Option<Instant> {
        match self.framing.awaits() {
            // A slow body is for the service to cut, which knows whether it is the visitor who is slow.
            Awaits::Body | Awaits::Upgraded => None,
            Awaits::Head if self.head_has_begun() => {
                Some(self.patience.head_since() + self.limits.head_deadline)
            }
            Awaits::Head if self.framing.heads() == 0 => Some(self.shared.opened + self.limits.head_deadline),
            Awaits::Head | Awaits::Verdict | Awaits::Nothing => {
                // Noted while busy too, for a request that finishes unseen.
                let quiet_since = self.patience.quiet_since();
                let idle_since = if self.shared.is_busy() {
                    Instant::now()
                } else {
                    quiet_since.max(self.shared.last_finish())
                };
                Some(idle_since + self.limits.idle_timeout)
            }
        }
    }

    /// Ready when the visitor took too long: then either a refusal is under way or the connection has ended.
    fn poll_lapse(&mut self, cx: &mut Context<'_>) -> Poll<Flow> {
        let Some(due) = self.due() else { return Poll::Pending };
        ready!(self.patience.poll_past(due, cx));
        if self.head_has_begun() {
            self.framing.refuse(Violation::HeadTimeout);
            return Poll::Ready(Flow::Continue(()));
        }
        self.ended = true;
        Poll::Ready(Flow::Break(()))
    }

    fn poll_verdict(&mut self, cx: &mut Context<'_>) -> Poll<Flow> {
        // Registered before looking: a verdict that comes in between wakes the reader again.
        self.shared.reader.register(cx.waker());
        let Some(accepted) = self.shared.verdict_on(self.framing.heads()) else {
            return self.poll_lapse(cx);
        };
        self.framing.on_verdict(accepted);
        self.patience.on_release();
        if accepted {
            self.patience.retire();
        }
        Poll::Ready(Flow::Continue(()))
    }
}

impl<IO: AsyncRead + Unpin> Guarded<IO> {
    /// Reads once, straight into the caller's buffer, and takes back what may not stay there.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Flow>> {
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(cx, buf) else {
            return self.poll_lapse(cx).map(Ok);
        };
        read?;
        if buf.filled().len() == before {
            self.ended = true;
            return Poll::Ready(Ok(Flow::Break(())));
        }
        let fresh = &buf.filled()[before..];
        let kept = if self.stash.is_empty() { self.judge_in_place(fresh) } else { 0 };
        if kept < fresh.len() {
            self.stash.push(&fresh[kept..]);
            buf.set_filled(before + kept);
        }
        Poll::Ready(Ok(if kept > 0 { Flow::Break(()) } else { Flow::Continue(()) }))
    }

    /// Puts the synthetic request in the place of everything that was to come. After it hyper is left waiting: at
    /// an end-of-file it would give up the answer. It closes by itself, as that request says `connection: close`.
    fn poll_refuse(
        &mut self,
        violation: Violation,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Flow>> {
        if !self.refusal_sent {
            self.refusal_sent = true;
            self.stash.replace(synthetic_request(violation));
            return Poll::Ready(Ok(Flow::Continue(())));
        }
        self.linger.discard(&mut self.io, cx, buf)?;
        self.poll_lapse(cx).map(Ok)
    }
}

fn synthetic_request(violation: Violation) -> Vec<u8> {
    let code = violation.code();
    format!("{REFUSE_METHOD} /{code} HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n")
        .into_bytes()
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.stash.drain_into(buf) {
                return Poll::Ready(Ok(()));
            }
            let flow = match this.framing.step(this.stash.window()) {
                Step::Release(len) => {
                    this.stash.clear(len);
                    this.patience.on_release();
                    Flow::Continue(())
                }
                Step::NeedMore => ready!(this.poll_fill(cx, buf))?,
                Step::Hold => ready!(this.poll_verdict(cx)),
                Step::Refuse(violation) => ready!(this.poll_refuse(violation, cx, buf))?,
                Step::Abort(fault) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
            };
            if flow.is_break() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.between.poll_before_write(&mut this.io, &this.shared, cx))?;
        Pin::new(&mut this.io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.between.poll_at_flush(&mut this.io, &this.shared, cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.linger.is_shut() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.linger.on_shut();
        }
        if this.framing.awaits() != Awaits::Nothing {
            return Poll::Ready(Ok(()));
        }
        this.linger.poll(&mut this.io, &mut this.patience, cx).map(Ok)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.between.poll_before_write(&mut this.io, &this.shared, cx))?;
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
