//! Floods: while one visitor sends more than anybody should, another is answered as ever, the relay's memory stays within
//! bounds, and the origin has no more work than the limits allow. Each prints what it measured.

mod crowds;
mod frames;
mod resets;
mod streams;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::bed::{Agent, Process, Relay};
use tests::deploy::simple;
use tests::h2_raw::{Event, GOAWAY, RawHttp2};
use tests::origin::Origin;
use tests::raw::RawVisitor;
use tests::visitor::Visitor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const HOST: &str = "a.example.com";
/// Nobody honest waits for longer, on the slowest machine.
const P99: Duration = Duration::from_secs(1);
/// What one session may have in flight, in MiB: visitors who do not read can fill it.
pub(crate) const SESSION: usize = 96;
/// Streams that one visitor connection may have open.
pub(crate) const STREAMS: usize = 256;
/// What a flood may leave in the log, beside lines that only those see who ask for them.
const FEW_LINES: usize = 100;
/// A flood that goes on for so long without being ended is over.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

/// Two floods at once would measure each other.
pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What the origin has to do.
#[derive(Debug, Default)]
struct Work {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Work {
    fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }
}

/// One piece of work; over when dropped.
struct Piece(Arc<Work>);

impl Piece {
    fn begin(work: &Arc<Work>) -> Self {
        let now = work.now.fetch_add(1, Ordering::SeqCst) + 1;
        work.peak.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(work))
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers `/` at once, `/big` with more than anybody reads, and anything else never.
async fn toil(mut stream: TcpStream, work: Arc<Work>) {
    let mut head = [0; 8192];
    while let Ok(length @ 1..) = stream.read(&mut head).await {
        let front = String::from_utf8_lossy(&head[..length]);
        if front.starts_with("GET / ") {
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                return;
            }
            continue;
        }
        let _piece = Piece::begin(&work);
        if front.starts_with("GET /big ") {
            let piece = vec![7; 64 << 10];
            let mut going =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n").await;
            while going.is_ok() {
                going = stream.write_all(&piece).await;
            }
        } else {
            while let Ok(1..) = stream.read(&mut head).await {}
        }
        return;
    }
}

/// A relay with an agent, and an origin that knows how much work it has.
pub(crate) struct Siege {
    pub(crate) relay: Relay,
    visitor: Visitor,
    work: Arc<Work>,
    _agent: Agent,
    _origin: Origin,
}

/// What a flood cost.
struct Cost {
    answered: usize,
    p99: Duration,
    worst: Duration,
    grown_kib: usize,
    peak_work: usize,
    /// Lines of the relay's log that everybody gets who did not ask for more.
    lines: usize,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, p99, worst, grown_kib, peak_work, lines } = self;
        write!(f, "{answered} honest answers, p99 {p99:?}, worst {worst:?}, ")?;
        write!(f, "{grown_kib} KiB more, {peak_work} at work, {lines} lines logged")
    }
}

impl Siege {
    pub(crate) async fn new() -> Self {
        let work = Arc::<Work>::default();
        let told = Arc::clone(&work);
        let origin = Origin::tcp(move |stream| toil(stream, Arc::clone(&told))).await;
        let relay = Relay::with("[access_log]\noutput = \"off\"\n");
        let agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
        let visitor = Visitor::of(&relay);
        let new = Self { relay, visitor, work, _agent: agent, _origin: origin };
        let mut warm = Vec::new();
        ask_until(&mut RawVisitor::connect(&new.visitor, HOST).await, &AtomicBool::new(true), &mut warm)
            .await;
        new
    }

    /// Lets a flood run while an honest visitor asks on; `mib` is what the relay's memory may grow by.
    pub(crate) async fn during<T>(&self, name: &str, mib: usize, flood: impl Future<Output = T>) -> T {
        self.during_with(name, mib, P99, flood).await
    }

