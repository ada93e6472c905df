//! Floods over QUIC: streams that are reset at once, streams that are never used, heads that never end.

use quinn::VarInt;

use super::wire::{HEADERS, begin, connect, frame, section, varint};
use crate::downgrade::{Field, HOST, NEXT};
use crate::floods::{ONE_AT_A_TIME, Siege};

const HELD: [Field; 4] = [NEXT[0], NEXT[1], NEXT[2], (":path", "/held")];
const MANY: usize = 5_000;

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let (_endpoint, connection) = connect(&siege.relay, HOST).await;
    let _control = begin(&connection).await;
    let head = frame(HEADERS, &section(&HELD));
    let flooding = async {
        for number in 0..MANY {
            let Ok((mut send, mut recv)) = connection.open_bi().await else { return number };
            if send.write_all(&head).await.is_err() {
                return number;
            }
            let cancelled = VarInt::from_u32(0x10c);
            let _ended = (send.reset(cancelled), recv.stop(cancelled));
        }
        MANY
    };
    let begun = siege.during("h3 rapid reset", 64, flooding).await;
    println!("h3 rapid reset: {begun} streams, then {:?}", connection.close_reason());
    assert!(begun < MANY && connection.close_reason().is_some());
    siege.work_ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_on_which_nothing_comes() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let (_endpoint, connection) = connect(&siege.relay, HOST).await;
    let _control = begin(&connection).await;
    let holding = async {
        let mut all = Vec::new();
        let opening = async {
            while let Ok((mut send, recv)) = connection.open_bi().await {
                let _gone = send.write_all(&varint(HEADERS)).await;
                all.push((send, recv));
            }
        };
        let _full = tokio::time::timeout(std::time::Duration::from_secs(3), opening).await;
        all.len()
    };
    let opened = siege.during("h3 silent streams", 32, holding).await;
    assert!(opened <= crate::floods::STREAMS, "{opened}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_unknown_frames_that_never_end() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let (_endpoint, connection) = connect(&siege.relay, HOST).await;
    let _control = begin(&connection).await;
    let flooding = async {
        let piece = vec![b'y'; 64 << 10];
        for kind in [HEADERS, 0x21] {
            let Ok((mut send, _recv)) = connection.open_bi().await else { return };
            let begun = [varint(kind), varint(1 << 32)].concat();
            let pouring = async {
                let mut going = send.write_all(&begun).await;
                while going.is_ok() {
                    going = send.write_all(&piece).await;
                }
            };
            let _stopped_or_full = tokio::time::timeout(std::time::Duration::from_secs(2), pouring).await;
        }
    };
    siege.during("h3 endless frames", 32, flooding).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_at_once_that_wait_for_nothing() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let (_endpoint, connection) = connect(&siege.relay, HOST).await;
    let _control = begin(&connection).await;
    let head = frame(HEADERS, &section(&HELD));
    let holding = async {
        let mut all = Vec::new();
        let opening = async {
            while let Ok((mut send, recv)) = connection.open_bi().await {
                let _asked = send.write_all(&head).await.is_ok() && send.finish().is_ok();
                all.push((send, recv));
            }
        };
        let _full = tokio::time::timeout(std::time::Duration::from_secs(3), opening).await;
        all.len()
    };
    let opened = siege.during("h3 held streams", 64, holding).await;
    println!("h3 held streams: {opened}");
    connection.close(VarInt::from_u32(0x100), b"");
    siege.work_ends().await;
}
