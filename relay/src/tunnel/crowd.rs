//! The visitors of one session as a crowd. What a visitor does not take stays in its stream's window, and all windows of a
//! session share one bound: where too many stand still, those who have for the longest lose their responses, and whoever
//! reads goes on.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::id::PeerName;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::listener::{SESSION_WINDOW, STREAM_WINDOW};
use crate::lock::lock;

/// A visitor who takes something at least this often is never cut for standing still.
const GRACE: Duration = Duration::from_millis(1500);
/// The same for a visitor's connection that had a response cut: what else it asked for is likely to stand as well.
const GRACE_OF_THE_CUT: Duration = Duration::from_millis(300);
/// Cuts within this time are one piece of news, and connections are remembered for as long.
const NEWS: Duration = Duration::from_secs(10);
/// Connections that are remembered.
const MOST_REMEMBERED: usize = 4096;
/// How often a crowd is looked at. What others may have to wait for is this and the grace.
const LOOK: Duration = Duration::from_millis(100);
/// What those who stand still may keep from the others, in bytes: the rest is enough for a long and fast path.
const ROOM: u64 = SESSION_WINDOW as u64 * 2 / 3;
/// So many responses have room even if nobody reads.
const FEW: usize = (ROOM / STREAM_WINDOW as u64) as usize;

/// What [`Intake::standing_since`] says once the response was cut.
const CUT: u64 = u64::MAX;

/// How one visitor takes what comes over a stream of its own.
#[derive(Debug)]
pub(crate) struct Intake {
    begun: Instant,
    /// Since when something waits for the visitor: milliseconds after `begun`, plus one; zero while nothing does.
    standing_since: AtomicU64,
    /// Bytes that the origin has still to send, as far as anybody knows.
    left: AtomicU64,
    /// Reads the stream, where nobody does who waits for [`Self::cut`].
    task: Option<AbortHandle>,
    cut: Notify,
}

impl Intake {
    /// The response's head already waits for the visitor.
    fn new(task: Option<AbortHandle>) -> Self {
        let (standing_since, left) = (AtomicU64::new(1), AtomicU64::new(u64::MAX));
        Self { begun: Instant::now(), standing_since, left, task, cut: Notify::new() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 2) + 1
    }

    /// The visitor has room for more. Says whether it may still have it: what was cut stays cut.
    pub(crate) fn asked(&self) -> bool {
        let since = self.standing_since.load(Ordering::Relaxed);
        let moves = || self.standing_since.compare_exchange(since, 0, Ordering::Relaxed, Ordering::Relaxed);
        since == 0 || (since != CUT && moves().is_ok())
    }

    /// Something waits for the visitor now, and so much is still to come. To be called after [`Self::asked`] alone.
    pub(crate) fn handed_out(&self, left: Option<u64>) {
        self.left.store(left.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.standing_since.store(self.now(), Ordering::Relaxed);
    }

    /// The visitor has no room; that it had none before counts from then.
    pub(crate) fn refused(&self) {
        if self.standing_since.load(Ordering::Relaxed) == 0 {
            self.standing_since.store(self.now(), Ordering::Relaxed);
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.standing_since.load(Ordering::Relaxed) == CUT
    }

    /// Waits until the visitor is cut.
    pub(crate) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// Gives the stream up, unless the visitor has taken something since.
    fn give_up(&self, since: u64) -> bool {
        let cut = self.standing_since.compare_exchange(since, CUT, Ordering::Relaxed, Ordering::Relaxed);
        if cut.is_ok() {
            if let Some(task) = &self.task {
                task.abort();
            }
            self.cut.notify_one();
        }
        cut.is_ok()
    }
}

/// All responses and upgraded connections of one session, each over a stream of its own. Streams of h2c services are
/// not among them: whatever comes over one is read at once, and waits in windows of HTTP/2's own.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    members: Mutex<Members>,
    joined: Notify,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    known: HashMap<u64, Member>,
    /// When somebody was cut last, and which connections since.
    cut: Option<Instant>,
    cut_visitors: HashMap<SocketAddr, Instant>,
}

#[derive(Debug)]
struct Member {
    visitor: SocketAddr,
    intake: Arc<Intake>,
    /// What the last look has seen.
    since: u64,
    stood: Duration,
    /// The longest that this visitor has stood still for before it went on.
    usual: Duration,
}

/// A visitor who stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stand {
    member: u64,
    since: u64,
    stood: Duration,
    usual: Duration,
    /// What of the session's window its stream may take up, in bytes.
    pins: u64,
    /// Another response of the same connection was cut a moment ago.
    is_suspect: bool,
}

