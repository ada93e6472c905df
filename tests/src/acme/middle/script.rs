//! What a test has in mind for requests that are still to come: to hold them, or to answer them itself.

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use serde_json::json;
use tokio::sync::oneshot;

use super::BrokenOff;
use super::record::is_of;
use crate::wait::PATIENCE;

/// When a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Pebble has not heard of it.
    Before,
    /// Pebble has answered, and the relay has not heard.
    After,
}

/// A request that is held, or is going to be. Without [`Held::release`] the relay's connection breaks off.
#[derive(Debug)]
pub struct Held {
    came: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the request is there.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub async fn wait(&mut self) {
        let came = tokio::time::timeout(PATIENCE, &mut self.came).await;
        came.expect("the request comes in time").expect("the proxy runs");
    }

    /// Lets it pass.
    pub fn release(self) {
        let _the_relay_may_be_gone = self.go.send(());
    }
}

/// An answer that Pebble knows nothing of.
#[derive(Debug, Clone)]
pub struct Canned {
    status: u16,
    content_type: &'static str,
    retry_after_s: Option<u64>,
    body: String,
}

impl Canned {
    /// A problem document (RFC 8555, section 6.7) of a kind, in words.
    #[must_use]
    pub fn problem(status: u16, kind: &str, detail: &str) -> Self {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        let body = json!({ "type": kind, "detail": detail, "status": status }).to_string();
        Self { status, content_type: "application/problem+json", retry_after_s: None, body }
    }

    /// A page, as load balancers send it.
    #[must_use]
    pub fn html(status: u16, body: &str) -> Self {
        Self { status, content_type: "text/html", retry_after_s: None, body: body.to_owned() }
    }

    /// The same, with a time before which nobody has to ask again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(super) fn response(self) -> Response<Bytes> {
        let mut builder = Response::builder().status(self.status).header(CONTENT_TYPE, self.content_type);
        if let Some(seconds) = self.retry_after_s {
            builder = builder.header(RETRY_AFTER, seconds);
        }
        builder.body(self.body.into()).expect("a response")
    }
}

/// The proxy's side of [`Held`].
#[derive(Debug)]
pub(super) struct Gate {
    came: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

/// What is to be done with one request.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) before: Option<Gate>,
    pub(super) answer: Option<Canned>,
    pub(super) after: Option<Gate>,
}

/// All that is still to come.
#[derive(Debug, Default)]
pub(super) struct Script {
    holds: Vec<(&'static str, usize, Hold, Gate)>,
    answers: Vec<(&'static str, usize, Canned)>,
}

impl Script {
    pub(super) fn hold(&mut self, path: &'static str, nth: usize, at: Hold) -> Held {
        let ((here, came), (go, there)) = (oneshot::channel(), oneshot::channel());
        self.holds.push((path, nth, at, Gate { came: here, go: there }));
        Held { came, go }
    }

    pub(super) fn answer(&mut self, path: &'static str, times: usize, canned: Canned) {
        self.answers.push((path, times, canned));
    }

    pub(super) fn plan(&mut self, path: &str) -> Plan {
        let mut plan = Plan { answer: self.next_answer(path), ..Plan::default() };
        for hold in self.holds.iter_mut().filter(|hold| is_of(path, hold.0)) {
            hold.1 -= 1;
        }
        for (_, _, at, gate) in self.holds.extract_if(.., |hold| hold.1 == 0) {
            match at {
                Hold::Before => plan.before = Some(gate),
                Hold::After => plan.after = Some(gate),
            }
        }
        plan
    }

    fn next_answer(&mut self, path: &str) -> Option<Canned> {
        let next = self.answers.iter_mut().find(|(of, times, _)| *times > 0 && is_of(path, of))?;
        next.1 -= 1;
        Some(next.2.clone())
    }
}

/// Waits at a gate, where there is one.
pub(super) async fn pass(gate: Option<Gate>) -> Result<(), BrokenOff> {
    let Some(gate) = gate else { return Ok(()) };
    let _nobody_waits = gate.came.send(());
    gate.go.await.map_err(|_| BrokenOff)
}
