//! Tells the certificates of every grant, ahead of the visitors.

use std::sync::Arc;

use crate::edge::cert::Certificates;
use crate::tunnel::registry::Registry;

/// Runs until it is dropped.
pub(super) async fn run(registry: Arc<Registry>, certificates: Arc<Certificates>) {
    let mut grants = registry.changes();
    loop {
        let granted = registry.routes().granted().cloned().collect();
        let told = Arc::clone(&certificates);
        // On a thread of its own: a disk that hangs must not hold up the sessions.
        if let Err(error) = tokio::task::spawn_blocking(move || told.expect(granted)).await {
            tracing::error!(%error, "telling the certificates of a grant ended by a mistake in this program");
        }
        if grants.changed().await.is_err() {
            return;
        }
    }
}
