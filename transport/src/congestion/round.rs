//! Round trips counted by what is delivered (draft-ietf-ccwg-bbr, `BBRUpdateRound`), and what happened in each.

use std::time::Duration;

use super::delivery::Sample;

/// What a round trip, or the part of it so far, showed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acked: u64,
    pub(crate) lost: u64,
    pub(crate) least_rtt: Option<Duration>,
    /// Greatest rate sample, bytes a second.
    pub(crate) rate: f64,
    pub(crate) app_limited: bool,
}

impl Tally {
    /// Of what was sent, the part that did not arrive.
    pub(crate) fn loss(&self) -> f64 {
        self.lost as f64 / (self.acked + self.lost).max(1) as f64
    }

    fn add(&mut self, sample: &Sample) {
        self.acked += sample.acked;
        self.least_rtt = Some(self.least_rtt.map_or(sample.rtt, |least| least.min(sample.rtt)));
        self.rate = self.rate.max(sample.rate.unwrap_or(0.0));
        self.app_limited |= sample.app_limited;
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds {
    ends_at_delivered: u64,
    running: Tally,
}

impl Rounds {
    /// Counts a batch; returns the round that it ended.
    pub(crate) fn on_sample(&mut self, sample: &Sample, delivered: u64) -> Option<Tally> {
        let over = sample.delivered_before >= self.ends_at_delivered;
        let ended = over.then(|| self.begin(delivered));
        self.running.add(sample);
        ended
    }

    /// Begins a round with the packets that leave from now on.
    pub(crate) fn begin(&mut self, delivered: u64) -> Tally {
        self.ends_at_delivered = delivered;
        std::mem::take(&mut self.running)
    }

    pub(crate) fn on_lost(&mut self, bytes: u64) {
        self.running.lost += bytes;
    }

    pub(crate) fn running(&self) -> &Tally {
        &self.running
    }
}
