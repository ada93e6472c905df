//! The two directions of a visitor's TLS, piece by piece: what is read and written at once bounds what is held.

use std::io::{self, Read as _, Write as _};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::close::StreamReset;
use rustls::ServerConnection;

use crate::splice::{FromRelay, Inlet, Outlet, PIECES, SpliceError, ToRelay};

/// The directions take turns, as both are of one task: nobody waits here.
fn lock(tls: &Mutex<ServerConnection>) -> MutexGuard<'_, ServerConnection> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts what the origin says into TLS.
#[derive(Debug)]
pub(super) struct Sealing<'v> {
    tls: &'v Mutex<ServerConnection>,
    to_relay: &'v mut ToRelay,
}

impl<'v> Sealing<'v> {
    pub(super) fn new(tls: &'v Mutex<ServerConnection>, to_relay: &'v mut ToRelay) -> Self {
        Self { tls, to_relay }
    }

    /// What is to be sent after `say`.
    fn sealed(&self, say: impl FnOnce(&mut ServerConnection) -> io::Result<()>) -> io::Result<Bytes> {
        let mut tls = lock(self.tls);
        say(&mut tls)?;
        let mut sealed = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut sealed)?;
        }
        Ok(sealed.into())
    }
}

impl<'v> Outlet for Sealing<'v> {
    async fn write(&mut self, piece: Bytes) -> Result<(), SpliceError> {
        let sealed = self.sealed(|tls| tls.writer().write_all(&piece)).map_err(SpliceError::Tls)?;
        self.to_relay.write(sealed).await
    }

    fn heard(&mut self) {
        self.to_relay.heard();
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + use<'v> {
        self.to_relay.stopped()
    }

    async fn finish(&mut self) -> Result<(), SpliceError> {
        let farewell = self.sealed(|tls| {
            tls.send_close_notify();
            Ok(())
        });
        self.to_relay.write(farewell.map_err(SpliceError::Tls)?).await?;
        self.to_relay.finish().await
    }
}

/// Takes what the visitor says out of TLS.
#[derive(Debug)]
pub(super) struct Opening<'v> {
    tls: &'v Mutex<ServerConnection>,
    from_relay: &'v mut FromRelay,
}

impl<'v> Opening<'v> {
    pub(super) fn new(tls: &'v Mutex<ServerConnection>, from_relay: &'v mut FromRelay) -> Self {
        Self { tls, from_relay }
    }

    /// What `pieces` say. Nothing of them is left.
    fn opened(&self, pieces: &mut [Bytes]) -> io::Result<Opened> {
        let mut tls = lock(self.tls);
        let mut opened = Opened::default();
        // The handshake may have brought something along.
        opened.take(&mut tls)?;
        for piece in pieces {
            let piece = mem::take(piece);
            let mut sealed = piece.as_ref();
            // What comes behind the end counts for nothing (RFC 8446, section 6.1).
            while !opened.ended && !sealed.is_empty() {
                tls.read_tls(&mut sealed)?;
                opened.take(&mut tls)?;
            }
        }
        Ok(opened)
    }
}

/// What has come out of TLS.
#[derive(Debug, Default)]
struct Opened {
    said: Vec<u8>,
    /// The visitor has said that nothing follows.
    ended: bool,
}

impl Opened {
    fn take(&mut self, tls: &mut ServerConnection) -> io::Result<()> {
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        let known = self.said.len();
        self.said.resize(known + state.plaintext_bytes_to_read(), 0);
        self.ended = state.peer_has_closed();
        tls.reader().read_exact(&mut self.said[known..])
    }
}

impl Inlet for Opening<'_> {
    async fn read(&mut self, pieces: &mut [Bytes; PIECES]) -> Result<Option<usize>, SpliceError> {
        let mut count = 0;
        loop {
            let Opened { said, ended } = self.opened(&mut pieces[..count]).map_err(SpliceError::Tls)?;
            if !said.is_empty() {
                pieces[0] = said.into();
                return Ok(Some(1));
            }
            if ended {
                return Ok(None);
            }
            // The end of the stream alone may be somebody's on the way.
            count = self.from_relay.read(pieces).await?.ok_or(SpliceError::Truncated)?;
        }
    }

    fn stop(&mut self, code: StreamReset) {
        self.from_relay.stop(code);
    }
}