/// A response's place in the crowd; gone when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) intake: Arc<Intake>,
    crowd: Arc<Crowd>,
    member: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.crowd.members).known.remove(&self.member);
    }
}

impl Crowd {
    /// Adds the response that `task` reads from its stream.
    pub(crate) fn join(self: &Arc<Self>, task: Option<AbortHandle>, visitor: SocketAddr) -> Place {
        let intake = Arc::new(Intake::new(task));
        let mut members = lock(&self.members);
        let member = members.next;
        members.next += 1;
        let (since, stood, usual) = (0, Duration::ZERO, Duration::ZERO);
        members.known.insert(member, Member { visitor, intake: Arc::clone(&intake), since, stood, usual });
        if members.known.len() > FEW {
            self.joined.notify_one();
        }
        Place { intake, crowd: Arc::clone(self), member }
    }

    /// Cuts whoever has to be, for as long as this is polled. Costs nothing while there are few.
    pub(crate) async fn watch(&self, peer: &PeerName) -> Infallible {
        loop {
            while lock(&self.members).known.len() <= FEW {
                self.joined.notified().await;
            }
            tokio::time::sleep(LOOK).await;
            let (cut, is_new) = self.look();
            if cut > 0 && is_new {
                tracing::warn!(%peer, cut, "visitors who had stopped reading left no room for the others, and were cut");
            } else if cut > 0 {
                tracing::debug!(%peer, cut, "more visitors who had stopped reading were cut");
            }
        }
    }

    /// One look at everybody; says how many were cut, and whether they are the first for a while.
    fn look(&self) -> (usize, bool) {
        let mut members = lock(&self.members);
        let Members { known, cut, cut_visitors, .. } = &mut *members;
        let is_news = cut.is_none_or(|cut| cut.elapsed() > NEWS);
        cut_visitors.retain(|_, cut| cut.elapsed() < NEWS);
        let standing = known.iter_mut().filter_map(|(number, member)| {
            let is_suspect = cut_visitors.contains_key(&member.visitor);
            member.look(*number, is_suspect)
        });
        let going = beyond_room(standing.collect());
        let now = Instant::now();
        let mut count = 0;
        for stand in going {
            let Some(member) = known.get(&stand.member) else { continue };
            if member.intake.give_up(stand.since) {
                count += 1;
                if cut_visitors.len() < MOST_REMEMBERED {
                    cut_visitors.insert(member.visitor, now);
                }
            }
        }
        if count > 0 {
            *cut = Some(now);
        }
        (count, is_news)
    }
}

impl Member {
    fn look(&mut self, member: u64, is_suspect: bool) -> Option<Stand> {
        let since = self.intake.standing_since.load(Ordering::Relaxed);
        if since != self.since {
            self.usual = self.usual.max(self.stood);
            (self.since, self.stood) = (since, Duration::ZERO);
        }
        if since == 0 || since == CUT {
            return None;
        }
        self.stood = Duration::from_millis(self.intake.now().saturating_sub(since));
        let pins = self.intake.left.load(Ordering::Relaxed).min(u64::from(STREAM_WINDOW));
        Some(Stand { member, since, stood: self.stood, usual: self.usual, pins, is_suspect })
    }
}

impl Stand {
    /// Grows with what is pinned and for how long. A visitor that reads slowly stands still now and then, but not for much
    /// longer than it always does.
    fn weight(&self) -> u128 {
        u128::from(self.pins) * self.stood.as_millis() / self.usual.max(GRACE).as_millis()
    }
}

