//! Bodies on their way through. Nothing is collected: a frame is passed on when the other side has room for it. A body
//! that stands still for too long is broken off, and a broken body never looks like a whole one.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::access_log::AccessLine;
use super::connection::Underway;
use super::error::IngressError;
use super::headers::rewrite_trailers;
use super::patience::Patience;
use crate::tunnel::pool::{BodyError, RequestBody};
use crate::tunnel::session::Lease;

/// What both directions of a request know of the body on its way to the origin.
#[derive(Debug)]
pub(crate) struct Upload {
    begun: Instant,
    received: AtomicU64,
    /// Milliseconds after `begun`.
    last: AtomicU64,
    fault: OnceLock<IngressError>,
}

impl Default for Upload {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            received: AtomicU64::new(0),
            last: AtomicU64::new(0),
            fault: OnceLock::new(),
        }
    }
}

impl Upload {
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// What the visitor did wrong with its body.
    pub(crate) fn fault(&self) -> Option<IngressError> {
        self.fault.get().copied()
    }

    /// When the body last moved.
    pub(crate) fn last_moved(&self) -> Instant {
        self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    fn moved(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    fn fail(&self, fault: IngressError) -> BodyError {
        let _first_counts = self.fault.set(fault);
        fault.answer().code.into()
    }
}

/// Fires when nothing has moved for a time. Costs nothing while everything moves at once.
#[derive(Debug)]
struct IdleTimer {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl IdleTimer {
    fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, armed: false }
    }

    fn moved(&mut self) {
        self.armed = false;
    }

    /// To be polled only while nothing moves this way. What moves the other way counts as well: an exchange in which
    /// one side only listens is not idle.
    fn poll_fired(&mut self, cx: &mut Context<'_>, exchange: &Upload) -> Poll<()> {
        let now = tokio::time::Instant::now();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(now + self.limit)));
        if !self.armed {
            sleep.as_mut().reset(now + self.limit);
            self.armed = true;
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            let due = tokio::time::Instant::from_std(exchange.last_moved()) + self.limit;
            if due <= tokio::time::Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

/// A visitor's body as it goes to the origin.
#[derive(Debug)]
struct VisitorBody {
    body: Incoming,
    /// Bytes that may still come.
    left: Option<u64>,
    timer: IdleTimer,
    upload: Arc<Upload>,
}

/// Prepares a visitor's body for the origin, held to `most` bytes and to moving on within `idle`.
pub(crate) fn to_origin(
    body: Incoming,
    most: Option<u64>,
    idle: Duration,
    upload: &Arc<Upload>,
) -> RequestBody {
    if body.is_end_stream() {
        return RequestBody::Empty;
    }
    let body = VisitorBody { body, left: most, timer: IdleTimer::new(idle), upload: Arc::clone(upload) };
    RequestBody::Streamed(body.boxed_unsync())
}

impl Body for VisitorBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(polled) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.timer.poll_fired(cx, &this.upload));
            return Poll::Ready(Some(Err(this.upload.fail(IngressError::BodyTimeout))));
        };
        this.timer.moved();
        let mut frame = match polled {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(this.upload.fail(IngressError::BodyBroken)))),
            Some(Ok(frame)) => frame,
        };
        if let Some(trailers) = frame.trailers_mut() {
            rewrite_trailers(trailers);
        }
        let length = frame.data_ref().map_or(0, Bytes::len);
        this.upload.moved(length);
        if let Some(left) = &mut this.left {
            match left.checked_sub(length as u64) {
                Some(rest) => *left = rest,
                None => return Poll::Ready(Some(Err(this.upload.fail(IngressError::BodyTooLarge)))),
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body as it goes to the visitor, and everything that ends with it.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    line: Option<Box<AccessLine>>,
    /// Tells the connection that the request is over.
    underway: Option<Underway>,
}

#[derive(Debug)]
enum Source {
    Local(Full<Bytes>),
    Origin(Box<OriginBody>),
}

#[derive(Debug)]
struct OriginBody {
    body: Incoming,
    lease: Lease,
    timer: IdleTimer,
    upload: Arc<Upload>,
    withdrawn: CancellationToken,
    ended: bool,
}

/// What can end a response before its time.
#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) idle: Duration,
    pub(crate) upload: Arc<Upload>,
    /// Cancelled when the hostname is taken from its peer.
    pub(crate) withdrawn: CancellationToken,
}

