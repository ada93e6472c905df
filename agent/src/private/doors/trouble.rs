//! Why connections through a door fail, told once and not for each.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use process::terminal;
use tokio::time::Instant;

use crate::private::operator::ReachError;

/// The trouble of one door is said this often.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(10);

/// Says why connections through a door fail, but not of every one.
pub(super) struct Trouble {
    door: String,
    what: &'static str,
    last: Mutex<Option<Instant>>,
}

impl Trouble {
    /// `what` is the trouble, whatever its reason.
    pub(super) fn new(door: String, what: &'static str) -> Self {
        Self { door, what, last: Mutex::default() }
    }

    pub(super) fn note(&self, passed: Result<(), ReachError>) {
        let Err(error) = passed else { return };
        let text = terminal::chain(&error);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Self { door, what, .. } = self;
        if last.is_some_and(|at| at.elapsed() < BETWEEN_COMPLAINTS) {
            return tracing::debug!(door, error = text, "{what}");
        }
        match error.hint() {
            Some(hint) => tracing::warn!(door, error = text, hint, "{what}"),
            None => tracing::warn!(door, error = text, "{what}"),
        }
        *last = Some(Instant::now());
    }
}
