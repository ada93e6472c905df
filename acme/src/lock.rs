//! Locks that are held between two statements.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A poisoned lock means that a holder panicked; no holder here can leave a value half-changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
