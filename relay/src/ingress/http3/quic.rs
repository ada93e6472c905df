//! Our connection and its streams as `h3` wants them. Each stream of a visitor has an allowance of bytes that may be read
//! before anybody takes something out of it: `h3` collects a whole frame before it looks at its length. And each can be
//! asked whether the visitor still wants the answer, which `h3` does not do.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, StoppedError, VarInt};
use tokio::io::ReadBuf;

use super::errors::{broken_off, ended, stopped, unknown};
use super::frames::Frames;
use crate::lock::lock;

/// What may wait unread beside the largest head.
const BESIDE: usize = 16 << 10;
const SCRATCH: usize = 16 << 10;

thread_local! {
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

type Pending<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send + Sync>>;
type Bidirectional = (quinn::SendStream, quinn::RecvStream);
/// Ends when the visitor stops the stream, or has acknowledged all of it.
pub(super) type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

/// Bytes that may still be read for nothing.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    left: Arc<AtomicUsize>,
    whole: usize,
}

impl Allowance {
    fn new(whole: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(whole)), whole }
    }

    /// Something was taken out.
    pub(super) fn renew(&self) {
        self.left.store(self.whole, Ordering::Relaxed);
    }

    fn take(&self, count: usize) -> bool {
        let less = |left: usize| left.checked_sub(count);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// A stream as it comes in.
pub(super) struct Arrival {
    pub(super) stopped: Stopped,
    pub(super) allowance: Allowance,
}

/// Where the last stream that came in is to be found: `h3` hands streams on one at a time.
#[derive(Clone, Default)]
pub(super) struct Arrivals(Arc<Mutex<Option<Arrival>>>);

impl Arrivals {
    pub(super) fn take(&self) -> Option<Arrival> {
        lock(&self.0).take()
    }
}

/// A visitor's connection.
pub(super) struct Quic {
    connection: quinn::Connection,
    bidirectional: Option<Pending<Bidirectional>>,
    unidirectional: Option<Pending<quinn::RecvStream>>,
    opener: Opener,
    arrivals: Arrivals,
    /// Of all its unidirectional streams; renewed with each request.
    aside: Allowance,
}

impl Quic {
    /// `head` is the largest that will be decoded.
    pub(super) fn new(connection: quinn::Connection, head: usize) -> (Self, Arrivals) {
        let (opener, arrivals) = (Opener::new(connection.clone()), Arrivals::default());
        let aside = Allowance::new(head + BESIDE);
        let (bidirectional, unidirectional) = (None, None);
        let told = arrivals.clone();
        (Self { connection, bidirectional, unidirectional, opener, arrivals, aside }, told)
    }
}

/// Polls what was begun, or begins it.
fn poll_pending<T>(
    pending: &mut Option<Pending<T>>,
    begin: impl FnOnce() -> Pending<T>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, ConnectionErrorIncoming>> {
    let came = ready!(pending.get_or_insert_with(begin).as_mut().poll(cx));
    *pending = None;
    Poll::Ready(came.map_err(ended))
}

impl quic::Connection<Bytes> for Quic {
    type RecvStream = Receiving;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let connection = &self.connection;
        let begin = || -> Pending<_> {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_uni().await })
        };
        let stream = ready!(poll_pending(&mut self.unidirectional, begin, cx))?;
        Poll::Ready(Receiving::new(stream, self.aside.clone()))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let connection = &self.connection;
        let begin = || -> Pending<_> {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_bi().await })
        };
        let (send, recv) = ready!(poll_pending(&mut self.bidirectional, begin, cx))?;
        self.aside.renew();
        let allowance = Allowance::new(self.aside.whole);
        let stopped = Box::pin(send.stopped());
        *lock(&self.arrivals.0) = Some(Arrival { stopped, allowance: allowance.clone() });
        let receiving = Receiving { frames: Some(Frames::default()), ..Receiving::new(recv, allowance)? };
        let stream = Stream { sending: Sending::new(send)?, receiving };
        Poll::Ready(Ok(stream))
    }

    fn opener(&self) -> Opener {
        Opener::new(self.connection.clone())
    }
}

impl quic::OpenStreams<Bytes> for Quic {
    type BidiStream = Stream;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sending, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

/// Opens our own streams beside the requests.
pub(super) struct Opener {
    connection: quinn::Connection,
    opening: Option<Pending<quinn::SendStream>>,
}

impl Opener {
    fn new(connection: quinn::Connection) -> Self {
        Self { connection, opening: None }
    }
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = Stream;
    type SendStream = Sending;

