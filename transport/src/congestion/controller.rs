//! What quinn tells, and what it asks: the trait's methods, and the state behind them.

use std::any::Any;
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerMetrics};

use super::delivery::{Deliveries, Sample};
use super::model::Model;
use super::phase::Phase;
use super::round::Rounds;

/// See the module above. Made by [`Config`](super::Config).
#[derive(Clone, Debug)]
pub struct Bbr {
    pub(crate) mtu: u64,
    pub(crate) initial_window: u64,
    pub(crate) window: u64,
    pub(crate) deliveries: Deliveries,
    pub(crate) rounds: Rounds,
    pub(crate) model: Model,
    pub(crate) phase: Phase,
    pub(crate) phase_since: Instant,
    pub(crate) phase_rounds: u32,
    /// Greatest rate when the phase began or the rate last grew.
    pub(crate) grown_rate: f64,
    pub(crate) rounds_without_growth: u32,
    /// Most bytes in flight that did not lose too much; the draft's `inflight_longterm`.
    pub(crate) ceiling: Option<f64>,
    pub(crate) cruise_for: Duration,
    /// Bytes of window for a queue that was there before us.
    pub(crate) queue_room: f64,
    pub(crate) rtt_probe: RttProbe,
    pub(crate) rerouted_rounds: u32,
    pub(crate) route_checked_at: Option<Instant>,
    /// After persistent congestion: bytes that may be in flight; they double each round until the window is reached.
    recovery: Option<u64>,
    /// The application had nothing to send when the last acknowledgements came.
    pub(crate) application_idle: bool,
    pub(crate) random: u64,
}

/// The state of one visit to [`Phase::ProbeRtt`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RttProbe {
    pub(crate) least: Option<Duration>,
    /// Known once as little is in flight as the probe asks for.
    pub(crate) until: Option<Instant>,
    /// Least round trip before the probe, where a longer path is suspected.
    pub(crate) suspected: Option<Duration>,
}

impl Bbr {
    pub(crate) fn new(now: Instant, mtu: u16, initial_window: u64) -> Self {
        Self {
            mtu: mtu.into(),
            initial_window,
            window: initial_window,
            deliveries: Deliveries::new(now),
            rounds: Rounds::default(),
            model: Model::new(now),
            phase: Phase::Startup,
            phase_since: now,
            phase_rounds: 0,
            grown_rate: 0.0,
            rounds_without_growth: 0,
            ceiling: None,
            cruise_for: Duration::ZERO,
            queue_room: 0.0,
            rtt_probe: RttProbe::default(),
            rerouted_rounds: 0,
            route_checked_at: None,
            recovery: None,
            application_idle: false,
            random: 0,
        }
    }

    fn on_sample(&mut self, sample: &Sample, now: Instant) {
        self.stir(now);
        self.model.on_sample(sample, now, self.window);
        if let Some(round) = self.rounds.on_sample(sample, self.deliveries.delivered()) {
            self.on_round(&round, now);
        }
        self.advance_phase(sample, now);
        self.update_window(sample.acked);
        self.recovery = self.recovery.map(|most| most + sample.acked).filter(|most| *most < self.window);
    }

    /// Chance out of the jitter of arrivals, which differs between flows.
    fn stir(&mut self, now: Instant) {
        let jitter = now.saturating_duration_since(self.phase_since).subsec_nanos();
        self.random =
            (self.random ^ u64::from(jitter)).wrapping_mul(6_364_136_223_846_793_005).rotate_left(23);
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        self.deliveries.on_sent(now, bytes, self.model.min_rtt());
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _app_limited: bool, rtt: &RttEstimator) {
        self.model.set_smoothed_rtt(rtt.get());
        self.deliveries.on_ack(now, sent, bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _largest_acked: Option<u64>) {
        self.application_idle = app_limited;
        let sample = self.deliveries.end_acks(now, in_flight, app_limited, self.model.min_rtt());
        if let Some(sample) = sample {
            self.on_sample(&sample, now);
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        let in_flight = self.deliveries.on_lost(sent, lost_bytes);
        if is_persistent {
            self.recovery = Some(self.least_window());
        }
        self.on_lost(now, sent, lost_bytes, in_flight);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
    }

    fn window(&self) -> u64 {
        self.recovery.map_or(self.window, |most| most.min(self.window)).max(self.least_window())
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = Some((self.model.rate() * 8.0) as u64);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.initial_window
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
