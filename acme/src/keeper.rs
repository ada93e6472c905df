//! Keeps a certificate for each hostname that is wished for: one task a hostname, and this, which starts and ends them.

mod row;
mod tending;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use process::terminal;
use protocol::hostname::HostnamePattern;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

pub use self::row::{Row, State};
use self::tending::Tending;
use crate::account::Desk;
use crate::ca;
use crate::certificate::Certificate;
use crate::challenge::Challenges;
use crate::clock;
use crate::keep::{Keep, KeepError};
use crate::lock::lock;
use crate::publish::Publish;
use crate::reach::Here;
use crate::settings::Settings;
use crate::shelf::Shelf;

/// First orders under way at once, and renewals, which do not wait for those.
const FIRST_AT_ONCE: usize = 8;
const RENEWALS_AT_ONCE: usize = 4;
/// Hostnames that are tended at the most; a peer with a wildcard can think of any number.
const MOST: usize = 2000;
/// After a mistake in this program, which must not be made as fast as it can be.
const REST: Duration = Duration::from_secs(60);

/// How certificates are come by.
#[derive(Debug)]
pub struct Plan {
    pub settings: Settings,
    /// Where hostnames ought to lead.
    pub here: Here,
    /// Who writes the records of DNS-01, where anybody does.
    pub publish: Option<Arc<dyn Publish>>,
}

/// What is wished for.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Without one nothing is ordered; what is there is still shown.
    pub plan: Option<Arc<Plan>>,
    pub names: BTreeSet<HostnamePattern>,
}

/// Plans are the same where they are one: its parts cannot be compared.
impl PartialEq for Wishes {
    fn eq(&self, other: &Self) -> bool {
        let same_plan = match (&self.plan, &other.plan) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        same_plan && self.names == other.names
    }
}

/// Certificates that were come by, and orders that were in vain.
#[derive(Debug, Default)]
pub struct Counts {
    pub issued: AtomicU64,
    pub failed: AtomicU64,
}

/// The keeper of one program's certificates.
#[derive(Debug)]
pub struct Keeper {
    keep: Arc<dyn Keep>,
    pub shelf: Arc<Shelf>,
    pub challenges: Arc<Challenges>,
    pub counts: Counts,
    rows: Mutex<BTreeMap<HostnamePattern, Row>>,
    pokes: Mutex<HashMap<HostnamePattern, Arc<Notify>>>,
    first_orders: Semaphore,
    renewals: Semaphore,
    /// Who orders, where others do from the same store.
    holder: String,
}

impl Keeper {
    /// `holder` is who orders, where others do from the same store; the same after a restart, so that nobody waits for
    /// what was claimed before it.
    #[must_use]
    pub fn new(keep: Arc<dyn Keep>, holder: String) -> Self {
        Self {
            keep,
            shelf: Arc::default(),
            challenges: Arc::default(),
            counts: Counts::default(),
            rows: Mutex::default(),
            pokes: Mutex::default(),
            first_orders: Semaphore::new(FIRST_AT_ONCE),
            renewals: Semaphore::new(RENEWALS_AT_ONCE),
            holder,
        }
    }

    /// Puts everything that is kept on the shelf, before anybody looks there.
    ///
    /// # Errors
    ///
    /// Where it is not even told what there is. A certificate that cannot be read is logged and left out; one that has
    /// expired is forgotten.
    pub async fn load(&self) -> Result<(), KeepError> {
        for name in self.keep.names().await? {
            if let Err(error) = self.load_one(&name).await {
                let error = terminal::chain(error.as_ref());
                tracing::error!(hostname = %name, error, "a certificate that is kept cannot be used");
            }
        }
        Ok(())
    }

    async fn load_one(&self, name: &HostnamePattern) -> Result<(), KeepError> {
        let Some(issued) = self.keep.entry(name).await?.issued else { return Ok(()) };
        let certificate = Certificate::read(name, &issued)?;
        if certificate.facts.lifetime.not_after < clock::now() {
            return self.keep.forget(name).await;
        }
        self.shelf.put(name, certificate);
        Ok(())
    }

