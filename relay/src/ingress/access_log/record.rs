//! What a line says, whatever its format.

use std::net::IpAddr;
use std::time::Duration;

use protocol::id::RequestId;

use super::asked::Asked;
use crate::metrics::Protocol;

/// A request that has ended.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) request: RequestId,
    pub(super) visitor: IpAddr,
    pub(super) protocol: Protocol,
    pub(super) asked: Option<&'a Asked>,
    pub(super) host: Option<&'a str>,
    /// 0 where the visitor went before there was one.
    pub(super) status: u16,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) first_byte: Option<Duration>,
    pub(super) duration: Duration,
    pub(super) peer: Option<&'a str>,
    pub(super) service: Option<&'a str>,
    /// The request that opened the stream, where it is another one.
    pub(super) stream: Option<RequestId>,
    pub(super) error: Option<&'static str>,
}

impl Record<'_> {
    pub(super) fn protocol(&self) -> &'static str {
        self.protocol.text()
    }

    /// As a line of the relay's own log.
    pub(super) fn trace(&self) {
        // A method is a token, a path was made printable, and a host is a checked name.
        tracing::info!(
            target: "access",
            request = %self.request,
            visitor = %self.visitor,
            protocol = self.protocol(),
            method = self.asked.map(|asked| asked.method.as_str()),
            host = self.host,
            path = self.asked.map(Asked::path),
            status = self.status,
            received_bytes = self.received,
            sent_bytes = self.sent,
            first_byte_ms = self.first_byte.map(millis),
            duration_ms = millis(self.duration),
            peer = self.peer,
            service = self.service,
            stream = self.stream.map(tracing::field::display),
            error = self.error,
        );
    }
}

/// To a tenth of a millisecond.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// What tests make lines of.
#[cfg(test)]
pub(super) mod tests {
    use http::Request;
    use http::header::{REFERER, USER_AGENT};
    use time::OffsetDateTime;

    use super::*;

    /// 2026-11-02 03:04:05.006.
    pub(in super::super) fn at() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(1_793_588_645_006_000_000).unwrap()
    }

    pub(in super::super) fn asked(path: &str, referer: &str, agent: &[u8]) -> Asked {
        let uri = http::Uri::try_from(path.as_bytes()).unwrap();
        let agent = http::HeaderValue::from_bytes(agent).unwrap();
        let request = Request::get(uri).header(REFERER, referer).header(USER_AGENT, agent);
        Asked::of(&request.body(()).unwrap(), true).unwrap()
    }

    pub(in super::super) fn record(asked: Option<&Asked>) -> Record<'_> {
        Record {
            request: RequestId::from_bytes([7; 16]),
            visitor: "2001:db8::1".parse().unwrap(),
            protocol: Protocol::Http2,
            asked,
            host: Some("a.example.com"),
            status: 200,
            received: 1,
            sent: 2,
            first_byte: Some(Duration::from_micros(1_260)),
            duration: Duration::from_millis(20),
            peer: Some("home"),
            service: Some("web"),
            stream: Some(RequestId::from_bytes([8; 16])),
            error: None,
        }
    }
}
