//! What is believed of the path: its bandwidth, its round trip without a queue, and what it loses without congestion.

use std::time::{Duration, Instant};

use super::delivery::Sample;
use super::filter::RecentMax;
use super::round::Tally;

/// `MinRTTFilterLen` of draft-ietf-ccwg-bbr: how long the least round trip is believed without being seen again.
const MIN_RTT_LIFE: Duration = Duration::from_secs(10);
/// What quinn's receivers delay an acknowledgement by at most, and the grain of their timers.
const ACK_DELAY: Duration = Duration::from_millis(30);
/// Rounds after which the aggregation of acknowledgements is forgotten, half of the draft's `ExtraAckedFilterLen`.
const AGGREGATION_ROUNDS: u32 = 5;
/// Loss that is believed to be the path's own, at most.
const AMBIENT_LOSS_AT_MOST: f64 = 0.15;
/// Rounds over which it is averaged.
const AMBIENT_ROUNDS: f64 = 8.0;

#[derive(Clone, Debug)]
pub(crate) struct Model {
    max_rate: RecentMax,
    /// Rate that losses allow for now; the draft's `bw_shortterm`.
    rate_for_now: Option<f64>,
    min_rtt: Option<Duration>,
    min_rtt_seen_at: Instant,
    smoothed_rtt: Duration,
    aggregation: RecentMax,
    aggregation_rounds: u32,
    aggregation_since: Instant,
    aggregation_acked: u64,
    /// Bytes lost without congestion, and bytes sent meanwhile; older rounds count for less.
    ambient: (f64, f64),
}

