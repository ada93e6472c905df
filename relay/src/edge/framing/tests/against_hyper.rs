//! What the machine releases is given to hyper's server: it must find as many requests, and find nothing wrong.

use std::cell::Cell;
use std::convert::Infallible;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::streams::stream;
use super::{Awaits, BODY, End, Run, run_whole};

/// What hyper made of some bytes.
#[derive(Debug, Default)]
struct Reading {
    requests: u64,
    broken_bodies: u64,
    answers: String,
    /// hyper has its own idea of what a target may look like, and answers 400 where it is the narrower one.
    refused_target: bool,
}

/// Serves a connection on which `bytes` arrive and then no more.
async fn read_with_hyper(bytes: &[u8]) -> Reading {
    let (requests, broken) = (Cell::new(0), Cell::new(0));
    let service = service_fn(|request: Request<Incoming>| {
        requests.set(requests.get() + 1);
        let broken = &broken;
        async move {
            if request.into_body().collect().await.is_err() {
                broken.set(broken.get() + 1);
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let (mut visitor, relay) = tokio::io::duplex(1 << 20);
    visitor.write_all(bytes).await.unwrap();
    visitor.shutdown().await.unwrap();
    // Otherwise hyper takes the visitor's last byte for a farewell and drops the request that it is serving.
    let served = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(relay), service).await;
    let refused_target = served.is_err_and(|error| error.to_string().contains("URI"));
    let mut answers = String::new();
    visitor.read_to_string(&mut answers).await.unwrap();
    Reading { requests: requests.get(), broken_bodies: broken.get(), answers, refused_target }
}

fn compare(bytes: &[u8]) -> (Run, Reading) {
    let run = run_whole(bytes);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let reading = runtime.block_on(read_with_hyper(&run.released));
    (run, reading)
}

proptest! {
    #[test]
    fn hyper_finds_the_same_messages(bytes in stream()) {
        // After an answer with `connection: close` hyper stops reading, and the machine need not know.
        prop_assume!(!bytes.windows(8).any(|window| window == b"HTTP/1.0"));
        let (run, reading) = compare(&bytes);
        if reading.refused_target {
            prop_assert!(reading.requests < run.heads && reading.answers.contains("HTTP/1.1 400"));
            return Ok(());
        }
        prop_assert_eq!(reading.requests, run.heads, "{:?}", reading.answers);
        let body_is_cut = matches!(run.end, BODY | End::Aborted(_));
        prop_assert_eq!(reading.broken_bodies, u64::from(body_is_cut), "{:?}", run.end);
        prop_assert!(!reading.answers.contains("HTTP/1.1 4"), "{:?}", reading.answers);
    }
}

#[test]
fn the_comparison_sees_sound_connections() {
    let bytes = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\naGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let (run, reading) = compare(bytes);
    assert_eq!((run.heads, run.end), (2, End::Open(Awaits::Head)));
    assert_eq!((reading.requests, reading.broken_bodies), (2, 0));
    assert_eq!(reading.answers.matches("HTTP/1.1 200").count(), 2);
}
