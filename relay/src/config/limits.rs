//! `[limits]`: how much of everything visitors may have.

use std::num::NonZero;
use std::time::Duration;

use process::document::{Spanned, Table};

use crate::throttle::Rate;

/// The bounds of the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections at once from one address.
    pub(crate) connections_per_address: usize,
    /// Requests at once for one hostname.
    pub(crate) requests_in_flight: usize,
    /// Requests from one address; as many as it likes where it is missing.
    pub(crate) rate: Option<Rate>,
    /// Bytes of a request's head.
    pub(crate) header_bytes: usize,
    /// Its fields.
    pub(crate) header_count: usize,
    /// Bytes of its target.
    pub(crate) uri_bytes: usize,
    /// Bytes of its body, where the hostname has no smaller limit.
    pub(crate) max_body: Option<u64>,
    /// From the first byte of a head to its last.
    pub(crate) head_time: Duration,
    /// A visitor who takes nothing of an answer for so long is cut.
    pub(crate) stall_time: Duration,
}

/// What a field costs in HTTP/2's and HTTP/3's own reckoning beside its bytes (RFC 9113, section 6.5.2).
const OF_A_FIELD: usize = 32;
/// What is this much too large is still read, to be answered with a page and counted.
const LEEWAY: usize = 16 << 10;

impl Limits {
    /// The largest head that HTTP/2 and HTTP/3 take in, by their own reckoning.
    pub(crate) fn field_section(&self) -> usize {
        self.header_bytes + OF_A_FIELD * self.header_count + LEEWAY
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_address: 2048,
            requests_in_flight: 10_000,
            rate: None,
            header_bytes: 64 << 10,
            header_count: 100,
            uri_bytes: 16 << 10,
            max_body: None,
            head_time: Duration::from_secs(10),
            stall_time: Duration::from_secs(30),
        }
    }
}

/// Reads the table.
pub(super) fn read(table: Option<Table<'_>>) -> Limits {
    let default = Limits::default();
    let Some(mut table) = table else { return default };
    let connections = table.integer::<usize>("connections_per_address", 1..=1_000_000);
    let in_flight = table.integer::<usize>("requests_in_flight", 1..=10_000_000);
    let rate = rate(&mut table);
    let header_bytes = bytes(&mut table, "header_bytes", 1 << 10, 256 << 10);
    let header_bytes = header_bytes.and_then(|value| usize::try_from(value.value).ok());
    let header_bytes = header_bytes.unwrap_or(default.header_bytes);
    let header_count = table.integer::<usize>("header_count", 10..=512);
    let uri_bytes = uri_bytes(&mut table, header_bytes, default.uri_bytes);
    let max_body = table.byte_size("max_body").map(Spanned::into_inner);
    let head_time = time(&mut table, "head_time", default.head_time);
    let stall_time = time(&mut table, "stall_time", default.stall_time);
    let or = |value: Option<Spanned<usize>>, default: usize| value.map_or(default, Spanned::into_inner);
    Limits {
        connections_per_address: or(connections, default.connections_per_address),
        requests_in_flight: or(in_flight, default.requests_in_flight),
        rate,
        header_bytes,
        header_count: or(header_count, default.header_count),
        uri_bytes,
        max_body,
        head_time,
        stall_time,
    }
}

/// A target is a part of the head.
fn uri_bytes(table: &mut Table<'_>, header_bytes: usize, default: usize) -> usize {
    let Some(value) = bytes(table, "uri_bytes", 256, 128 << 10) else { return default.min(header_bytes) };
    if value.value > header_bytes as u64 {
        table.problems().add(&value, "this is more than `header_bytes`, of which it is a part");
    }
    usize::try_from(value.value).unwrap_or(default)
}

fn rate(table: &mut Table<'_>) -> Option<Rate> {
    let a_second = table.integer::<u32>("requests_per_second", 1..=1_000_000);
    let at_once = table.integer::<u32>("requests_at_once", 1..=1_000_000);
    if let (None, Some(at_once)) = (&a_second, &at_once) {
        table.problems().add(at_once, "this needs `requests_per_second` beside it");
    }
    let number = |value: Option<Spanned<u32>>| value.and_then(|value| NonZero::new(value.into_inner()));
    let a_second = number(a_second)?;
    // A page has parts: they are asked for at once.
    let at_once = number(at_once).unwrap_or(a_second.saturating_mul(BURST));
    Some(Rate { a_second, at_once })
}

const BURST: NonZero<u32> = NonZero::new(2).unwrap();

fn bytes(table: &mut Table<'_>, key: &'static str, least: u64, most: u64) -> Option<Spanned<u64>> {
    let value = table.byte_size(key)?;
    if !(least..=most).contains(&value.value) {
        table.problems().add(&value, format!("this is between {least} bytes and {} KiB", most >> 10));
        return None;
    }
    Some(value)
}

