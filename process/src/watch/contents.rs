//! What a file held when it was last looked at.

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::Hasher;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Of a larger file only the beginning counts, and its length.
const READ: u64 = 1 << 20;

/// Enough of a file's contents to tell whether they changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fingerprint {
    Missing,
    Unreadable,
    Contents { length: u64, hash: u64 },
}

impl Fingerprint {
    pub(super) fn of(path: &Path) -> Self {
        // Opening a pipe would wait for its writer.
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::Missing,
            Ok(_) | Err(_) => return Self::Unreadable,
        }
        let Ok(file) = File::open(path) else { return Self::Unreadable };
        let Ok(metadata) = file.metadata() else { return Self::Unreadable };
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(metadata.len().min(READ) as usize + 1));
        if file.take(READ).read_to_end(&mut bytes).is_err() {
            return Self::Unreadable;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        Self::Contents { length: metadata.len(), hash: hasher.finish() }
    }
}
