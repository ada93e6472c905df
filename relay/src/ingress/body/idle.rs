//! Bodies that stand still: for how long they may, alone and in a crowd.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::Upload;
use crate::edge::admission::Admission;

/// A shorter limit for when the edge has few places left.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    pub(crate) admission: Arc<Admission>,
    pub(crate) limit: Duration,
}

/// Fires when nothing has moved for a time. Costs nothing while everything moves at once.
#[derive(Debug)]
pub(super) struct IdleTimer {
    limit: Duration,
    crowd: Option<Crowd>,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl IdleTimer {
    pub(super) fn new(limit: Duration, crowd: Option<Crowd>) -> Self {
        Self { limit, crowd, sleep: None, armed: false }
    }

    pub(super) fn moved(&mut self) {
        self.armed = false;
    }

    /// To be polled only while nothing moves this way. What moves the other way counts as well: an exchange in which
    /// one side only listens is not idle.
    pub(super) fn poll_fired(&mut self, cx: &mut Context<'_>, exchange: &Upload) -> Poll<()> {
        let (now, look) = (tokio::time::Instant::now(), self.look());
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(now + look)));
        if !self.armed {
            sleep.as_mut().reset(now + look);
            self.armed = true;
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            let crowded = self.crowd.as_ref().filter(|crowd| crowd.admission.is_crowded());
            let limit = crowded.map_or(self.limit, |crowd| crowd.limit.min(self.limit));
            let now = tokio::time::Instant::now();
            let due = tokio::time::Instant::from_std(exchange.last_moved()) + limit;
            if due <= now {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due.min(now + look));
        }
    }

    /// How often to look whether it has become crowded.
    fn look(&self) -> Duration {
        self.crowd.as_ref().map_or(self.limit, |crowd| crowd.limit.min(self.limit))
    }
}
