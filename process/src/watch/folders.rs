//! Keeps watches on the folders in which something can happen to a set of files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use notify::{RecursiveMode, Watcher};

use crate::private_file::parent;

/// More than any sensible path is deep.
const ROUNDS: usize = 32;

/// Tells a folder from another one that was made later under its name: a watch stays with the first.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    file: (u64, u64),
    created: Option<SystemTime>,
}

/// The watched folders.
#[derive(Debug)]
pub(super) struct Folders<W> {
    watcher: W,
    watched: BTreeMap<PathBuf, Identity>,
    /// Said once, not at every look.
    complained: BTreeSet<PathBuf>,
}

impl<W: Watcher> Folders<W> {
    pub(super) fn new(watcher: W) -> Self {
        Self { watcher, watched: BTreeMap::new(), complained: BTreeSet::new() }
    }

    /// Watches exactly the folders that these files depend on now.
    pub(super) fn follow(&mut self, files: &[&Path]) {
        // A folder made before its parent was watched goes unnoticed, so look again until there is no new one.
        for _ in 0..ROUNDS {
            let mut wanted = BTreeSet::new();
            for file in files {
                self.folders_of(file, &mut wanted);
            }
            self.forget_all_but(&wanted);
            if !self.watch_missing(wanted) {
                break;
            }
        }
    }

    fn forget_all_but(&mut self, wanted: &BTreeSet<PathBuf>) {
        let gone: Vec<PathBuf> =
            self.watched.keys().filter(|path| !wanted.contains(*path)).cloned().collect();
        for path in gone {
            self.watched.remove(&path);
            // Fails where the folder is gone, and the watch with it.
            let _ = self.watcher.unwatch(&path);
        }
    }

    /// Whether any watch was added.
    fn watch_missing(&mut self, wanted: BTreeSet<PathBuf>) -> bool {
        let mut added = false;
        for path in wanted {
            let Some(identity) = identity(&path) else { continue };
            if self.watched.get(&path) == Some(&identity) {
                continue;
            }
            match self.watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, identity);
                    added = true;
                }
                Err(error) => self.complain(&path, &error),
            }
        }
        added
    }

    /// The folder of the file, of every symlink on the way to it, and of what these point to. Instead of one that does
    /// not exist, the nearest above it in which it may be made.
    fn folders_of(&mut self, file: &Path, wanted: &mut BTreeSet<PathBuf>) {
        let mut folder = parent(file);
        if !folder.is_dir() {
            self.complain(folder, &"no such folder");
        }
        while !folder.is_dir() && folder.parent().is_some() {
            folder = parent(folder);
        }
        wanted.insert(folder.to_owned());
        for part in file.ancestors().filter(|part| part.is_symlink()) {
            wanted.insert(parent(part).to_owned());
        }
        if let Ok(target) = file.canonicalize() {
            wanted.insert(parent(&target).to_owned());
        }
    }

    fn complain(&mut self, folder: &Path, error: &dyn std::fmt::Display) {
        if self.complained.insert(folder.to_owned()) {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "cannot watch a folder for changes, send SIGHUP to reload");
        }
    }
}

fn identity(folder: &Path) -> Option<Identity> {
    let metadata = folder.metadata().ok()?;
    #[cfg(unix)]
    let file = {
        use std::os::unix::fs::MetadataExt as _;
        (metadata.dev(), metadata.ino())
    };
    #[cfg(not(unix))]
    let file = (0, 0);
    Some(Identity { file, created: metadata.created().ok() })
}