    /// Forgets what there is of a hostname that nobody may have a certificate for here any more.
    pub async fn forget(&self, name: &HostnamePattern) {
        self.shelf.remove(name);
        if let Err(error) = self.keep.forget(name).await {
            let error = terminal::chain(error.as_ref());
            tracing::error!(hostname = %name, error, "a certificate that is no longer wanted is still kept");
        }
    }

    /// Tends what is wished for, for as long as this is polled.
    pub async fn run(self: Arc<Self>, mut wishes: watch::Receiver<Wishes>) {
        let mut tended =
            Tended { keeper: Arc::clone(&self), desk: None, tasks: JoinSet::new(), by_name: HashMap::new() };
        loop {
            let now = wishes.borrow_and_update().clone();
            tended.adjust(&now);
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() { std::future::pending::<()>().await },
                Some(_ended) = tended.tasks.join_next() => {}
            }
        }
    }

    /// What is to be said of each hostname that is tended.
    #[must_use]
    pub fn rows(&self) -> BTreeMap<HostnamePattern, Row> {
        lock(&self.rows).clone()
    }

    /// Orders anew at once, whatever there is. False where nobody tends the hostname.
    #[must_use]
    pub fn renew(&self, name: &HostnamePattern) -> bool {
        let poke = lock(&self.pokes).get(name).cloned();
        poke.inspect(|poke| poke.notify_one()).is_some()
    }

    pub(crate) fn show(&self, name: &HostnamePattern, row: Row) {
        lock(&self.rows).insert(name.clone(), row);
    }

    pub(crate) fn count(&self, issued: bool) {
        let counter = if issued { &self.counts.issued } else { &self.counts.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tends one hostname. A panic is our mistake: the hostname is tended again after a rest.
async fn tend(tending: Tending, name: HostnamePattern) {
    if AssertUnwindSafe(ca::listening(tending.run())).catch_unwind().await.is_err() {
        tracing::error!(hostname = %name, "the tending of a hostname ended by a mistake in this program");
        tokio::time::sleep(REST).await;
    }
}

/// Who is tended at the moment.
struct Tended {
    keeper: Arc<Keeper>,
    desk: Option<Arc<Desk>>,
    tasks: JoinSet<()>,
    by_name: HashMap<HostnamePattern, AbortHandle>,
}

impl Tended {
    fn adjust(&mut self, wishes: &Wishes) {
        let same_plan = match (&self.desk, &wishes.plan) {
            (Some(desk), Some(plan)) => Arc::ptr_eq(&desk.plan, plan),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        // What failed by the old plan is tried by the new one at once.
        let eager = !same_plan && self.desk.is_some();
        if !same_plan {
            self.retain(|_| false);
            let desk =
                |plan: &Arc<Plan>| Arc::new(Desk::new(Arc::clone(plan), Arc::clone(&self.keeper.keep)));
            self.desk = wishes.plan.as_ref().map(desk);
        }
        self.retain(|name| wishes.names.contains(name));
        let Some(desk) = self.desk.clone() else { return };
        if wishes.names.len() > MOST {
            tracing::warn!(
                hostnames = wishes.names.len(),
                "certificates are looked after for {MOST} hostnames alone"
            );
        }
        for name in wishes.names.iter().take(MOST) {
            if self.by_name.get(name).is_none_or(AbortHandle::is_finished) {
                let task = self.start(name, &desk, eager);
                self.by_name.insert(name.clone(), task);
            }
        }
    }

    /// What is ended in the middle of an order is gone on with when it is wished for again.
    fn retain(&mut self, stays: impl Fn(&HostnamePattern) -> bool) {
        self.by_name.retain(|name, task| {
            let stays = stays(name);
            if !stays {
                task.abort();
                lock(&self.keeper.rows).remove(name);
                lock(&self.keeper.pokes).remove(name);
            }
            stays
        });
    }

    fn start(&mut self, name: &HostnamePattern, desk: &Arc<Desk>, eager: bool) -> AbortHandle {
        let poke = Arc::new(Notify::new());
        lock(&self.keeper.pokes).insert(name.clone(), Arc::clone(&poke));
        let tending = Tending::new(Arc::clone(&self.keeper), Arc::clone(desk), name.clone(), poke, eager);
        self.tasks.spawn(tend(tending, name.clone()))
    }
}

#[cfg(test)]
mod tests;
