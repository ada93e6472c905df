//! Bytes that were read but not passed on yet: the beginning of a head or of a chunk line, or what follows an upgrade.

use std::fmt;

use tokio::io::ReadBuf;

/// Holds no memory while it is empty, so that an idle connection costs none.
#[derive(Default)]
pub(super) struct Stash {
    bytes: Vec<u8>,
    /// Bytes up to here have left.
    sent: usize,
    /// Bytes up to here may leave.
    cleared: usize,
}

impl Stash {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes not judged yet.
    pub(super) fn window(&self) -> &[u8] {
        &self.bytes[self.cleared..]
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.sent);
        self.cleared -= self.sent;
        self.sent = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Lets the next `len` bytes of the window go.
    pub(super) fn clear(&mut self, len: usize) {
        self.cleared = (self.cleared + len).min(self.bytes.len());
    }

    /// Drops everything and lets `bytes` go instead.
    pub(super) fn replace(&mut self, bytes: Vec<u8>) {
        *self = Self { sent: 0, cleared: bytes.len(), bytes };
    }

    /// Moves what may leave into `buf`; whether that was anything.
    pub(super) fn drain_into(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let len = (self.cleared - self.sent).min(buf.remaining());
        if len == 0 {
            return false;
        }
        buf.put_slice(&self.bytes[self.sent..self.sent + len]);
        self.sent += len;
        if self.sent == self.bytes.len() {
            *self = Self::default();
        }
        true
    }
}

/// Counts only: the bytes are a visitor's, credentials among them.
impl fmt::Debug for Stash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stash")
            .field("len", &self.bytes.len())
            .field("sent", &self.sent)
            .field("cleared", &self.cleared)
            .finish()
    }
}