    /// The same where the honest visitor may have to wait for so long.
    pub(crate) async fn during_with<T>(
        &self,
        name: &str,
        mib: usize,
        p99: Duration,
        flood: impl Future<Output = T>,
    ) -> T {
        let over = Arc::new(AtomicBool::new(false));
        let mut honest = JoinSet::new();
        honest.spawn(ask_on(self.visitor.clone(), Arc::clone(&over)));
        let (before, lines_before) = (resident_kib(&self.relay.process), lines(&self.relay.process));
        let mut most = before;
        let mut flood = std::pin::pin!(flood);
        let mut look = tokio::time::interval(Duration::from_millis(50));
        let outcome = loop {
            tokio::select! {
                outcome = flood.as_mut() => break outcome,
                _ = look.tick() => most = most.max(resident_kib(&self.relay.process)),
            }
        };
        most = most.max(resident_kib(&self.relay.process));
        over.store(true, Ordering::SeqCst);
        let mut took = honest.join_all().await.remove(0);
        took.sort();
        let cost = Cost {
            answered: took.len(),
            p99: took[took.len() * 99 / 100],
            worst: took[took.len() - 1],
            grown_kib: most.saturating_sub(before),
            peak_work: self.work.peak.load(Ordering::SeqCst),
            lines: lines(&self.relay.process) - lines_before,
        };
        println!("{name}: {cost}");
        assert!(cost.p99 < p99, "{name}: {cost}");
        assert!(cost.grown_kib < mib << 10, "{name}: {cost}");
        assert!(cost.peak_work <= STREAMS, "{name}: {cost}");
        assert!(cost.lines < FEW_LINES, "{name}: {cost}");
        outcome
    }

    /// Waits until the origin has nothing to do any more.
    pub(crate) async fn work_ends(&self) {
        let none = async || (self.work.now() == 0).then_some(());
        tests::wait::eventually("the origin's work ends", none).await;
    }
}

fn resident_kib(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

fn lines(process: &Process) -> usize {
    let asked_for = |line: &&str| !line.contains(" DEBUG ") && !line.contains(" TRACE ");
    process.log().lines().filter(asked_for).count()
}

/// One honest visitor: how long each of its requests took.
async fn ask_on(visitor: Visitor, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut took = Vec::new();
    ask_until(&mut RawVisitor::connect(&visitor, HOST).await, &over, &mut took).await;
    // A new visitor is let in as well.
    let begun = Instant::now();
    assert_eq!(visitor.get(HOST, "/").await.status, 200);
    took.push(begun.elapsed());
    took
}

/// Asks again and again, fifty times at the least.
async fn ask_until(raw: &mut RawVisitor, over: &AtomicBool, took: &mut Vec<Duration>) {
    while !over.load(Ordering::SeqCst) || took.len() < 50 {
        let begun = Instant::now();
        raw.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
        assert_eq!(raw.response().await.map(|response| response.status()), Some(200));
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What became of the one who floods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Told to go away, with this code.
    SentAway(u32),
    /// Closed without a word, or before it was read.
    Closed,
    /// Left alone.
    Open,
}

impl Ending {
    fn is_end(self) -> bool {
        self != Self::Open
    }
}

/// Sends one piece after another, until there are no more, or the relay ends it, or it has been long enough. What comes is
/// read, unless the visitor is deaf.
async fn pour(raw: RawHttp2, deaf: bool, pieces: impl Iterator<Item = Vec<u8>>) -> Ending {
    let RawHttp2 { mut incoming, mut outgoing } = raw;
    let listening = async {
        if deaf {
            return std::future::pending().await;
        }
        loop {
            match incoming.next().await {
                Event::Closed => return Ending::Closed,
                Event::Frame(frame) if frame.kind == GOAWAY && frame.code() != 0 => {
                    return Ending::SentAway(frame.code());
                }
                Event::Frame(_) => {}
            }
        }
    };
    let pouring = async {
        for piece in pieces {
            if outgoing.write_all(&piece).await.is_err() {
                return if deaf { Ending::Closed } else { std::future::pending().await };
            }
        }
        let _or_closed = outgoing.flush().await;
        std::future::pending().await
    };
    tokio::select! {
        ending = listening => ending,
        ending = pouring => ending,
        () = tokio::time::sleep(LONG_ENOUGH) => Ending::Open,
    }
}