/// Who of those that stand still has to go, so that the rest leaves room for the others.
fn beyond_room(standing: Vec<Stand>) -> Vec<Stand> {
    let (mut going, mut standing): (Vec<_>, Vec<_>) = standing
        .into_iter()
        .filter(|stand| stand.stood > if stand.is_suspect { GRACE_OF_THE_CUT } else { GRACE })
        .partition(|stand| stand.is_suspect);
    let mut pinned: u64 = standing.iter().map(|stand| stand.pins).sum();
    standing.sort_by_key(|stand| std::cmp::Reverse(stand.weight()));
    going.extend(standing.into_iter().take_while(|stand| {
        let crowded = pinned > ROOM;
        pinned -= stand.pins;
        crowded
    }));
    going
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    const WHOLE: u64 = STREAM_WINDOW as u64;

    fn stand(member: u64, stood: u64, usual: u64, pins: u64) -> Stand {
        let (stood, usual) = (Duration::from_millis(stood), Duration::from_millis(usual));
        Stand { member, since: 1, stood, usual, pins, is_suspect: false }
    }

    fn cut(standing: Vec<Stand>) -> Vec<u64> {
        let mut cut: Vec<_> = beyond_room(standing).iter().map(|stand| stand.member).collect();
        cut.sort_unstable();
        cut
    }

    fn crowd() -> Vec<Stand> {
        (0..100).map(|member| stand(member, 3_000 + member, 0, WHOLE)).collect()
    }

    #[test]
    fn two_thirds_of_a_session_are_nobodys_loss() {
        assert!(cut(crowd().into_iter().take(FEW).collect()).is_empty());
        assert_eq!(cut(crowd().into_iter().take(FEW + 1).collect()), [FEW as u64]);
    }

    #[test]
    fn those_who_have_stood_for_the_longest_are_cut() {
        assert_eq!(cut(crowd()), (FEW as u64..100).collect::<Vec<_>>());
    }

    #[test]
    fn nobody_is_cut_within_the_grace() {
        let grace = u64::try_from(GRACE.as_millis()).unwrap();
        assert!(cut((0..100).map(|member| stand(member, grace, 0, WHOLE)).collect()).is_empty());
    }

    #[test]
    fn what_else_a_connection_asked_for_goes_soon_after_it_was_cut() {
        let mut standing: Vec<_> = crowd().into_iter().take(FEW).collect();
        standing.push(Stand { is_suspect: true, ..stand(200, 400, 0, WHOLE) });
        standing.push(Stand { is_suspect: true, ..stand(201, 200, 0, WHOLE) });
        assert_eq!(cut(standing), [200]);
    }

    #[test]
    fn who_always_stands_for_so_long_goes_last() {
        let mut standing = crowd();
        standing.push(stand(100, 5_000, 5_000, WHOLE));
        assert!(!cut(standing).contains(&100));
    }

    #[test]
    fn what_pins_little_stays() {
        let small: Vec<_> = (0..100).map(|member| stand(member, 50_000, 0, WHOLE / 16)).collect();
        assert!(cut(small.clone()).is_empty());
        let all = small.into_iter().chain((100..130).map(|member| stand(member, 50_000, 0, WHOLE)));
        assert!(cut(all.collect()).iter().all(|member| *member >= 100));
    }

    #[tokio::test]
    async fn who_takes_something_in_time_keeps_the_response() {
        let mut tasks = JoinSet::new();
        let crowd = Arc::new(Crowd::default());
        let place =
            crowd.join(Some(tasks.spawn(std::future::pending::<()>())), "192.0.2.1:7".parse().unwrap());
        assert!(place.intake.asked());
        place.intake.handed_out(None);
        let since = place.intake.standing_since.load(Ordering::Relaxed);
        assert!(place.intake.asked());
        assert!(!place.intake.give_up(since) && !place.intake.is_cut());
        place.intake.refused();
        let since = place.intake.standing_since.load(Ordering::Relaxed);
        assert!(place.intake.give_up(since) && place.intake.is_cut());
        assert!(!place.intake.asked() && place.intake.is_cut());
        place.intake.cut().await;
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        drop(place);
        assert!(lock(&crowd.members).known.is_empty());
    }
}
