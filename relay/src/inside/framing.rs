//! What must hold of all bytes on an HTTP/1 connection: cut up or whole the guard says the same, and in what it releases
//! hyper finds the same messages.

use std::cell::Cell;
use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::edge::framing::{Awaits, Framing, GuardLimits, Step};

/// What the guard made of some bytes.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    released: Vec<u8>,
    heads: u64,
    refuses: bool,
    cuts_a_body: bool,
}

fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Run {
    let mut framing = Framing::new(GuardLimits::default());
    let (mut window, mut released) = (Vec::new(), Vec::new());
    let (mut refuses, mut aborts) = (false, false);
    for piece in pieces {
        window.extend_from_slice(piece);
        while !refuses && !aborts {
            match framing.step(&window) {
                Step::Release(length) => released.extend(window.drain(..length)),
                Step::NeedMore | Step::Hold => break,
                Step::Refuse(_) => refuses = true,
                Step::Abort(_) => aborts = true,
            }
        }
    }
    let cuts_a_body = aborts || framing.awaits() == Awaits::Body;
    Run { released, heads: framing.heads(), refuses, cuts_a_body }
}

/// Asserts it of whatever bytes; the first says how they are cut up.
pub fn check(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let whole = run(std::iter::once(bytes));
    assert_eq!(run(bytes.chunks(usize::from(*size).max(1))), whole, "cut up it is another");
    assert!(bytes.starts_with(&whole.released), "it was altered");
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    let reading = runtime.block_on(read_with_hyper(&whole.released));
    // hyper stops after such an answer, and the guard need not know; and it has its own idea of a target, which may be the
    // narrower one.
    let lower = whole.released.to_ascii_lowercase();
    let ends =
        ["close", "http/1.0"].iter().any(|word| lower.windows(word.len()).any(|at| at == word.as_bytes()));
    if ends || reading.narrower {
        assert!(reading.requests <= whole.heads, "hyper finds {} of {}", reading.requests, whole.heads);
        return;
    }
    assert_eq!(reading.requests, whole.heads, "{:?}", reading.answers);
    assert_eq!(reading.broken_bodies, u64::from(whole.cuts_a_body), "{whole:?}");
    assert!(!reading.answers.contains("HTTP/1.1 4"), "{:?}", reading.answers);
}

/// What hyper made of some bytes.
#[derive(Debug, Default)]
struct Reading {
    requests: u64,
    broken_bodies: u64,
    answers: String,
    narrower: bool,
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
    let mut reading = Reading::default();
    if visitor.write_all(bytes).await.is_err() || visitor.shutdown().await.is_err() {
        return reading;
    }
    // Otherwise hyper takes the last byte for a farewell and drops the request that it is serving.
    let served = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(relay), service).await;
    reading.narrower = served.is_err_and(|error| error.to_string().contains("URI"));
    let mut answers = Vec::new();
    if visitor.read_to_end(&mut answers).await.is_ok() {
        reading.answers = String::from_utf8_lossy(&answers).into_owned();
    }
    reading.requests = requests.get();
    reading.broken_bodies = broken.get();
    reading
}
