//! The guard's one timer. It is touched only when a read has to wait, and moved only when it would fire too late:
//! when it fires too early it is set anew. A busy keep-alive connection so registers a timer once in many requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Debug)]
pub(super) struct Patience {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the head under way began to be waited for.
    head_since: Option<Instant>,
    /// Since when nothing was passed on; `None` when something was since the last wait.
    quiet_since: Option<Instant>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { sleep: None, head_since: None, quiet_since: None }
    }

    /// Bytes were passed on.
    pub(super) fn on_release(&mut self) {
        self.head_since = None;
        self.quiet_since = None;
    }

    /// Nothing will be waited for any more.
    pub(super) fn retire(&mut self) {
        self.sleep = None;
    }

    pub(super) fn head_since(&mut self) -> Instant {
        *self.head_since.get_or_insert_with(Instant::now)
    }

    pub(super) fn quiet_since(&mut self) -> Instant {
        *self.quiet_since.get_or_insert_with(Instant::now)
    }

    /// Ready once `due` has passed. `due` may change from call to call.
    pub(super) fn poll_past(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}
