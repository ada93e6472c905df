//! When something is due. Pure: moments are seconds since 1970, and chance is an argument.

use std::time::Duration;

/// From when to when a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    pub not_before: i64,
    pub not_after: i64,
}

/// When the CA would like a certificate to be renewed (RFC 9773).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub start: i64,
    pub end: i64,
}

/// How far an earlier renewal may go, so that certificates of one day are not renewed in one minute.
const JITTER: i64 = 20;

impl Lifetime {
    fn length(self) -> i64 {
        self.not_after.saturating_sub(self.not_before).max(0)
    }

    /// The moment at which a third of the lifetime is left.
    #[must_use]
    pub fn last_third(self) -> i64 {
        self.not_after.saturating_sub(self.length() / 3)
    }

    /// Whether less than a third is left: whatever renews it has not done so.
    #[must_use]
    pub fn is_late(self, now: i64) -> bool {
        now > self.last_third()
    }

    /// How long a certificate is used at the least, whoever wants another, in seconds.
    #[must_use]
    pub fn shortest_use(self) -> i64 {
        (self.length() / 2).clamp(10, 3600)
    }

    /// When to renew, where the CA has no wish of its own: as two thirds are over, or a twentieth of the lifetime
    /// earlier. The same `chance` gives the same moment.
    #[must_use]
    pub fn renew_at(self, chance: u32) -> i64 {
        self.last_third().saturating_sub(portion(self.length() / JITTER, chance))
    }
}

impl Window {
    /// The moment in the window that `chance` falls on; a window that is over means now. Never after the certificate has
    /// expired, whatever the CA says.
    #[must_use]
    pub fn renew_at(self, lifetime: Lifetime, chance: u32) -> i64 {
        let length = self.end.saturating_sub(self.start).max(0);
        self.start.saturating_add(portion(length, chance)).min(lifetime.last_third())
    }
}

/// A part of a length, from none to all.
fn portion(length: i64, chance: u32) -> i64 {
    i64::try_from(i128::from(length) * i128::from(chance) / i128::from(u32::MAX)).unwrap_or(0)
}

/// Between failed orders: the first are close, since most failures are mended by whoever watches, but never more than
/// five in an hour (a usual limit of CAs). Then ever rarer.
const PAUSES: [u64; 8] = [60, 300, 900, 1800, 3600, 7200, 14_400, 21_600];

/// How long to wait after so many failures in a row, up to a tenth longer by chance.
#[must_use]
pub fn pause(failures: u32, chance: u32) -> Duration {
    let at = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    let pause = PAUSES.get(at).copied().unwrap_or(PAUSES[PAUSES.len() - 1]);
    let jitter = u64::try_from(portion(i64::try_from(pause / 10).unwrap_or(0), chance)).unwrap_or(0);
    Duration::from_secs(pause + jitter)
}

/// How long what a CA said of renewals counts; what it asks for is kept within reason (RFC 9773, section 4.3.2).
#[must_use]
pub fn ask_again(asked: Duration) -> Duration {
    asked.clamp(Duration::from_secs(60), Duration::from_secs(24 * 3600))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn days(length: i64) -> Lifetime {
        Lifetime { not_before: 0, not_after: length * DAY }
    }

    #[test]
    fn two_thirds_or_a_little_earlier() {
        assert_eq!(days(90).renew_at(0), 60 * DAY);
        assert_eq!(days(90).renew_at(u32::MAX), 60 * DAY - 90 * DAY / 20);
        // Short-lived ones are renewed after four of their six days.
        assert_eq!(days(6).renew_at(0), 4 * DAY);
        assert!(!days(90).is_late(60 * DAY) && days(90).is_late(60 * DAY + 1));
    }

    #[test]
    fn a_window_is_kept_to_and_one_that_is_over_means_now() {
        let window = Window { start: 10 * DAY, end: 20 * DAY };
        assert_eq!(window.renew_at(days(90), 0), 10 * DAY);
        assert_eq!(window.renew_at(days(90), u32::MAX), 20 * DAY);
        assert_eq!(Window { start: -5, end: -4 }.renew_at(days(90), 7), -5);
        let late = Window { start: 200 * DAY, end: 300 * DAY };
        assert_eq!(late.renew_at(days(90), 7), 60 * DAY);
    }

    #[test]
    fn no_more_than_five_failures_in_an_hour() {
        let first_hour: u64 = (1..=5).map(|failures| pause(failures, 0).as_secs()).sum();
        assert!(first_hour >= 3600);
        assert_eq!(pause(1, 0), Duration::from_secs(60));
        assert_eq!(pause(400, u32::MAX), Duration::from_secs(21_600 + 2160));
    }

    proptest! {
        #[test]
        fn a_renewal_is_always_before_the_end(
            not_before in 0i64..4_000_000_000,
            length in 0i64..400_000_000,
            start: i64,
            end: i64,
            chance: u32,
        ) {
            let life = Lifetime { not_before, not_after: not_before + length };
            prop_assert!(life.renew_at(chance) <= life.not_after);
            prop_assert!(life.renew_at(chance) >= life.not_before);
            let window = Window { start, end };
            prop_assert!(window.renew_at(life, chance) <= life.not_after);
        }
    }
}
