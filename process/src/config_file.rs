//! The text of a configuration file, read so that nothing that stands in its place can hold up or fill the process.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// No configuration is larger, in bytes.
const LARGEST: u64 = 1 << 20;

/// Reads the whole file. A pipe or a device is refused, not waited for.
pub fn read(path: &Path) -> io::Result<String> {
    // Looked at before it is opened: opening a pipe waits for somebody to write into it.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("this is not a file"));
    }
    let mut text = String::new();
    File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("this is larger than 1 MiB, which no configuration is"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_a_sane_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.toml");
        fs::write(&file, "name = 1").unwrap();
        assert_eq!(read(&file).unwrap(), "name = 1");
        fs::write(&file, vec![b'a'; (1 << 20) + 1]).unwrap();
        assert!(read(&file).is_err());
        assert!(read(folder.path()).is_err());
        assert_eq!(read(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
