//! Frames that cost little to send: settings, pings, priorities, empty data, windows; and field blocks that grow when they
//! are decoded, or never end.

use tests::h2_raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Event, Field, GOAWAY, HEADERS, PING, PRIORITY,
    RST_STREAM, RawHttp2, SETTINGS, block, frame, headers, number, window_update,
};

use super::{Ending, HOST, ONE_AT_A_TIME, Siege, pour};

const MIB: usize = 16;
/// Frames of nine bytes and little more.
const MANY: usize = 1_000_000;
/// In one write.
const AT_ONCE: usize = 500;

const PLAIN: [Field<'_>; 4] =
    [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", HOST.as_bytes()), (b":path", b"/")];
const HELD: [Field<'_>; 4] = [(b":method", b"POST"), PLAIN[1], PLAIN[2], (b":path", b"/held")];

/// The same frame, many times over, after others.
async fn flood(name: &str, deaf: bool, first: Vec<u8>, again: &[u8]) -> Ending {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let raw = RawHttp2::connect(&siege.visitor, HOST, &[]).await;
    let pieces = std::iter::once(first).chain((0..MANY / AT_ONCE).map(|_| again.repeat(AT_ONCE)));
    let ending = siege.during(name, MIB, pour(raw, deaf, pieces)).await;
    siege.work_ends().await;
    println!("{name}: {ending:?}");
    ending
}

#[tokio::test(flavor = "multi_thread")]
async fn settings() {
    let again = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    flood("SETTINGS", false, Vec::new(), &again).await;
    flood("SETTINGS, unread", true, Vec::new(), &again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings() {
    let again = frame(PING, 0, 0, &[1; 8]);
    flood("PING", false, Vec::new(), &again).await;
    flood("PING, unread", true, Vec::new(), &again).await;
    flood("PING acknowledged unasked", false, Vec::new(), &frame(PING, ACK, 0, &[1; 8])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities() {
    flood("PRIORITY", false, Vec::new(), &frame(PRIORITY, 0, 1001, &[0, 0, 0, 3, 9])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows() {
    flood("WINDOW_UPDATE of 1", false, Vec::new(), &window_update(0, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data() {
    let ending = flood("empty DATA", false, headers(1, 0, &HELD), &frame(DATA, 0, 1, b"")).await;
    assert!(ending.is_end(), "{ending:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_frames() {
    flood("unknown frames", false, Vec::new(), &frame(99, 0, 0, b"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn continuations() {
    let begun = || frame(HEADERS, END_STREAM, 1, &block(&PLAIN));
    let ending = flood("empty CONTINUATION", false, begun(), &frame(CONTINUATION, 0, 1, b"")).await;
    assert!(ending.is_end(), "{ending:?}");
    let field = frame(CONTINUATION, 0, 1, &block(&[(b"x", b"y")]));
    let ending = flood("CONTINUATION", false, begun(), &field).await;
    assert!(ending.is_end(), "{ending:?}");
    let long = frame(CONTINUATION, 0, 1, &block(&[(b"x", &[b'y'; 16_000])]));
    let ending = flood("long CONTINUATION", false, begun(), &long).await;
    assert!(ending.is_end(), "{ending:?}");
}

/// One long field in the table, named sixteen thousand times: 64 MB out of 20 KB.
fn bomb() -> Vec<u8> {
    let mut block = block(&PLAIN);
    block.extend([0x40, 1, b'x']);
    number(&mut block, 7, 4000);
    block.extend([b'y'; 4000]);
    block.extend([0xbe; 10_000]);
    block
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_grows_when_it_is_decoded() {
    let bombs = (0..1000_u32).map(|number| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &bomb()));
    refused("HPACK bomb", bombs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_fields_than_anybody_has() {
    let lists = (0..200_u32).map(|number| {
        let stream = 2 * number + 1;
        let field: Field<'_> = (b"x", &[b'y'; 1000]);
        let piece = block(&[field; 15]);
        let middle = (0..5).flat_map(|_| frame(CONTINUATION, 0, stream, &piece));
        let mut all = frame(HEADERS, END_STREAM, stream, &block(&PLAIN));
        all.extend(middle);
        all.extend(frame(CONTINUATION, END_HEADERS, stream, &[]));
        all
    });
    refused("75 KB of fields", lists).await;
}

/// Nothing of it is answered but with 431 or a reset; mostly the connection ends.
async fn refused(name: &str, pieces: impl Iterator<Item = Vec<u8>>) {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let mut raw = RawHttp2::connect(&siege.visitor, HOST, &[]).await;
    let flooding = async {
        for piece in pieces {
            if !raw.send(&piece).await {
                break;
            }
        }
        raw.send(&frame(PING, 0, 0, b"the end.")).await;
        let mut refused = 0;
        loop {
            match raw.incoming.next().await {
                Event::Closed => break,
                Event::Frame(frame) if frame.kind == GOAWAY || frame.kind == PING => break,
                Event::Frame(frame) if frame.kind == RST_STREAM => refused += 1,
                Event::Frame(frame) if frame.kind == HEADERS => {
                    assert_eq!(frame.status(), Some(431), "{frame:?}");
                    refused += 1;
                }
                Event::Frame(_) => {}
            }
        }
        println!("{name}: {refused} refused before the end");
    };
    siege.during(name, MIB, flooding).await;
    siege.work_ends().await;
}
