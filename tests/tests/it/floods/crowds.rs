//! Two hundred visitors who take their time: with their handshakes, their heads, their bodies, their reading.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tests::raw::RawVisitor;
use tests::visitor::Visitor;
use tests::wait::{PATIENCE, eventually};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{HOST, ONE_AT_A_TIME, SESSION, Siege};

const CROWD: usize = 200;
/// How long they stay where nobody ends them.
const STAY: Duration = Duration::from_secs(3);

/// Visitors who have each said something.
async fn crowd(visitor: &Visitor, said: &str) -> Vec<RawVisitor> {
    let mut all = Vec::new();
    for _ in 0..CROWD {
        let mut raw = RawVisitor::connect(visitor, HOST).await;
        raw.send(said.as_bytes()).await;
        all.push(raw);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let holding = async {
        let mut all = Vec::new();
        for _ in 0..CROWD {
            let mut stream = TcpStream::connect(siege.relay.https).await.expect("TCP");
            // The first bytes of a ClientHello.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await.expect("bytes can be sent");
            all.push(stream);
        }
        tokio::time::sleep(STAY).await;
    };
    siege.during("200 half handshakes", 16, holding).await;
}

/// A byte now and then does not lengthen a head's deadline.
#[tokio::test(flavor = "multi_thread")]
async fn heads() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let dripping = async {
        let all = crowd(&siege.visitor, &format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nx: ")).await;
        let begun = Instant::now();
        let ended = join_all(all.into_iter().map(drip)).await;
        assert_eq!(ended, vec![Some(408); CROWD]);
        begun.elapsed()
    };
    let lasted = siege.during("200 slow heads", 32, dripping).await;
    assert!(lasted < Duration::from_secs(14), "{lasted:?}");
}

/// Sends a byte at a time, until there is an answer.
async fn drip(mut raw: RawVisitor) -> Option<u16> {
    let mut tick = tokio::time::interval(Duration::from_millis(300));
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        tokio::select! {
            _ = tick.tick() => raw.send(b"y").await,
            read = raw.fill() => {
                if read.is_err() || raw.buffer.windows(4).any(|end| end == b"\r\n\r\n") {
                    break;
                }
            }
        }
    }
    raw.response().await.map(|response| response.status())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let dripping = async {
        let head = format!("POST /held HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1000000\r\n\r\n");
        let mut all = crowd(&siege.visitor, &head).await;
        eventually("all are at the origin", async || (siege.work.now() == CROWD).then_some(())).await;
        for _ in 0..10 {
            for raw in &mut all {
                raw.send(b"y").await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    siege.during("200 slow bodies", 32, dripping).await;
    siege.work_ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers() {
    let _one = ONE_AT_A_TIME.lock().await;
    let siege = Siege::new().await;
    let holding = async {
        let all = crowd(&siege.visitor, &format!("GET /big HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        tokio::time::sleep(STAY).await;
        drop(all);
    };
    // They fill the session once before they are known for what they are: the grace, and a debug build's time to fill it.
    let wait = Duration::from_secs(8);
    siege.during_with("200 slow readers", SESSION + 250, wait, holding).await;
    siege.work_ends().await;
}
