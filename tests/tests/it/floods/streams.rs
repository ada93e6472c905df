//! Streams that are opened and then left standing.

use std::time::Duration;

use tests::h2_raw::{END_STREAM, Field, RawHttp2, headers};
use tests::wait::eventually;

use super::{HOST, ONE_AT_A_TIME, SESSION, Siege, pour};

const BIG: [Field<'_>; 4] =
    [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", HOST.as_bytes()), (b":path", b"/big")];
const HELD: [Field<'_>; 4] = [BIG[0], BIG[1], BIG[2], (b":path", b"/held")];
/// The setting of a stream's first window.
const INITIAL_WINDOW: u16 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_streams_with_no_window() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let mut raw = RawHttp2::connect(&siege.visitor, HOST, &[(INITIAL_WINDOW, 0)]).await;
    let holding = async {
        for number in 0..100 {
            raw.send(&headers(2 * number + 1, END_STREAM, &BIG)).await;
        }
        eventually("all are at the origin", async || (siege.work.now() >= 68).then_some(())).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    };
    // The session's window, and what is on its way in each stream; once filled, others wait out the grace.
    siege.during_with("100 streams, no window", SESSION + 150, Duration::from_secs(4), holding).await;
    drop(raw);
    siege.work_ends().await;
}

/// More streams than are allowed: no more than are allowed are worked on.
#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_are_allowed() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let raw = RawHttp2::connect(&siege.visitor, HOST, &[]).await;
    let pieces = (0..2_000_u32).map(|number| headers(2 * number + 1, END_STREAM, &HELD));
    let ending = siege.during("2,000 streams", 32, pour(raw, false, pieces)).await;
    println!("2,000 streams: {ending:?}");
    siege.work_ends().await;
}
