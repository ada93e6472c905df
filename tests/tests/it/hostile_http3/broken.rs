//! Frames where they do not belong, field sections that cannot be decoded, streams that are none; and datagrams that are
//! no QUIC. The connection or the stream ends; nothing reaches the origin, and the relay goes on.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use quinn::Connection;
use tests::hostile::Lane;

use super::ask;
use super::wire::{DATA, HEADERS, SETTINGS, begin, connect, frame, section, varint};
use crate::downgrade::{Dealt, HOST, NEXT};

const REQUESTS: usize = 22;
const STREAMS: usize = 13;

/// On a request's stream.
fn requests() -> Vec<Vec<u8>> {
    let good = section(&NEXT);
    let head = || frame(HEADERS, &good);
    let after_good = |bytes: &[u8]| frame(HEADERS, &[&good[..], bytes].concat());
    vec![
        // No head in front.
        frame(DATA, b"abc"),
        [frame(DATA, b"abc"), head()].concat(),
        vec![],
        frame(HEADERS, &[]),
        frame(HEADERS, &[0]),
        // Frames of other streams.
        [frame(SETTINGS, &[]), head()].concat(),
        [frame(7, &[0]), head()].concat(),
        [frame(3, &[0]), head()].concat(),
        [frame(13, &[0]), head()].concat(),
        // Frames of HTTP/2.
        [frame(2, &[0; 5]), head()].concat(),
        [frame(6, &[0; 8]), head()].concat(),
        [frame(8, &[0; 4]), head()].concat(),
        [frame(9, &[]), head()].concat(),
        // Frames that break off.
        head()[..10].to_vec(),
        [varint(HEADERS), varint(1 << 40), good.clone()].concat(),
        // A dynamic table that nobody allowed.
        after_good(&[0x80]),
        after_good(&[0x10]),
        after_good(&[0x40, 1, b'y']),
        // No such entry; numbers that overflow; texts that break off.
        after_good(&[0xff, 0xff, 0xff, 0x7f]),
        after_good(&[0x2f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        after_good(&[0x21, b'x', 0x7f]),
        after_good(&[0x21, b'x', 0x05, b'y']),
    ]
}

/// On streams that only go one way, each beside the control stream.
fn streams() -> Vec<Vec<u8>> {
    vec![
        // A second control stream; control streams that begin otherwise.
        [varint(0), frame(SETTINGS, &[])].concat(),
        [varint(0), frame(DATA, b"abc")].concat(),
        // A push stream, which only a relay may open.
        [varint(1), varint(0)].concat(),
        // Instructions for a table that nobody has.
        [varint(2), vec![0x3f, 0xff, 0xff, 0xff, 0x7f]].concat(),
        [varint(2), vec![0x20], vec![0x41, b'x', 1, b'y']].concat(),
        [varint(2), vec![0xc1, 1, b'y']].concat(),
        [varint(2), vec![0xff; 100]].concat(),
        [varint(3), vec![0x81]].concat(),
        [varint(3), vec![0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat(),
        // Kinds that nobody knows are ignored.
        [varint(0x21), vec![7; 5000]].concat(),
        [varint(0x3fff_ffff_ffff_ffff), vec![7; 100]].concat(),
        vec![0xc0],
        vec![],
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_requests() {
    let lane = Lane::new(HOST).await;
    let (cases, mut wrong) = (requests(), Vec::new());
    for case in &cases {
        let (_endpoint, connection) = connect(&lane.relay, HOST).await;
        let _control = begin(&connection).await;
        let dealt = ask(&connection, case).await;
        if !matches!(dealt, Dealt::Reset(_) | Dealt::Ended | Dealt::Answered(400..500)) {
            wrong.push(format!("{dealt:?}: {case:02x?}"));
        }
        assert_eq!(lane.visitor.get(HOST, "/next").await.status, 200, "{case:02x?}");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    lane.tape.settled().await;
    assert_eq!((cases.len(), lane.tape.take().len()), (REQUESTS, REQUESTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_streams() {
    let lane = Lane::new(HOST).await;
    let cases = streams();
    for case in &cases {
        let (_endpoint, connection) = connect(&lane.relay, HOST).await;
        let _control = begin(&connection).await;
        one_way(&connection, case).await;
        // Answered or not, the relay goes on.
        let _dealt = ask(&connection, &frame(HEADERS, &section(&NEXT))).await;
        assert_eq!(lane.visitor.get(HOST, "/next").await.status, 200, "{case:02x?}");
    }
    assert_eq!(cases.len(), STREAMS);
}

async fn one_way(connection: &Connection, bytes: &[u8]) {
    let Ok(mut send) = connection.open_uni().await else { return };
    let _refused = send.write_all(bytes).await.is_ok() && send.finish().is_ok();
}

/// Datagrams that begin as QUIC's do: long and short headers, all versions, every length.
#[tokio::test(flavor = "multi_thread")]
async fn junk_datagrams() {
    let lane = Lane::new(HOST).await;
    let (_endpoint, connection) = connect(&lane.relay, HOST).await;
    let _control = begin(&connection).await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    for number in 0..5_000_usize {
        let mut datagram: Vec<u8> = (0..1 + number % 1400).map(|_| random()).collect();
        begin_as_quic(&mut datagram, number);
        socket.send_to(&datagram, lane.relay.https).expect("a datagram can be sent");
    }
    assert_eq!(lane.visitor.get(HOST, "/next").await.status, 200);
    assert_eq!(ask(&connection, &frame(HEADERS, &section(&NEXT))).await, Dealt::Answered(200));
    // Nothing larger than what came goes back to an address that nobody has shown to be its own.
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
    let mut most = 0;
    let mut back = [0; 2048];
    while let Ok(length) = socket.recv(&mut back) {
        most = most.max(length);
    }
    assert!(most <= 1400, "{most}");
    let (_other, fresh) = connect(&lane.relay, HOST).await;
    let _control = begin(&fresh).await;
    assert_eq!(ask(&fresh, &frame(HEADERS, &section(&NEXT))).await, Dealt::Answered(200));
}

/// Makes an Initial, a Handshake, a Retry, another version's packet or a short one of it; some have lengths that lie.
fn begin_as_quic(datagram: &mut [u8], number: usize) {
    let first = [0xc0, 0xe0, 0xf0, 0xc3, 0x40, 0x7f][number % 6];
    datagram[0] = first;
    if datagram.len() > 24 && first & 0x80 != 0 {
        let version: [u8; 4] =
            [[0, 0, 0, 1], [0, 0, 0, 0], [0xff, 0, 0, 29], [0x6b, 0x33, 0x43, 0xcf]][number % 4];
        datagram[1..5].copy_from_slice(&version);
        datagram[5] = [8, 20, 21, 255][number / 4 % 4];
    }
}
