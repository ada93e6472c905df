//! Frames over any byte stream: the one module here that knows tokio.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::frame::{self, Frame, FrameTooLarge};

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream ended between two frames.
    #[error("the other side ended the control stream")]
    Ended,
    /// The stream broke, or ended inside a frame.
    #[error("reading the control stream failed")]
    Io(#[source] io::Error),
    /// The announced length is over the limit.
    #[error("the other side broke the protocol")]
    TooLarge(#[source] FrameTooLarge),
}

/// Reads one frame with a body of at most `limit` bytes. Not cancel-safe: a reader that is dropped half-way has lost the
/// place.
///
/// # Errors
///
/// Where the stream ends or breaks, or the frame is too large.
pub async fn read<R: AsyncRead + Unpin>(from: &mut R, limit: usize) -> Result<Frame, ReadError> {
    let mut head = [0; frame::HEAD];
    if from.read(&mut head[..1]).await.map_err(ReadError::Io)? == 0 {
        return Err(ReadError::Ended);
    }
    from.read_exact(&mut head[1..]).await.map_err(ReadError::Io)?;
    let (number, length) = frame::decode_head(head, limit).map_err(ReadError::TooLarge)?;
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.map_err(ReadError::Io)?;
    Ok(Frame { number, body })
}

/// Writes one frame.
///
/// # Errors
///
/// Where the stream is broken.
pub async fn write<W: AsyncWrite + Unpin>(to: &mut W, frame: &Frame) -> io::Result<()> {
    to.write_all(&frame.encode()).await?;
    to.flush().await
}
