//! Tells when files changed, or when a person asked for a reload with SIGHUP.
//!
//! The folders are watched, not the files, because editors replace a file by renaming another one over it and Kubernetes
//! swaps a symlink beside it. What counts in the end is the contents: whatever happens in those folders, a change is
//! told only when a watched file reads differently than before.

mod contents;
mod folders;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::RecommendedWatcher;
use tokio::sync::Notify;
use tokio::time::Instant;

use contents::Fingerprint;
use folders::Folders;

/// How long after the first sign of a change the files are looked at, so that one save is one change.
const SETTLE: Duration = Duration::from_millis(200);

/// Why to reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A watched file was changed, made or removed.
    Files,
    /// Somebody sent SIGHUP.
    Hangup,
}

/// Why changes cannot be told at all. A file or folder that does not exist is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("cannot listen for SIGHUP")]
    Hangup { source: io::Error },
}

/// Watches a set of files until dropped.
#[derive(Debug)]
pub struct Watch {
    /// Signalled by the watcher's thread. Holds one permit at most, so no queue grows.
    touched: Arc<Notify>,
    /// Where the system has no watches to give, only SIGHUP is left.
    folders: Option<Folders<RecommendedWatcher>>,
    files: Vec<(PathBuf, Fingerprint)>,
    /// When to look at the files; set from the first event on.
    due: Option<Instant>,
    hangup: Hangup,
}

impl Watch {
    /// Watches these files; needs a tokio runtime.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, WatchError> {
        let touched = Arc::new(Notify::new());
        let hangup = Hangup::listen().map_err(|source| WatchError::Hangup { source })?;
        let folders = match watcher(Arc::clone(&touched)) {
            Ok(watcher) => Some(Folders::new(watcher)),
            Err(error) => {
                tracing::warn!(%error, "cannot watch files for changes, send SIGHUP to reload");
                None
            }
        };
        let mut watch = Self { touched, folders, files: Vec::new(), due: None, hangup };
        watch.replace(paths);
        Ok(watch)
    }

    /// Watches these files instead. What they hold now is what later changes are told from.
    pub fn replace(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        // A relative path has no parent to watch, once its file is gone.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let files: Vec<PathBuf> = paths.into_iter().map(absolute).collect();
        if let Some(folders) = &mut self.folders {
            folders.follow(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>());
        }
        let known = std::mem::take(&mut self.files);
        for path in files {
            // One that was watched is not read anew: it may have changed a moment ago, and that is yet to be told.
            let before = known.iter().find(|(old, _)| *old == path).map(|(_, fingerprint)| *fingerprint);
            let fingerprint = before.unwrap_or_else(|| Fingerprint::of(&path));
            self.files.push((path, fingerprint));
        }
    }

    /// Watches these files too.
    pub fn watch_also(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut all: Vec<PathBuf> = self.files.iter().map(|(path, _)| path.clone()).collect();
        for path in paths {
            if !all.contains(&path) {
                all.push(path);
            }
        }
        self.replace(all);
    }

    /// Waits for the next change. Nothing is lost when the future is dropped and called again.
    pub async fn changed(&mut self) -> Change {
        loop {
            let due = self.due;
            tokio::select! {
                () = self.hangup.received() => return Change::Hangup,
                () = self.touched.notified(), if due.is_none() => self.due = Some(Instant::now() + SETTLE),
                () = until(due), if due.is_some() => {
                    self.due = None;
                    if self.look() {
                        return Change::Files;
                    }
                }
            }
        }
    }

    /// Whether a file reads differently than before. Blocks for the time of reading a few small files, seldom.
    fn look(&mut self) -> bool {
        // First the folders: what changes after the reading must be seen by the new watches.
        if let Some(folders) = &mut self.folders {
            folders.follow(&self.files.iter().map(|(path, _)| path.as_path()).collect::<Vec<_>>());
        }
        let mut changed = false;
        for (path, known) in &mut self.files {
            let now = Fingerprint::of(path);
            changed |= now != *known;
            *known = now;
        }
        changed
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn watcher(touched: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error is a sign too: events may have been lost.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            touched.notify_one();
        }
    })
}

/// SIGHUP, where there is such a thing.
#[derive(Debug)]
struct Hangup {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Hangup {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { signal: signal(SignalKind::hangup())? })
    }

    async fn received(&mut self) {
        if self.signal.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
impl Hangup {
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn received(&mut self) {
        std::future::pending().await
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
