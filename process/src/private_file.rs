//! Files that hold secrets: written so that nobody else can read them and no crash leaves half of one, and refused where
//! somebody else could already have read them.
//!
//! Permissions are those of unix. Elsewhere the folder of the user is what protects, and the checks pass.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Larger than any key, certificate chain or state file kept here.
const LARGEST: u64 = 1 << 20;

/// What failed with a private file or folder.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    #[error("cannot {action} `{}`", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` can be accessed by other users (mode {mode:04o})", path.display())]
    Exposed { path: PathBuf, mode: u32, is_folder: bool },
    #[error("`{}` is not a folder", path.display())]
    NotAFolder { path: PathBuf },
    #[error("`{}` is larger than {LARGEST} bytes", path.display())]
    TooLarge { path: PathBuf },
}

impl PrivateFileError {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exposed { path, is_folder, .. } => {
                let mode = if *is_folder { "700" } else { "600" };
                Some(format!("run `chmod {mode} {}`", path.display()))
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as the user who owns the file".to_owned())
            }
            Self::Io { .. } | Self::NotAFolder { .. } | Self::TooLarge { .. } => None,
        }
    }

    /// Whether the file or folder is simply not there yet.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// Replaces `path` by a file of mode 0600 with these `bytes`, which is on the disk when this returns: other processes
/// and a crash at any moment see the old file or the new one.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), PrivateFileError> {
    let folder = parent(path);
    let failed = |source| PrivateFileError::Io { action: "write", path: path.to_owned(), source };
    // Files of `tempfile` have mode 0600 from their first moment.
    let mut file = tempfile::Builder::new().prefix(".adit-").tempfile_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(folder).map_err(failed)
}

/// The contents of a private file, wiped from memory when dropped.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let mut file = File::open(path).map_err(PrivateFileError::io("open", path))?;
    // Of the opened file, so that nobody can exchange it between the check and the reading.
    let metadata = file.metadata().map_err(PrivateFileError::io("inspect", path))?;
    refuse_exposed(path, &metadata)?;
    if metadata.len() > LARGEST {
        return Err(PrivateFileError::TooLarge { path: path.to_owned() });
    }
    // The length is known, so no copy is left behind by a growing buffer.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(metadata.len()).unwrap_or_default()]);
    file.read_exact(&mut bytes).map_err(PrivateFileError::io("read", path))?;
    Ok(bytes)
}

/// Makes the folder with mode 0700, and its parents; one that exists must be private already.
pub fn create_folder(path: &Path) -> Result<(), PrivateFileError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(PrivateFileError::NotAFolder { path: path.to_owned() })
        }
        created => created.map_err(PrivateFileError::io("create", path)),
    }?;
    check_private(path)
}

/// Refuses a file or folder that the group or everybody may read, write or enter. It must exist.
pub fn check_private(path: &Path) -> Result<(), PrivateFileError> {
    refuse_exposed(path, &fs::metadata(path).map_err(PrivateFileError::io("inspect", path))?)
}

#[cfg(unix)]
fn refuse_exposed(path: &Path, metadata: &Metadata) -> Result<(), PrivateFileError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(PrivateFileError::Exposed { path: path.to_owned(), mode, is_folder: metadata.is_dir() })
}

#[cfg(not(unix))]
fn refuse_exposed(_path: &Path, _metadata: &Metadata) -> Result<(), PrivateFileError> {
    Ok(())
}

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("`{}` is in use by another process", path.display())]
    Held { path: PathBuf },
    #[error("cannot lock `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Held until dropped or until the process ends, however it ends. The file stays: removing it would let two processes
/// hold locks on two files of one name.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of the file, which is created where it does not exist; its contents do not matter.
pub fn lock(path: &Path) -> Result<Lock, LockError> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(LockError::Held { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(LockError::Io { path: path.to_owned(), source }),
    }
}

/// The same, and waits for as long as another has it: for what is held for a moment only.
pub fn wait_lock(path: &Path) -> Result<Lock, LockError> {
    let file = lock_file(path)?;
    match file.lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(source) => Err(LockError::Io { path: path.to_owned(), source }),
    }
}

fn lock_file(path: &Path) -> Result<File, LockError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| LockError::Io { path: path.to_owned(), source })
}

/// `key` stands in `.`, though its parent is the empty path.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The new name is on the disk only when the folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_written_file_is_private_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read(&path).unwrap().as_slice(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(read(&folder.path().join("none")).unwrap_err().is_missing());
    }

    #[test]
    fn what_others_can_read_is_refused_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, b"secret").unwrap();
        for exposed in [0o640, 0o604, 0o610] {
            fs::set_permissions(&path, PermissionsExt::from_mode(exposed)).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, PrivateFileError::Exposed { mode, .. } if mode == exposed), "{error}");
            assert_eq!(error.hint().unwrap(), format!("run `chmod 600 {}`", path.display()));
        }
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let error = create_folder(folder.path()).unwrap_err();
        assert!(error.hint().unwrap().starts_with("run `chmod 700"), "{error}");
    }

    #[test]
    fn a_created_folder_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        create_folder(&path).unwrap();
        create_folder(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
        write(&path.join("file"), b"").unwrap();
        assert!(matches!(create_folder(&path.join("file")), Err(PrivateFileError::NotAFolder { .. })));
    }

    #[test]
    fn a_lock_is_held_until_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(LockError::Held { .. })));
        drop(held);
        lock(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
    }
}
