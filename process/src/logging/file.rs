//! A file of lines that others rotate. It is opened for appending, so that it may be cut to nothing under us
//! (`copytruncate`), and opened again once its name leads to another file or to none.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a file that cannot be opened is tried.
const RETRY: Duration = Duration::from_secs(1);

/// Why a file of lines cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be opened for appending", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

impl OpenError {
    /// The way out, where there is a usual one.
    pub fn hint(&self) -> Option<String> {
        let folder = self.path.parent().unwrap_or(Path::new("/")).display();
        let kind = self.source.kind();
        if kind == io::ErrorKind::NotFound {
            return Some(format!(
                "make the folder `{folder}`, writable for this program's user: only the file is made"
            ));
        }
        let denied = kind == io::ErrorKind::PermissionDenied;
        denied.then(|| format!("let this program's user write to the file, or make files in `{folder}`"))
    }
}

/// Lines that were not written.
#[derive(Debug)]
pub struct Lost {
    /// How many.
    pub lines: u64,
    pub error: io::Error,
}

/// A file that lines are appended to.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    file: Option<Opened>,
    /// When opening failed last.
    failed: Option<Instant>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    identity: Identity,
    /// The last line was cut off.
    torn: bool,
}

impl LineFile {
    /// Opens or makes the file (mode 0640); its folder has to be there.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = Opened::new(path).map_err(|source| OpenError { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: Some(file), failed: None })
    }

    /// Appends whole lines, to the file that the path leads to now.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        let all = |error| Lost { lines: count(lines), error };
        self.current().map_err(all)?.write(lines)
    }

    fn current(&mut self) -> io::Result<&mut Opened> {
        let path = &self.path;
        let leads_here =
            |opened: &Opened| fs::metadata(path).is_ok_and(|now| Identity::of(&now) == opened.identity);
        let opened = match self.file.take().filter(leads_here) {
            Some(opened) => opened,
            None => self.open_again()?,
        };
        Ok(self.file.insert(opened))
    }

    fn open_again(&mut self) -> io::Result<Opened> {
        if self.failed.is_some_and(|failed| failed.elapsed() < RETRY) {
            return Err(io::Error::other("it could not be opened a moment ago"));
        }
        self.failed = Some(Instant::now());
        let opened = Opened::new(&self.path)?;
        self.failed = None;
        Ok(opened)
    }
}

impl Opened {
    fn new(path: &Path) -> io::Result<Self> {
        refuse_pipe(path)?;
        let file = match made(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                OpenOptions::new().append(true).create(true).open(path)?
            }
            made => made?,
        };
        let identity = Identity::of(&file.metadata()?);
        Ok(Self { file, identity, torn: false })
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        let mut left = lines;
        while !left.is_empty() {
            let written = if self.torn { self.file.write(b"\n").map(|_| 0) } else { self.file.write(left) };
            match written {
                Ok(written) => {
                    self.torn = false;
                    left = &left[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let done = lines.len() - left.len();
                    self.torn |= done > 0 && lines[done - 1] != b'\n';
                    return Err(Lost { lines: count(left), error });
                }
            }
        }
        Ok(())
    }
}

/// A new file, which the owner's group may read whatever the umask: keys lie elsewhere.
fn made(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o640))?;
    Ok(file)
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Opening a named pipe waits for somebody who reads it, perhaps for ever.
fn refuse_pipe(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if fs::metadata(path).is_ok_and(|now| std::os::unix::fs::FileTypeExt::is_fifo(&now.file_type())) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, not a file"));
    }
    Ok(())
}

/// Tells one file from another. A file that is open keeps its number to itself.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
}

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { device_and_inode: (metadata.dev(), metadata.ino()) }
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Self {
        Self {}
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_made_for_its_owner_and_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut file = LineFile::open(&path).unwrap();
        file.write(b"one\n").unwrap();
        assert_eq!(
            (text(&path).as_str(), fs::metadata(&path).unwrap().permissions().mode() & 0o7777),
            ("one\n", 0o640)
        );
    }

    #[test]
    fn it_is_opened_again_after_a_rename_a_removal_and_an_exchange() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let mut file = LineFile::open(&path).unwrap();
        file.write(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        file.write(b"two\n").unwrap();
        assert_eq!((text(&old), text(&path)), ("one\n".into(), "two\n".into()));
        fs::remove_file(&path).unwrap();
        file.write(b"three\n").unwrap();
        assert_eq!(text(&path), "three\n");
        fs::rename(&old, &path).unwrap();
        file.write(b"four\n").unwrap();
        assert_eq!(text(&path), "one\nfour\n");
    }

    #[test]
    fn it_may_be_cut_to_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut file = LineFile::open(&path).unwrap();
        file.write(b"one\n").unwrap();
        fs::write(&path, b"").unwrap();
        file.write(b"two\n").unwrap();
        assert_eq!(text(&path), "two\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_it_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let path = inner.join("access.log");
        let mut file = LineFile::open(&path).unwrap();
        fs::remove_dir_all(&inner).unwrap();
        assert_eq!(file.write(b"one\ntwo\n").unwrap_err().lines, 2);
        fs::create_dir(&inner).unwrap();
        assert_eq!(file.write(b"three\n").unwrap_err().lines, 1, "not at every line");
        file.failed = file.failed.and_then(|failed| failed.checked_sub(RETRY));
        file.write(b"four\n").unwrap();
        assert_eq!(text(&path), "four\n");
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut file = LineFile::open(&path).unwrap();
        file.write(b"one\ntw").unwrap();
        file.file.as_mut().unwrap().torn = true;
        file.write(b"three\n").unwrap();
        assert_eq!(text(&path), "one\ntw\nthree\n");
    }

    #[test]
    fn a_full_disk_costs_lines_and_no_more() {
        // /dev/full takes nothing.
        let mut file = LineFile::open(Path::new("/dev/full")).unwrap();
        let lost = file.write(b"one\ntwo\n").unwrap_err();
        assert_eq!((lost.lines, lost.error.kind()), (2, io::ErrorKind::StorageFull));
    }

    #[test]
    fn a_missing_folder_is_named_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let error = LineFile::open(&folder.path().join("none/access.log")).unwrap_err();
        assert!(error.to_string().ends_with("none/access.log` cannot be opened for appending"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.starts_with("make the folder")));
        assert!(LineFile::open(folder.path()).is_err());
    }
}
