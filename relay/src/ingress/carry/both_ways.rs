//! Copies both ways between two connections. A connection that is quiet holds no buffer, and one that moves holds one only
//! while the other side takes less than it is given: thousands of idle WebSockets cost next to nothing.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much as one TLS record holds.
const SCRATCH: usize = 16 * 1024;

thread_local! {
    /// Where bytes are on their way from one side to the other; empty again before anybody else is polled.
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Copies until both sides have ended. The end of one is passed on to the other, which may still speak.
///
/// # Errors
///
/// What broke one of the sides.
///
/// `blocked` says whether `b` takes less than `a` says: nobody listens to `a` then, nor hears that it has gone.
pub(super) async fn copy<A, B>(a: &mut A, b: &mut B, blocked: &AtomicBool) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut there, mut back) = (OneWay::default(), OneWay::default());
    poll_fn(|cx| {
        let polled = there.poll(cx, a, b)?;
        blocked.store(!there.unsent.is_empty(), Ordering::Relaxed);
        let back = back.poll(cx, b, a)?;
        if back.is_pending() {
            // Tells of a visitor who has gone, where nothing is read from it any more.
            let _flushed_later = Pin::new(&mut *a).poll_flush(cx)?;
        }
        if polled.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

#[derive(Debug, Default)]
struct OneWay {
    /// Read, and not yet taken by the other side.
    unsent: Bytes,
    unflushed: bool,
    /// The reading side has ended.
    ended: bool,
    finished: bool,
}

impl OneWay {
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.finished {
            ready!(self.poll_send_rest(cx, to))?;
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.finished = true;
            } else if self.poll_pass(cx, from, to)?.is_pending() {
                if self.unflushed && self.unsent.is_empty() {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send_rest(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(write(cx, to, &self.unsent))?;
            self.unsent.advance(sent);
            if self.unsent.is_empty() {
                self.unsent = Bytes::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and hands on what came, keeping what the other side does not take at once.
    fn poll_pass<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        ROOM.with_borrow_mut(|room| {
            let mut room = ReadBuf::new(room);
            ready!(Pin::new(from).poll_read(cx, &mut room))?;
            let mut bytes = room.filled();
            self.ended = bytes.is_empty();
            self.unflushed |= !bytes.is_empty();
            while !bytes.is_empty() {
                match write(cx, to, bytes) {
                    Poll::Ready(sent) => bytes = &bytes[sent?..],
                    Poll::Pending => {
                        self.unsent = Bytes::copy_from_slice(bytes);
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }
}

fn write(cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(written),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn everything_arrives_in_order_through_sides_that_take_little_at_a_time() {
        let blocked = AtomicBool::new(false);
        let (mut visitor, mut ours) = duplex(7);
        let (mut theirs, mut origin) = duplex(1000);
        let sent: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
        let answer: Vec<u8> = sent.iter().rev().copied().collect();
        let (asked, answered) = (sent.clone(), answer.clone());
        let (copied, (), ()) = tokio::join!(
            copy(&mut ours, &mut theirs, &blocked),
            async {
                let (mut read, mut write) = tokio::io::split(&mut visitor);
                let mut got = Vec::new();
                let speak = async {
                    write.write_all(&sent).await.unwrap();
                    write.shutdown().await.unwrap();
                };
                tokio::join!(speak, async { read.read_to_end(&mut got).await.unwrap() });
                assert!(got == answered);
            },
            async {
                let (mut read, mut write) = tokio::io::split(&mut origin);
                let mut got = Vec::new();
                let speak = async {
                    write.write_all(&answer).await.unwrap();
                    write.shutdown().await.unwrap();
                };
                tokio::join!(speak, async { read.read_to_end(&mut got).await.unwrap() });
                assert!(got == asked);
            },
        );
        copied.unwrap();
    }

    #[tokio::test]
    async fn one_side_may_end_long_before_the_other() {
        let blocked = AtomicBool::new(false);
        let (mut visitor, mut ours) = duplex(64);
        let (mut theirs, mut origin) = duplex(64);
        let talk = async {
            visitor.write_all(b"ask").await.unwrap();
            visitor.shutdown().await.unwrap();
            let mut asked = String::new();
            origin.read_to_string(&mut asked).await.unwrap();
            assert_eq!(asked, "ask");
            origin.write_all(b"answer").await.unwrap();
            drop(origin);
            let mut answered = String::new();
            visitor.read_to_string(&mut answered).await.unwrap();
            assert_eq!(answered, "answer");
        };
        let (copied, ()) = tokio::join!(copy(&mut ours, &mut theirs, &blocked), talk);
        copied.unwrap();
    }

    #[tokio::test]
    async fn what_breaks_one_side_ends_the_copying() {
        let blocked = AtomicBool::new(false);
        let (mut visitor, mut ours) = duplex(64);
        let (mut theirs, origin) = duplex(64);
        drop(origin);
        visitor.write_all(b"to nobody").await.unwrap();
        let error = copy(&mut ours, &mut theirs, &blocked).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
