//! Commands over a unix socket.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::frame::{self, FrameError};
use super::{Answer, BindError, CONNECTIONS, CallError, LARGEST_ANSWER, LARGEST_REQUEST, REQUEST_DEADLINE};
use crate::private_file::{self, Lock, LockError, PrivateFileError, parent};

/// After a failed accept, which would otherwise fail again at once (no file descriptors left, say).
const BACK_OFF: Duration = Duration::from_millis(200);

/// For the answers under way when the process stops.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// The process's end of the socket. The socket's file is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Beside the socket. What tells the socket of a living process from one that a dead process left.
    _lock: Lock,
}

impl Listener {
    /// Listens at `path`. Its folder is made (0700) where it does not exist and must not be writable by others; a socket
    /// left by a dead process is replaced.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let folder = parent(path);
        prepare_folder(folder)?;
        let lock = lock_beside(path)?;
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(BindError::NotASocket { path: path.to_owned() });
            }
            Ok(_) | Err(_) => {}
        }
        let failed = |source| BindError::Io { action: "listen at", path: path.to_owned(), source };
        // Made in a folder that nobody else may enter and moved from there, so at no moment could others open it.
        let hidden = tempfile::Builder::new().prefix(".").rand_bytes(4).tempdir_in(folder).map_err(failed)?;
        let made = hidden.path().join("s");
        let listener = UnixListener::bind(&made).map_err(failed)?;
        fs::set_permissions(&made, Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&made, path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }

    /// Answers requests with `handler` until cancelled. Work on a request whose command goes away is dropped.
    pub async fn serve<Req, Res, F, Fut>(self, cancel: CancellationToken, handler: F)
    where
        Req: DeserializeOwned + Send + 'static,
        Res: Serialize + Send + 'static,
        F: Fn(Req) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Res> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.accept(), if connections.len() < CONNECTIONS => {
                    connections.spawn(answer(accepted, handler.clone()));
                }
            }
        }
        drop(self);
        let _ = timeout(LAST_ANSWERS, async { while connections.join_next().await.is_some() {} }).await;
    }

    async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a local command");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Still under the lock, so it is nobody else's.
        let _ = fs::remove_file(&self.path);
    }
}

fn prepare_folder(folder: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { action: "use the folder", path: folder.to_owned(), source };
    match fs::metadata(folder) {
        // Reading is harmless, /run/adit may well be 0755. A writer could put another socket in place of ours.
        Ok(metadata) if metadata.permissions().mode() & 0o022 != 0 => {
            Err(BindError::OpenFolder { folder: folder.to_owned() })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => match private_file::create_folder(folder) {
            Ok(()) => Ok(()),
            Err(PrivateFileError::Io { source, .. }) => Err(failed(source)),
            Err(other) => Err(failed(io::Error::other(other))),
        },
        Err(error) => Err(failed(error)),
    }
}

fn lock_beside(path: &Path) -> Result<Lock, BindError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    private_file::lock(Path::new(&name)).map_err(|error| match error {
        LockError::Held { .. } => BindError::InUse { path: path.to_owned() },
        LockError::Io { path, source } => BindError::Io { action: "lock", path, source },
    })
}

async fn answer<Req, Res, F, Fut>(mut stream: UnixStream, handler: F)
where
    Req: DeserializeOwned,
    Res: Serialize,
    F: Fn(Req) -> Fut,
    Fut: Future<Output = Res>,
{
    let Ok(request) = timeout(REQUEST_DEADLINE, frame::receive(&mut stream, LARGEST_REQUEST)).await else {
        return tracing::debug!("a local command did not send its request in time");
    };
    let answer = match request {
        Ok(request) => tokio::select! {
            answer = handler(request) => Answer::Ok(answer),
            () = gone(&mut stream) => return,
        },
        Err(FrameError::Io(_)) => return,
        Err(error @ (FrameError::TooLarge { .. } | FrameError::Json(_))) => Answer::Refused(reason(&error)),
    };
    let encoded = frame::encode(&answer, LARGEST_ANSWER)
        .or_else(|error| frame::encode(&Answer::<Res>::Refused(reason(&error)), LARGEST_ANSWER));
    if let Ok(encoded) = encoded {
        // A command that takes no answer must not keep its place.
        let _ = timeout(REQUEST_DEADLINE, frame::send(&mut stream, &encoded)).await;
    }
}

/// Ends when the command does. More bytes than the request are not waited for any longer either.
async fn gone(stream: &mut UnixStream) {
    let _ = stream.read_u8().await;
}

fn reason(error: &FrameError) -> String {
    match error {
        FrameError::Json(source) => format!("{error}: {source}"),
        FrameError::Io(_) | FrameError::TooLarge { .. } => error.to_string(),
    }
}

/// Asks the process at `path` and waits for its answer as long as it takes.
pub async fn call<Req: Serialize, Res: DeserializeOwned>(
    path: &Path,
    request: &Req,
) -> Result<Res, CallError> {
    let broken = |action| move |source| CallError::Broken { action, path: path.to_owned(), source };
    let encoded = frame::encode(request, LARGEST_REQUEST).map_err(broken("put the request"))?;
    let mut stream = UnixStream::connect(path).await.map_err(|source| not_connected(path, source))?;
    frame::send(&mut stream, &encoded).await.map_err(broken("send the request"))?;
    match frame::receive(&mut stream, LARGEST_ANSWER).await.map_err(broken("read the answer"))? {
        Answer::Ok(answer) => Ok(answer),
        Answer::Refused(reason) => Err(CallError::Refused { reason }),
    }
}

fn not_connected(path: &Path, source: io::Error) -> CallError {
    let (kind, path) = (source.kind(), path.to_owned());
    if matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
        CallError::NotRunning { path }
    } else if kind == ErrorKind::PermissionDenied {
        CallError::Forbidden { path }
    } else {
        CallError::Broken { action: "connect", path, source: FrameError::Io(source) }
    }
}

/// Like [`call`], with a deadline over everything.
pub async fn call_within<Req: Serialize, Res: DeserializeOwned>(
    path: &Path,
    request: &Req,
    deadline: Duration,
) -> Result<Res, CallError> {
    timeout(deadline, call(path, request)).await.unwrap_or(Err(CallError::TimedOut { deadline }))
}

#[cfg(test)]
mod tests;
