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
    last: Mutex<Option<Instant>>,
}

impl Trouble {
    pub(super) fn new(door: String) -> Self {
        Self { door, last: Mutex::default() }
    }

    pub(super) fn note(&self, passed: Result<(), ReachError>) {
        let Err(error) = passed else { return };
        let text = terminal::chain(&error);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let door = &self.door;
        if last.is_some_and(|at| at.elapsed() < BETWEEN_COMPLAINTS) {
            return tracing::debug!(door, error = text, "a connection was refused");
        }
        match error.hint() {
            Some(hint) => tracing::warn!(door, error = text, hint, "a connection was refused"),
            None => tracing::warn!(door, error = text, "a connection was refused"),
        }
        *last = Some(Instant::now());
    }
}
