//! `relay ca`: the internal CA's root, out of the data folder.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aws_lc_rs::digest::{SHA256, digest};
use process::terminal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

use super::CommandError;
use crate::config;
use crate::edge::internal_ca::ROOT_FILE;

/// Why there is no root to print.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    #[error("there is no internal CA: `{}` does not exist", .path.display())]
    Missing { path: PathBuf, enabled: bool },
    #[error("the internal CA's root in `{}` cannot be read", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the internal CA's root in `{}` cannot be read as PEM", .path.display())]
    Pem { path: PathBuf, source: pem::Error },
}

impl RootError {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { enabled: true, .. } => {
                Some("start `relay serve` once: it makes the internal CA".to_owned())
            }
            Self::Missing { enabled: false, .. } => {
                Some("write `enabled = true` into `[internal_ca]`, and start `relay serve` once".to_owned())
            }
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as the user that the relay runs as".to_owned())
            }
            Self::Unreadable { .. } | Self::Pem { .. } => None,
        }
    }
}

/// Prints the root, or what to know it by.
pub(super) fn export(path: &Path, fingerprint: bool) -> Result<ExitCode, CommandError> {
    let config = config::load(path)?;
    let text = read(config.data_dir.join(ROOT_FILE), config.internal_ca.enabled, fingerprint)?;
    terminal::stdout_line(text.trim_end()).map_err(CommandError::Output)?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: PathBuf, enabled: bool, fingerprint: bool) -> Result<String, RootError> {
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RootError::Missing { path, enabled });
        }
        Err(source) => return Err(RootError::Unreadable { path, source }),
    };
    match CertificateDer::from_pem_slice(text.as_bytes()) {
        Ok(root) if fingerprint => Ok(colons(digest(&SHA256, &root).as_ref())),
        Ok(_) => Ok(text),
        Err(source) => Err(RootError::Pem { path, source }),
    }
}

/// As `openssl x509 -fingerprint -sha256` and browsers write it.
fn colons(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_written_as_openssl_does() {
        assert_eq!(colons(&[0, 0xab, 0x1f]), "00:AB:1F");
    }

    #[test]
    fn a_root_that_is_not_there_says_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let hint = |enabled| read(folder.path().join("ca.pem"), enabled, false).unwrap_err().hint().unwrap();
        assert!(hint(false).contains("`enabled = true`") && hint(true).starts_with("start `relay serve`"));
        let broken = folder.path().join("broken.pem");
        std::fs::write(&broken, "nothing").unwrap();
        assert!(matches!(read(broken, true, true), Err(RootError::Pem { .. })));
    }
}