impl Model {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            max_rate: RecentMax::default(),
            rate_for_now: None,
            min_rtt: None,
            min_rtt_seen_at: now,
            smoothed_rtt: Duration::ZERO,
            aggregation: RecentMax::default(),
            aggregation_rounds: 0,
            aggregation_since: now,
            aggregation_acked: 0,
            ambient: (0.0, 0.0),
        }
    }

    /// Bytes a second.
    pub(crate) fn rate(&self) -> f64 {
        self.rate_for_now.map_or(self.max_rate(), |rate| rate.min(self.max_rate()))
    }

    pub(crate) fn max_rate(&self) -> f64 {
        self.max_rate.max()
    }

    pub(crate) fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt
    }

    /// Smoothed, by quinn: what its pacer divides the window by.
    pub(crate) fn smoothed_rtt(&self) -> Duration {
        self.smoothed_rtt.max(self.min_rtt.unwrap_or_default())
    }

    /// Bandwidth-delay product in bytes.
    pub(crate) fn product(&self) -> f64 {
        self.rate() * self.min_rtt.unwrap_or_default().as_secs_f64()
    }

    pub(crate) fn aggregation(&self) -> f64 {
        self.aggregation.max()
    }

    pub(crate) fn set_smoothed_rtt(&mut self, rtt: Duration) {
        self.smoothed_rtt = rtt;
    }

    pub(crate) fn on_sample(&mut self, sample: &Sample, now: Instant, window: u64) {
        self.update_min_rtt(sample, now);
        if let Some(rate) = sample.rate
            && (!sample.app_limited || rate >= self.max_rate())
        {
            self.max_rate.update(rate);
        }
        self.update_aggregation(sample, now, window);
    }

    fn update_min_rtt(&mut self, sample: &Sample, now: Instant) {
        let Some(min_rtt) = self.min_rtt else { return self.replace_min_rtt(sample.rtt, now) };
        // With hardly anything in flight there is no queue of ours; but the peer may have delayed what it acknowledged.
        let lone = (sample.in_flight_at_departure as f64) < self.product() / 2.0;
        let tolerance = (min_rtt / 32).max(if lone { ACK_DELAY } else { Duration::ZERO });
        if sample.rtt <= min_rtt {
            self.replace_min_rtt(sample.rtt, now);
        } else if sample.rtt <= min_rtt + tolerance {
            // As good as seen again: it need not be probed for.
            self.min_rtt_seen_at = now;
        } else if lone && self.min_rtt_expired(now) {
            self.replace_min_rtt(sample.rtt, now);
        }
    }

    pub(crate) fn replace_min_rtt(&mut self, rtt: Duration, now: Instant) {
        self.min_rtt = Some(rtt.max(Duration::from_micros(1)));
        self.min_rtt_seen_at = now;
    }

    pub(crate) fn min_rtt_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.min_rtt_seen_at) > MIN_RTT_LIFE
    }

    /// The draft's `BBRUpdateACKAggregation`: what arrives at once beyond what the rate explains.
    fn update_aggregation(&mut self, sample: &Sample, now: Instant, window: u64) {
        let elapsed = now.saturating_duration_since(self.aggregation_since).as_secs_f64();
        let mut expected = self.max_rate() * elapsed;
        if self.aggregation_acked as f64 <= expected {
            self.aggregation_acked = 0;
            self.aggregation_since = now;
            expected = 0.0;
        }
        self.aggregation_acked += sample.acked;
        let extra = self.aggregation_acked as f64 - expected;
        self.aggregation.update(extra.min(window as f64));
    }

    pub(crate) fn on_round(&mut self) {
        self.aggregation_rounds += 1;
        if self.aggregation_rounds >= AGGREGATION_ROUNDS {
            self.aggregation_rounds = 0;
            self.aggregation.advance();
        }
    }

    /// What a round loses without a queue, and without asking the path for more than it gave before, it loses by itself.
    pub(crate) fn learn_ambient_loss(&mut self, unhurried: &Tally) {
        if !self.has_queue(unhurried) {
            let (lost, sent) = self.ambient;
            let total = (unhurried.acked + unhurried.lost) as f64;
            let kept = 1.0 - 1.0 / AMBIENT_ROUNDS;
            self.ambient = (lost * kept + unhurried.lost as f64, sent * kept + total);
        }
    }

    fn ambient_loss(&self) -> f64 {
        (self.ambient.0 / self.ambient.1.max(1.0)).min(AMBIENT_LOSS_AT_MOST)
    }

    /// Whether even the fastest packet of the round waited.
    pub(crate) fn has_queue(&self, round: &Tally) -> bool {
        let (Some(least), Some(min_rtt)) = (round.least_rtt, self.min_rtt) else { return false };
        least > min_rtt + (min_rtt / 8).max(Duration::from_millis(1))
    }

    /// More loss than the path's own, than two in a hundred (the draft's `LossThresh`) and than chance.
    pub(crate) fn is_excessive(&self, lost: u64, of: u64, mtu: u64) -> bool {
        let packets = of as f64 / mtu as f64;
        let expected = packets * self.ambient_loss();
        let allowed = expected + packets * 0.02 + 2.0 * (expected + 1.0).sqrt();
        lost as f64 / mtu as f64 > allowed
    }

    /// A cycle of probing ended: what was measured two cycles ago is forgotten.
    pub(crate) fn advance_cycle(&mut self) {
        self.max_rate.advance();
    }

    /// The draft's `BBRAdaptLowerBoundsFromCongestion`: follows what is delivered now, by three tenths a round at most or by what is lost.
    pub(crate) fn restrain(&mut self, round: &Tally) {
        self.rate_for_now = Some(round.rate.max(self.rate() * (1.0 - round.loss()).min(0.7)));
    }

    pub(crate) fn release(&mut self) {
        if let Some(rate) = self.rate_for_now.take()
            && rate < self.max_rate() * 0.85
        {
            self.max_rate.replace(rate);
        }
    }

    /// A longer path, rather than a queue, slows what our window allows.
    pub(crate) fn looks_rerouted(&self, round: &Tally) -> bool {
        let (Some(least), Some(min_rtt)) = (round.least_rtt, self.min_rtt) else { return false };
        !round.app_limited && least > 2 * min_rtt && round.rate < self.rate() * 0.75
    }
}
