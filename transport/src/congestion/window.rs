//! How many bytes may be in flight, the one thing that quinn asks for.
//!
//! BBR sets a pacing rate and bounds what is in flight at twice the bandwidth-delay product. quinn paces at 1.25 times
//! window / smoothed round trip, always faster than what the window lets through in the long run: the pacer spreads
//! packets, and the window alone sets the rate, to window / round trip. A rate of `bw` is therefore a window of `bw` times
//! the round trip that is, the queue included, and the draft's gains are applied to that.

use super::controller::Bbr;
use super::phase::Phase;

/// The draft's `MinPipeCwnd`.
const LEAST_PACKETS: u64 = 4;
/// Seconds of sending, and packets, that quinn's pacer may hold back while the window would let them go: it sends bursts
/// of 2 ms.
const PACER_HOLDS_BACK: (f64, f64) = (0.001, 3.0);
/// The part of a standing queue that the window makes room for. With 1 the window would stand for exactly a rate, and any
/// queue would stay as it is; with less, a queue of our own making dissolves, and other flows' queue starves us not.
const QUEUE_SHARE: f64 = 0.7;
const STARTUP_GAIN: f64 = 2.0;
const UP_GAIN: f64 = 1.25;
const DOWN_GAIN: f64 = 0.95;
/// The draft's `ProbeRTTCwndGain`: what is in flight during `ProbeRtt`.
const PROBE_RTT_GAIN: f64 = 0.5;
/// The draft's `Headroom`: the part of the ceiling that is used while cruising, so that others find room.
const HEADROOM: f64 = 0.9;
/// The draft's `DefaultCwndGain`: the bound of what is in flight, in bandwidth-delay products.
const MOST_PRODUCTS: f64 = 2.0;

impl Bbr {
    pub(crate) fn least_window(&self) -> u64 {
        LEAST_PACKETS * self.mtu
    }

    /// Bytes in flight at which no queue of ours is left.
    pub(crate) fn drained_level(&self) -> u64 {
        (self.model.product() as u64).max(self.least_window())
    }

    pub(crate) fn update_window(&mut self, acked: u64) {
        self.update_queue_room();
        let product = self.model.product();
        let target = match self.phase {
            Phase::Startup => return self.grow_window(acked),
            Phase::Drain => product,
            Phase::Down => product * DOWN_GAIN,
            Phase::Cruise => self.below_ceiling(self.steady(1.0), HEADROOM),
            Phase::Refill => self.below_ceiling(self.steady(1.0), 1.0),
            Phase::Up => self.below_ceiling(self.steady(UP_GAIN), 1.0),
            Phase::ProbeRtt => product * PROBE_RTT_GAIN,
        };
        self.window = (target as u64).max(self.least_window());
    }

    /// "Startup": by what is acknowledged, which doubles it each round.
    fn grow_window(&mut self, acked: u64) {
        let most = (STARTUP_GAIN * self.model.product() + self.slack()) as u64;
        if !self.application_idle {
            self.window = (self.window + acked).min(most.max(self.window));
        }
    }

    fn steady(&self, gain: f64) -> f64 {
        let product = self.model.product();
        let most = MOST_PRODUCTS * product + self.model.aggregation();
        gain * (product + self.queue_room).min(most) + self.slack()
    }

    fn slack(&self) -> f64 {
        let (seconds, packets) = PACER_HOLDS_BACK;
        (self.model.rate() * seconds).max(packets * self.mtu as f64)
    }

    fn update_queue_room(&mut self) {
        match self.phase {
            // A request's acknowledgement is delayed by the peer, which is no queue.
            _ if self.application_idle => self.queue_room = 0.0,
            // In the first round what is smoothed still is the queue that was let drain.
            Phase::Cruise if self.phase_rounds > 0 => {
                let waiting =
                    self.model.smoothed_rtt().saturating_sub(self.model.min_rtt().unwrap_or_default());
                self.queue_room = QUEUE_SHARE * self.model.rate() * waiting.as_secs_f64();
            }
            // The queue is now of our own making.
            Phase::Refill | Phase::Up => {}
            Phase::Startup | Phase::Drain | Phase::Down | Phase::Cruise | Phase::ProbeRtt => {
                self.queue_room = 0.0
            }
        }
    }

    fn below_ceiling(&self, window: f64, part: f64) -> f64 {
        self.ceiling.map_or(window, |ceiling| window.min(ceiling * part))
    }

    /// `BBRProbeInflightLongtermUpward`: each round of `Up` without too much loss allows more. Returns whether the ceiling held us back.
    pub(crate) fn raise_ceiling(&mut self) -> bool {
        let capped = self.ceiling.is_some_and(|ceiling| ceiling <= self.steady(UP_GAIN));
        self.ceiling = self.ceiling.filter(|_| capped).map(|ceiling| ceiling * UP_GAIN);
        capped
    }

    /// `BBRHandleInflightTooHigh`: too much was lost with so much in flight. What the path carries without any queue is no less.
    pub(crate) fn lower_ceiling(&mut self, in_flight: u64) {
        self.ceiling = Some((in_flight as f64).max(self.model.product() * 1.05));
    }
}
