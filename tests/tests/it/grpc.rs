//! gRPC through the tunnel, spoken by tonic at both ends: every kind of call, statuses, metadata, deadlines, and an
//! origin that dies.

mod notes;

use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Body as _;
use notes::{Lane, Note, both, fed, many, note, together, unary};
use tests::visitor::full;
use tests::wait::{PATIENCE, eventually};
use tokio::task::JoinSet;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

const HOST: &str = "a.example.com";
/// How many calls are under way at once on one connection.
const CROWD: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_and_its_metadata_pass_both_ways() {
    let lane = Lane::start().await;
    let mut request = Request::new(note("hello"));
    request.metadata_mut().insert("x-asked", "plainly, twice".parse().expect("a value"));
    for bytes in [&[0, 1, 254, 255][..], b"", b"second"] {
        request.metadata_mut().append_bin("x-trace-bin", MetadataValue::from_bytes(bytes));
    }
    let response = unary(&lane.grpc, "/notes.Notes/Say", request).await.expect("an answer");
    assert_eq!(response.get_ref(), &note("hello"));
    let metadata = response.metadata();
    assert_eq!(metadata.get("x-asked").expect("metadata"), "plainly, twice");
    assert!(metadata.get("x-agent").expect("metadata").to_str().expect("text").contains("tonic"));
    let traces: Vec<_> = metadata.get_all_bin("x-trace-bin").iter().map(|value| value.to_bytes()).collect();
    let traces: Vec<_> = traces.iter().map(|bytes| &bytes.as_ref().expect("base64")[..]).collect();
    assert_eq!(traces, [&[0, 1, 254, 255][..], b"", b"second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_without_a_message_passes_as_it_is() {
    let lane = Lane::start().await;
    let status =
        unary(&lane.grpc, "/notes.Notes/Say", Request::new(note("unknown"))).await.expect_err("none");
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no such note: ü%\n"));
    assert_eq!(status.details(), [0, 255]);
    assert_eq!(status.metadata().get("x-why").expect("metadata"), "because");
    let status = unary(&lane.grpc, "/notes.Notes/None", Request::new(note(""))).await.expect_err("none");
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "no such method"));
    // All of it in the head of the response, which ends there.
    let mut http2 = lane.visitor.http2(HOST).await;
    let request = hyper::Request::post(format!("https://{HOST}/notes.Notes/None"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(full(&[0, 0, 0, 0, 0][..]))
        .expect("a request");
    let response = http2.send_request(request).await.expect("a response");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["grpc-status"]),
        (200, &"12".parse().expect("text"))
    );
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert!(response.body().is_end_stream(), "the head alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_while_the_origin_still_sends() {
    let lane = Lane::start().await;
    let mut notes = {
        let call = many(&lane.grpc, "/notes.Notes/Count", "");
        tokio::time::timeout(PATIENCE, call)
            .await
            .expect("the head comes at once")
            .expect("an answer")
            .into_inner()
    };
    // The next one is allowed only once the one before is here.
    for n in ["0", "1", "2"] {
        lane.desk.go.add_permits(1);
        assert_eq!(notes.message().await.expect("sound"), Some(note(n)));
    }
    assert_eq!(lane.running(), 1);
    lane.desk.go.add_permits(1);
    assert_eq!(notes.message().await.expect("a clean end"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_after_messages_comes_in_trailers() {
    let lane = Lane::start().await;
    lane.desk.go.add_permits(4);
    let answer = many(&lane.grpc, "/notes.Notes/Count", "fail").await.expect("messages first");
    assert!(answer.metadata().get("grpc-status").is_none());
    let mut notes = answer.into_inner();
    for n in ["0", "1", "2"] {
        assert_eq!(notes.message().await.expect("sound"), Some(note(n)));
    }
    let status = notes.message().await.expect_err("a failure");
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "no more notes"));
    assert_eq!(status.metadata().get("x-sent").expect("metadata"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_reads_each_message_as_it_is_sent() {
    let mut lane = Lane::start().await;
    let (sender, notes) = fed();
    let answer = together(&lane.grpc, "/notes.Notes/Sum", notes).await;
    for text in ["a", "b", "c"] {
        sender.send(note(text)).await.expect("the call is under way");
        assert_eq!(lane.seen.recv().await.as_deref(), Some(text));
    }
    drop(sender);
    let answer = answer.await.expect("the call ends").expect("an answer");
    assert_eq!(answer.into_inner(), note("abc"));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_take_turns() {
    let lane = Lane::start().await;
    let (sender, notes) = fed();
    let mut answers = both(&lane.grpc, "/notes.Notes/Chat", notes).await.expect("an answer").into_inner();
    for n in 0..50 {
        sender.send(note(&format!("ping {n}"))).await.expect("the call is under way");
        assert_eq!(answers.message().await.expect("sound"), Some(note(&format!("PING {n}"))));
    }
    drop(sender);
    assert_eq!(answers.message().await.expect("a clean end"), None);
    eventually("the handler has ended", async || (lane.running() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_reaches_the_origin_and_ends_its_handler() {
    let lane = Lane::start().await;
    let mut request = Request::new(note("slow"));
    // Long enough that the handler has begun on any machine.
    request.set_timeout(Duration::from_secs(3));
    let grpc = lane.grpc.clone();
    let mut calling = JoinSet::new();
    calling.spawn(async move { unary(&grpc, "/notes.Notes/Wait", request).await });
    eventually("the handler runs", async || (lane.running() == 1).then_some(())).await;
    let asked = lane.desk.asked.lock().await.take().expect("metadata");
    assert_eq!(asked.get("grpc-timeout").expect("a deadline"), "3000000u");
    let status = calling.join_next().await.expect("a call").expect("no panic").expect_err("too late");
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    eventually("the origin's handler has ended", async || (lane.running() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_that_cancels_ends_the_handler_and_nothing_else() {
    let lane = Lane::start().await;
    let (sender, notes) = fed();
    let mut other = both(&lane.grpc, "/notes.Notes/Chat", notes).await.expect("an answer").into_inner();
    // One that has no answer yet, and one in the middle of its messages.
    let grpc = lane.grpc.clone();
    let mut calling = JoinSet::new();
    calling.spawn(async move { unary(&grpc, "/notes.Notes/Wait", Request::new(note(""))).await });
    let mut notes = many(&lane.grpc, "/notes.Notes/Count", "").await.expect("an answer").into_inner();
    lane.desk.go.add_permits(1);
    assert_eq!(notes.message().await.expect("sound"), Some(note("0")));
    eventually("all three run", async || (lane.running() == 3).then_some(())).await;
    calling.shutdown().await;
    eventually("the one without an answer ends", async || (lane.running() == 2).then_some(())).await;
    drop(notes);
    eventually("the one with messages ends", async || (lane.running() == 1).then_some(())).await;
    sender.send(note("still here")).await.expect("the call is under way");
    assert_eq!(other.message().await.expect("sound"), Some(note("STILL HERE")));
    assert_eq!(lane.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_arrives_whole() {
    let lane = Lane::start().await;
    let blob: Vec<u8> = (0..24_u32 << 18).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    let large = Note { text: "large".into(), blob };
    let answer = unary(&lane.grpc, "/notes.Notes/Say", Request::new(large.clone())).await.expect("an answer");
    assert!(answer.into_inner() == large, "altered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_run_at_once_on_one_connection() {
    let lane = Lane::start().await;
    let mut calls = JoinSet::new();
    for n in 0..CROWD {
        let grpc = lane.grpc.clone();
        calls.spawn(async move {
            let text = n.to_string();
            // Answered only once all of them have arrived.
            let answer =
                unary(&grpc, "/notes.Notes/Meet", Request::new(note(&text))).await.expect("an answer");
            assert_eq!(answer.into_inner().text, text);
        });
    }
    let mut done = 0;
    while let Some(ended) = tokio::time::timeout(PATIENCE, calls.join_next()).await.expect("all meet") {
        ended.expect("the call succeeds");
        done += 1;
    }
    assert_eq!((done, lane.connections.load(Ordering::SeqCst)), (CROWD, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_dies_is_an_error_and_no_clean_end() {
    let lane = Lane::start().await;
    let mut notes = many(&lane.grpc, "/notes.Notes/Count", "").await.expect("an answer").into_inner();
    lane.desk.go.add_permits(1);
    assert_eq!(notes.message().await.expect("sound"), Some(note("0")));
    lane.desk.die.notify_waiters();
    let status = notes.message().await.expect_err("the origin is gone");
    assert!(matches!(status.code(), Code::Internal | Code::Unavailable | Code::Unknown), "{status:?}");
    // It is back at once, and the visitor's connection has outlived it.
    let answer = unary(&lane.grpc, "/notes.Notes/Say", Request::new(note("again"))).await.expect("an answer");
    assert_eq!((answer.into_inner(), lane.connections.load(Ordering::SeqCst)), (note("again"), 1));
}

/// What the relay itself answers is no gRPC; by its HTTP status gRPC knows it for a failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_relay_is_a_failed_call() {
    let mut lane = Lane::start().await;
    lane.agent.process().signal("TERM");
    assert_eq!(lane.agent.process().wait(), Some(0));
    let mut http2 = lane.visitor.http2(HOST).await;
    let asked =
        || hyper::Request::post(format!("https://{HOST}/notes.Notes/Say")).body(full("")).expect("a request");
    let offline = async || {
        let response = http2.send_request(asked()).await.expect("a response");
        (response.headers().get("adit-error")? == "agent-offline").then_some(response.status().as_u16())
    };
    assert_eq!(eventually("the agent is known to be away", offline).await, 503);
    let call = unary(&lane.grpc, "/notes.Notes/Say", Request::new(note(""))).await;
    assert_ne!(call.expect_err("nobody is there").code(), Code::Ok);
}
