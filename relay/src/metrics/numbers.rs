//! Numbers that are found without a lock: an array for a fixed set of labels, a map that is only ever replaced for
//! hostnames, and a histogram of atomics (the library's own takes a mutex with each observation).

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::labels::Label;
use crate::lock::lock;

/// A number for each value of a label, all shown from the start.
#[derive(Debug)]
pub(super) struct Table<L, M>(Arc<[M]>, PhantomData<L>);

impl<L, M> Clone for Table<L, M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<L: Label, M: Default> Default for Table<L, M> {
    fn default() -> Self {
        Self(L::all().iter().map(|_| M::default()).collect(), PhantomData)
    }
}

impl<L: Label, M> Table<L, M> {
    pub(super) fn of(&self, label: L) -> &M {
        &self.0[label.index()]
    }
}

impl<L: Label, M: EncodeMetric + TypedMetric> EncodeMetric for Table<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        L::all()
            .into_iter()
            .try_for_each(|label| self.of(label).encode(encoder.encode_family(&label.pairs())?))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

/// A counter for each of a list of codes that the program has, and one for any other.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    known: Arc<[(&'static str, Counter)]>,
    other: Counter,
}

impl Codes {
    pub(super) fn new(codes: impl IntoIterator<Item = &'static str>) -> Self {
        let mut codes: Vec<_> = codes.into_iter().collect();
        codes.sort_unstable();
        codes.dedup();
        let known = codes.into_iter().map(|code| (code, Counter::default())).collect();
        Self { known, other: Counter::default() }
    }

    pub(super) fn of(&self, code: &str) -> &Counter {
        let found = self.known.binary_search_by(|(known, _)| (*known).cmp(code));
        found.map_or(&self.other, |at| &self.known[at].1)
    }
}

impl EncodeMetric for Codes {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let other = ("other", self.other.clone());
        self.known
            .iter()
            .chain([&other])
            .try_for_each(|(code, counter)| counter.encode(encoder.encode_family(&[("code", *code)])?))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// A counter for each hostname that is served. Beyond the bound, hostnames share one.
#[derive(Debug, Clone, Default)]
pub(super) struct Hostnames(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    known: ArcSwap<HashMap<Box<str>, Counter>>,
    adding: Mutex<()>,
    other: Counter,
}

impl Hostnames {
    /// A peer that holds a wildcard can serve many names below it.
    const MOST: usize = 1000;

    pub(super) fn count(&self, hostname: &str) {
        match self.0.known.load().get(hostname) {
            Some(counter) => counter.inc(),
            None => self.add(hostname),
        };
    }

    fn add(&self, hostname: &str) -> u64 {
        let _one_at_a_time = lock(&self.0.adding);
        let known = self.0.known.load();
        if let Some(counter) = known.get(hostname) {
            return counter.inc();
        }
        if known.len() >= Self::MOST {
            return self.0.other.inc();
        }
        let counter = Counter::default();
        let first = counter.inc();
        let mut more = HashMap::clone(&known);
        more.insert(hostname.into(), counter);
        self.0.known.store(Arc::new(more));
        first
    }
}

impl EncodeMetric for Hostnames {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let known = self.0.known.load();
        let mut all: Vec<(&str, &Counter)> = known.iter().map(|(name, counter)| (&**name, counter)).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        let other = (self.0.other.get() > 0).then_some(("other", &self.0.other));
        all.into_iter()
            .chain(other)
            .try_for_each(|(name, counter)| counter.encode(encoder.encode_family(&[("hostname", name)])?))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// How long things take, in buckets up to five minutes.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram(Arc<Observed>);

/// Upper bounds in microseconds.
const BOUNDS: [u64; 16] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

#[derive(Debug, Default)]
struct Observed {
    /// The last is of what is above all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < us);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let seconds = |us: u64| us as f64 / 1e6;
        let bounds = BOUNDS.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.0.sum_us.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
