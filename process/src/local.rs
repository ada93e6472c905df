//! How a command talks to the running process: one JSON request, one JSON answer, over a unix socket that only its
//! owner may open.
//!
//! Each message is a length of four bytes, big endian, and JSON. One request a connection; the connection stays open
//! until the answer, and a command that goes away ends the work on its request.

mod frame;
#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod unsupported;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use frame::FrameError;
#[cfg(unix)]
pub use unix::{Listener, call, call_within};
#[cfg(not(unix))]
pub use unsupported::{Listener, call, call_within};

/// Bytes of a request's JSON.
pub const LARGEST_REQUEST: usize = 256 << 10;

/// Bytes of an answer's JSON.
pub const LARGEST_ANSWER: usize = 16 << 20;

/// Commands answered at one time; more wait their turn.
pub const CONNECTIONS: usize = 32;

/// For a request to arrive whole, and for a command to take its answer.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Why commands cannot be listened for.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("another process answers at `{}`", path.display())]
    InUse { path: PathBuf },
    #[error("`{}` is in the way: it is no socket", path.display())]
    NotASocket { path: PathBuf },
    #[error("other users can write to the folder `{}`", folder.display())]
    OpenFolder { folder: PathBuf },
    #[error("cannot {action} `{}`", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("local commands are not supported on this system yet")]
    Unsupported,
}

impl BindError {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InUse { .. } => Some("stop the other process, or give this one another socket".to_owned()),
            Self::NotASocket { path } => Some(format!("remove `{}`, or name another path", path.display())),
            Self::OpenFolder { folder } => Some(format!("run `chmod go-w {}`", folder.display())),
            Self::Io { .. } | Self::Unsupported => None,
        }
    }
}

/// Why there is no answer to a command.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("nothing is running that answers at `{}`", path.display())]
    NotRunning { path: PathBuf },
    #[error("not permitted to open `{}`", path.display())]
    Forbidden { path: PathBuf },
    /// The process answered that it cannot: it is of another version, or gave a larger answer than can be sent.
    #[error("the running process refused: {reason}")]
    Refused { reason: String },
    #[error("no answer within {} s", deadline.as_secs_f32())]
    TimedOut { deadline: Duration },
    #[error("cannot {action} at `{}`", path.display())]
    Broken { action: &'static str, path: PathBuf, source: FrameError },
    #[error("local commands are not supported on this system yet")]
    Unsupported,
}

impl CallError {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Forbidden { .. } => Some("run the command as the user who runs the process".to_owned()),
            Self::Refused { .. } => Some("restart the process if it was updated since it started".to_owned()),
            Self::NotRunning { .. } | Self::TimedOut { .. } | Self::Broken { .. } | Self::Unsupported => None,
        }
    }
}

/// What comes back: the handler's answer, or why the request never came to a handler.
#[cfg_attr(not(unix), expect(dead_code, reason = "nothing is sent where there are no sockets"))]
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer<T> {
    Ok(T),
    Refused(String),
}
