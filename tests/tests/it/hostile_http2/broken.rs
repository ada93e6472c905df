//! Frames that are none, frames where they do not belong, field blocks that cannot be decoded: the connection ends, or the
//! stream; nothing reaches the origin, and the relay goes on.

use tests::h2_raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Event, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM,
    RawHttp2, SETTINGS, WINDOW_UPDATE, frame,
};
use tests::hostile::Lane;

use super::coded;
use crate::downgrade::{HOST, NEXT};

const COUNT: usize = 51;
const PUSH_PROMISE: u8 = 5;
const PADDED: u8 = 8;

/// A block, sent as all of a head.
fn of_block(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
}

/// Good fields before bytes that are none.
fn after_good(bytes: &[u8]) -> Vec<u8> {
    of_block(&[&coded(&NEXT)[..], bytes].concat())
}

fn blocks() -> Vec<Vec<u8>> {
    vec![
        // No such entry.
        after_good(&[0x80]),
        after_good(&[0xff, 0x00]),
        after_good(&[0xff, 0xff, 0xff, 0x7f]),
        // Numbers that overflow or do not end.
        after_good(&[0xff; 20]),
        after_good(&[0x10, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        after_good(&[0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        // Texts that end too early.
        after_good(&[0x10]),
        after_good(&[0x10, 0x05, b'x']),
        after_good(&[0x10, 0x01, b'x']),
        after_good(&[0x10, 0x01, b'x', 0x7f]),
        // Huffman: the end sign, padding with zeros, padding of a byte.
        after_good(&[0x10, 0x01, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
        after_good(&[0x10, 0x01, b'x', 0x81, 0x00]),
        after_good(&[0x10, 0x01, b'x', 0x82, 0x1f, 0xff]),
        // The table's size: beyond the setting, and after a field.
        of_block(&[&[0x3f, 0xff, 0xff, 0x7f][..], &coded(&NEXT)].concat()),
        after_good(&[0x20]),
    ]
}

fn misplaced() -> Vec<Vec<u8>> {
    let good = coded(&NEXT);
    let open = frame(HEADERS, END_HEADERS, 1, &good[..]);
    let half = frame(HEADERS, END_STREAM, 1, &good[..10]);
    let then = |first: &[u8], second: Vec<u8>| [first, &second].concat();
    vec![
        frame(HEADERS, END_HEADERS | END_STREAM, 0, &good),
        frame(HEADERS, END_HEADERS | END_STREAM, 2, &good),
        frame(DATA, 0, 0, b"abc"),
        frame(DATA, END_STREAM, 1, b"abc"),
        frame(DATA, END_STREAM, 2, b"abc"),
        frame(CONTINUATION, END_HEADERS, 1, &good),
        frame(CONTINUATION, END_HEADERS, 0, &good),
        frame(RST_STREAM, 0, 0, &[0; 4]),
        frame(RST_STREAM, 0, 1, &[0; 4]),
        frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], &good[..]].concat()),
        frame(SETTINGS, 0, 1, &[]),
        frame(PING, 0, 1, &[0; 8]),
        frame(GOAWAY, 0, 1, &[0; 8]),
        frame(PRIORITY, 0, 0, &[0; 5]),
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        // Something else within a field block.
        then(&half, frame(DATA, END_STREAM, 1, b"")),
        then(&half, frame(PING, 0, 0, &[0; 8])),
        then(&half, frame(HEADERS, END_HEADERS | END_STREAM, 3, &good)),
        then(&half, frame(CONTINUATION, END_HEADERS, 3, &good[10..])),
        then(&half, frame(99, 0, 0, b"")),
        // Trailers that do not end the stream.
        then(&open, frame(HEADERS, END_HEADERS, 1, &coded(&[("x", "y")]))),
    ]
}

fn misshapen() -> Vec<Vec<u8>> {
    let good = coded(&NEXT);
    vec![
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
        frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
        frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 0]),
        frame(SETTINGS, 0, 0, &[0, 5, 0xff, 0xff, 0xff, 0xff]),
        frame(PING, 0, 0, &[0; 7]),
        frame(PING, 0, 0, &[0; 9]),
        frame(GOAWAY, 0, 0, &[0; 7]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &[&[255], &good[..]].concat()),
        frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &[]),
        // Larger than was agreed.
        frame(DATA, 0, 1, &vec![0; 20_000]),
    ]
}

/// The connection, or the one stream of the case, is over.
async fn is_refused(raw: &mut RawHttp2) -> bool {
    loop {
        match raw.next().await {
            Event::Closed => return true,
            Event::Frame(frame) if matches!(frame.kind, RST_STREAM | GOAWAY) => return true,
            Event::Frame(frame) if frame.kind == HEADERS => return matches!(frame.status(), Some(400..500)),
            Event::Frame(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames() {
    let lane = Lane::new(HOST).await;
    let cases = [blocks(), misplaced(), misshapen()].concat();
    for case in &cases {
        let mut raw = RawHttp2::connect(&lane.visitor, HOST, &[]).await;
        raw.send(case).await;
        assert!(is_refused(&mut raw).await, "{case:02x?}");
        assert_eq!(lane.visitor.get(HOST, "/next").await.status, 200, "{case:02x?}");
    }
    lane.tape.settled().await;
    let requests = lane.tape.take();
    assert!(requests.iter().all(|request| request.target() == "/next"));
    assert_eq!((cases.len(), requests.len()), (COUNT, COUNT));
}
