//! The adapter over an in-memory connection: what it passes, when it wakes, when it loses patience. Virtual time.

mod behind_hyper;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, timeout};

use super::{GuardHandle, GuardLimits, Guarded};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n";

struct Pair {
    visitor: DuplexStream,
    guarded: Guarded<DuplexStream>,
    handle: GuardHandle,
}

fn pair() -> Pair {
    let (visitor, relay) = tokio::io::duplex(1 << 20);
    let (guarded, handle) = Guarded::new(relay, GuardLimits::default());
    Pair { visitor, guarded, handle }
}

impl Pair {
    async fn send(&mut self, bytes: &[u8]) {
        self.visitor.write_all(bytes).await.unwrap();
    }

    /// What one read gives; empty at end-of-file.
    async fn read(&mut self) -> Vec<u8> {
        let mut space = vec![0; 64 * 1024];
        let len = self.guarded.read(&mut space).await.unwrap();
        space.truncate(len);
        space
    }

    /// What one read gives, and how many seconds it waited for that.
    async fn read_timed(&mut self) -> (String, u64) {
        let start = Instant::now();
        let bytes = self.read().await;
        (String::from_utf8(bytes).unwrap(), start.elapsed().as_secs())
    }

    async fn stays_silent(&mut self, time: Duration) -> bool {
        timeout(time, self.guarded.read(&mut [0])).await.is_err()
    }
}

fn refusal(code: &str) -> String {
    format!("ADIT-REFUSE /{code} HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n")
}

