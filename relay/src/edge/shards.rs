//! Threads for visitors. A connection stays on the thread that it was given: its bytes, its TLS and its HTTP are not
//! handed from core to core, which for the same work takes a third less CPU than a runtime whose threads share everything.
//!
//! The first shard is the relay's own thread, where the sessions live: a visitor there reaches its agent without waking
//! another core, so it comes first for as long as it has time to spare.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::lock::lock;

/// Over how long a shard's load is measured.
pub(crate) const WINDOW: Duration = Duration::from_millis(200);
/// A shard that is busy for a larger part of the time is passed over while another is not.
const BUSY: f64 = 0.5;
/// One that has so many visitors is too: they may be quiet now, and will not stay so.
const CROWDED: usize = 512;
/// About what a new visitor costs at once: its TLS handshake.
const ARRIVAL: Duration = Duration::from_micros(500);

/// Where connections run.
#[derive(Debug)]
pub(crate) struct Shards {
    shards: Vec<Shard>,
    end: CancellationToken,
}

/// One thread.
#[derive(Debug)]
struct Shard {
    runtime: Handle,
    load: Mutex<Load>,
    visitors: Arc<AtomicUsize>,
    /// None for the thread that the relay itself runs on.
    thread: Option<JoinHandle<()>>,
}

/// A visitor's place on a shard; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shards {
    /// The runtime of the caller, and `count - 1` threads with runtimes of their own.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut started =
            Self { shards: vec![Shard::new(Handle::current(), None)], end: CancellationToken::new() };
        for number in 1..count {
            started.shards.push(Shard::start(number, started.end.clone())?);
        }
        Ok(started)
    }

    /// The shard for a new visitor, and a place on it.
    pub(crate) fn place(&self) -> (&Handle, Place) {
        let shard = &self.shards[choose(&self.measure())];
        lock(&shard.load).arrivals += 1;
        shard.visitors.fetch_add(1, Ordering::Relaxed);
        (&shard.runtime, Place(Arc::clone(&shard.visitors)))
    }

    /// The load of each, and its visitors. To be asked for once in every [`WINDOW`] while there are visitors.
    pub(crate) fn measure(&self) -> Vec<(f64, usize)> {
        let now = Instant::now();
        self.shards.iter().map(|shard| (shard.load(now), shard.visitors.load(Ordering::Relaxed))).collect()
    }
}

impl Shard {
    fn new(runtime: Handle, thread: Option<JoinHandle<()>>) -> Self {
        Self { runtime, load: Mutex::default(), visitors: Arc::default(), thread }
    }

    /// The runtime is made and ends on its own thread: tokio lets none end in the middle of another.
    fn start(number: usize, end: CancellationToken) -> io::Result<Self> {
        let (tell, told) = mpsc::channel();
        let run = move || match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let _starting_was_given_up = tell.send(Ok(runtime.handle().clone()));
                runtime.block_on(end.cancelled());
            }
            Err(error) => drop(tell.send(Err(error))),
        };
        let thread = thread::Builder::new().name(format!("visitors-{number}")).spawn(run)?;
        let runtime = told.recv().unwrap_or_else(|mpsc::RecvError| Err(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self::new(runtime, Some(thread)))
    }

    fn load(&self, now: Instant) -> f64 {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return f64::INFINITY;
        }
        lock(&self.load).look(now, self.runtime.metrics().worker_total_busy_duration(0))
    }
}

/// The first that is neither busy nor crowded, else the least busy, and of those the emptiest.
fn choose(shards: &[(f64, usize)]) -> usize {
    let at_leisure = shards.iter().position(|(load, visitors)| *load < BUSY && *visitors < CROWDED);
    // To a tenth: a smaller difference is chance.
    let rank = |at: &usize| ((shards[*at].0 * 10.0) as u32, shards[*at].1);
    at_leisure.or_else(|| (0..shards.len()).min_by_key(rank)).unwrap_or(0)
}

/// What one shard has to do.
#[derive(Debug, Default)]
struct Load {
    since: Option<(Instant, Duration)>,
    /// The part of the last window in which it was busy.
    last: f64,
    /// Visitors who came in this window, whose cost has not been seen yet.
    arrivals: u32,
}

impl Load {
    /// Takes note of how long the shard has been busy in all, and says what part of its time is taken.
    fn look(&mut self, now: Instant, busy: Duration) -> f64 {
        let (since, then) = *self.since.get_or_insert((now, busy));
        let passed = now.duration_since(since);
        if passed >= WINDOW {
            let part = busy.saturating_sub(then).as_secs_f64() / passed.as_secs_f64();
            // Nobody was there to look: what was then says nothing about now.
            self.last = if passed > 4 * WINDOW { 0.0 } else { part };
            self.since = Some((now, busy));
            self.arrivals = 0;
        }
        self.last + f64::from(self.arrivals) * ARRIVAL.as_secs_f64() / WINDOW.as_secs_f64()
    }
}

/// Their tasks have ended before: the edge waits for its connections.
impl Drop for Shards {
    fn drop(&mut self) {
        self.end.cancel();
        for thread in self.shards.drain(..).filter_map(|shard| shard.thread) {
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_at_leisure_comes_before_the_least_busy() {
        assert_eq!(choose(&[(0.4, 9), (0.0, 0)]), 0);
        assert_eq!(choose(&[(0.6, 9), (0.3, 9), (0.0, 0)]), 1);
        assert_eq!(choose(&[(0.9, 1), (0.7, 2), (0.8, 0)]), 1);
        assert_eq!(choose(&[(1.0, 1)]), 0);
    }

    #[test]
    fn quiet_visitors_do_not_all_stay_on_the_first() {
        assert_eq!(choose(&[(0.0, CROWDED), (0.0, 3)]), 1);
        assert_eq!(choose(&[(0.0, CROWDED + 7), (0.04, CROWDED + 2)]), 1);
    }

    #[test]
    fn a_thread_that_has_ended_gets_no_visitors() {
        assert_eq!(choose(&[(0.9, CROWDED * 9), (f64::INFINITY, 0)]), 0);
    }

    #[test]
    fn a_load_is_what_was_measured_and_what_has_just_arrived() {
        let begun = Instant::now();
        let mut load = Load::default();
        assert_eq!(load.look(begun, Duration::from_secs(7)), 0.0);
        load.arrivals = 200;
        assert_eq!(load.look(begun + WINDOW / 2, Duration::from_secs(7)), 0.5);
        let busy = Duration::from_secs(7) + WINDOW * 2 / 5;
        assert!((load.look(begun + WINDOW, busy) - 0.4).abs() < 1e-9);
        let later = busy + Duration::from_secs(1800);
        assert_eq!(load.look(begun + Duration::from_secs(3600), later), 0.0);
    }

    #[tokio::test]
    async fn a_burst_reaches_every_thread_and_leaves_its_places() {
        let shards = Shards::start(3).unwrap();
        let mut ran = std::collections::HashSet::new();
        let mut places = Vec::new();
        for _ in 0..1600 {
            let (runtime, place) = shards.place();
            let here = async { thread::current().name().map(str::to_owned) };
            ran.insert(runtime.spawn(here).await.unwrap());
            places.push(place);
        }
        assert_eq!(ran.len(), 3, "{ran:?}");
        drop(places);
        assert!(shards.measure().iter().all(|(_, visitors)| *visitors == 0));
    }
}
