//! Moves bytes between a stream to the relay and a connection to an origin. Half-close is preserved both ways, and what
//! breaks on one side is a reset on the other, never a clean end.

mod ends;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use protocol::close::StreamReset;
use quinn::{ReadError, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use ends::PIECES;
pub use ends::{FromRelay, ToRelay};

use crate::origin::OriginStream;

const SMALLEST_READ: usize = 4 << 10;
const LARGEST_READ: usize = 64 << 10;
/// How long the last words of an origin that breaks off have to reach the relay.
const LAST_WORDS: Duration = Duration::from_secs(1);

thread_local! {
    static ROOM: RefCell<[u8; SMALLEST_READ]> = const { RefCell::new([0; SMALLEST_READ]) };
}

/// Why a splice ended before both directions had.
#[derive(Debug, thiserror::Error)]
pub enum SpliceError {
    #[error("the origin broke the connection off")]
    Origin(#[source] io::Error),
    #[error("the relay reset the stream")]
    Reset,
    #[error("the relay stopped listening")]
    Stopped,
    #[error("the session ended")]
    Session,
}

/// Moves bytes until both directions have ended or something broke. The halves are ended accordingly.
///
/// # Errors
///
/// What broke; both sides have been reset then.
pub async fn splice(
    mut origin: OriginStream,
    to_relay: ToRelay,
    from_relay: FromRelay,
) -> Result<(), SpliceError> {
    let ended = match &mut origin {
        OriginStream::Tcp(tcp) => {
            let (reader, writer) = tcp.split();
            carry(reader, writer, to_relay, from_relay).await
        }
        OriginStream::Tls(tls) => {
            let (reader, writer) = tokio::io::split(tls.as_mut());
            carry(reader, writer, to_relay, from_relay).await
        }
        #[cfg(unix)]
        OriginStream::Unix(unix) => {
            let (reader, writer) = unix.split();
            carry(reader, writer, to_relay, from_relay).await
        }
    };
    if ended.is_ok() {
        origin.settle();
    }
    ended
}

async fn carry(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    mut to_relay: ToRelay,
    mut from_relay: FromRelay,
) -> Result<(), SpliceError> {
    let heard = AtomicBool::new(false);
    let ended = {
        let out = outwards(reader, &mut to_relay, &heard);
        let into = inwards(&mut from_relay, writer, &heard);
        tokio::try_join!(out, into)
    };
    let Err(error) = ended else { return Ok(()) };
    let code = match &error {
        SpliceError::Origin(_) => StreamReset::OriginBroke,
        SpliceError::Reset | SpliceError::Stopped | SpliceError::Session => StreamReset::Cancelled,
    };
    to_relay.reset(code);
    from_relay.stop(code);
    Err(error)
}

/// Origin to relay. Memory is held only while bytes are there: an idle connection costs none.
async fn outwards(
    mut reader: impl AsyncRead + Unpin,
    to_relay: &mut ToRelay,
    heard: &AtomicBool,
) -> Result<(), SpliceError> {
    let mut size = SMALLEST_READ;
    let mut spoken: Option<Instant> = None;
    let mut stopped = Box::pin(to_relay.stopped());
    loop {
        let piece = tokio::select! {
            biased;
            piece = read_piece(&mut reader, size) => piece,
            () = &mut stopped => return Err(SpliceError::Stopped),
        };
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                // A reset overtakes what was sent before it, and the early refusal of an upload often ends in one.
                if let Some(last) = spoken {
                    let _relay_gone = tokio::time::timeout_at(last + LAST_WORDS, &mut stopped).await;
                }
                return Err(SpliceError::Origin(error));
            }
        };
        if piece.is_empty() {
            to_relay.finish();
            return Ok(());
        }
        size = next_size(size, piece.len());
        spoken = Some(Instant::now());
        if heard.swap(false, Ordering::Relaxed) {
            to_relay.heard();
        }
        // A write that waits for the session's credit does not see that its own stream was stopped.
        let written = tokio::select! {
            biased;
            written = to_relay.write(piece) => written,
            () = &mut stopped => return Err(SpliceError::Stopped),
        };
        written.map_err(|error| match error {
            WriteError::Stopped(_) => SpliceError::Stopped,
            WriteError::ConnectionLost(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                SpliceError::Session
            }
        })?;
    }
}

/// A full read asks for more the next time, a small one for less.
fn next_size(size: usize, read: usize) -> usize {
    if read >= size {
        (size * 2).min(LARGEST_READ)
    } else if read < size / 4 {
        (size / 2).max(SMALLEST_READ)
    } else {
        size
    }
}

/// The next bytes; none at the end. Small reads go through a room that all connections share, and what came is copied out
/// of it: a small answer takes no more memory than it has bytes, and a wait takes none.
async fn read_piece(reader: &mut (impl AsyncRead + Unpin), size: usize) -> io::Result<Bytes> {
    poll_fn(|context| {
        if size > SMALLEST_READ {
            let mut room = BytesMut::with_capacity(size);
            ready!(poll_read_buf(Pin::new(&mut *reader), context, &mut room))?;
            return Poll::Ready(Ok(room.freeze()));
        }
        ROOM.with_borrow_mut(|room| {
            let mut room = ReadBuf::new(&mut room[..]);
            ready!(Pin::new(&mut *reader).poll_read(context, &mut room))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(room.filled())))
        })
    })
    .await
}

/// Relay to origin. An origin that takes no more may still answer (an early refusal of an upload, say), so that alone
/// does not end the other direction.
async fn inwards(
    from_relay: &mut FromRelay,
    mut writer: impl AsyncWrite + Unpin,
    heard: &AtomicBool,
) -> Result<(), SpliceError> {
    let mut pieces: [Bytes; PIECES] = Default::default();
    loop {
        let read = from_relay.read(&mut pieces).await.map_err(|error| match error {
            ReadError::Reset(_) => SpliceError::Reset,
            ReadError::ConnectionLost(_)
            | ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => SpliceError::Session,
        })?;
        heard.store(true, Ordering::Relaxed);
        let written = match read {
            Some(count) => write_all(&mut writer, &mut pieces[..count]).await,
            None => return writer.shutdown().await.or_else(already_closed).map_err(SpliceError::Origin),
        };
        if written.is_err() {
            from_relay.stop(StreamReset::OriginBroke);
            return Ok(());
        }
    }
}

/// An origin that has closed its end first has nothing left to be told.
fn already_closed(error: io::Error) -> io::Result<()> {
    let closed = [io::ErrorKind::NotConnected, io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    if closed.contains(&error.kind()) { Ok(()) } else { Err(error) }
}

async fn write_all(writer: &mut (impl AsyncWrite + Unpin), pieces: &mut [Bytes]) -> io::Result<()> {
    let mut first = 0;
    while first < pieces.len() {
        let mut slices = [IoSlice::new(&[]); PIECES];
        for (slice, piece) in slices.iter_mut().zip(&pieces[first..]) {
            *slice = IoSlice::new(piece);
        }
        let count = pieces.len() - first;
        let mut written = writer.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while first < pieces.len() && written >= pieces[first].len() {
            written -= pieces[first].len();
            pieces[first] = Bytes::new();
            first += 1;
        }
        if first < pieces.len() {
            pieces[first].advance(written);
        }
    }
    writer.flush().await
}

#[cfg(test)]
mod tests;
