//! One hostname, tended: what is due, the wait for it, and the attempt.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use hickory_resolver::TokioResolver;
use process::{random, terminal};
use protocol::hostname::HostnamePattern;
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Keeper, Row};
use crate::account::Desk;
use crate::ca;
use crate::certificate::Certificate;
use crate::clock;
use crate::failure::OrderError;
use crate::keep::{Entry, Failed, Issued, KeepError};
use crate::order::{Job, is_shown_in_dns};
use crate::schedule::{self, Window};
use crate::shelf::Fetching;
use crate::{reach, settings::Settings};

/// An order has to come to its end within this time; the next attempt goes on with it.
const DEADLINE: Duration = Duration::from_secs(600);
/// How long a claim on a hostname holds that nobody gives up: longer than any order.
const CLAIM_S: i64 = 900;
/// How long to leave a hostname to whoever else orders for it.
const ELSEWHERE: Duration = Duration::from_secs(10);
/// The longest wait in one piece: clocks are set, and machines sleep.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// However long a CA asks to be left alone, whoever mends what is wrong does not want to wait for more than a week.
const LONGEST_PAUSE_S: i64 = 7 * 86_400;
/// The same for what a CA says to everybody.
const LONGEST_PAUSE_OF_ALL_S: i64 = 3600;
/// Of what is kept of an error, in characters: a CA may write a novel.
const LONGEST_ERROR: usize = 1000;
/// How often the same is said again to a CA that does not like the number on it, beyond what `instant-acme` does.
const NONCES: usize = 20;
const BETWEEN_NONCES: Duration = Duration::from_millis(100);

/// A hostname that is looked after.
pub(super) struct Tending {
    keeper: Arc<Keeper>,
    desk: Arc<Desk>,
    name: HostnamePattern,
    poke: Arc<Notify>,
    /// What the CA wishes, and until when that counts.
    window: Option<Window>,
    ask_again_at: i64,
    /// When the last certificate came, and the one before it.
    issued_at: [Option<i64>; 2],
    /// How often in a row what keeps everything has failed.
    keep_failures: u32,
    /// Somebody wants another one, whatever there is.
    wanted: bool,
    /// The plan has changed: what failed by the old one is tried by this at once.
    eager: bool,
    /// Handshakes wait for the first certificate until the first attempt is over.
    fetching: Option<Fetching>,
}

/// What is next.
struct Due {
    at: i64,
    what: &'static str,
}

impl Tending {
    pub(super) fn new(
        keeper: Arc<Keeper>,
        desk: Arc<Desk>,
        name: HostnamePattern,
        poke: Arc<Notify>,
        eager: bool,
    ) -> Self {
        let fetching = keeper.shelf.fetching(&name);
        let (window, ask_again_at, issued_at, keep_failures) = (None, 0, [None; 2], 0);
        Self {
            keeper,
            desk,
            name,
            poke,
            window,
            ask_again_at,
            issued_at,
            keep_failures,
            wanted: false,
            eager,
            fetching,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let entry = match self.keeper.keep.entry(&self.name).await {
                Ok(entry) => entry,
                Err(error) => {
                    self.keep_failed(&error).await;
                    continue;
                }
            };
            let due = self.due(&entry).await;
            let ahead = due.at - clock::now();
            if ahead > 0 && !self.wait(&due, ahead, &entry).await {
                continue;
            }
            self.attempt(entry).await;
            (self.fetching, self.eager) = (None, false);
            // Whoever wanted it while it was under way has got it.
            let _asked_meanwhile = self.poke.notified().now_or_never();
        }
    }

    /// Waits until something is due, or for a while. True where somebody wants it at once.
    async fn wait(&mut self, due: &Due, ahead: i64, entry: &Entry) -> bool {
        self.fetching = None;
        // What failed and is no longer wanted is of no interest: the certificate that there is will do for long.
        let failed =
            entry.failed.as_ref().filter(|failed| due.at <= failed.retry_at.max(self.desk.paused_until()));
        self.show(false, due.what, Some(due.at), failed);
        let ahead = Duration::from_secs(ahead.unsigned_abs()).min(LONGEST_WAIT);
        tokio::select! {
            () = tokio::time::sleep(ahead) => false,
            () = self.poke.notified() => {
                self.wanted = true;
                true
            }
        }
    }

