//! What one visitor does, or one change, is felt by those it is meant for and by nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::origin::Origin;
use tests::raw::RawVisitor;
use tests::visitor::{Visitor, empty, read, request};
use tests::wait::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOST: &str = "a.example.com";
/// More than all windows between an origin and a visitor together.
const ENDLESS: usize = 64 << 20;
const STALLED: usize = 100;
/// More than have room in a session: at 1 MiB each, of 256.
const OVERFLOWING: usize = 300;

/// Answers `/small` at once and everything else with more than anybody reads.
async fn generous(mut stream: TcpStream, stuck: Arc<AtomicUsize>) {
    let mut head = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut head).await {
        if head[..length].starts_with(b"GET /small") {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
            continue;
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("a head fits");
        let piece = vec![7; 64 << 10];
        while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&piece)).await {
            if written.is_err() {
                return;
            }
        }
        stuck.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<()>().await;
    }
}

/// A relay and an agent with an origin that some visitors do not read from.
struct Crowd {
    visitor: Visitor,
    stuck: Arc<AtomicUsize>,
    agent: Agent,
    _relay: Relay,
    _origin: Origin,
}

impl Crowd {
    async fn new() -> Self {
        let stuck = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&stuck);
        let origin = Origin::tcp(move |stream| generous(stream, Arc::clone(&counter))).await;
        let relay = Relay::start();
        let agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
        Self { visitor: Visitor::of(&relay), stuck, agent, _relay: relay, _origin: origin }
    }

    /// So many visitors ask for more than they read; all of their downloads have come to a stand.
    async fn stand_still(&self, count: usize) -> Vec<RawVisitor> {
        let mut all = Vec::new();
        for _ in 0..count {
            let mut one = RawVisitor::connect(&self.visitor, HOST).await;
            one.send(format!("GET /big HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
            all.push(one);
        }
        let stuck = async || (self.stuck.load(Ordering::Relaxed) == count).then_some(());
        eventually("every download stands still", stuck).await;
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_who_stop_reading_do_not_stall_the_others() {
    let crowd = Crowd::new().await;
    let _stalled = crowd.stand_still(STALLED).await;
    let asked = Instant::now();
    assert_eq!(crowd.visitor.get(HOST, "/small").await.text(), "ok");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_crowd_that_filled_the_session() {
    let crowd = Crowd::new().await;
    drop(crowd.stand_still(OVERFLOWING).await);
    let streams = async || {
        let open = crowd.agent.status()?["streams"].as_u64()?;
        (open <= 2).then_some(())
    };
    eventually("the agent's streams end", streams).await;
    assert_eq!(crowd.visitor.get(HOST, "/small").await.text(), "ok");
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
