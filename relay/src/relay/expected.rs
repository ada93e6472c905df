//! Tells the certificates of every hostname that is served, ahead of its visitors.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::hostname::HostnamePattern;

use crate::edge::cert::Certificates;
use crate::tunnel::registry::{Registry, Routes};

/// Runs until it is dropped.
pub(super) async fn run(registry: Arc<Registry>, certificates: Arc<Certificates>) {
    let mut changes = registry.changes();
    let mut last = None;
    loop {
        let served = Some(served(&registry.routes()));
        if served != last {
            let names = served.iter().flatten().cloned().collect();
            let told = Arc::clone(&certificates);
            // On a thread of its own: a disk that hangs must not hold up the sessions.
            if let Err(error) = tokio::task::spawn_blocking(move || told.expect(names)).await {
                tracing::error!(%error, "telling the certificates of a hostname ended by a mistake in this program");
            }
            last = served;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// What is granted and not served yet may come to be sealed, and then no authority of the relay's is to be good for it.
fn served(routes: &Routes) -> BTreeSet<HostnamePattern> {
    let (sealed, open): (Vec<_>, Vec<_>) =
        routes.served().map(|one| &one.exposure).partition(|exposure| exposure.sealed().is_some());
    let mut names: BTreeSet<_> = open.into_iter().map(|exposure| exposure.hostname.clone()).collect();
    for exposure in sealed {
        names.remove(&exposure.hostname);
    }
    names
}
