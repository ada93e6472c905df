//! The two halves of a stream to the relay. Whatever happens to their owner, an end that was not meant is a reset:
//! quinn alone would end a dropped stream as if everything had been said.

use std::sync::Arc;

use bytes::Bytes;
use protocol::close::StreamReset;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use transport::urgency::{Shares, Urgency};

/// Pieces taken from a stream at once; quinn hands out what came in one packet.
pub(super) const PIECES: usize = 32;

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

impl ToRelay {
    #[must_use]
    pub fn new(stream: SendStream, shares: Arc<Shares>) -> Self {
        Self { stream, urgency: Urgency::new(shares), open: true }
    }

    pub(super) async fn write(&mut self, piece: Bytes) -> Result<(), WriteError> {
        let length = piece.len();
        self.stream.write_chunk(piece).await?;
        self.urgency.sent(&self.stream, length);
        Ok(())
    }

    /// The relay has said something since the last piece was written.
    pub(super) fn heard(&mut self) {
        self.urgency.heard(&self.stream);
    }

    /// Ends when the relay no longer wants to hear anything, or has heard everything.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let stopped = self.stream.stopped();
        async move {
            // Whatever ended it, nobody listens any longer.
            let _ = stopped.await;
        }
    }

    /// Everything has been said.
    pub(super) fn finish(&mut self) {
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

    /// The next pieces, in order; none where the relay has said everything.
    pub(super) async fn read(&mut self, pieces: &mut [Bytes; PIECES]) -> Result<Option<usize>, ReadError> {
        let read = self.stream.read_chunks(pieces).await;
        if matches!(read, Ok(None)) {
            self.open = false;
        }
        read
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

impl Drop for FromRelay {
    fn drop(&mut self) {
        self.stop(StreamReset::Cancelled);
    }
}
