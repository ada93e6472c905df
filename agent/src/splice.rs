//! Moves bytes between a stream to the relay and a connection to an origin. Half-close is preserved both ways, and what
//! breaks on one side is a reset on the other, never a clean end. What is moved may be in TLS that ends here, with
//! [`crate::terminate`] as the [`Outlet`] and the [`Inlet`].

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
use protocol::private::PrivateError;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

pub(crate) use ends::PIECES;
pub use ends::{Ends, FromRelay, ToRelay};

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
    #[error("the other side reset the stream{}", .0.map_or(String::new(), |code| format!(": {code}")))]
    Reset(Option<StreamReset>),
    #[error("the relay stopped listening")]
    Stopped,
    #[error("the session ended")]
    Session,
    #[error("the visitor's TLS broke")]
    Tls(#[source] io::Error),
    #[error("what the other side said was cut off")]
    Truncated,
    #[error("what the other peer said cannot be believed")]
    Private(#[source] PrivateError),
}

impl SpliceError {
    /// What the relay is told.
    pub(crate) fn reset(&self) -> StreamReset {
        match self {
            Self::Origin(_) => StreamReset::OriginBroke,
            Self::Private(_) => StreamReset::Unproven,
            Self::Reset(_) | Self::Stopped | Self::Session | Self::Tls(_) | Self::Truncated => {
                StreamReset::Cancelled
            }
        }
    }
}

/// Where goes what the origin says.
pub(crate) trait Outlet: Send {
    fn write(&mut self, piece: Bytes) -> impl Future<Output = Result<(), SpliceError>> + Send;

    /// The visitor has said something since the last piece was written.
    fn heard(&mut self);

    /// Ends when the relay no longer wants to hear anything, or has heard everything.
    fn stopped(&self) -> impl Future<Output = ()> + Send + use<Self>;

    /// Everything has been said.
    fn finish(&mut self) -> impl Future<Output = Result<(), SpliceError>> + Send;
}

/// Where comes from what the visitor says.
pub(crate) trait Inlet: Send {
    /// The next pieces, in order; none where the visitor has said everything.
    fn read(
        &mut self,
        pieces: &mut [Bytes; PIECES],
    ) -> impl Future<Output = Result<Option<usize>, SpliceError>> + Send;

    /// Nobody wants the rest.
    fn stop(&mut self, code: StreamReset);
}

/// Moves bytes until both directions have ended or something broke. The halves are ended accordingly.
///
/// # Errors
///
/// What broke; both sides have been reset then.
pub async fn splice(mut origin: OriginStream, mut ends: Ends) -> Result<(), SpliceError> {
    let ended = exchange(&mut origin, &mut ends.to_relay, &mut ends.from_relay).await;
    match &ended {
        Ok(()) => origin.settle(),
        Err(error) => ends.reset(error.reset()),
    }
    ended
}

/// The same for what is left to the caller to end.
pub(crate) async fn exchange(
    origin: &mut OriginStream,
    outlet: &mut impl Outlet,
    inlet: &mut impl Inlet,
) -> Result<(), SpliceError> {
    match origin {
        OriginStream::Tcp(tcp) => {
            let (reader, writer) = tcp.split();
            both_ways(reader, writer, outlet, inlet).await
        }
        OriginStream::Tls(tls) => {
            let (reader, writer) = tokio::io::split(tls.as_mut());
            both_ways(reader, writer, outlet, inlet).await
        }
        #[cfg(unix)]
        OriginStream::Unix(unix) => {
            let (reader, writer) = unix.split();
            both_ways(reader, writer, outlet, inlet).await
        }
    }
}

pub(crate) async fn both_ways(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    outlet: &mut impl Outlet,
    inlet: &mut impl Inlet,
) -> Result<(), SpliceError> {
    let seen = Seen::default();
    tokio::try_join!(outwards(reader, outlet, &seen), inwards(inlet, writer, &seen))?;
    Ok(())
}

/// What the inward direction has seen, and the outward one has to know.
#[derive(Debug, Default)]
struct Seen {
    /// The other side has said something since the origin did.
    heard: AtomicBool,
    /// The origin has broken off. The system tells one of the two directions, and the other hears a clean end.
    broken: AtomicBool,
}

/// Origin to relay. Memory is held only while bytes are there: an idle connection costs none.
async fn outwards(
    mut reader: impl AsyncRead + Unpin,
    outlet: &mut impl Outlet,
    seen: &Seen,
) -> Result<(), SpliceError> {
    let mut size = SMALLEST_READ;
    let mut spoken: Option<Instant> = None;
    let mut stopped = Box::pin(outlet.stopped());
    loop {
        let piece = tokio::select! {
            biased;
            piece = read_piece(&mut reader, size) => piece,
            () = &mut stopped => return Err(SpliceError::Stopped),
        };
        let piece = match piece {
            Ok(piece) if piece.is_empty() && seen.broken.load(Ordering::Relaxed) => {
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            }
            piece => piece,
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
            return unless(&mut stopped, outlet.finish()).await;
        }
        size = next_size(size, piece.len());
        spoken = Some(Instant::now());
        if seen.heard.swap(false, Ordering::Relaxed) {
            outlet.heard();
        }
        unless(&mut stopped, outlet.write(piece)).await?;
    }
}

/// A write that waits for the session's credit does not see that its own stream was stopped.
async fn unless(
    stopped: impl Future<Output = ()>,
    written: impl Future<Output = Result<(), SpliceError>>,
) -> Result<(), SpliceError> {
    tokio::select! {
        biased;
        written = written => written,
        () = stopped => Err(SpliceError::Stopped),
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
    inlet: &mut impl Inlet,
    mut writer: impl AsyncWrite + Unpin,
    seen: &Seen,
) -> Result<(), SpliceError> {
    let mut pieces: [Bytes; PIECES] = Default::default();
    loop {
        let read = inlet.read(&mut pieces).await?;
        seen.heard.store(true, Ordering::Relaxed);
        let written = match read {
            Some(count) => write_all(&mut writer, &mut pieces[..count]).await,
            None => return writer.shutdown().await.or_else(already_closed).map_err(SpliceError::Origin),
        };
        if let Err(error) = written {
            seen.broken.store(error.kind() == io::ErrorKind::ConnectionReset, Ordering::Relaxed);
            inlet.stop(StreamReset::OriginBroke);
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
