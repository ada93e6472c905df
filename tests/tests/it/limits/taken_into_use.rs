//! A changed file: its limits count from the next request on, but for what needs a restart, which is said.

use std::fs;

use tests::visitor::Visitor;
use tests::wait::eventually;

use super::{HOST, Lane, OVER, Wanted, field};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_counts_from_the_next_request_on() {
    let lane = Lane::limited("max_body = 1000\nrequests_in_flight = 9\n").await;
    let posts = || Wanted { body: 900, fields: field("x-long", &"x".repeat(2000)), ..Wanted::default() };
    for over in OVER {
        assert_eq!(lane.ask(over, 1, posts()).await.status, 200, "{over:?}");
    }
    let mut open = Visitor::of(&lane.relay).http2(HOST).await;
    let file = lane.relay.config_file();
    let text = fs::read_to_string(&file).expect("the configuration");
    let changed = "max_body = 800\nuri_bytes = 300\nheader_bytes = 1024\nconnections_per_address = 5\n\
         requests_per_second = 1\nrequests_at_once = 2\n";
    let text = text
        .replace("max_body = 1000\nrequests_in_flight = 9\n", changed)
        .replace("[limits]", "http3 = false\n[limits]");
    fs::write(&file, text).expect("the configuration can be written");
    lane.relay.process.wait_for_log("configuration read again");
    let log = lane.relay.process.log();
    for key in ["limits.connections_per_address", "edge.http3"] {
        let said = |line: &str| line.contains(key) && line.contains("when the relay is started again");
        assert!(log.lines().any(said), "{key} in {log}");
    }
    for (over, from) in OVER.into_iter().zip(51..) {
        let posted = lane.ask(over, from, Wanted { body: 900, ..Wanted::default() }).await;
        assert_eq!((posted.status, posted.error()), (413, "body-too-large"), "{over:?}");
        let headed = lane.ask(over, from, posts()).await;
        assert_eq!((headed.status, headed.error()), (431, "head-too-large"), "{over:?}");
        eventually("the rate is in force", async || {
            (lane.ask(over, from, Wanted::default()).await.status == 429).then_some(())
        })
        .await;
    }
    let long = hyper::Request::get(format!("https://{HOST}/{}", "p".repeat(300)));
    let long = long.body(tests::visitor::empty()).expect("a request");
    let answer = open.send_request(long).await.expect("a response on a connection from before");
    assert_eq!(answer.status().as_u16(), 414);
}
