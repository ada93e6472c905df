//! Certificates of hostnames whose TLS ends at this agent (`tls = "agent"`). The agent orders them itself, by TLS-ALPN-01
//! through a relay that only forwards; their keys never leave this machine.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use acme::challenge::{ACME_TLS, Challenges};
use acme::keep::KeepError;
use acme::keeper::{Keeper, Plan, Wishes};
use acme::reach::Here;
use acme::settings::Settings;
use acme::shelf::Shelf;
use protocol::hostname::{Hostname, HostnamePattern};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::authority::RelayAddress;
use crate::board::{Board, State};
use crate::kept::Folder;
use crate::offer::Offers;

/// All of them, and who keeps them.
#[derive(Debug)]
pub struct Ordered {
    keeper: Arc<Keeper>,
    /// Where hostnames ought to lead: to the relay.
    relay: String,
    plan: Mutex<Option<Arc<Plan>>>,
    wishes: watch::Sender<Wishes>,
}

/// What `agent status` says of a certificate. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    pub hostname: HostnamePattern,
    pub issuer: Option<String>,
    pub not_after: Option<i64>,
    /// Less than a third of its lifetime is left.
    pub late: bool,
    /// What is done next: `order` or `renew`.
    pub next: Option<String>,
    pub next_at: Option<i64>,
    /// Why the last order failed.
    pub error: Option<String>,
}

impl Ordered {
    #[must_use]
    pub fn new(folder: PathBuf, relay: &RelayAddress) -> Self {
        Self {
            keeper: Arc::new(Keeper::new(Arc::new(Folder::new(folder)), "agent".to_owned())),
            relay: relay.authority().host().to_string(),
            plan: Mutex::default(),
            wishes: watch::channel(Wishes::default()).0,
        }
    }

    /// What TLS asks for the certificate of a handshake.
    #[must_use]
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        let (shelf, challenges) = (Arc::clone(&self.keeper.shelf), Arc::clone(&self.keeper.challenges));
        Arc::new(Resolver { shelf, challenges })
    }

    /// Takes what is kept into use.
    ///
    /// # Errors
    ///
    /// Where the files cannot be read.
    pub async fn load(&self) -> Result<(), KeepError> {
        self.keeper.load().await
    }

    /// Orders and renews, for what the relay serves of the configuration in force, for as long as this is polled.
    pub async fn run(&self, offers: Offers, board: &Board) {
        let (mut offers, mut state) = (offers, board.follow());
        let follow = async {
            loop {
                self.wish(&offers, &state.borrow_and_update().clone());
                tokio::select! {
                    changed = offers.changed() => if changed.is_err() { return },
                    changed = state.changed() => if changed.is_err() { return },
                }
            }
        };
        tokio::join!(Arc::clone(&self.keeper).run(self.wishes.subscribe()), follow);
    }

    /// A CA would ask in vain for what the relay does not serve; what has a certificate is renewed all the same.
    fn wish(&self, offers: &Offers, state: &State) {
        let offer = Arc::clone(&offers.borrow());
        let facts = self.keeper.shelf.facts();
        let served = |name: &HostnamePattern| {
            let told = state.hostnames.iter().find(|told| told.hostname == *name);
            told.is_some_and(|told| told.refused.is_none()) || facts.contains_key(name)
        };
        let names = offer.config().ends_tls_for().map(HostnamePattern::from);
        let names: BTreeSet<_> = names.filter(served).collect();
        let plan = self.plan(offer.config().acme());
        let wanted = Wishes { plan, names };
        self.wishes.send_if_modified(|wishes| {
            let changed = *wishes != wanted;
            *wishes = wanted;
            changed
        });
    }

    fn plan(&self, settings: Option<&Settings>) -> Option<Arc<Plan>> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if plan.as_ref().map(|plan| &plan.settings) != settings {
            *plan = settings.map(|settings| {
                let here = Here { name: self.relay.clone(), addresses: settings.addresses.clone() };
                Arc::new(Plan { settings: settings.clone(), here, publish: None })
            });
        }
        plan.clone()
    }

    /// How each certificate stands that is wished for.
    pub fn status(&self) -> Vec<CertificateStatus> {
        let (facts, rows) = (self.keeper.shelf.facts(), self.keeper.rows());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let row = |hostname: &HostnamePattern| {
            let (facts, row) = (facts.get(hostname), rows.get(hostname));
            CertificateStatus {
                hostname: hostname.clone(),
                issuer: facts.map(|facts| facts.issuer.clone()),
                not_after: facts.map(|facts| facts.lifetime.not_after),
                late: facts.is_some_and(|facts| facts.lifetime.is_late(now)),
                next: row.map(|row| row.next.to_owned()),
                next_at: row.and_then(|row| row.next_at),
                error: row.and_then(|row| row.error.clone()),
            }
        };
        self.wishes.borrow().names.iter().map(row).collect()
    }
}

#[derive(Debug)]
struct Resolver {
    shelf: Arc<Shelf>,
    challenges: Arc<Challenges>,
}

impl ResolvesServerCert for Resolver {
    /// An authority that checks a hostname offers one protocol alone, and is shown what nobody else is.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let hostname: Hostname = hello.server_name()?.parse().ok()?;
        if hello.alpn().is_some_and(|offered| offered.eq([ACME_TLS])) {
            return self.challenges.tls(&hostname);
        }
        self.shelf.find(&hostname.into())
    }
}
