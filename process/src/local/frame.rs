//! A length of four bytes and that much JSON, over any byte stream.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Why a message could not be sent, received or understood.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the connection broke")]
    Io(#[source] io::Error),
    #[error("a message of {length} bytes is larger than the {limit} allowed")]
    TooLarge { length: usize, limit: usize },
    #[error("the message is not what was expected")]
    Json(#[source] serde_json::Error),
}

/// The message as it is sent.
#[cfg_attr(not(unix), expect(dead_code, reason = "nothing is sent where there are no sockets"))]
pub(super) fn encode<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(FrameError::Json)?;
    let length = bytes.len() - 4;
    match u32::try_from(length) {
        Ok(prefix) if length <= limit => bytes[..4].copy_from_slice(&prefix.to_be_bytes()),
        _ => return Err(FrameError::TooLarge { length, limit }),
    }
    Ok(bytes)
}

#[cfg_attr(not(unix), expect(dead_code, reason = "nothing is sent where there are no sockets"))]
pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin), encoded: &[u8]) -> Result<(), FrameError> {
    stream.write_all(encoded).await.map_err(FrameError::Io)?;
    stream.flush().await.map_err(FrameError::Io)
}

#[cfg_attr(not(unix), expect(dead_code, reason = "nothing is sent where there are no sockets"))]
pub(super) async fn receive<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<T, FrameError> {
    let length = stream.read_u32().await.map_err(FrameError::Io)? as usize;
    if length > limit {
        return Err(FrameError::TooLarge { length, limit });
    }
    let mut bytes = Vec::new();
    // Grows with what arrives: a length alone takes no memory.
    stream.take(length as u64).read_to_end(&mut bytes).await.map_err(FrameError::Io)?;
    if bytes.len() < length {
        return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&bytes).map_err(FrameError::Json)
}
