//! Keeps a certificate for each hostname that is wished for: one task a hostname, and this, which starts and ends them.

mod row;
mod tending;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use process::terminal;
use protocol::hostname::HostnamePattern;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

pub use self::row::{Row, State};
use self::tending::Tending;
use crate::account::Desk;
use crate::certificate::Certificate;
use crate::challenge::Challenges;
use crate::keep::{Keep, KeepError};
use crate::lock::lock;
use crate::publish::Publish;
use crate::reach::Here;
use crate::settings::Settings;
use crate::shelf::Shelf;

/// Orders under way at once.
const AT_ONCE: usize = 4;

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
    orders: Semaphore,
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
            orders: Semaphore::new(AT_ONCE),
            holder,
        }
    }

    /// Puts everything that is kept on the shelf, before anybody looks there.
    ///
    /// # Errors
    ///
    /// Where what keeps it fails. A certificate that cannot be read is logged and left out: it is ordered anew.
    pub async fn load(&self) -> Result<(), KeepError> {
        for name in self.keep.names().await? {
            let Some(issued) = self.keep.entry(&name).await?.issued else { continue };
            match Certificate::read(&name, &issued) {
                Ok(certificate) => self.shelf.put(&name, certificate),
                Err(error) => {
                    let error = terminal::chain(&error);
                    tracing::error!(hostname = %name, error, "a certificate that is kept cannot be used");
                }
            }
        }
        Ok(())
    }

    /// Tends what is wished for, for as long as this is polled.
    pub async fn run(self: Arc<Self>, mut wishes: watch::Receiver<Wishes>) {
        let mut tended = Tended {
            keeper: Arc::clone(&self),
            desk: None,
            eager: false,
            tasks: JoinSet::new(),
            by_name: HashMap::new(),
        };
        loop {
            let now = wishes.borrow_and_update().clone();
            tended.adjust(&now);
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() { std::future::pending::<()>().await },
                Some(ended) = tended.tasks.join_next() => on_end(ended),
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

/// A panic is our mistake; the hostname is tended again with the next change.
fn on_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended.map_err(JoinError::try_into_panic)
        && error.is_ok()
    {
        tracing::error!("the tending of a hostname ended by a mistake in this program");
    }
}

/// Who is tended at the moment.
struct Tended {
    keeper: Arc<Keeper>,
    desk: Option<Arc<Desk>>,
    /// There was another plan, or none, before this one.
    eager: bool,
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
        if !same_plan {
            self.eager |= self.desk.is_some();
            self.retain(|_| false);
            let desk =
                |plan: &Arc<Plan>| Arc::new(Desk::new(Arc::clone(plan), Arc::clone(&self.keeper.keep)));
            self.desk = wishes.plan.as_ref().map(desk);
        }
        self.retain(|name| wishes.names.contains(name));
        let Some(desk) = self.desk.clone() else { return };
        for name in &wishes.names {
            if self.by_name.get(name).is_none_or(AbortHandle::is_finished) {
                let task = self.start(name, &desk);
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

    fn start(&mut self, name: &HostnamePattern, desk: &Arc<Desk>) -> AbortHandle {
        let poke = Arc::new(Notify::new());
        lock(&self.keeper.pokes).insert(name.clone(), Arc::clone(&poke));
        let tending =
            Tending::new(Arc::clone(&self.keeper), Arc::clone(desk), name.clone(), poke, self.eager);
        self.tasks.spawn(tending.run())
    }
}

#[cfg(test)]
mod tests;
