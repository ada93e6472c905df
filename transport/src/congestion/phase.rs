//! The state machine of draft-ietf-ccwg-bbr ("State Machine"): which phase follows which, and when.

use std::time::{Duration, Instant};

use super::controller::{Bbr, RttProbe};
use super::delivery::Sample;
use super::round::Tally;

/// The draft's `ProbeRTTDuration`: how long little is in flight, so that every flow sees the path without a queue.
const RTT_PROBE_HOLD: Duration = Duration::from_millis(200);
/// Rounds of a slower and much longer path before it is looked at, and the time between two looks. A look begins the
/// cruise anew: with a shorter interval than a cycle's, `Up` would never come and no bandwidth ever be forgotten.
const REROUTED_ROUNDS: u32 = 3;
const ROUTE_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// "Exiting Startup Based on Bandwidth Plateau": rounds without growth after which the pipe counts as full.
const FULL_PIPE_ROUNDS: u32 = 3;

/// Where the controller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Looks for the bandwidth, doubling what is in flight each round.
    Startup,
    /// Lets the queue drain that `Startup` made.
    Drain,
    /// Lets the queue drain that `Up` made.
    Down,
    /// Sends what the path delivers.
    Cruise,
    /// Fills the pipe before `Up`, so that losses there are of its own making.
    Refill,
    /// Looks for more bandwidth.
    Up,
    /// Looks for the round trip without a queue.
    ProbeRtt,
}

impl Bbr {
    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.phase_since = now;
        self.phase_rounds = 0;
        self.grown_rate = self.model.max_rate();
        self.rounds_without_growth = 0;
        self.rounds.begin(self.deliveries.delivered());
    }

    pub(crate) fn on_round(&mut self, round: &Tally, now: Instant) {
        self.phase_rounds += 1;
        self.model.on_round();
        let excessive = self.model.is_excessive(round.lost, round.acked + round.lost, self.mtu);
        match self.phase {
            Phase::Startup => return self.on_startup_round(round, excessive, now),
            Phase::Up => self.on_up_round(round, now),
            // The rates of the first rounds are those of the phase before, which let a queue drain.
            Phase::Cruise if excessive && self.phase_rounds > 2 => self.model.restrain(round),
            Phase::Drain | Phase::Down | Phase::Cruise | Phase::Refill | Phase::ProbeRtt => {}
        }
        if self.phase != Phase::Up {
            self.model.learn_ambient_loss(round);
        }
        self.check_route(round, now);
    }

    /// "Startup": the pipe is full once the rate grows no more, at once if a queue or losses say so too.
    fn on_startup_round(&mut self, round: &Tally, excessive: bool, now: Instant) {
        if round.app_limited {
            return;
        }
        if self.has_grown(1.25) {
            return self.model.learn_ambient_loss(round);
        }
        self.rounds_without_growth += 1;
        if self.rounds_without_growth >= FULL_PIPE_ROUNDS || excessive || self.model.has_queue(round) {
            self.enter(Phase::Drain, now);
        }
    }

    /// "ProbeBW_UP": until there is no more bandwidth to find.
    fn on_up_round(&mut self, round: &Tally, now: Instant) {
        let capped = self.raise_ceiling();
        if self.has_grown(1.1) {
            return;
        }
        self.rounds_without_growth += 1;
        let full = self.rounds_without_growth >= FULL_PIPE_ROUNDS || self.model.has_queue(round);
        // The first round's acknowledgements are of packets from before.
        if round.app_limited || (self.phase_rounds >= 2 && full && !capped) {
            self.end_up(round.app_limited, now);
        }
    }

    /// Whether the rate is so many times what it was when it last grew.
    fn has_grown(&mut self, factor: f64) -> bool {
        let grown = self.model.max_rate() >= self.grown_rate * factor;
        if grown {
            self.grown_rate = self.model.max_rate();
            self.rounds_without_growth = 0;
        }
        grown
    }

    fn end_up(&mut self, app_limited: bool, now: Instant) {
        if !app_limited {
            self.model.advance_cycle();
        }
        self.enter(Phase::Down, now);
    }

    /// What may happen with any acknowledgement.
    pub(crate) fn advance_phase(&mut self, sample: &Sample, now: Instant) {
        let drained = self.deliveries.in_flight() <= self.drained_level();
        match self.phase {
            Phase::Drain | Phase::Down if drained || self.phase_rounds >= 3 => self.cruise(now),
            Phase::Cruise if !self.application_idle && self.has_cruised(now) => {
                self.model.release();
                self.enter(Phase::Refill, now);
            }
            Phase::Refill if self.phase_rounds >= 1 => self.enter(Phase::Up, now),
            Phase::ProbeRtt => return self.on_rtt_probe(sample, now),
            Phase::Startup | Phase::Drain | Phase::Down | Phase::Cruise | Phase::Refill | Phase::Up => {}
        }
        if self.model.min_rtt_expired(now) && !sample.app_limited {
            self.probe_rtt(None, now);
        }
    }

    /// "Time Scale for Bandwidth Probing": two to three seconds, by chance, so that flows do not probe in step.
    fn cruise(&mut self, now: Instant) {
        self.cruise_for = Duration::from_millis(2000 + self.random % 1000);
        self.enter(Phase::Cruise, now);
    }

    fn has_cruised(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.phase_since) >= self.cruise_for
    }

    fn probe_rtt(&mut self, suspected: Option<Duration>, now: Instant) {
        self.rtt_probe = RttProbe { suspected, ..RttProbe::default() };
        self.enter(Phase::ProbeRtt, now);
    }

    /// "ProbeRTT".
    fn on_rtt_probe(&mut self, sample: &Sample, now: Instant) {
        let Some(until) = self.rtt_probe.until else {
            if self.deliveries.in_flight() <= self.window {
                self.rtt_probe.until = Some(now + RTT_PROBE_HOLD.max(self.model.smoothed_rtt()));
            }
            return;
        };
        let least = self.rtt_probe.least.map_or(sample.rtt, |least| least.min(sample.rtt));
        self.rtt_probe.least = Some(least);
        if now >= until {
            // A queue shrinks as we hold back; a longer path does not.
            if self.rtt_probe.suspected.is_none_or(|before| least >= before - before / 32) {
                self.model.replace_min_rtt(least, now);
            }
            self.cruise(now);
        }
    }

    /// The draft finds a longer path only as the old round trip expires, ten seconds later. Until then the window would
    /// stand for a fraction of the rate.
    fn check_route(&mut self, round: &Tally, now: Instant) {
        let checked = self.route_checked_at.is_some_and(|at| now < at + ROUTE_CHECK_INTERVAL);
        if checked || self.phase == Phase::ProbeRtt || !self.model.looks_rerouted(round) {
            self.rerouted_rounds = 0;
            return;
        }
        self.rerouted_rounds += 1;
        if self.rerouted_rounds >= REROUTED_ROUNDS {
            self.rerouted_rounds = 0;
            self.route_checked_at = Some(now);
            self.probe_rtt(round.least_rtt, now);
        }
    }

    /// `in_flight` is what there was in flight when the newest of the lost packets left.
    pub(crate) fn on_lost(&mut self, now: Instant, sent: Instant, bytes: u64, in_flight: u64) {
        // Packets of the phase before say nothing about this one.
        if sent < self.phase_since {
            return;
        }
        self.rounds.on_lost(bytes);
        let lost = self.rounds.running().lost;
        if self.phase == Phase::Up && self.model.is_excessive(lost, in_flight, self.mtu) {
            self.lower_ceiling(in_flight);
            self.end_up(false, now);
        }
    }
}
