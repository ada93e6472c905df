//! Keepers that share what is kept, as relays with one store do.

use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;

use super::*;
use crate::keep::{Entry, Failed, Issued, Kept, OpenOrder, Secret};
use crate::settings::{ChallengeKind, Directory};

/// Keeps one thing: who may order.
#[derive(Debug, Default)]
struct Memory {
    holder: Mutex<Option<String>>,
    refused: AtomicU64,
}

impl Keep for Memory {
    fn account<'a>(&'a self, _: &'a str) -> Kept<'a, Option<Secret>> {
        Box::pin(async { Ok(None) })
    }

    fn put_account<'a>(&'a self, _: &'a str, _: Secret) -> Kept<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn names(&self) -> Kept<'_, Vec<HostnamePattern>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn entry<'a>(&'a self, _: &'a HostnamePattern) -> Kept<'a, Entry> {
        Box::pin(async { Ok(Entry::default()) })
    }

    fn claim<'a>(&'a self, _: &'a HostnamePattern, holder: &'a str, _: i64, _: i64) -> Kept<'a, bool> {
        Box::pin(async move {
            let mut held = lock(&self.holder);
            let granted = held.as_deref().is_none_or(|held| held == holder);
            if granted {
                *held = Some(holder.to_owned());
            } else {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            Ok(granted)
        })
    }

    fn put_order<'a>(&'a self, _: &'a HostnamePattern, _: OpenOrder) -> Kept<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn put_issued<'a>(&'a self, _: &'a HostnamePattern, _: Issued) -> Kept<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn forget<'a>(&'a self, _: &'a HostnamePattern) -> Kept<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn put_failed<'a>(&'a self, _: &'a HostnamePattern, _: Failed, _: bool) -> Kept<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Without a look at DNS, at a CA that lets everybody wait.
fn wishes(port: u16, folder: &Path) -> Wishes {
    let root = folder.join("root.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&root, rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()).unwrap();
    let settings = Settings {
        directory: format!("https://127.0.0.1:{port}/dir").parse::<Directory>().unwrap(),
        email: None,
        ca_file: Some(root),
        profile: None,
        external_account: None,
        resolver: None,
        addresses: Vec::new(),
        challenges: vec![ChallengeKind::Dns],
    };
    let here = Here { name: "relay.example.com".into(), addresses: Vec::new() };
    let plan = Some(Arc::new(Plan { settings, here, publish: None }));
    Wishes { plan, names: ["a.example.com".parse().unwrap()].into() }
}

async fn connections(listener: &TcpListener) -> usize {
    let mut count = 0;
    let quiet = Duration::from_secs(1);
    let mut open = Vec::new();
    while let Ok(accepted) = tokio::time::timeout(quiet, listener.accept()).await {
        open.push(accepted.unwrap());
        count += 1;
    }
    count
}

#[tokio::test]
async fn of_two_that_share_what_is_kept_one_orders_at_a_time() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let ca = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (_wish, wished) = watch::channel(wishes(ca.local_addr().unwrap().port(), folder.path()));
    let memory = Arc::new(Memory::default());
    let mut running = JoinSet::new();
    for holder in ["one", "two"] {
        let keeper = Arc::new(Keeper::new(Arc::clone(&memory) as Arc<dyn Keep>, holder.to_owned()));
        running.spawn(keeper.run(wished.clone()));
    }
    // Whoever has the claim asks the CA, and the other one was told that it may not.
    assert_eq!(connections(&ca).await, 1);
    assert_eq!(memory.refused.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn without_a_plan_nothing_is_ordered() {
    let memory = Arc::new(Memory::default());
    let (_wish, wished) =
        watch::channel(Wishes { names: ["a.example.com".parse().unwrap()].into(), plan: None });
    let keeper = Arc::new(Keeper::new(Arc::clone(&memory) as Arc<dyn Keep>, "one".to_owned()));
    let name = "a.example.com".parse().unwrap();
    let running = Arc::clone(&keeper).run(wished);
    assert!(tokio::time::timeout(Duration::from_millis(100), running).await.is_err());
    assert!(lock(&memory.holder).is_none() && keeper.rows().is_empty() && !keeper.renew(&name));
}