    async fn keep_failed(&mut self, error: &KeepError) {
        self.fetching = None;
        let error = terminal::chain(error.as_ref());
        tracing::error!(hostname = %self.name, error, "what is kept of its certificate cannot be read");
        let failed = Failed { count: 1, error, retry_at: clock::now() };
        self.show(false, "read", None, Some(&failed));
        self.keep_failures = self.keep_failures.saturating_add(1);
        tokio::time::sleep(schedule::pause(self.keep_failures, 0)).await;
    }

    /// When the next order is due. Puts on the shelf what is there, which may be what another relay has come by.
    async fn due(&mut self, entry: &Entry) -> Due {
        let certificate = entry.issued.as_ref().and_then(|issued| self.shelve(issued));
        let failed = entry.failed.as_ref().filter(|_| !self.eager);
        let blocked = failed.map_or(0, |failed| failed.retry_at).max(self.desk.paused_until());
        // Whatever a clock that was wrong may have written down.
        let blocked = blocked.min(clock::now() + LONGEST_PAUSE_S);
        let Some(certificate) = certificate else {
            return Due { at: blocked, what: "order" };
        };
        if !self.is_of_this_ca(entry) {
            return Due { at: blocked, what: "order" };
        }
        if self.wanted {
            return Due { at: blocked, what: "renew" };
        }
        self.ask_for_window(&certificate).await;
        let facts = &certificate.facts;
        let wished = self.window.map(|window| window.renew_at(facts.lifetime, facts.chance));
        let renewal = wished.unwrap_or_else(|| facts.lifetime.renew_at(facts.chance));
        // Neither a CA that always wants another one nor a clock that is wrong makes this a mill: one may follow another at
        // once, a third waits.
        let not_before = self.issued_at[1].map_or(0, |at| at + facts.lifetime.shortest_use());
        Due { at: renewal.max(not_before).max(blocked), what: "renew" }
    }

    fn shelve(&self, issued: &Issued) -> Option<Certificate> {
        let certificate = Certificate::read(&self.name, issued).ok()?;
        let shown = self.keeper.shelf.get(&self.name);
        if shown.is_none_or(|shown| shown.facts != certificate.facts) {
            self.keeper.shelf.put(&self.name, certificate.clone());
        }
        Some(certificate)
    }

    /// A certificate of another CA, say of one for trials, is shown until there is one of this.
    fn is_of_this_ca(&self, entry: &Entry) -> bool {
        let directory = self.settings().directory.as_str();
        entry.issued.as_ref().is_some_and(|issued| issued.directory == directory)
    }

    async fn ask_for_window(&mut self, certificate: &Certificate) {
        let now = clock::now();
        if now < self.ask_again_at {
            return;
        }
        let told = self.desk.window(&certificate.certified).await;
        let again = told.as_ref().map_or(LONGEST_WAIT, |(_, again)| *again);
        let again = i64::try_from(schedule::ask_again(again).as_secs()).unwrap_or(i64::MAX);
        (self.window, self.ask_again_at) = (told.map(|(window, _)| window), now.saturating_add(again));
    }

    fn settings(&self) -> &Settings {
        &self.desk.plan.settings
    }

    async fn attempt(&mut self, entry: Entry) {
        let keeper = Arc::clone(&self.keeper);
        let orders = if entry.issued.is_some() { &keeper.renewals } else { &keeper.first_orders };
        // Never closed; where it were, one order more would do no harm.
        let place = orders.acquire().await.ok();
        let now = clock::now();
        match keeper.keep.claim(&self.name, &keeper.holder, now, now + CLAIM_S).await {
            Ok(true) => {}
            Ok(false) => {
                drop(place);
                self.show(true, "another relay orders", None, entry.failed.as_ref());
                return tokio::time::sleep(ELSEWHERE).await;
            }
            Err(error) => {
                drop(place);
                return self.keep_failed(&error).await;
            }
        }
        let _nothing_of_earlier = ca::come_again();
        self.show(true, "order", None, entry.failed.as_ref());
        let (failed, began) = (entry.failed.clone(), Instant::now());
        let ordered = tokio::time::timeout(DEADLINE, self.order(entry)).await;
        drop(place);
        // What failed by another plan says nothing of this one.
        let earlier = failed.filter(|_| !self.eager).map_or(0, |failed| failed.count);
        match ordered.unwrap_or(Err(OrderError::Late(DEADLINE))) {
            Ok(certificate) if certificate.facts.lifetime.is_late(clock::now()) => {
                self.on_issued(certificate, began);
                self.on_failed(&OrderError::AlreadyLate, earlier).await;
            }
            Ok(certificate) => self.on_issued(certificate, began),
            Err(error) => self.on_failed(&error, earlier).await,
        }
    }

