//! What one visitor does, or one change, is felt by those it is meant for and by nobody else.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::origin::Origin;
use tests::raw::{Front, Kind, RawVisitor, read_message};
use tests::visitor::{Visitor, empty, read, request};
use tests::wait::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const HOST: &str = "a.example.com";
/// More than all windows between an origin and a visitor together.
const ENDLESS: usize = 1 << 30;
const STALLED: usize = 100;
const OVERFLOWING: usize = 300;
/// At 8 MiB each, of 96, that many of them have no room even if all others read.
const MUST_GO: usize = STALLED - 12;
/// Nobody who reads is stalled for longer.
const STALL: Duration = Duration::from_secs(2);
/// The number of the one who reads.
const STEADY: usize = 1000;

/// What became of the downloads, by their numbers.
#[derive(Debug, Default)]
struct Downloads {
    /// Came to a stand at some time.
    stuck: HashSet<usize>,
    broken: HashSet<usize>,
}

type Seen = Arc<Mutex<Downloads>>;

/// Answers `/small` at once and everything else with more than anybody reads, every other time in chunks.
async fn generous(mut stream: TcpStream, seen: Seen) {
    let mut head = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut head).await {
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        let path = head.split(' ').nth(1).expect("a path");
        match path.strip_prefix("/big/") {
            Some(number) => {
                let number = number.parse().expect("a number");
                let switches = head.to_lowercase().contains("\r\nupgrade:");
                return pour(stream, number, Framing::new(number, switches), &seen).await;
            }
            None => {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// How more than anybody reads is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    Upgraded,
}

impl Framing {
    fn new(number: usize, switches: bool) -> Self {
        match (switches, number % 2) {
            (true, _) => Self::Upgraded,
            (false, 0) => Self::Length,
            (false, _) => Self::Chunked,
        }
    }

    fn head(self) -> String {
        match self {
            Self::Length => format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n"),
            Self::Chunked => format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{ENDLESS:x}\r\n"),
            Self::Upgraded => {
                "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_owned()
            }
        }
    }
}

/// Never comes to the end of a response.
async fn pour(mut stream: TcpStream, number: usize, framing: Framing, seen: &Seen) {
    stream.write_all(framing.head().as_bytes()).await.expect("a head fits");
    let piece = vec![7; 64 << 10];
    loop {
        match tokio::time::timeout(Duration::from_secs(1), stream.write(&piece)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => {
                seen.lock().expect("no panic").broken.insert(number);
                return;
            }
            Err(_) => {
                seen.lock().expect("no panic").stuck.insert(number);
            }
        }
    }
}

/// A relay and an agent with an origin that some visitors do not read from.
struct Crowd {
    visitor: Visitor,
    seen: Seen,
    agent: Agent,
    relay: Relay,
    _origin: Origin,
}

impl Crowd {
    async fn new() -> Self {
        let seen = Seen::default();
        let told = Arc::clone(&seen);
        let origin = Origin::tcp(move |stream| generous(stream, Arc::clone(&told))).await;
        let relay = Relay::start();
        let agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
        Self { visitor: Visitor::of(&relay), seen, agent, relay, _origin: origin }
    }

    /// Asks for more than anybody reads, with these further fields.
    async fn ask_big(&self, number: usize, fields: &str) -> RawVisitor {
        let mut one = RawVisitor::connect(&self.visitor, HOST).await;
        let head = format!("GET /big/{number} HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n");
        one.send(head.as_bytes()).await;
        one
    }

    /// So many visitors ask for more than they read, with these further fields.
    async fn stand_still(&self, count: usize, fields: &str) -> Vec<RawVisitor> {
        let mut all = Vec::new();
        for number in 0..count {
            all.push(self.ask_big(number, fields).await);
        }
        self.settled(count).await;
        all
    }

    /// Waits until so many downloads have come to a stand, or were cut.
    async fn settled(&self, count: usize) {
        let settled = async || {
            let Downloads { stuck, broken } = &*self.seen.lock().expect("no panic");
            (stuck.union(broken).count() >= count).then_some(())
        };
        eventually("every download stands still", settled).await;
    }

    /// Waits until those are cut who leave no room for the others, and says who they are. Whoever comes meanwhile is
    /// answered.
    async fn cut(&self) -> HashSet<usize> {
        let cut = async || {
            self.small_comes_within(STALL).await;
            let cut = self.seen.lock().expect("no panic").broken.clone();
            (cut.len() >= MUST_GO).then_some(cut)
        };
        eventually("those beyond the room are cut", cut).await
    }

    /// Who is not stalled is answered within this time.
    async fn small_comes_within(&self, limit: Duration) {
        let asked = Instant::now();
        assert_eq!(self.visitor.get(HOST, "/small").await.text(), "ok");
        assert!(asked.elapsed() < limit, "{:?}", asked.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_who_stop_reading_do_not_stall_the_others() {
    let crowd = Crowd::new().await;
    let mut steady = JoinSet::new();
    steady.spawn(read_slowly(crowd.ask_big(STEADY, "").await));
    let stalled = crowd.stand_still(STALLED, "").await;
    let cut = crowd.cut().await;
    assert!(steady.try_join_next().is_none() && !cut.contains(&STEADY), "who reads slowly is not cut");
    drop(steady);
    // Some read what is left for them; the others go away without.
    let broken = stalled.into_iter().enumerate().filter(|(number, _)| cut.contains(number));
    for (number, one) in broken.take(8) {
        broke_off(number, one).await;
    }
    let said =
        async || (crowd.relay.process.log().matches("visitor-too-slow").count() >= cut.len()).then_some(());
    eventually("the access log says why", said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgraded_connections_that_stand_still_leave_room_too() {
    let crowd = Crowd::new().await;
    let _stalled = crowd.stand_still(STALLED, "connection: upgrade\r\nupgrade: websocket\r\n").await;
    crowd.cut().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_streams_that_never_open_their_window_leave_room_too() {
    let crowd = Crowd::new().await;
    let stream = crowd.visitor.connect(HOST, &["h2"]).await.expect("TLS");
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(0);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
    let mut connected = JoinSet::new();
    connected.spawn(connection);
    let mut stalled = Vec::new();
    for number in 0..STALLED {
        let get = hyper::Request::get(format!("https://{HOST}/big/{number}")).body(empty());
        stalled.push(sender.send_request(get.expect("a request")).await.expect("a head"));
    }
    crowd.settled(STALLED).await;
    crowd.cut().await;
    assert!(connected.try_join_next().is_none(), "the connection goes on");
}

/// Takes a little at a time, until it is stopped.
async fn read_slowly(mut visitor: RawVisitor) {
    let mut some = vec![0; 64 << 10];
    while let Ok(1..) = visitor.stream.read(&mut some).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whatever a visitor who was cut still reads, it never looks like a whole response.
async fn broke_off(number: usize, mut visitor: RawVisitor) {
    visitor.end().await;
    let got = &visitor.buffer;
    assert!(got.len() < ENDLESS && !got.ends_with(b"0\r\n\r\n"), "{number}: {}", got.len());
    assert!(matches!(read_message(got, Kind::Response), Front::Part), "{number}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_crowd_that_filled_the_session() {
    let crowd = Crowd::new().await;
    drop(crowd.stand_still(OVERFLOWING, "").await);
    let streams = async || {
        let open = crowd.agent.status()?["streams"].as_u64()?;
        (open <= 2).then_some(())
    };
    eventually("the agent's streams end", streams).await;
    crowd.small_comes_within(STALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_origin_is_used_although_the_old_one_keeps_its_connection() {
    let (old, new) = (Origin::named("old").await, Origin::named("new").await);
    let relay = Relay::start();
    let config = |origin: &Origin| simple(HOST, &format!("http://{}", origin.address));
    let mut agent = Agent::running(&relay, &[HOST], &config(&old));
    let mut visitor = Visitor::of(&relay).http1(HOST).await;
    let mut ask = async || {
        visitor.ready().await.expect("the connection goes on");
        let asked = request("GET", HOST, "/").body(empty()).expect("a request");
        read(visitor.send_request(asked).await.expect("a response")).await.json()["origin"].clone()
    };
    assert_eq!(ask().await, "old");
    agent.write_config(&config(&new));
    agent.process().wait_for_log("the configuration was read anew");
    eventually("the new origin answers", async || (ask().await == "new").then_some(())).await;
    assert_eq!(ask().await, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_ends_when_its_hostname_is_taken_away() {
    let origin = Origin::tcp(trickle).await;
    let relay = Relay::start();
    let _agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
    let visitor = Visitor::of(&relay);
    let mut stream = RawVisitor::connect(&visitor, HOST).await;
    stream.send(format!("GET /events HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
    assert_eq!(stream.head().await.status(), 200);
    let asked = Instant::now();
    let _said = relay.ask(&["peer", "ungrant", &peer_name(&relay), "--hostname", HOST]);
    tokio::time::timeout(PATIENCE, stream.end()).await.expect("the response ends");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

fn peer_name(relay: &Relay) -> String {
    let list: serde_json::Value =
        serde_json::from_str(&relay.ask(&["peer", "list", "--json"])).expect("JSON");
    list["peers"][0]["name"].as_str().expect("a name").to_owned()
}

/// An event each 100 ms, for ever.
async fn trickle(mut stream: TcpStream) {
    let mut head = [0; 4096];
    let _asked = stream.read(&mut head).await;
    let begun = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut going = begun.is_ok();
    while going {
        tick.tick().await;
        going = stream.write_all(b"6\r\ndata:\n\r\n").await.is_ok();
    }
}
