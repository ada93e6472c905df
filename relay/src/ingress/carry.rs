//! Bytes that pass both ways between a visitor and a stream, of which nobody here reads anything: upgraded connections, and
//! all of a sealed hostname. Ends with one of the sides, or when nothing moves.

mod both_ways;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::access_log::Carried;
use crate::tunnel::crowd::Intake;

/// Why carrying ended before both sides had.
#[derive(Debug, thiserror::Error)]
pub(super) enum CarryError {
    #[error("copying failed")]
    Copy(#[source] io::Error),
    #[error("nothing moved for {} s", .0.as_secs())]
    Idle(Duration),
    #[error("the visitor stopped reading while many others wanted to go on")]
    TooSlow,
}

/// How to carry.
#[derive(Debug)]
pub(super) struct Carry {
    /// Where bytes are counted.
    pub(super) carried: Arc<Carried>,
    /// How long nothing may move.
    pub(super) idle: Duration,
    /// A visitor that stops reading keeps as much of the session to itself as with a response.
    pub(super) intake: Option<Arc<Intake>>,
}

impl Carry {
    pub(super) async fn run<V, O>(self, visitor: V, mut origin: O) -> Result<(), CarryError>
    where
        V: AsyncRead + AsyncWrite + Unpin,
        O: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { carried, idle, intake } = self;
        let movement = Arc::new(Movement::new(carried));
        let mut visitor = Watched { io: visitor, movement: Arc::clone(&movement), intake: intake.clone() };
        visitor.takes();
        tokio::select! {
            copied = both_ways::copy(&mut visitor, &mut origin) => copied.map_err(CarryError::Copy),
            () = movement.stands_still_for(idle) => Err(CarryError::Idle(idle)),
            () = cut(intake) => Err(CarryError::TooSlow),
        }
    }
}

async fn cut(intake: Option<Arc<Intake>>) {
    match intake {
        Some(intake) => intake.cut().await,
        None => std::future::pending().await,
    }
}

/// When bytes last moved on the visitor's side, either way.
#[derive(Debug)]
struct Movement {
    begun: Instant,
    last_ms: AtomicU64,
    carried: Arc<Carried>,
}

impl Movement {
    fn new(carried: Arc<Carried>) -> Self {
        Self { begun: Instant::now(), last_ms: AtomicU64::new(0), carried }
    }

    fn note(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    async fn stands_still_for(&self, idle: Duration) {
        loop {
            let due = self.begun + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + idle;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

#[derive(Debug)]
struct Watched<V> {
    io: V,
    movement: Arc<Movement>,
    intake: Option<Arc<Intake>>,
}

impl<V> Watched<V> {
    /// Once it was cut, the carrying ends by itself.
    fn takes(&self) {
        let _uncut = self.intake.as_ref().is_none_or(|intake| intake.asked());
    }

    fn refuses(&self) {
        if let Some(intake) = &self.intake {
            intake.refused();
        }
    }

    fn noting<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(polled, Poll::Ready(Ok(_))) {
            self.movement.note();
        }
        polled
    }
}

impl<V: AsyncRead + Unpin> AsyncRead for Watched<V> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.movement.carried.received(buf.filled().len() - before);
        self.noting(polled)
    }
}

impl<V: AsyncWrite + Unpin> AsyncWrite for Watched<V> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        match &polled {
            Poll::Ready(written) => {
                self.movement.carried.sent(written.as_ref().map_or(0, |count| *count));
                self.takes();
            }
            Poll::Pending => self.refuses(),
        }
        self.noting(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn standing_still_is_counted_from_the_last_byte() {
        let movement = Movement::new(Arc::default());
        tokio::time::advance(Duration::from_secs(50)).await;
        movement.note();
        let before = Instant::now();
        movement.stands_still_for(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed().as_secs(), 60);
    }
}
