//! How many files and sockets this process may have open.

/// Raises the soft limit to the hard one. The soft limit is low (often 1,024) for the sake of programs that use
/// `select(2)`; a thousand visitors would be over it.
pub fn raise_limit() {
    #[cfg(unix)]
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "open files and sockets"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}
