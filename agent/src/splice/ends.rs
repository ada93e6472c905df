//! The two halves of a stream to the relay. Whatever happens to their owner, an end that was not meant is a reset:
//! quinn alone would end a dropped stream as if everything had been said.

use std::future::ready;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use protocol::close::StreamReset;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use transport::urgency::{Shares, Urgency};

use super::{Inlet, Outlet, SpliceError};

/// Pieces taken from a stream at once; quinn hands out what came in one packet.
pub(crate) const PIECES: usize = 32;
/// How long a visitor is heard out who was refused, or who wanted no more than an answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// Both halves.
#[derive(Debug)]
pub struct Ends {
    pub(crate) to_relay: ToRelay,
    pub(crate) from_relay: FromRelay,
}

/// The half on which this agent speaks.
#[derive(Debug)]
pub struct ToRelay {
    stream: SendStream,
    urgency: Urgency,
    open: bool,
}

/// The half on which the relay speaks.
#[derive(Debug)]
pub struct FromRelay {
    stream: RecvStream,
    open: bool,
}

impl Ends {
    #[must_use]
    pub fn new(send: SendStream, recv: RecvStream, shares: Arc<Shares>) -> Self {
        Self { to_relay: ToRelay::new(send, shares), from_relay: FromRelay::new(recv) }
    }

    /// What was said either way is not the whole.
    pub fn reset(&mut self, code: StreamReset) {
        self.to_relay.reset(code);
        self.from_relay.stop(code);
    }

    /// Waits until the relay has said everything, whatever it is. Whoever stops listening can be taken for one who breaks
    /// off, and then the last words on the other half may never reach the visitor.
    pub(crate) async fn hear_out(&mut self) {
        let mut pieces = Default::default();
        while let Ok(Some(_)) = self.from_relay.read(&mut pieces).await {}
    }

    /// Nothing more is said, and what is heard counts for nothing: the relay has a moment to end its half too.
    pub(crate) async fn part(mut self) {
        self.to_relay.end();
        let _in_time = tokio::time::timeout(FAREWELL, self.hear_out()).await;
    }
}

impl ToRelay {
    #[must_use]
    pub fn new(stream: SendStream, shares: Arc<Shares>) -> Self {
        Self { stream, urgency: Urgency::new(shares), open: true }
    }

    /// The number of the stream in its connection.
    pub(crate) fn number(&self) -> u64 {
        self.stream.id().into()
    }

    /// Everything has been said; the other half is left alone.
    pub(crate) fn end(&mut self) {
        self.open = false;
        // Fails only where the stream has ended already.
        let _ = self.stream.finish();
    }

    /// What was said is not the whole.
    pub fn reset(&mut self, code: StreamReset) {
        if self.open {
            self.open = false;
            let _ = self.stream.reset(code.number().into());
        }
    }
}

impl Outlet for ToRelay {
    async fn write(&mut self, piece: Bytes) -> Result<(), SpliceError> {
        let length = piece.len();
        self.stream.write_chunk(piece).await.map_err(|error| match error {
            WriteError::Stopped(_) => SpliceError::Stopped,
            WriteError::ConnectionLost(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                SpliceError::Session
            }
        })?;
        self.urgency.sent(&self.stream, length);
        Ok(())
    }

    fn heard(&mut self) {
        self.urgency.heard(&self.stream);
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.stream.stopped();
        async move {
            // Whatever ended it, nobody listens any longer.
            let _ = stopped.await;
        }
    }

    fn finish(&mut self) -> impl Future<Output = Result<(), SpliceError>> + Send {
        self.end();
        ready(Ok(()))
    }
}

impl Drop for ToRelay {
    fn drop(&mut self) {
        self.reset(StreamReset::Cancelled);
    }
}

impl FromRelay {
    #[must_use]
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, open: true }
    }

    /// Reads exactly as many bytes as there is room for.
    ///
    /// # Errors
    ///
    /// Where the stream ends or breaks before.
    pub async fn read_exact(&mut self, room: &mut [u8]) -> Result<(), quinn::ReadExactError> {
        self.stream.read_exact(room).await
    }

    /// Nobody wants the rest.
    pub fn stop(&mut self, code: StreamReset) {
        if self.open {
            self.open = false;
            let _ = self.stream.stop(code.number().into());
        }
    }
}

impl Inlet for FromRelay {
    async fn read(&mut self, pieces: &mut [Bytes; PIECES]) -> Result<Option<usize>, SpliceError> {
        let read = self.stream.read_chunks(pieces).await;
        if matches!(read, Ok(None)) {
            self.open = false;
        }
        read.map_err(|error| match error {
            ReadError::Reset(code) => SpliceError::Reset(StreamReset::from_number(code.into_inner())),
            ReadError::ConnectionLost(_)
            | ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => SpliceError::Session,
        })
    }

    fn stop(&mut self, code: StreamReset) {
        Self::stop(self, code);
    }
}

impl Drop for FromRelay {
    fn drop(&mut self) {
        self.stop(StreamReset::Cancelled);
    }
}

/// For the handshake of a TLS that ends here; what follows goes by pieces.
impl AsyncRead for Ends {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.from_relay.stream).poll_read(context, room)
    }
}

impl AsyncWrite for Ends {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.to_relay.stream), context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.to_relay.stream), context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to_relay.end();
        Poll::Ready(Ok(()))
    }
}
