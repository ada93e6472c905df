//! The guard where it lives: under hyper's server, with a service that answers refusals.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::{GET, GuardHandle, Pair, pair, refusal};
use crate::edge::framing::{REFUSE_METHOD, Violation};

/// Answers after a second; a refusal with its code in a header.
async fn answer(
    handle: GuardHandle,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    handle.request_started();
    sleep(Duration::from_secs(1)).await;
    let mut response = Response::new(Empty::new());
    let refused = request.method().as_str() == REFUSE_METHOD;
    let violation = Violation::from_code(request.uri().path().trim_start_matches('/'));
    if let Some(violation) = violation.filter(|_| refused) {
        *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
        response.headers_mut().insert("x-code", violation.code().parse().unwrap());
    }
    if request.into_body().collect().await.is_err() {
        response.headers_mut().insert("x-body", "broken".parse().unwrap());
    }
    handle.upgrade_refused();
    handle.request_finished();
    Ok(response)
}

/// Sends `bytes` and gives back all answers until the connection ends, with the seconds that took.
async fn converse(bytes: &[u8]) -> (String, u64) {
    let Pair { mut visitor, guarded, handle } = pair();
    let start = Instant::now();
    let service = service_fn(move |request| answer(handle.clone(), request));
    let server = http1::Builder::new().serve_connection(TokioIo::new(guarded), service);
    let mut answers = String::new();
    let client = async {
        visitor.write_all(bytes).await.unwrap();
        visitor.read_to_string(&mut answers).await.unwrap();
        visitor.shutdown().await.unwrap();
        start.elapsed().as_secs()
    };
    let (_, seconds) = tokio::join!(server, client);
    (answers, seconds)
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_answered_after_what_came_before() {
    let (answers, seconds) = converse(&[GET, b"GET / HTTP/1.1\nhost: a\r\n\r\n", GET].concat()).await;
    let (first, second) = answers.split_at(answers.rfind("HTTP/1.1").unwrap());
    assert!(first.starts_with("HTTP/1.1 200 OK"), "{answers}");
    assert!(second.starts_with("HTTP/1.1 400"), "{answers}");
    assert!(second.contains("x-code: bad_request_line") && second.contains("connection: close"), "{answers}");
    assert_eq!(seconds, 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_answered_though_the_visitor_sends_on() {
    let endless = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(300_000));
    let (answers, _) = converse(endless.as_bytes()).await;
    assert!(answers.contains("x-code: head_too_large"), "{answers}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_and_a_forged_refusal_are_told_apart() {
    let (answers, seconds) = converse(b"GET / HTTP/1.1\r\nho").await;
    assert!(answers.contains("x-code: head_timeout"), "{answers}");
    assert_eq!(seconds, 11);
    let (answers, _) = converse(refusal("head_timeout").as_bytes()).await;
    assert!(answers.contains("x-code: bad_method"), "{answers}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_without_a_word() {
    assert_eq!(converse(b"").await, (String::new(), 10));
    let (answers, seconds) = converse(GET).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1);
    assert_eq!(seconds, 76);
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_keeps_the_connection() {
    let upgrade = b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n";
    let (answers, seconds) = converse(&[upgrade, GET].concat()).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2);
    assert_eq!(seconds, 77);
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_is_not_taken_for_a_whole_one() {
    let bytes = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n";
    let (answers, _) = converse(bytes).await;
    assert!(answers.contains("x-body: broken"), "{answers}");
}