impl ResponseBody {
    /// Of the relay's own.
    pub(crate) fn local(body: impl Into<Bytes>) -> Self {
        Self { source: Source::Local(Full::new(body.into())), line: None, underway: None }
    }

    /// Of the origin.
    pub(crate) fn origin(body: Incoming, lease: Lease, pace: Pace) -> Self {
        let Pace { idle, upload, withdrawn } = pace;
        let mut origin =
            OriginBody { body, lease, timer: IdleTimer::new(idle), upload, withdrawn, ended: false };
        origin.note_end();
        if origin.asked() {
            origin.handed_out();
        }
        Self { source: Source::Origin(Box::new(origin)), line: None, underway: None }
    }

    /// The line is written, and the connection told, when the body has ended.
    pub(crate) fn end_with(&mut self, line: AccessLine, underway: Underway) {
        // A visitor with no room at all never lets its body be asked.
        Patience::handed_out();
        self.line = Some(Box::new(line));
        self.underway = Some(underway);
    }
}

impl OriginBody {
    fn note_end(&mut self) {
        if !self.ended && self.body.is_end_stream() {
            self.ended = true;
            self.lease.finished();
        }
    }

    /// What was given to hyper waits for the visitor from now on.
    fn handed_out(&self) {
        if let Some(intake) = self.lease.intake() {
            intake.handed_out(self.body.size_hint().exact());
        }
    }

    /// hyper asks for more only where the visitor has room for it. Says whether the visitor may still have it: that a body
    /// was cut is known here, whatever its stream makes of it.
    fn asked(&self) -> bool {
        self.lease.intake().is_none_or(|intake| intake.asked())
    }

    fn is_cut(&self) -> bool {
        self.lease.intake().is_some_and(|intake| intake.is_cut())
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, IngressError>>> {
        if !self.asked() {
            return Poll::Ready(Some(Err(IngressError::VisitorTooSlow)));
        }
        if self.withdrawn.is_cancelled() {
            return Poll::Ready(Some(Err(IngressError::AgentOffline)));
        }
        let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.timer.poll_fired(cx, &self.upload));
            return Poll::Ready(Some(Err(IngressError::OriginStalled)));
        };
        self.timer.moved();
        match polled {
            Some(Ok(frame)) => {
                self.note_end();
                self.handed_out();
                self.upload.moved(0);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(self
                .lease
                .failure()
                .map_or(IngressError::OriginBroke, IngressError::from)))),
            None => {
                self.ended = true;
                self.lease.finished();
                Poll::Ready(None)
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        Patience::asked();
        let polled = match &mut this.source {
            Source::Local(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Source::Origin(body) => body.poll_frame(cx),
        };
        let polled = ready!(polled);
        Patience::handed_out();
        if let Some(line) = &mut this.line {
            match &polled {
                Some(Ok(frame)) => line.sent += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(error)) => line.error = Some(error.answer().code),
                None => {}
            }
        }
        Poll::Ready(polled.map(|frame| frame.map_err(|error| error.answer().code.into())))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Local(body) => body.is_end_stream(),
            Source::Origin(origin) => origin.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Local(body) => body.size_hint(),
            Source::Origin(origin) => origin.body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let (Source::Origin(origin), Some(line)) = (&self.source, &mut self.line)
            && !origin.ended
            && line.error.is_none()
        {
            let cut = IngressError::VisitorTooSlow.answer().code;
            line.error = Some(if origin.is_cut() { cut } else { "visitor-gone" });
        }
    }
}
