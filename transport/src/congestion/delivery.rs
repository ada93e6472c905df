//! How fast the path delivers: rate samples from what was acknowledged between a packet's departure and its
//! acknowledgement (draft-ietf-ccwg-bbr, "Delivery Rate Samples").

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets that left within this share of the round trip stand in one record, which bounds how many there are.
const RECORDS_PER_RTT: u32 = 128;
/// Records kept although a later one was acknowledged: quinn still may declare their packets lost.
const KEPT_BEHIND: usize = 16;

/// Records at most: a receiver's own acknowledgements leave without being acknowledged.
const MOST_RECORDS: usize = 4096;

/// What was known when packets left.
#[derive(Clone, Copy, Debug)]
struct Departure {
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    in_flight: u64,
    app_limited: bool,
}

/// What a batch of acknowledgements tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Bytes a second; `None` where the batch spans too little to tell.
    pub(crate) rate: Option<f64>,
    /// Of the newest packet, with the peer's acknowledgement delay.
    pub(crate) rtt: Duration,
    /// Bytes that this batch acknowledged.
    pub(crate) acked: u64,
    /// Bytes that were delivered when the newest packet left.
    pub(crate) delivered_before: u64,
    /// Bytes in flight just after the newest packet left.
    pub(crate) in_flight_at_departure: u64,
    /// The application, not the path, may have limited the rate.
    pub(crate) app_limited: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Deliveries {
    departures: VecDeque<Departure>,
    /// Bytes acknowledged since the beginning.
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    in_flight: u64,
    /// Samples are limited by the application until so much is delivered.
    app_limited_until: u64,
    batch_acked: u64,
    /// Departure and record of the newest packet in the running batch.
    batch_newest: Option<(Instant, Departure)>,
}

impl Deliveries {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            departures: VecDeque::new(),
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            in_flight: 0,
            app_limited_until: 0,
            batch_acked: 0,
            batch_newest: None,
        }
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(crate) fn is_app_limited(&self) -> bool {
        self.app_limited_until > self.delivered
    }

    pub(crate) fn on_sent(&mut self, now: Instant, bytes: u64, min_rtt: Option<Duration>) {
        if self.in_flight == 0 {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        self.in_flight += bytes;
        let grain = min_rtt.unwrap_or_default() / RECORDS_PER_RTT;
        let departure = Departure {
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            in_flight: self.in_flight,
            app_limited: self.is_app_limited(),
        };
        if self.departures.len() >= MOST_RECORDS {
            self.departures.pop_front();
        }
        match self.departures.back_mut() {
            Some(last) if now.saturating_duration_since(last.at) <= grain => last.in_flight = self.in_flight,
            Some(_) | None => self.departures.push_back(departure),
        }
    }

    pub(crate) fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.delivered_at = now;
        self.batch_acked += bytes;
        if self.batch_newest.is_none_or(|(newest, _)| newest <= sent)
            && let Some(departure) = self.departure(sent)
        {
            self.batch_newest = Some((sent, departure));
        }
    }

    /// Closes the batch. `None` where nothing in it can be measured.
    pub(crate) fn end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        min_rtt: Option<Duration>,
    ) -> Option<Sample> {
        self.in_flight = in_flight;
        if app_limited {
            self.app_limited_until = self.delivered + in_flight.max(1);
        }
        let acked = std::mem::take(&mut self.batch_acked);
        let (sent, departure) = self.batch_newest.take()?;
        self.forget_before(departure.at);
        self.first_sent_at = departure.at;
        let send_elapsed = departure.at.saturating_duration_since(departure.first_sent_at);
        let ack_elapsed = now.saturating_duration_since(departure.delivered_at);
        let interval = send_elapsed.max(ack_elapsed);
        // As in the draft: acknowledgements that were compressed pretend a rate that the path does not have.
        let measurable = interval > Duration::ZERO && min_rtt.is_none_or(|min_rtt| interval >= min_rtt);
        let delivered = self.delivered - departure.delivered;
        Some(Sample {
            rate: measurable.then(|| delivered as f64 / interval.as_secs_f64()),
            rtt: now.saturating_duration_since(sent),
            acked,
            delivered_before: departure.delivered,
            in_flight_at_departure: departure.in_flight,
            app_limited: departure.app_limited,
        })
    }

    /// Takes lost bytes out of what is in flight; returns what was in flight when the newest of them left.
    pub(crate) fn on_lost(&mut self, sent: Instant, bytes: u64) -> u64 {
        let at_departure = self.departure(sent).map_or(self.in_flight, |departure| departure.in_flight);
        self.in_flight = self.in_flight.saturating_sub(bytes);
        at_departure
    }

    fn departure(&self, sent: Instant) -> Option<Departure> {
        let after = self.departures.partition_point(|departure| departure.at <= sent);
        self.departures.get(after.checked_sub(1)?).copied()
    }

    fn forget_before(&mut self, at: Instant) {
        let older = self.departures.partition_point(|departure| departure.at < at);
        self.departures.drain(..older.saturating_sub(KEPT_BEHIND));
        if self.departures.capacity() > 8 * KEPT_BEHIND && self.departures.len() <= 2 * KEPT_BEHIND {
            self.departures.shrink_to(4 * KEPT_BEHIND);
        }
    }
}
