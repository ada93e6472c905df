//! Threads for visitors. A connection stays on the thread that it was given, so that nothing of it crosses to another
//! core: for the same work that takes a third less CPU than a runtime whose threads share everything.
//!
//! The first shard is the relay's own thread, where the sessions live: a visitor there reaches its agent without waking
//! another core, so it comes first for as long as it has time to spare.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Over how long a shard's load is measured.
pub(crate) const WINDOW: Duration = Duration::from_millis(200);
/// A shard that is busy for a larger part of the time is passed over while another is not.
const BUSY: f64 = 0.5;
/// About what a new visitor costs at once: its TLS handshake.
const ARRIVAL: Duration = Duration::from_micros(500);

/// Where connections run.
#[derive(Debug)]
pub(crate) struct Shards {
    shards: Vec<(Handle, Mutex<Load>)>,
    end: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Shards {
    /// The runtime of the caller, and `count - 1` threads with runtimes of their own.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut started = Self { shards: Vec::new(), end: CancellationToken::new(), threads: Vec::new() };
        started.add(Handle::current());
        for number in 1..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            started.add(runtime.handle().clone());
            let end = started.end.clone();
            let run = move || runtime.block_on(end.cancelled());
            started.threads.push(thread::Builder::new().name(format!("visitors-{number}")).spawn(run)?);
        }
        Ok(started)
    }

    fn add(&mut self, handle: Handle) {
        self.shards.push((handle, Mutex::new(Load::default())));
    }

    /// The shard for a new visitor: the first that has time to spare, or the least busy one.
    pub(crate) fn place(&self) -> &Handle {
        let (handle, load) = &self.shards[choose(&self.measure())];
        load.lock().unwrap_or_else(PoisonError::into_inner).arrivals += 1;
        handle
    }

    /// The load of each. To be asked for once in every [`WINDOW`] while there are visitors.
    pub(crate) fn measure(&self) -> Vec<f64> {
        let now = Instant::now();
        let load = |(handle, load): &(Handle, Mutex<Load>)| {
            let busy = handle.metrics().worker_total_busy_duration(0);
            load.lock().unwrap_or_else(PoisonError::into_inner).look(now, busy)
        };
        self.shards.iter().map(load).collect()
    }
}

/// The first that is not busy, else the least busy.
fn choose(loads: &[f64]) -> usize {
    let idle = loads.iter().position(|load| *load < BUSY);
    let least = || (0..loads.len()).min_by(|a, b| loads[*a].total_cmp(&loads[*b]));
    idle.or_else(least).unwrap_or(0)
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
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_with_time_to_spare_comes_before_the_least_busy() {
        assert_eq!(choose(&[0.4, 0.0]), 0);
        assert_eq!(choose(&[0.6, 0.3, 0.0]), 1);
        assert_eq!(choose(&[0.9, 0.7, 0.8]), 1);
        assert_eq!(choose(&[1.0]), 0);
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
    async fn a_burst_reaches_every_thread() {
        let shards = Shards::start(3).unwrap();
        let mut ran = std::collections::HashSet::new();
        for _ in 0..1000 {
            let here = async { thread::current().name().map(str::to_owned) };
            ran.insert(shards.place().spawn(here).await.unwrap());
        }
        assert_eq!(ran.len(), 3, "{ran:?}");
    }
}