    /// The relay asks visitors for nothing.
    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Stream, StreamErrorIncoming>> {
        Poll::Ready(Err(StreamErrorIncoming::Unknown("the relay opens no request streams".into())))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sending, StreamErrorIncoming>> {
        let connection = &self.connection;
        let begin = || -> Pending<_> {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await })
        };
        let lost = |connection_error| StreamErrorIncoming::ConnectionErrorIncoming { connection_error };
        let stream = ready!(poll_pending(&mut self.opening, begin, cx)).map_err(lost)?;
        Poll::Ready(Sending::new(stream).map_err(lost))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(number(code.value()), reason);
    }
}

/// Both directions of a request.
pub(super) struct Stream {
    sending: Sending,
    receiving: Receiving,
}

impl quic::BidiStream<Bytes> for Stream {
    type SendStream = Sending;
    type RecvStream = Receiving;

    fn split(self) -> (Sending, Receiving) {
        (self.sending, self.receiving)
    }
}

impl quic::RecvStream for Stream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receiving.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.receiving.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.receiving.id
    }
}

impl quic::SendStream<Bytes> for Stream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.sending.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.sending.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.sending.id
    }
}

/// What a visitor sends.
pub(super) struct Receiving {
    stream: quinn::RecvStream,
    id: StreamId,
    allowance: Allowance,
    /// Of a request.
    frames: Option<Frames>,
}

impl Receiving {
    fn new(stream: quinn::RecvStream, allowance: Allowance) -> Result<Self, ConnectionErrorIncoming> {
        let id = id(stream.id())?;
        Ok(Self { stream, id, allowance, frames: None })
    }
}

impl Receiving {
    /// How many bytes came, and what of them is passed on.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(usize, Bytes), ReadError>> {
        ROOM.with_borrow_mut(|room| {
            let mut room = ReadBuf::new(room);
            ready!(self.stream.poll_read_buf(cx, &mut room))?;
            let came = room.filled();
            let data = match &mut self.frames {
                Some(frames) => frames.pass(came),
                None => Bytes::copy_from_slice(came),
            };
            Poll::Ready(Ok((came.len(), data)))
        })
    }
}

/// As if the visitor had ended the stream for this reason.
fn cut_off(code: Code) -> StreamErrorIncoming {
    StreamErrorIncoming::StreamTerminated { error_code: code.value() }
}

impl quic::RecvStream for Receiving {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            let (came, data) = ready!(self.poll_read(cx)).map_err(broken_off)?;
            if came == 0 {
                let whole = self.frames.as_ref().is_none_or(Frames::is_between);
                return Poll::Ready(if whole { Ok(None) } else { Err(cut_off(Code::H3_FRAME_ERROR)) });
            }
            if !self.allowance.take(came) {
                self.stop_sending(Code::H3_EXCESSIVE_LOAD.value());
                return Poll::Ready(Err(cut_off(Code::H3_EXCESSIVE_LOAD)));
            }
            if !data.is_empty() {
                return Poll::Ready(Ok(Some(data)));
            }
        }
    }

    fn stop_sending(&mut self, error_code: u64) {
        let _already_over = self.stream.stop(number(error_code));
    }

    fn recv_id(&self) -> StreamId {
        self.id
    }
}

/// What a visitor is sent. Dropped before its end it is reset, so that nothing broken off looks whole.
pub(super) struct Sending {
    stream: quinn::SendStream,
    id: StreamId,
    unsent: Option<WriteBuf<Bytes>>,
    over: bool,
}

impl Sending {
    fn new(stream: quinn::SendStream) -> Result<Self, ConnectionErrorIncoming> {
        let id = id(stream.id())?;
        Ok(Self { stream, id, unsent: None, over: false })
    }
}

impl quic::SendStream<Bytes> for Sending {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(unsent) = self.unsent.as_mut().filter(|unsent| unsent.has_remaining()) {
            let written = Pin::new(&mut self.stream).poll_write(cx, unsent.chunk());
            unsent.advance(ready!(written).map_err(stopped)?);
        }
        self.unsent = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.unsent = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        self.over = true;
        Poll::Ready(self.stream.finish().map_err(unknown))
    }

    fn reset(&mut self, reset_code: u64) {
        self.over = true;
        let _already_over = self.stream.reset(number(reset_code));
    }

    fn send_id(&self) -> StreamId {
        self.id
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.over {
            quic::SendStream::reset(self, Code::H3_REQUEST_CANCELLED.value());
        }
    }
}

fn number(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

fn id(id: quinn::StreamId) -> Result<StreamId, ConnectionErrorIncoming> {
    let wrong = |_| ConnectionErrorIncoming::InternalError("a stream's number is too large".into());
    u64::from(id).try_into().map_err(wrong)
}
