//! Interim responses (1xx): what an origin says before its final response goes on to the visitor at once, and its `100` lets
//! a body go that waits for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::time::Sleep;

use super::headers;
use crate::lock::lock;

/// Interim responses of one request, and bytes of their fields; what comes beyond is left out, as it may be.
const MOST: usize = 32;
const MOST_BYTES: usize = 64 << 10;
/// An origin that knows nothing of `Expect` says nothing: then the body goes without its word (RFC 9110, section
/// 10.1.1).
const PATIENCE: Duration = Duration::from_secs(1);

/// What is on its way to the visitor of one request. Both ends hold it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interim(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    responses: Mutex<VecDeque<Response<()>>>,
    /// What may still be offered.
    left: Mutex<Left>,
    any: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Debug)]
struct Left {
    responses: usize,
    bytes: usize,
}

impl Default for Left {
    fn default() -> Self {
        Self { responses: MOST, bytes: MOST_BYTES }
    }
}

impl Left {
    fn take(&mut self, fields: &HeaderMap) -> bool {
        let size: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let (Some(responses), Some(bytes)) = (self.responses.checked_sub(1), self.bytes.checked_sub(size))
        else {
            return false;
        };
        *self = Self { responses, bytes };
        true
    }
}

impl Interim {
    /// Has what the origin says meanwhile passed on: `100` to the body that waits for it, the others to the visitor.
    pub(crate) fn listen<B>(&self, request: &mut Request<B>, gate: Option<Gate>) {
        let visitor = self.clone();
        hyper::ext::on_informational(request, move |response| match (response.status(), &gate) {
            (StatusCode::CONTINUE, Some(gate)) => gate.open(),
            (StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS, _) => {}
            (status, _) => visitor.offer(status, response.headers().clone()),
        });
    }

    /// For the visitor, unless there were too many already.
    pub(crate) fn offer(&self, status: StatusCode, mut fields: HeaderMap) {
        headers::rewrite_response(&mut fields);
        // RFC 9110, section 8.6.
        fields.remove(CONTENT_LENGTH);
        if status != StatusCode::CONTINUE && !lock(&self.0.left).take(&fields) {
            return;
        }
        let mut response = Response::new(());
        (*response.status_mut(), *response.headers_mut()) = (status, fields);
        let mut waiting = lock(&self.0.responses);
        waiting.push_back(response);
        self.0.any.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// The next one that waits now.
    pub(crate) fn take(&self) -> Option<Response<()>> {
        if !self.0.any.load(Ordering::Acquire) {
            return None;
        }
        let mut waiting = lock(&self.0.responses);
        let next = waiting.pop_front();
        self.0.any.store(!waiting.is_empty(), Ordering::Release);
        next
    }

    /// Wakes a task when another one waits.
    pub(crate) fn register(&self, waker: &Waker) {
        self.0.waker.register(waker);
    }

    /// The next one. Never ends by itself: the final response does not come this way.
    pub(crate) async fn next(&self) -> Response<()> {
        poll_fn(|cx| {
            if let Some(response) = self.take() {
                return Poll::Ready(response);
            }
            self.register(cx.waker());
            self.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Holds a body back until the origin wants it (`Expect: 100-continue`).
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<Door>);

#[derive(Debug, Default)]
struct Door {
    /// What was decided first, which stands.
    verdict: OnceLock<Verdict>,
    body: AtomicWaker,
}

/// What becomes of a body at its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wanted,
    /// The origin has given its answer without it.
    Unwanted,
}

impl Gate {
    pub(crate) fn open(&self) {
        self.decide(Verdict::Wanted);
    }

    /// The final response is there. Whether the body is still behind the gate, and stays there.
    pub(crate) fn close(&self) -> bool {
        self.decide(Verdict::Unwanted) == Verdict::Unwanted
    }

    fn decide(&self, verdict: Verdict) -> Verdict {
        let stands = *self.0.verdict.get_or_init(|| verdict);
        self.0.body.wake();
        stands
    }

    fn poll_verdict(&self, cx: &mut Context<'_>) -> Poll<Verdict> {
        self.0.body.register(cx.waker());
        self.0.verdict.get().map_or(Poll::Pending, |verdict| Poll::Ready(*verdict))
    }
}

/// The wait of one body at its gate.
#[derive(Debug)]
pub(crate) struct Expected {
    gate: Gate,
    /// Begins when the body is asked for: then the head is on its way.
    patience: Option<Pin<Box<Sleep>>>,
    /// Whom to tell that the body may come; over HTTP/1 hyper says it by itself.
    visitor: Option<Interim>,
}

impl Expected {
    pub(crate) fn new(gate: Gate, visitor: Option<Interim>) -> Self {
        Self { gate, patience: None, visitor }
    }

    /// Ready when it is known what becomes of the body. Where it may be read, the visitor is told.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if self.gate.poll_verdict(cx).is_pending() {
            let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
            ready!(patience.as_mut().poll(cx));
            self.gate.open();
        }
        let verdict = ready!(self.gate.poll_verdict(cx));
        if let Some(visitor) = self.visitor.take().filter(|_| verdict == Verdict::Wanted) {
            visitor.offer(StatusCode::CONTINUE, HeaderMap::new());
        }
        Poll::Ready(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_offered_arrives_in_order_and_is_bounded() {
        let interim = Interim::default();
        for _ in 0..MOST + 3 {
            interim.offer(StatusCode::EARLY_HINTS, HeaderMap::new());
        }
        interim.offer(StatusCode::CONTINUE, HeaderMap::new());
        for _ in 0..MOST {
            assert_eq!(interim.next().await.status(), StatusCode::EARLY_HINTS);
        }
        assert_eq!(interim.next().await.status(), StatusCode::CONTINUE);
        assert!(interim.take().is_none());
    }

    #[test]
    fn their_bytes_are_bounded_too() {
        let interim = Interim::default();
        let large = || HeaderMap::from_iter([(http::header::LINK, "x".repeat(30 << 10).parse().unwrap())]);
        (0..9).for_each(|_| interim.offer(StatusCode::EARLY_HINTS, large()));
        assert_eq!(std::iter::from_fn(|| interim.take()).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_waits_for_the_origin_and_not_for_ever() {
        let begun = tokio::time::Instant::now();
        let gate = Gate::default();
        gate.open();
        let mut expected = Expected::new(gate, None);
        assert_eq!(poll_fn(|cx| expected.poll(cx)).await, Verdict::Wanted);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let visitor = Interim::default();
        let mut expected = Expected::new(Gate::default(), Some(visitor.clone()));
        poll_fn(|cx| expected.poll(cx)).await;
        assert_eq!((begun.elapsed(), visitor.next().await.status()), (PATIENCE, StatusCode::CONTINUE));
    }
    #[tokio::test(start_paused = true)]
    async fn what_was_decided_first_stands() {
        let gate = Gate::default();
        assert!(gate.close());
        gate.open();
        let mut expected = Expected::new(gate, None);
        assert_eq!(poll_fn(|cx| expected.poll(cx)).await, Verdict::Unwanted);
        let gate = Gate::default();
        gate.open();
        assert!(!gate.close());
    }
}
