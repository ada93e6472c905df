//! A proxy in front that speaks the PROXY protocol: its word counts, and nobody else's.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use tests::bed::{Agent, Relay};
use tests::deploy::with;
use tests::raw::{Front, Kind, read_message};
use tests::tape::Tape;
use tests::tls::Tls;
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOSTNAME: &str = "a.example.com";
pub(crate) const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n";
const V2_LOCAL: &[u8] = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00";
/// From 2001:db8::7.
pub(crate) const V2: &[u8] = b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x67\x01\xbb";

/// A relay behind proxies of a network, with further keys of `[edge]`.
async fn bed(edge: &str, expose: &str) -> (Tape, Relay, Agent) {
    let (tape, relay) = (Tape::start().await, Relay::with_edge(edge));
    let config = with(HOSTNAME, &format!("http://{}", tape.origin.address), "", expose);
    let agent = Agent::running(&relay, &[HOSTNAME], &config);
    (tape, relay, agent)
}

pub(crate) const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]\nproxy_protocol = true\n";
const ELSEWHERE: &str = "trusted_proxies = [\"192.0.2.0/24\"]\nproxy_protocol = true\n";

/// A connection that begins with these bytes, in pieces.
pub(crate) async fn begin(address: SocketAddr, bytes: &[u8], piece: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("TCP");
    stream.set_nodelay(true).expect("a socket");
    for piece in bytes.chunks(piece) {
        let _refused_by_then = stream.write_all(piece).await;
        tokio::task::yield_now().await;
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_who_the_visitor_is() {
    let (tape, relay, _agent) = bed(TRUSTED, "").await;
    let tls = Tls::of(&relay, &[&TLS13, &TLS12]);
    let mut ran = 0;
    for (header, expected) in [
        (V1, "203.0.113.7"),
        (V2, "2001:db8::7"),
        (V2_LOCAL, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        for piece in [1, 7, 512] {
            let stream = begin(relay.https, header, piece).await;
            let visit = tls.get_over(stream, HOSTNAME, HOSTNAME).await.expect("TLS");
            let arrived = tape.only();
            assert_eq!((visit.status(), arrived.one("x-forwarded-for")), (200, expected));
            assert_eq!(arrived.one("x-real-ip"), expected);
            ran += 1;
        }
        relay.process.wait_for_log(expected);
    }
    assert_eq!(ran, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_says_nothing_or_nonsense_reaches_nobody() {
    let (tape, relay, _agent) = bed(TRUSTED, "").await;
    let tls = Tls::of(&relay, &[&TLS13, &TLS12]);
    assert!(tls.visit(HOSTNAME).await.is_err(), "no header");
    let twice = [V1, V1].concat();
    let datagram = [&V2[..13], b"\x22", &V2[14..]].concat();
    let too_long = [&V2[..14], b"\xff\xff", &[0; 5000]].concat();
    let cases: [&[u8]; 6] = [
        &twice,
        &datagram,
        &too_long,
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n",
        b"GET / HTTP/1.1\r\nhost: a.example.com\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    let mut refused = 0;
    for bytes in cases {
        let stream = begin(relay.https, bytes, 4096).await;
        assert!(tls.get_over(stream, HOSTNAME, HOSTNAME).await.is_err(), "{bytes:?}");
        refused += 1;
    }
    assert_eq!((refused, tape.connections()), (6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_elsewhere_nobody_is_believed_and_nobody_is_asked() {
    let (tape, relay, _agent) = bed(ELSEWHERE, "").await;
    let tls = Tls::of(&relay, &[&TLS13, &TLS12]);
    for header in [V1, V2] {
        let stream = begin(relay.https, header, 4096).await;
        assert!(tls.get_over(stream, HOSTNAME, HOSTNAME).await.is_err());
        let answer = plain(&relay, header).await;
        assert_ne!(answer.map_or(0, |(status, _)| status), 301);
    }
    assert_eq!(tape.connections(), 0);
    assert_eq!(tls.visit(HOSTNAME).await.expect("without one").status(), 200);
    assert_eq!(tape.only().one("x-forwarded-for"), "127.0.0.1");
}

/// Port 80: the status and `Location`, where there is a response.
async fn plain(relay: &Relay, header: &[u8]) -> Option<(u16, String)> {
    let mut stream = begin(relay.http, header, 4096).await;
    let request = format!("GET /x HTTP/1.1\r\nHost: {HOSTNAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut response = Vec::new();
    let _reset_counts_too = stream.read_to_end(&mut response).await;
    match read_message(&response, Kind::Response) {
        Front::Whole(message, _) => Some((message.status(), message.one("location").to_owned())),
        Front::Part | Front::Unclear(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn port_80_asks_for_the_header_too() {
    let (_tape, relay, _agent) = bed(TRUSTED, "").await;
    assert_eq!(plain(&relay, V1).await.expect("a response").0, 301);
    relay.process.wait_for_log("203.0.113.7");
    assert_eq!(plain(&relay, V2).await.expect("a response").0, 301);
    assert_eq!(plain(&relay, b"").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_come_in_is_decided_by_the_visitors_address() {
    let (tape, relay, _agent) = bed(TRUSTED, "allow_from = [\"203.0.113.0/24\"]").await;
    let tls = Tls::of(&relay, &[&TLS13, &TLS12]);
    for (header, status) in [(V1, 200), (V2, 403), (V2_LOCAL, 403)] {
        let stream = begin(relay.https, header, 4096).await;
        assert_eq!(tls.get_over(stream, HOSTNAME, HOSTNAME).await.expect("TLS").status(), status);
    }
    assert_eq!(tape.only().one("x-forwarded-for"), "203.0.113.7");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_header_is_gone_after_the_deadline() {
    let (_tape, relay, _agent) = bed(TRUSTED, "").await;
    let stand_still = async |address, bytes| {
        let (begun, mut stream) = (Instant::now(), begin(address, bytes, 4096).await);
        let _reset_counts_too = stream.read_to_end(&mut Vec::new()).await;
        begun.elapsed()
    };
    // After a whole header what is left of the same deadline is for TLS.
    let https = futures_util::future::join3(
        stand_still(relay.https, b"PROXY TCP4 203.0"),
        stand_still(relay.https, &V2[..20]),
        stand_still(relay.https, V1),
    );
    let ((one, two, three), four) = tokio::join!(https, stand_still(relay.http, b"PROXY"));
    for lasted in [one, two, three, four] {
        assert!((Duration::from_secs(8)..Duration::from_secs(13)).contains(&lasted), "{lasted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_turned_on_and_off_while_the_relay_runs() {
    let (tape, relay, _agent) = bed("trusted_proxies = [\"127.0.0.0/8\"]\n", "").await;
    let tls = Tls::of(&relay, &[&TLS13, &TLS12]);
    assert_eq!(tls.visit(HOSTNAME).await.expect("off").status(), 200);
    let file = relay.config_file();
    let off = fs::read_to_string(&file).expect("the configuration");
    let on = off.replace("[edge]\n", "[edge]\nproxy_protocol = true\n");
    fs::write(&file, &on).expect("the configuration can be written");
    let with_header = async || {
        let stream = begin(relay.https, V1, 4096).await;
        tls.get_over(stream, HOSTNAME, HOSTNAME).await.ok().filter(|visit| visit.status() == 200)
    };
    let _visit = eventually("it is on", with_header).await;
    let arrived = tape.take();
    assert_eq!(arrived.last().expect("a request").one("x-forwarded-for"), "203.0.113.7");
    assert!(tls.visit(HOSTNAME).await.is_err());
    fs::write(&file, &off).expect("the configuration can be written");
    let without = async || tls.visit(HOSTNAME).await.ok().filter(|visit| visit.status() == 200);
    let _visit = eventually("it is off", without).await;
}
