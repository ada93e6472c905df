//! HTTP/3 in Rust: what the visitors of other people's making (`http3_clients.rs`) do not look at.

use hyper::Request;
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::h3_visitor::{Http3, read};
use tests::held::Holder;

const HOST: &str = "a.example.com";

/// The farewell names requests that are not answered: one that is must not be among them (RFC 9114, section 5.2).
#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_when_the_relay_stops() {
    let mut holder = Holder::start().await;
    let mut relay = Relay::start();
    let _agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", holder.origin.address)));
    let mut visitor = Http3::connect(&relay, HOST).await;
    let asked = Request::post(format!("https://{HOST}/")).body(()).expect("a request");
    let mut stream = visitor.begin(asked).await.expect("a stream");
    stream.finish().await.expect("an end");
    let mut origin = holder.next().await;
    origin.head().await;
    relay.process.signal("TERM");
    relay.process.wait_for_log("stopping");
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").await;
    let answer = read(&mut stream).await.expect("the whole answer");
    assert_eq!((answer.status, answer.text()), (200, "late".to_owned()));
    let more = Request::get(format!("https://{HOST}/")).body(()).expect("a request");
    assert!(visitor.begin(more).await.is_err(), "nothing new after the farewell");
    assert_eq!(relay.process.wait(), Some(0));
}
