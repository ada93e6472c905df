//! How long an HTTP/2 visitor may leave a response standing. On HTTP/1 a visitor who stops reading stops the whole
//! connection, which has a deadline of its own; on HTTP/2 it can stop one stream for ever and keep the rest alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Since when a response waits for its visitor. hyper polls a body only when there is room for more of it, so the body
/// notes when it was last asked, and the task around it looks at the clock.
#[derive(Debug)]
pub(crate) struct Patience {
    begun: Instant,
    /// Milliseconds after `begun`, plus one; zero while nothing waits for the visitor.
    waiting_since: AtomicU64,
}

tokio::task_local! {
    static CURRENT: Arc<Patience>;
}

impl Patience {
    /// Runs the task of one stream until it ends, or until its visitor has taken nothing for `limit`; then the stream is
    /// reset.
    pub(crate) async fn over(task: impl Future<Output = ()>, limit: Duration) {
        let patience = Arc::new(Self { begun: Instant::now(), waiting_since: AtomicU64::new(0) });
        tokio::select! {
            () = CURRENT.scope(Arc::clone(&patience), task) => {}
            () = patience.exhausted(limit) => {}
        }
    }

    /// The body is asked for more: the visitor has room.
    pub(crate) fn asked() {
        let _outside_of_http2 =
            CURRENT.try_with(|patience| patience.waiting_since.store(0, Ordering::Relaxed));
    }

    /// The body has given something, which now waits for the visitor.
    pub(crate) fn handed_out() {
        let _outside_of_http2 = CURRENT.try_with(|patience| {
            let since = u64::try_from(patience.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            patience.waiting_since.store(since.saturating_add(1), Ordering::Relaxed);
        });
    }

    async fn exhausted(&self, limit: Duration) {
        loop {
            let due = match self.waiting_since.load(Ordering::Relaxed) {
                0 => Instant::now() + limit,
                since => self.begun + Duration::from_millis(since - 1) + limit,
            };
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_response_that_waits_for_its_visitor_is_given_up() {
        let begun = Instant::now();
        let stuck = async {
            Patience::asked();
            Patience::handed_out();
            std::future::pending().await
        };
        Patience::over(stuck, LIMIT).await;
        assert!(begun.elapsed() >= LIMIT && begun.elapsed() < LIMIT * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_waits_for_its_origin_is_not() {
        let slow = async {
            Patience::asked();
            tokio::time::sleep(LIMIT * 10).await;
        };
        let begun = Instant::now();
        Patience::over(slow, LIMIT).await;
        assert_eq!(begun.elapsed(), LIMIT * 10);
    }
}
