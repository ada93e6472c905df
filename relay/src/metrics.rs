//! What the relay counts, and the text in which others read it (OpenMetrics). Everybody may count; nobody is asked here.
//!
//! Every label has a fixed set of values, but for hostnames: only those that a peer serves are labels, never what a
//! visitor asks for.

mod labels;
mod numbers;

use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use self::labels::{Class, Kind, Ordered};
pub(crate) use self::labels::{Cut, Outcome, Protocol, Refusal, Transport};
use self::numbers::{Codes, Histogram, Hostnames, Table};

/// The media type of [`Metrics::text`].
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers of one relay.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Requests,
    connections: Connections,
    streams: Counter,
    sessions_open: Gauge,
    peers: Gauge,
    lines_lost: Counter,
    orders: Table<Ordered, Counter>,
    peer_streams_open: Gauge,
    peer_bytes: Counter,
    expiries: Family<Vec<(&'static str, String)>, Gauge>,
}

#[derive(Debug)]
struct Requests {
    ended: Table<Kind, Counter>,
    refused: Codes,
    of_hostnames: Hostnames,
    in_flight: Gauge,
    duration: Histogram,
    first_byte: Histogram,
    received: Counter,
    sent: Counter,
}

/// Of visitors.
#[derive(Debug)]
struct Connections {
    taken: Table<Transport, Counter>,
    open: Table<Transport, Gauge>,
    refused: Table<Refusal, Counter>,
    cut: Table<Cut, Counter>,
    tls: Table<Outcome, Counter>,
    websockets_open: Gauge,
}

/// A request that has come to its end.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) protocol: Protocol,
    /// 0 where there was none.
    pub(crate) status: u16,
    /// The relay's error code, where the origin did not have the last word.
    pub(crate) code: Option<&'static str>,
    /// As a peer serves it, which may be a wildcard; never what the visitor asked for.
    pub(crate) hostname: Option<&'a str>,
    pub(crate) first_byte: Option<Duration>,
    /// Not of an upgraded connection, which lasts as long as people do.
    pub(crate) duration: Option<Duration>,
    /// Bytes of bodies.
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// What is counted elsewhere, as it is now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(crate) sessions: usize,
    pub(crate) peers: usize,
    /// When certificates expire, by hostname: seconds since 1970.
    pub(crate) expiries: Vec<(String, i64)>,
    /// Orders of certificates since the start: those that succeeded, and those that failed.
    pub(crate) orders: (u64, u64),
    /// Streams between peers that run, and the bytes of all of them since the start.
    pub(crate) between_peers: (usize, u64),
}

/// Counts as open until it is dropped.
#[derive(Debug)]
#[must_use = "what is open is counted as long as this lives"]
pub(crate) struct OpenGuard(Gauge);

impl OpenGuard {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Requests {
    fn new(to: &mut Registry, codes: Codes) -> Self {
        Self {
            ended: put(to, "requests", "Requests that have ended, by protocol and class of status"),
            refused: put_this(to, "refused_requests", "Requests that ended with an error code", codes),
            of_hostnames: put(to, "hostname_requests", "Requests for each hostname that is served"),
            in_flight: put(to, "requests_in_flight", "Requests and upgraded connections under way"),
            duration: put_in(to, "request_duration", Unit::Seconds, "A request from its head to its end"),
            first_byte: put_in(to, "request_first_byte", Unit::Seconds, "A request until it is answered"),
            received: put_in(to, "received", Unit::Bytes, "Bodies and upgraded connections of visitors"),
            sent: put_in(to, "sent", Unit::Bytes, "Bodies and upgraded connections to visitors"),
        }
    }
}

impl Connections {
    fn new(to: &mut Registry) -> Self {
        Self {
            taken: put(to, "visitor_connections", "Connections of visitors"),
            open: put(to, "visitor_connections_open", "Connections of visitors that are open"),
            refused: put(to, "connections_refused", "Connections of visitors that were not taken"),
            cut: put(to, "connections_cut", "Connections of visitors that the relay ended"),
            tls: put(to, "tls_handshakes", "TLS handshakes of visitors"),
            websockets_open: put(to, "websockets_open", "Upgraded connections that are open"),
        }
    }
}

impl Metrics {
    /// All at zero. `codes` are the error codes that requests can end with.
    pub(crate) fn new(codes: impl IntoIterator<Item = &'static str>) -> Self {
        let mut root = Registry::with_prefix("adit");
        root.register("build", "The relay's version", Info::new([("version", crate::VERSION)]));
        let to = &mut root;
        Self {
            requests: Requests::new(to, Codes::new(codes)),
            connections: Connections::new(to),
            streams: put(to, "streams_opened", "Streams to agents, counted as the first request ends"),
            sessions_open: put(to, "sessions_open", "Sessions of agents"),
            peers: put(to, "peers_enrolled", "Peers that are enrolled"),
            lines_lost: put(to, "access_log_lines_lost", "Lines that could not be written"),
            orders: put(to, "certificate_orders", "Orders of certificates since the start, by outcome"),
            peer_streams_open: put(to, "peer_streams_open", "Streams between peers that go through here"),
            peer_bytes: put_in(to, "peer", Unit::Bytes, "What the relay has carried between peers"),
            expiries: put_in(to, "certificate_expiry_timestamp", Unit::Seconds, "When a certificate expires"),
            registry: root,
        }
    }

