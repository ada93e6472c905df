//! Requests that are begun and thrown away at once, by the visitor or by making the relay do it; and those whom that
//! resembles but who mean no harm.

use std::time::Duration;

use tests::h2_raw::{
    CANCEL, DATA, END_STREAM, Event, Field, GOAWAY, PING, PRIORITY, RawHttp2, frame, headers, reset,
    window_update,
};

use super::{HOST, ONE_AT_A_TIME, Siege, pour};

/// More than any limit on resets.
const MANY: u32 = 20_000;
/// Whoever was sent away comes back, this many times.
const CONNECTIONS: usize = 20;

const HELD: [Field<'_>; 4] =
    [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", HOST.as_bytes()), (b":path", b"/held")];

/// The stream with this number.
fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// One request and what follows it, many times over.
async fn is_ended(name: &str, flags: u8, then: impl Fn(u32) -> Vec<u8>) {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let flooding = async {
        for _ in 0..CONNECTIONS {
            let raw = RawHttp2::connect(&siege.visitor, HOST, &[]).await;
            let pieces = (0..MANY).map(|number| {
                let stream = stream(number);
                [headers(stream, flags, &HELD), then(stream)].concat()
            });
            let ending = pour(raw, false, pieces).await;
            assert!(ending.is_end(), "{name}: {ending:?}");
        }
    };
    siege.during(name, 64, flooding).await;
    siege.work_ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset() {
    is_ended("rapid reset", END_STREAM, |stream| reset(stream, CANCEL)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_you_reset_with_a_window_update_of_nothing() {
    is_ended("WINDOW_UPDATE of 0", END_STREAM, |stream| window_update(stream, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_you_reset_with_a_window_that_overflows() {
    is_ended("window overflow", END_STREAM, |stream| window_update(stream, 0x7fff_ffff)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_you_reset_with_data_after_the_end() {
    is_ended("DATA after the end", END_STREAM, |stream| frame(DATA, 0, stream, b"abc")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_you_reset_with_headers_after_the_end() {
    is_ended("HEADERS after the end", END_STREAM, |stream| headers(stream, END_STREAM, &[(b"x", b"y")]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_you_reset_with_a_stream_that_depends_on_itself() {
    let depends = |stream: u32| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[0]].concat());
    is_ended("PRIORITY on itself", END_STREAM, depends).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_streams_at_once_and_a_reset_for_each() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let raw = RawHttp2::connect(&siege.visitor, HOST, &[]).await;
    let rounds = (0..40_u32).flat_map(|round| {
        let streams = move || (0..200).map(move |number| stream(round * 200 + number));
        let begun = streams().flat_map(|stream| headers(stream, END_STREAM, &HELD)).collect::<Vec<u8>>();
        let ended = streams().flat_map(|stream| reset(stream, CANCEL)).collect::<Vec<u8>>();
        [begun, ended]
    });
    let ending = siege.during("200 at once, reset", 32, pour(raw, false, rounds)).await;
    assert!(ending.is_end(), "{ending:?}");
    siege.work_ends().await;
}

/// As a browser does whose user types into a search box: what was asked for is under way, then nobody wants it. Almost a
/// hundred a second is three times what is promised.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_cancelled_fetches_are_no_flood() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let mut raw = RawHttp2::connect(&siege.visitor, HOST, &[]).await;
    let fetching = async {
        let mut tick = tokio::time::interval(Duration::from_millis(220));
        for round in 0..100_u32 {
            tick.tick().await;
            let streams = || (0..20).map(|number| stream(round * 20 + number));
            let begun: Vec<u8> = streams().flat_map(|stream| headers(stream, END_STREAM, &HELD)).collect();
            raw.send(&[begun, frame(PING, 0, 0, b"begun...")].concat()).await;
            acknowledged(&mut raw).await;
            let ended: Vec<u8> = streams().flat_map(|stream| reset(stream, CANCEL)).collect();
            raw.send(&[ended, frame(PING, 0, 0, b"ended...")].concat()).await;
            acknowledged(&mut raw).await;
        }
        is_answered(&mut raw, stream(2000)).await;
    };
    siege.during("2,000 cancelled fetches", 16, fetching).await;
    siege.work_ends().await;
}

/// The connection is as good as ever.
async fn is_answered(raw: &mut RawHttp2, stream: u32) {
    raw.send(&headers(stream, END_STREAM, &[HELD[0], HELD[1], HELD[2], (b":path", b"/")])).await;
    loop {
        match raw.next().await {
            Event::Frame(frame) if frame.stream == stream => return assert_eq!(frame.status(), Some(200)),
            Event::Frame(frame) => assert_ne!(frame.kind, GOAWAY, "{frame:?}"),
            Event::Closed => panic!("closed"),
        }
    }
}

/// Reads to the next PING's acknowledgement.
async fn acknowledged(raw: &mut RawHttp2) {
    loop {
        match raw.incoming.next().await {
            Event::Frame(frame) if frame.kind == PING => return,
            Event::Frame(frame) => assert_ne!(frame.kind, GOAWAY, "{frame:?}"),
            Event::Closed => panic!("closed"),
        }
    }
}
