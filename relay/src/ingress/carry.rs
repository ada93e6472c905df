//! Bytes that pass both ways between a visitor and a stream, of which nobody here reads anything: upgraded connections, and
//! all of a sealed hostname. Ends with one of the sides, or when nothing moves.

mod both_ways;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::access_log::Carried;
use crate::tunnel::crowd::Intake;

/// How long a visitor may be silent once the origin has said all, and how long an origin may take nothing of what a visitor
/// says: nobody would notice that the visitor has gone.
const AFTER_THE_END: Duration = Duration::from_secs(30);
const BLOCKED: Duration = Duration::from_secs(300);

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
    /// How long the visitor may take to say more than it has said, where it has to.
    pub(super) opening: Option<Duration>,
    /// A visitor that stops reading keeps as much of the session to itself as with a response.
    pub(super) intake: Option<Arc<Intake>>,
}

impl Carry {
    pub(super) async fn run<V, O>(self, visitor: V, mut origin: O) -> Result<(), CarryError>
    where
        V: AsyncRead + AsyncWrite + Unpin,
        O: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { carried, idle, opening, intake } = self;
        let movement = Arc::new(Movement::new(carried));
        let mut visitor = Watched { io: visitor, movement: Arc::clone(&movement), intake: intake.clone() };
        visitor.takes();
        tokio::select! {
            copied = both_ways::copy(&mut visitor, &mut origin, &movement.blocked) => {
                copied.map_err(CarryError::Copy)
            }
            limit = movement.says_nothing_for(opening) => Err(CarryError::Idle(limit)),
            limit = movement.stands_still_for(idle) => Err(CarryError::Idle(limit)),
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
    /// The origin has said all.
    half_closed: AtomicBool,
    /// The origin takes nothing.
    blocked: AtomicBool,
    spoken: AtomicBool,
}

impl Movement {
    fn new(carried: Arc<Carried>) -> Self {
        Self {
            begun: Instant::now(),
            last_ms: AtomicU64::new(0),
            carried,
            half_closed: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            spoken: AtomicBool::new(false),
        }
    }

    fn note(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// How long nothing may move at the moment.
    fn limit(&self, idle: Duration) -> Duration {
        if self.half_closed.load(Ordering::Relaxed) {
            idle.min(AFTER_THE_END)
        } else if self.blocked.load(Ordering::Relaxed) {
            idle.min(BLOCKED)
        } else {
            idle
        }
    }

    /// Comes back with the limit that was passed.
    async fn stands_still_for(&self, idle: Duration) -> Duration {
        loop {
            let limit = self.limit(idle);
            let due = self.begun + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + limit;
            let now = Instant::now();
            if due <= now {
                return limit;
            }
            // The limit may become a shorter one meanwhile.
            tokio::time::sleep_until(due.min(now + AFTER_THE_END)).await;
        }
    }

    /// The same for a visitor who has to say something first.
    async fn says_nothing_for(&self, opening: Option<Duration>) -> Duration {
        if let Some(opening) = opening {
            tokio::time::sleep(opening).await;
            if !self.spoken.load(Ordering::Relaxed) {
                return opening;
            }
        }
        std::future::pending().await
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
        let received = buf.filled().len() - before;
        if received > 0 {
            self.movement.spoken.store(true, Ordering::Relaxed);
        }
        self.movement.carried.received(received);
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
        self.movement.half_closed.store(true, Ordering::Relaxed);
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

    #[tokio::test(start_paused = true)]
    async fn less_patience_is_had_with_those_who_may_have_gone() {
        let movement = Movement::new(Arc::default());
        let day = Duration::from_secs(86_400);
        movement.blocked.store(true, Ordering::Relaxed);
        assert_eq!(movement.stands_still_for(day).await, BLOCKED);
        movement.note();
        movement.half_closed.store(true, Ordering::Relaxed);
        let before = Instant::now();
        assert_eq!(movement.stands_still_for(day).await, AFTER_THE_END);
        assert!(before.elapsed() <= AFTER_THE_END);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_to_say_something_says_it_in_time() {
        let opening = Duration::from_secs(10);
        let silent = Movement::new(Arc::default());
        assert_eq!(silent.says_nothing_for(Some(opening)).await, opening);
        let day = Duration::from_secs(86_400);
        silent.spoken.store(true, Ordering::Relaxed);
        assert!(tokio::time::timeout(day, silent.says_nothing_for(Some(opening))).await.is_err());
        assert!(tokio::time::timeout(day, silent.says_nothing_for(None)).await.is_err());
    }
}
