//! How long to wait before the next attempt. Pure: randomness is an argument.

use std::time::Duration;

/// Doubling delays between a base and a cap, of which a random part is waited, so that a thousand agents do not come
/// back to a restarted relay in one moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// The delay after one more failure: between half of the full delay and all of it, as `random` says.
    pub fn next_delay(&mut self, random: u32) -> Duration {
        let full = self.base.saturating_mul(1 << self.failures.min(16)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        let half = full / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// The last attempt was a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(250), Duration::from_secs(5))
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let mut backoff = backoff();
        let delays: Vec<u128> = (0..7).map(|_| backoff.next_delay(u32::MAX).as_millis()).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next_delay(0).as_millis(), 125);
    }

    #[test]
    fn it_never_gives_up_and_never_overflows() {
        let mut backoff = backoff();
        for _ in 0..100_000 {
            let delay = backoff.next_delay(7);
            assert!((Duration::from_millis(125)..=Duration::from_secs(5)).contains(&delay));
        }
    }
}