const A_MOMENT: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_head_passes_whole_and_leaves_nothing_behind() {
    let mut pair = pair();
    for byte in GET {
        assert!(pair.stays_silent(A_MOMENT).await);
        pair.send(&[*byte]).await;
    }
    assert_eq!(pair.read().await, GET);
    assert!(pair.guarded.stash.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_small_buffer_gets_everything_in_order() {
    let mut pair = pair();
    let body = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789";
    let sent = [GET, body, GET].concat();
    pair.send(&sent).await;
    let mut seen = Vec::new();
    while seen.len() < sent.len() {
        let mut space = [0; 7];
        let len = pair.guarded.read(&mut space).await.unwrap();
        seen.extend_from_slice(&space[..len]);
    }
    assert_eq!(seen, sent);
    assert!(pair.guarded.stash.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_long_body_is_not_held_back() {
    let mut pair = pair();
    pair.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await;
    pair.read().await;
    let mut left = 1_000_000;
    while left > 0 {
        let piece = vec![b'x'; left.min(50_000)];
        pair.send(&piece).await;
        assert_eq!(pair.read().await.len(), piece.len());
        assert!(pair.guarded.stash.is_empty());
        left -= piece.len();
    }
    pair.send(GET).await;
    assert_eq!(pair.read().await, GET);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_takes_the_place_of_the_offending_head() {
    let mut pair = pair();
    pair.send(&[GET, b"GET / HTTP/1.1\r\n\r\n", GET].concat()).await;
    assert_eq!(pair.read().await, GET);
    assert_eq!(pair.read_timed().await, (refusal("bad_host"), 0));
    pair.send(GET).await;
    assert_eq!(pair.read_timed().await, (String::new(), 75));
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_fails_for_good() {
    let mut pair = pair();
    pair.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n").await;
    assert!(pair.read().await.ends_with(b"3\r\nabc\r\n"));
    for _ in 0..2 {
        let error = pair.guarded.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "malformed chunk size or extension");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_head_at_the_end_is_dropped() {
    let mut pair = pair();
    pair.send(&GET[..9]).await;
    pair.visitor.shutdown().await.unwrap();
    assert_eq!(pair.read_timed().await, (String::new(), 0));
    assert_eq!(pair.read_timed().await, (String::new(), 0));
}

#[tokio::test(start_paused = true)]
async fn an_accepted_upgrade_opens_the_way() {
    let mut pair = pair();
    pair.send(&[UPGRADE, b"\0\x01frame"].concat()).await;
    assert_eq!(pair.read().await, UPGRADE);
    pair.handle.request_started();
    assert!(pair.stays_silent(Duration::from_secs(3600)).await);
    let Pair { mut guarded, handle, visitor: _visitor } = pair;
    let mut space = [0; 16];
    let verdict = async {
        tokio::task::yield_now().await;
        handle.upgrade_accepted();
        handle.request_finished();
        // Too late to take it back.
        handle.upgrade_refused();
    };
    let (read, ()) = tokio::join!(guarded.read(&mut space), verdict);
    assert_eq!(&space[..read.unwrap()], b"\0\x01frame");
    assert!(timeout(Duration::from_secs(86_400), guarded.read(&mut space)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_is_followed_by_the_next_head() {
    let mut pair = pair();
    pair.send(&[UPGRADE, GET].concat()).await;
    assert_eq!(pair.read().await, UPGRADE);
    pair.handle.request_started();
    let handle = pair.handle.clone();
    let verdict = async {
        tokio::task::yield_now().await;
        handle.upgrade_refused();
    };
    let (next, ()) = tokio::join!(pair.read(), verdict);
    assert_eq!(next, GET);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_wakes_a_reader_on_another_task() {
    for accepted in [true, false] {
        let mut pair = pair();
        pair.send(&[UPGRADE, GET].concat()).await;
        assert_eq!(pair.read().await, UPGRADE);
        let handle = pair.handle.clone();
        handle.request_started();
        let mut reader = JoinSet::new();
        reader.spawn(async move { pair.read_timed().await });
        tokio::task::yield_now().await;
        if accepted {
            handle.upgrade_accepted()
        } else {
            handle.upgrade_refused()
        }
        let read = reader.join_next().await.unwrap().unwrap();
        assert_eq!(read, (String::from_utf8_lossy(GET).into_owned(), 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_word_on_an_earlier_request_is_no_verdict() {
    let mut pair = pair();
    pair.send(&[GET, UPGRADE, GET].concat()).await;
    assert_eq!(pair.read().await, [GET, UPGRADE].concat());
    pair.handle.request_started();
    pair.handle.upgrade_refused();
    pair.handle.upgrade_accepted();
    assert!(pair.stays_silent(A_MOMENT).await);
    pair.handle.request_finished();
    pair.handle.request_started();
    pair.handle.upgrade_refused();
    assert_eq!(pair.read().await, GET);
}

#[tokio::test(start_paused = true)]
async fn silence_from_the_start_ends_the_connection() {
    assert_eq!(pair().read_timed().await, (String::new(), 10));
    let mut blank = pair();
    blank.send(b"\r\n").await;
    assert_eq!(blank.read_timed().await, (String::new(), 10));
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_answered() {
    let mut pair = pair();
    advance(Duration::from_secs(9)).await;
    pair.send(b"G").await;
    assert!(pair.stays_silent(Duration::from_secs(9)).await);
    pair.send(b"E").await;
    assert_eq!(pair.read_timed().await, (refusal("head_timeout"), 1));
}

#[tokio::test(start_paused = true)]
async fn the_next_head_has_its_own_deadline() {
    let mut pair = pair();
    pair.send(&[GET, b"GE"].concat()).await;
    assert_eq!(pair.read().await, GET);
    pair.handle.request_started();
    assert!(pair.stays_silent(Duration::from_secs(9)).await);
    pair.send(&[b"T", &GET[3..]].concat()).await;
    assert!(pair.read().await.starts_with(b"GET"));
}

#[tokio::test(start_paused = true)]
async fn idle_time_runs_between_requests_only() {
    let mut pair = pair();
    pair.send(GET).await;
    assert_eq!(pair.read().await, GET);
    assert!(pair.stays_silent(Duration::from_secs(50)).await, "not served yet");
    pair.handle.request_started();
    assert!(pair.stays_silent(Duration::from_secs(500)).await, "being answered");
    pair.handle.request_finished();
    assert!(pair.stays_silent(Duration::from_secs(74)).await, "idle");
    pair.send(GET).await;
    assert_eq!(pair.read().await, GET);
    pair.handle.request_started();
    pair.handle.request_finished();
    assert_eq!(pair.read_timed().await, (String::new(), 75));
}

#[tokio::test(start_paused = true)]
async fn a_finish_needs_no_wake_up() {
    let mut pair = pair();
    pair.send(GET).await;
    assert_eq!(pair.read().await, GET);
    pair.handle.request_started();
    let handle = pair.handle.clone();
    let finish = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        handle.request_finished();
    };
    let (end, ()) = tokio::join!(pair.read_timed(), finish);
    assert_eq!(end, (String::new(), 175));
}

#[tokio::test(start_paused = true)]
async fn a_body_may_take_its_time() {
    let mut pair = pair();
    pair.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n").await;
    pair.read().await;
    assert!(pair.stays_silent(Duration::from_secs(3600)).await);
}

#[tokio::test(start_paused = true)]
async fn only_a_refused_visitor_is_waited_for_at_the_end() {
    for (sent, seconds) in [(GET, 0), (b"GET /\r\n".as_slice(), 1)] {
        let mut pair = pair();
        pair.send(sent).await;
        pair.read().await;
        let start = Instant::now();
        pair.guarded.shutdown().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
}
