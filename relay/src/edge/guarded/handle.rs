//! What the service tells the guard of its connection: which requests are under way, and what became of an upgrade.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::Response;
use tokio::time::Instant;

use crate::lock::lock;

/// The service's end of the guard. Cheap to clone.
///
/// hyper serves the requests of a connection one after the other, so the n-th call of
/// [`request_started`](Self::request_started) belongs to the n-th head. A verdict counts for the request that
/// started last: what is said about an earlier request never releases the bytes behind a later upgrade.
#[derive(Clone, Debug)]
pub(crate) struct GuardHandle(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) opened: Instant,
    started: AtomicU64,
    finished: AtomicU64,
    /// When a request finished last, in nanoseconds after `opened`.
    last_finish: AtomicU64,
    /// The number of the request spoken of, shifted by one, and in the lowest bit whether it was accepted.
    verdict: AtomicU64,
    pub(super) reader: AtomicWaker,
    /// Interim responses, to be written between two messages of hyper's.
    interim: Mutex<Vec<u8>>,
    has_interim: AtomicBool,
}

impl GuardHandle {
    /// Has an interim response written before the final one. To be called from the task that polls the connection; where
    /// the final response is under way already, it is left out.
    pub(crate) fn interim(&self, response: &Response<()>) {
        let status = response.status();
        let mut bytes = lock(&self.0.interim);
        let reason = status.canonical_reason().unwrap_or("Interim");
        bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
        for (name, value) in response.headers() {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(b"\r\n");
        self.0.has_interim.store(true, Ordering::Release);
    }

    /// To be called first thing for every request, and before any verdict on it.
    pub(crate) fn request_started(&self) {
        self.0.started.fetch_add(1, Ordering::AcqRel);
    }

    /// To be called once for every request started, also when its future is dropped. The idle time runs from here.
    pub(crate) fn request_finished(&self) {
        let now = u64::try_from(self.0.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.last_finish.fetch_max(now, Ordering::AcqRel);
        // No wake-up: the guard's timer, armed at the earliest time that could be due, looks here when it fires.
        self.0.finished.fetch_add(1, Ordering::AcqRel);
    }

    /// The origin switched protocols: from here on the guard passes everything.
    pub(crate) fn upgrade_accepted(&self) {
        self.0.decide(true);
    }

    /// The origin stayed with HTTP: the guard expects the next head. Without a held upgrade nothing happens, so
    /// this may be called for every answer other than 101.
    pub(crate) fn upgrade_refused(&self) {
        self.0.decide(false);
    }
}

impl Shared {
    /// The interim responses that wait, which are then the caller's to write.
    pub(super) fn take_interim(&self) -> Option<Vec<u8>> {
        let has = self.has_interim.load(Ordering::Acquire);
        has.then(|| {
            self.has_interim.store(false, Ordering::Release);
            std::mem::take(&mut *lock(&self.interim))
        })
    }

    pub(super) fn new() -> (Arc<Self>, GuardHandle) {
        let shared = Arc::new(Self {
            opened: Instant::now(),
            started: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            last_finish: AtomicU64::new(0),
            verdict: AtomicU64::new(0),
            reader: AtomicWaker::new(),
            interim: Mutex::default(),
            has_interim: AtomicBool::new(false),
        });
        (shared.clone(), GuardHandle(shared))
    }

    fn decide(&self, accepted: bool) {
        let request = self.started.load(Ordering::Acquire);
        // The maximum keeps the later request's word, and for one request the acceptance.
        self.verdict.fetch_max(request << 1 | u64::from(accepted), Ordering::AcqRel);
        self.reader.wake();
    }

    /// What was said about the n-th request, if anything. The caller registers its waker first.
    pub(super) fn verdict_on(&self, request: u64) -> Option<bool> {
        let verdict = self.verdict.load(Ordering::Acquire);
        (verdict >> 1 == request).then_some(verdict & 1 == 1)
    }

    pub(super) fn is_busy(&self) -> bool {
        let finished = self.finished.load(Ordering::Acquire);
        self.started.load(Ordering::Acquire) > finished
    }

    pub(super) fn last_finish(&self) -> Instant {
        self.opened + Duration::from_nanos(self.last_finish.load(Ordering::Acquire))
    }
}
