//! One direction of a path: a queue that drops at its tail, before a wire with a rate, a delay and random loss.

use std::time::Duration;

/// What a packet carries besides its UDP payload: the headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// How a link behaves; may be changed while packets are on it.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Bits a second.
    pub(crate) rate: f64,
    /// One way.
    pub(crate) delay: Duration,
    /// Bytes that wait for the wire at most.
    pub(crate) queue: f64,
    /// Probability, for each packet by itself.
    pub(crate) loss: f64,
    /// A token bucket before the queue, that drops what exceeds it.
    pub(crate) policer: Option<Policer>,
}

impl Shape {
    /// `rate` in Mbit/s, `delay` in milliseconds one way, `queue` in bandwidth-delay products of the path there and back.
    pub(crate) fn new(rate: f64, delay: u64, queue: f64) -> Self {
        let product = rate * 1e6 / 8.0 * (2 * delay) as f64 / 1e3;
        Self {
            rate: rate * 1e6,
            delay: Duration::from_millis(delay),
            queue: product * queue,
            loss: 0.0,
            policer: None,
        }
    }

    pub(crate) fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }
}

/// A token bucket.
#[derive(Clone, Debug)]
pub(crate) struct Policer {
    /// Bits a second.
    pub(crate) rate: f64,
    /// Bytes.
    pub(crate) burst: f64,
}

/// What became of the packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) tail_dropped: u64,
    pub(crate) policed: u64,
    /// Bytes that were put on the wire, with headers.
    pub(crate) bytes: f64,
    /// How long each packet on the wire waited for it.
    pub(crate) waits: Vec<Duration>,
}

impl Counters {
    pub(crate) fn tail_share(&self) -> f64 {
        self.tail_dropped as f64 / self.sent.max(1) as f64
    }

    pub(crate) fn mean_wait(&self) -> Duration {
        let sum: Duration = self.waits.iter().sum();
        sum / u32::try_from(self.waits.len().max(1)).unwrap()
    }

    /// The wait that this share of the packets does not exceed.
    pub(crate) fn wait_quantile(&self, share: f64) -> Duration {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let at = (waits.len() as f64 * share) as usize;
        waits.get(at.min(waits.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

#[derive(Debug)]
pub(crate) struct Link {
    shape: Shape,
    pub(crate) counters: Counters,
    free_at: Duration,
    tokens: f64,
    tokens_at: Duration,
    random: u64,
}

impl Link {
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        let tokens = shape.policer.as_ref().map_or(0.0, |policer| policer.burst);
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self {
            shape,
            counters: Counters::default(),
            free_at: Duration::ZERO,
            tokens,
            tokens_at: Duration::ZERO,
            random,
        }
    }

    /// Changes the link; what waits in the queue now leaves at the new rate.
    pub(crate) fn reshape(&mut self, now: Duration, change: impl FnOnce(&mut Shape)) {
        let before = self.shape.rate;
        change(&mut self.shape);
        self.free_at = now + self.free_at.saturating_sub(now).mul_f64(before / self.shape.rate);
    }

    /// When a datagram sent now arrives; `None` if it does not.
    pub(crate) fn send(&mut self, now: Duration, payload: usize) -> Option<Duration> {
        let bytes = (payload + HEADERS) as f64;
        self.counters.sent += 1;
        if self.unit_random() < self.shape.loss {
            self.counters.lost += 1;
            return None;
        }
        if !self.policer_admits(now, bytes) {
            self.counters.policed += 1;
            return None;
        }
        let wait = self.free_at.saturating_sub(now);
        if wait.as_secs_f64() * self.shape.rate / 8.0 + bytes > self.shape.queue.max(3000.0) {
            self.counters.tail_dropped += 1;
            return None;
        }
        self.counters.bytes += bytes;
        self.counters.waits.push(wait);
        self.free_at = now + wait + Duration::from_secs_f64(bytes * 8.0 / self.shape.rate);
        Some(self.free_at + self.shape.delay)
    }

    fn policer_admits(&mut self, now: Duration, bytes: f64) -> bool {
        let Some(policer) = &self.shape.policer else { return true };
        let earned = (now - self.tokens_at).as_secs_f64() * policer.rate / 8.0;
        self.tokens = (self.tokens + earned).min(policer.burst);
        self.tokens_at = now;
        let admitted = self.tokens >= bytes;
        if admitted {
            self.tokens -= bytes;
        }
        admitted
    }

    /// In [0, 1), by xorshift.
    fn unit_random(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}