    /// From the look at DNS to a certificate that is kept.
    async fn order(&self, entry: Entry) -> Result<Certificate, OrderError> {
        tracing::info!(hostname = %self.name, directory = %self.settings().directory, "ordering a certificate");
        if self.name.exact().is_none() && self.desk.plan.publish.is_none() {
            return Err(OrderError::WildcardWithoutDns(self.name.clone()));
        }
        if let Some(hostname) = self.name.exact()
            && !is_shown_in_dns(&self.name, &self.settings().challenges)
        {
            reach::check(&self.resolver()?, &hostname, &self.desk.plan.here).await?;
        }
        let replaced = self.is_of_this_ca(&entry).then(|| self.keeper.shelf.find(&self.name)).flatten();
        let issued = self.place(entry, replaced).await?;
        let certificate = Certificate::read(&self.name, &issued)?;
        self.keeper.keep.put_issued(&self.name, issued).await.map_err(OrderError::Keep)?;
        Ok(certificate)
    }

    async fn place(
        &self,
        mut entry: Entry,
        replaced: Option<Arc<CertifiedKey>>,
    ) -> Result<Issued, OrderError> {
        let (name, desk, challenges) = (&self.name, &*self.desk, &self.keeper.challenges);
        for _ in 0..NONCES {
            let job = Job { name, desk, challenges, entry, replaced: replaced.clone() };
            match job.run().await {
                Err(error) if error.is_bad_nonce() => tokio::time::sleep(BETWEEN_NONCES).await,
                ended => return ended,
            }
            entry = self.keeper.keep.entry(name).await.map_err(OrderError::Keep)?;
        }
        Job { name, desk, challenges, entry, replaced }.run().await
    }

    fn resolver(&self) -> Result<TokioResolver, OrderError> {
        Ok(reach::resolver(self.settings().resolver)?)
    }

    fn on_issued(&mut self, certificate: Certificate, began: Instant) {
        let facts = certificate.facts.clone();
        self.wanted = false;
        (self.issued_at, self.keep_failures) = ([Some(clock::now()), self.issued_at[0]], 0);
        self.keeper.shelf.put(&self.name, certificate);
        self.keeper.count(true);
        // Of the new one the CA has not been asked.
        (self.window, self.ask_again_at) = (None, 0);
        tracing::info!(
            hostname = %self.name,
            issuer = facts.issuer,
            days = (facts.lifetime.not_after - clock::now()) / 86_400,
            took_ms = began.elapsed().as_millis(),
            "a new certificate is in place"
        );
    }

    /// Notes it, and when it is tried again: after a pause, or when the CA says.
    async fn on_failed(&mut self, error: &OrderError, earlier: u32) {
        let (now, count) = (clock::now(), earlier.saturating_add(1));
        let pause = schedule::pause(count, u32::from_be_bytes(random::bytes()));
        let pause = now.saturating_add(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX));
        let told = ca::come_again().filter(|_| error.is_of_ca());
        let retry_at = told.map_or(pause, |told| told.max(pause).min(now + LONGEST_PAUSE_S));
        if error.is_about_everybody() {
            self.desk.pause_until(retry_at.min(now + LONGEST_PAUSE_OF_ALL_S));
        }
        self.keeper.count(false);
        let error_text = terminal::chain(error).chars().take(LONGEST_ERROR).collect();
        let failed = Failed { count, error: error_text, retry_at };
        let retry_in_s = retry_at - now;
        tracing::warn!(hostname = %self.name, error = failed.error, failures = count, retry_in_s, "no new certificate");
        if let Err(error) = self.keeper.keep.put_failed(&self.name, failed, error.ends_order()).await {
            self.keep_failed(&error).await;
        }
    }

    fn show(&self, ordering: bool, next: &'static str, next_at: Option<i64>, failed: Option<&Failed>) {
        let row = Row {
            ordering,
            next,
            next_at,
            failures: failed.map_or(0, |failed| failed.count),
            error: failed.map(|failed| failed.error.clone()),
        };
        self.keeper.show(&self.name, row);
    }
}
