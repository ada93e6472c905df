//! What a scrape shows.

use super::*;

fn standing() -> Standing {
    let expiries = vec![("a.example.com".to_owned(), 1_800_000_000)];
    Standing { sessions: 2, peers: 3, expiries, orders: (4, 1), between_peers: (5, 700) }
}

fn ended(status: u16, code: Option<&'static str>) -> Ended<'static> {
    Ended {
        protocol: Protocol::Http2,
        status,
        code,
        hostname: Some("*.example.com"),
        first_byte: Some(Duration::from_millis(3)),
        duration: Some(Duration::from_secs(2)),
        received: 10,
        sent: 20,
    }
}

/// The value of a line, by its name and labels.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[test]
fn a_request_moves_its_numbers() {
    let metrics = Metrics::new(["no-route", "visitor-gone"]);
    metrics.request_began();
    metrics.request_began();
    metrics.request_ended(&ended(404, Some("no-route")));
    let text = metrics.text(&standing());
    for (series, expected) in [
        ("adit_requests_total{protocol=\"HTTP/2.0\",class=\"4xx\"}", 1.0),
        ("adit_requests_total{protocol=\"HTTP/1.1\",class=\"2xx\"}", 0.0),
        ("adit_refused_requests_total{code=\"no-route\"}", 1.0),
        ("adit_refused_requests_total{code=\"visitor-gone\"}", 0.0),
        ("adit_hostname_requests_total{hostname=\"*.example.com\"}", 1.0),
        ("adit_requests_in_flight", 1.0),
        ("adit_certificate_orders_total{outcome=\"issued\"}", 4.0),
        ("adit_certificate_expiry_timestamp_seconds{hostname=\"a.example.com\"}", 1_800_000_000.0),
        ("adit_request_first_byte_seconds_bucket{le=\"0.0025\"}", 0.0),
        ("adit_request_first_byte_seconds_bucket{le=\"0.005\"}", 1.0),
        ("adit_request_duration_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("adit_request_duration_seconds_sum", 2.0),
        ("adit_received_bytes_total", 10.0),
        ("adit_sent_bytes_total", 20.0),
        ("adit_sessions_open", 2.0),
        ("adit_peers_enrolled", 3.0),
        ("adit_peer_streams_open", 5.0),
        ("adit_peer_bytes_total", 700.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn what_is_open_goes_up_and_down() {
    let metrics = Metrics::new([]);
    let (tcp, _quic) = (metrics.connection_open(Transport::Tcp), metrics.connection_open(Transport::Quic));
    let open = |transport: &str| {
        value(
            &metrics.text(&standing()),
            &format!("adit_visitor_connections_open{{transport=\"{transport}\"}}"),
        )
    };
    assert_eq!((open("tcp"), open("quic")), (Some(1.0), Some(1.0)));
    drop(tcp);
    assert_eq!((open("tcp"), open("quic")), (Some(0.0), Some(1.0)));
}

#[test]
fn an_unknown_code_is_counted_as_other() {
    let metrics = Metrics::new(["no-route"]);
    metrics.request_began();
    metrics.request_ended(&ended(500, Some("new")));
    assert_eq!(value(&metrics.text(&standing()), "adit_refused_requests_total{code=\"other\"}"), Some(1.0));
}

#[test]
fn hostnames_are_bounded() {
    let metrics = Metrics::new([]);
    for number in 0..1100 {
        metrics.request_began();
        metrics
            .request_ended(&Ended { hostname: Some(&format!("h{number}.example.com")), ..ended(200, None) });
    }
    let text = metrics.text(&standing());
    assert_eq!(text.lines().filter(|line| line.starts_with("adit_hostname_requests_total{")).count(), 1001);
    assert_eq!(value(&text, "adit_hostname_requests_total{hostname=\"other\"}"), Some(100.0));
}

#[test]
fn every_name_has_help_and_a_unit_that_prometheus_knows() {
    let text = Metrics::new(["a"]).text(&standing());
    let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(types.len(), 23, "{types:?}");
    assert!(types.iter().all(|line| line.starts_with("adit_")), "{types:?}");
    assert_eq!(text.lines().filter(|line| line.starts_with("# HELP ")).count(), types.len());
}
