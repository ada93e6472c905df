//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// Nothing that works takes this long, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Tries until there is a value.
///
/// # Panics
///
/// When there is none for [`PATIENCE`].
pub async fn eventually<T, F: AsyncFnMut() -> Option<T>>(what: &str, mut attempt: F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "in vain for {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same outside of a runtime.
///
/// # Panics
///
/// When there is none for [`PATIENCE`].
pub fn eventually_blocking<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "in vain for {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
