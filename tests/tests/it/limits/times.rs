//! Who is slow: with a head, with a body, with reading.

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use tests::deploy::simple;
use tests::h2_raw::{END_STREAM, Event, HEADERS, RST_STREAM, RawHttp2, headers};
use tests::h3_visitor::{Http3, Manner, read};
use tests::origin::Origin;
use tests::raw::{End, RawVisitor};
use tests::visitor::{Visitor, http2_over};
use tests::wait::PATIENCE;
use tokio::io::AsyncWriteExt;

use super::{HOST, Lane, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_head_comes_in_time() {
    let lane = Lane::limited("head_time = \"1s\"\n").await;
    let visitor = Visitor::of(&lane.relay);
    let mut raw = RawVisitor::connect(&visitor, HOST).await;
    raw.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: ").as_bytes()).await;
    let response = raw.response().await.expect("a response");
    assert_eq!((response.status(), response.one("adit-error")), (408, "head-timeout"));
    assert_eq!(raw.end().await, End::Clean);
    lane.counts(&refused("head-timeout"), 1).await;
    let http3 = Http3::connect(&lane.relay, HOST).await;
    let (mut send, mut recv) = http3.connection.open_bi().await.expect("a stream");
    // HEADERS of ten bytes, of which one comes.
    send.write_all(&[1, 10, 0]).await.expect("bytes can be sent");
    let ended = tokio::time::timeout(PATIENCE, recv.read_to_end(9)).await.expect("an end");
    assert!(ended.as_ref().is_err() || ended.as_ref().is_ok_and(Vec::is_empty), "{ended:?}");
}

/// With few places left, an upload that stands still makes room; with many it may rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_goes_on_where_there_is_a_crowd() {
    // Two of the places are held for who comes next, over port 80 and over TLS.
    let lane = Lane::with("max_connections = 4\n[limits]\nstall_time = \"1s\"\n", "").await;
    let visitor = Visitor::of(&lane.relay);
    let _crowd = visitor.connect(HOST, &["http/1.1"]).await.expect("TLS");
    let mut raw = RawVisitor::connect(&visitor, HOST).await;
    raw.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\n1").as_bytes()).await;
    let response = raw.response().await.expect("a response");
    assert_eq!((response.status(), response.one("adit-error")), (408, "body-timeout"));
    drop(raw);
    let mut sender = http2_over(visitor.connect(HOST, &["h2"]).await.expect("TLS")).await;
    let one = futures_util::stream::iter([Ok(Frame::data(Bytes::from("1")))]);
    let body = BodyExt::boxed(StreamBody::new(one.chain(futures_util::stream::pending())));
    let asked = Request::post(format!("https://{HOST}/")).body(body).expect("a request");
    let asking = async { tests::visitor::read(sender.send_request(asked).await.expect("a response")).await };
    let answer = tokio::time::timeout(PATIENCE, asking).await.expect("an answer in time");
    assert_eq!((answer.status, answer.error()), (408, "body-timeout"));
    lane.counts(&refused("body-timeout"), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_rest_where_there_is_none() {
    let lane = Lane::limited("stall_time = \"1s\"\n").await;
    let mut raw = RawVisitor::connect(&Visitor::of(&lane.relay), HOST).await;
    raw.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\n1").as_bytes()).await;
    let mut http3 = Http3::connect(&lane.relay, HOST).await;
    let asked = Request::post(format!("https://{HOST}/")).body(()).expect("a request");
    let mut stream = http3.begin(asked).await.expect("a stream");
    stream.send_data("1".into()).await.expect("sent");
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    raw.send(b"2").await;
    assert_eq!(raw.response().await.map(|response| response.status()), Some(200));
    stream.send_data("2".into()).await.expect("sent");
    stream.finish().await.expect("sent");
    assert_eq!(read(&mut stream).await.expect("a response").json()["body"], "12");
}

/// A response without an end.
async fn endless() -> Origin {
    Origin::http(|_| async {
        let frames = futures_util::stream::repeat(Bytes::from(vec![b'x'; 16 << 10]));
        let body = StreamBody::new(frames.map(|piece| Ok(Frame::data(piece))));
        Response::new(BodyExt::boxed(body))
    })
    .await
}

async fn endless_lane() -> Lane {
    let origin = endless().await;
    let config = simple(HOST, &format!("http://{}", origin.address));
    Lane::before(origin, "[limits]\nstall_time = \"1s\"\n", &config)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_is_cut_over_http1() {
    let lane = endless_lane().await;
    let mut raw = RawVisitor::connect(&Visitor::of(&lane.relay), HOST).await;
    raw.stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.expect("sent");
    lane.counts("adit_connections_cut_total{reason=\"write-stall\"}", 1).await;
    lane.counts("adit_requests_in_flight", 0).await;
    lane.counts("adit_visitor_connections_open{transport=\"tcp\"}", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_is_cut_over_http2() {
    let lane = endless_lane().await;
    // SETTINGS_INITIAL_WINDOW_SIZE: nothing of a body may come.
    let mut raw = RawHttp2::connect(&Visitor::of(&lane.relay), HOST, &[(4, 0)]).await;
    let fields: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", HOST.as_bytes()), (b":path", b"/")];
    raw.send(&headers(1, END_STREAM, &fields)).await;
    let Event::Frame(head) = raw.next().await else { panic!("closed") };
    assert_eq!((head.kind, head.status()), (HEADERS, Some(200)));
    let Event::Frame(end) = raw.next().await else { panic!("closed") };
    assert_eq!((end.kind, end.stream), (RST_STREAM, 1));
    lane.counts(&refused("visitor-too-slow"), 1).await;
    lane.counts("adit_requests_in_flight", 0).await;
    // The connection is as good as before.
    raw.send(&headers(3, END_STREAM, &fields)).await;
    assert!(matches!(raw.next().await, Event::Frame(head) if (head.kind, head.stream) == (HEADERS, 3)));
}

/// Also where there is no room for the head.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_is_cut_over_http3() {
    let lane = endless_lane().await;
    for (number, window) in [(1, 1), (2, 4096)] {
        let manner = Manner { window: Some(window), ..Manner::default() };
        let mut http3 = Http3::try_connect(&lane.relay, HOST, manner).await.expect("QUIC");
        let asked = Request::get(format!("https://{HOST}/")).body(()).expect("a request");
        let mut stream = http3.begin(asked).await.expect("a stream");
        stream.finish().await.expect("sent");
        lane.counts(&refused("visitor-too-slow"), number).await;
        lane.counts("adit_requests_in_flight", 0).await;
    }
}