    /// What a scrape gets.
    pub(crate) fn text(&self, standing: &Standing) -> String {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.sessions_open.set(gauge(standing.sessions));
        self.peers.set(gauge(standing.peers));
        let (issued, failed) = standing.orders;
        for (outcome, count) in [(Ordered::Issued, issued), (Ordered::Failed, failed)] {
            let counter = self.orders.of(outcome);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        let (streams, bytes) = standing.between_peers;
        self.peer_streams_open.set(gauge(streams));
        self.peer_bytes.inc_by(bytes.saturating_sub(self.peer_bytes.get()));
        self.expiries.clear();
        for (hostname, expiry) in &standing.expiries {
            self.expiries.get_or_create(&vec![("hostname", hostname.clone())]).set(*expiry);
        }
        let mut shown = String::with_capacity(16 * 1024);
        // Writing to a string does not fail.
        let _complete = text::encode(&mut shown, &self.registry);
        shown
    }

    /// A request's head has come. [`Self::request_ended`] follows once.
    pub(crate) fn request_began(&self) {
        self.requests.in_flight.inc();
    }

    pub(crate) fn request_ended(&self, request: &Ended<'_>) {
        let count = &self.requests;
        count.in_flight.dec();
        count.ended.of(Kind(request.protocol, Class::of(request.status))).inc();
        if let Some(code) = request.code {
            count.refused.of(code).inc();
        }
        if let Some(hostname) = request.hostname {
            count.of_hostnames.count(hostname);
        }
        if let Some(took) = request.first_byte {
            count.first_byte.observe(took);
        }
        if let Some(took) = request.duration {
            count.duration.observe(took);
        }
        // Most requests have no body, and writing costs the other threads more than asking does.
        if request.received > 0 {
            count.received.inc_by(request.received);
        }
        if request.sent > 0 {
            count.sent.inc_by(request.sent);
        }
    }

    /// A visitor's connection was taken.
    pub(crate) fn connection_open(&self, transport: Transport) -> OpenGuard {
        self.connections.taken.of(transport).inc();
        OpenGuard::of(self.connections.open.of(transport))
    }

    pub(crate) fn connection_refused(&self, why: Refusal) {
        self.connections.refused.of(why).inc();
    }

    pub(crate) fn connection_cut(&self, why: Cut) {
        self.connections.cut.of(why).inc();
    }

    /// A visitor's TLS handshake has ended.
    pub(crate) fn tls(&self, outcome: Outcome) {
        self.connections.tls.of(outcome).inc();
    }

    pub(crate) fn websocket_open(&self) -> OpenGuard {
        OpenGuard::of(&self.connections.websockets_open)
    }

    /// A stream to an agent was opened.
    pub(crate) fn stream_opened(&self) {
        self.streams.inc();
    }

    pub(crate) fn access_lines_lost(&self, count: u64) {
        self.lines_lost.inc_by(count);
    }
}

fn put<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    put_this(registry, name, help, M::default())
}

fn put_this<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn put_in<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, unit: Unit, help: &str) -> M {
    let metric = M::default();
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

#[cfg(test)]
mod tests;