fn time(table: &mut Table<'_>, key: &'static str, default: Duration) -> Duration {
    let Some(value) = table.duration(key) else { return default };
    if value.value < Duration::from_secs(1) || value.value > Duration::from_secs(3600) {
        table.problems().add(&value, "this is between `1s` and `1h`");
    }
    value.value
}

#[cfg(test)]
mod tests {
    use process::document::{self, Mistake};

    use super::*;

    fn parse(text: &str) -> Result<Limits, document::Rejected> {
        document::read("relay.toml", text, |root| Some(read(root.table("limits"))))
    }

    fn rate_of(keys: &str) -> Option<(u32, u32)> {
        let rate = parse(&format!("[limits]\n{keys}")).unwrap().rate?;
        Some((rate.a_second.get(), rate.at_once.get()))
    }

    #[test]
    fn what_is_not_said_is_as_it_was_thought_out() {
        let default = Limits::default();
        assert_eq!(parse("").unwrap(), default);
        assert_eq!(parse("[limits]").unwrap(), default);
        assert!(
            default.uri_bytes < default.header_bytes && default.rate.is_none() && default.max_body.is_none()
        );
    }

    #[test]
    fn every_key_is_read() {
        let text = "[limits]\nconnections_per_address = 7\nrequests_in_flight = 8\nrequests_per_second = 9\n\
             requests_at_once = 10\nheader_bytes = \"2 KiB\"\nheader_count = 11\nuri_bytes = 512\n\
             max_body = \"1 MiB\"\nhead_time = \"3s\"\nstall_time = \"4s\"\n";
        let rate = Rate { a_second: 9.try_into().unwrap(), at_once: 10.try_into().unwrap() };
        let expected = Limits {
            connections_per_address: 7,
            requests_in_flight: 8,
            rate: Some(rate),
            header_bytes: 2048,
            header_count: 11,
            uri_bytes: 512,
            max_body: Some(1 << 20),
            head_time: Duration::from_secs(3),
            stall_time: Duration::from_secs(4),
        };
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn twice_the_rate_may_come_at_once_unless_it_is_said() {
        assert_eq!(rate_of("requests_per_second = 5"), Some((5, 10)));
        assert_eq!(rate_of("requests_per_second = 5\nrequests_at_once = 1"), Some((5, 1)));
        assert_eq!(rate_of("requests_per_second = 1000000"), Some((1_000_000, 2_000_000)));
    }

    #[test]
    fn a_short_head_has_a_short_target() {
        assert_eq!(parse("[limits]\nheader_bytes = 4096").unwrap().uri_bytes, 4096);
        assert!(parse("[limits]\nheader_bytes = 1024\nuri_bytes = 1024").is_ok());
        let both = parse("[limits]\nuri_bytes = 4097\nheader_bytes = 4096").unwrap_err();
        assert_eq!(both.mistakes().iter().filter_map(Mistake::line).collect::<Vec<_>>(), [2], "{both}");
    }

    #[test]
    fn a_mistake_is_shown_on_its_line() {
        let bad = [
            "connections_per_address = 0",
            "connections_per_address = \"many\"",
            "requests_in_flight = 0",
            "requests_in_flight = -1",
            "requests_per_second = 0",
            "requests_per_second = 0.5",
            "requests_at_once = 5",
            "requests_per_second = 1\nrequests_at_once = 0",
            "header_bytes = 1023",
            "header_bytes = \"257 KiB\"",
            "header_count = 9",
            "header_count = 513",
            "uri_bytes = 255",
            "uri_bytes = \"129 KiB\"",
            "max_body = \"big\"",
            "max_body = -1",
            "head_time = \"0s\"",
            "head_time = \"2h\"",
            "head_time = 10",
            "stall_time = \"999ms\"",
            "stall_time = \"61m\"",
            "requests_per_minute = 5",
        ];
        for keys in bad {
            let rejected = parse(&format!("[limits]\n{keys}\n")).unwrap_err();
            let lines: Vec<_> = rejected.mistakes().iter().filter_map(Mistake::line).collect();
            assert_eq!(lines, [1 + keys.lines().count()], "{keys}: {rejected}");
        }
        let all = "[limits]\nheader_count = 1\nhead_time = \"9h\"\ncolour = 1\n";
        assert_eq!(parse(all).unwrap_err().mistakes().len(), 3);
    }

    #[test]
    fn http2_and_http3_take_in_a_little_more_than_is_allowed() {
        let limits = Limits::default();
        assert!(limits.field_section() > limits.header_bytes + OF_A_FIELD * limits.header_count);
    }
}
