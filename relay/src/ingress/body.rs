//! Bodies on their way through. Nothing is collected: a frame is passed on when the other side has room for it. A body
//! that stands still for too long is broken off, and a broken body never looks like a whole one.

mod idle;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

pub(crate) use self::idle::Crowd;
use self::idle::IdleTimer;
use super::access_log::AccessLine;
use super::error::{IngressError, VISITOR_GONE};
use super::headers::rewrite_trailers;
use super::inbound::Inbound;
use super::interim::{Expected, Verdict};
use super::visitor::Underway;
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

/// A visitor's body as it goes to the origin.
#[derive(Debug)]
struct VisitorBody {
    body: Inbound,
    /// Bytes that may still come.
    left: Option<u64>,
    timer: IdleTimer,
    upload: Arc<Upload>,
    /// Not read before the origin wants it.
    expected: Option<Expected>,
}

/// What holds a visitor's body to its bounds.
#[derive(Debug)]
pub(crate) struct UploadPace {
    /// Bytes.
    pub(crate) most: Option<u64>,
    pub(crate) idle: Duration,
    pub(crate) crowd: Crowd,
    pub(crate) expected: Option<Expected>,
}

/// Prepares a visitor's body for the origin.
pub(crate) fn to_origin(body: Inbound, pace: UploadPace, upload: &Arc<Upload>) -> RequestBody {
    if body.is_end_stream() {
        return RequestBody::Empty;
    }
    let UploadPace { most, idle, crowd, expected } = pace;
    let (timer, upload) = (IdleTimer::new(idle, Some(crowd)), Arc::clone(upload));
    RequestBody::Streamed(VisitorBody { body, left: most, timer, upload, expected }.boxed_unsync())
}

impl Body for VisitorBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(expected) = &mut this.expected {
            if ready!(expected.poll(cx)) == Verdict::Unwanted {
                // Neither does the visitor have to send it, nor may the origin take it for ended.
                this.body = Inbound::Empty;
                return Poll::Pending;
            }
            this.expected = None;
            this.upload.moved(0);
        }
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
            OriginBody { body, lease, timer: IdleTimer::new(idle, None), upload, withdrawn, ended: false };
        origin.note_end();
        if origin.asked() {
            origin.handed_out();
        }
        Self { source: Source::Origin(Box::new(origin)), line: None, underway: None }
    }

    /// It is given up because the visitor takes nothing of it.
    pub(crate) fn visitor_is_too_slow(&mut self) {
        if let Some(line) = &mut self.line {
            line.error.get_or_insert(IngressError::VisitorTooSlow.answer().code);
        }
    }

    /// Ends when the visitor is cut for standing still in a crowd.
    pub(super) fn cut(&self) -> impl Future<Output = ()> + use<> {
        let intake = match &self.source {
            Source::Origin(origin) => origin.lease.intake().cloned(),
            Source::Local(_) => None,
        };
        async move {
            match intake {
                Some(intake) => intake.cut().await,
                None => std::future::pending().await,
            }
        }
    }

    /// The line is written, and the connection told, when the body has ended.
    pub(crate) fn end_with(&mut self, line: AccessLine, underway: Underway) {
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
            // hyper takes a stream that was reset without an error for one that has ended.
            None if self.lease.is_shared() && !self.body.is_end_stream() => {
                Poll::Ready(Some(Err(IngressError::OriginBroke)))
            }
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
        let polled = match &mut this.source {
            Source::Local(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Source::Origin(body) => body.poll_frame(cx),
        };
        let polled = ready!(polled);
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
            line.error = Some(if origin.is_cut() { cut } else { VISITOR_GONE });
        }
    }
}
