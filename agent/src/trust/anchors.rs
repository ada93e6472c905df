//! The system's own store on Linux: a folder of root certificates, of which a program makes what OpenSSL, GnuTLS and others
//! read. Only root may write there.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use process::private_file;

use super::program::Program;
use super::{Outcome, Store, StoreError, TrustAnchor, already, certificates};

const FAILED: &str = "run it by hand to see more, then run this again";

/// Where a distribution has its folder.
#[derive(Debug, Clone, Copy)]
struct Family {
    folder: &'static str,
    update: Program,
    arguments: &'static [&'static str],
}

const fn family(
    folder: &'static str,
    name: &'static str,
    arguments: &'static [&'static str],
    missing: &'static str,
) -> Family {
    Family { folder, update: Program { name, missing, failed: FAILED }, arguments }
}

/// Debian; Fedora; Arch; openSUSE.
const FAMILIES: [Family; 4] = [
    family(
        "/usr/local/share/ca-certificates",
        "update-ca-certificates",
        &[],
        "install it (`apt install ca-certificates`), or add `/usr/sbin` to `PATH`",
    ),
    family(
        "/etc/pki/ca-trust/source/anchors",
        "update-ca-trust",
        &["extract"],
        "install it (`dnf install ca-certificates`), or add `/usr/sbin` to `PATH`",
    ),
    family(
        "/etc/ca-certificates/trust-source/anchors",
        "trust",
        &["extract-compat"],
        "install it (`pacman -S p11-kit`), or add `/usr/sbin` to `PATH`",
    ),
    family(
        "/etc/pki/trust/anchors",
        "update-ca-certificates",
        &[],
        "install it (`zypper install ca-certificates`), or add `/usr/sbin` to `PATH`",
    ),
];

/// The folder, and the program.
#[derive(Debug)]
pub(super) struct Anchors {
    folder: PathBuf,
    update: Program,
    arguments: &'static [&'static str],
}

impl Anchors {
    /// That of the distribution which this is.
    pub(super) fn find() -> Option<Self> {
        let family = FAMILIES.iter().find(|family| Path::new(family.folder).is_dir())?;
        Some(Self { folder: family.folder.into(), update: family.update, arguments: family.arguments })
    }

    /// What somebody types who may become root.
    pub(super) fn by_hand(&self, root: &TrustAnchor, removing: bool) -> String {
        let (file, update) = (self.file(root), [&[self.update.name], self.arguments].concat().join(" "));
        let file = file.display();
        match removing {
            true => format!("sudo rm {file} && sudo {update}"),
            false => {
                format!("sudo install -m 644 {} {file} && sudo {update}", root.file.display())
            }
        }
    }

    /// Whether the root is there, in whichever version.
    pub(super) fn holds(&self, root: &TrustAnchor) -> bool {
        self.file(root).exists()
    }

    fn file(&self, root: &TrustAnchor) -> PathBuf {
        let plain =
            |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '-' };
        self.folder.join(format!("{}.crt", root.name.chars().map(plain).collect::<String>()))
    }
}

impl fmt::Display for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the system's store, `{}`", self.folder.display())
    }
}

impl Store for Anchors {
    fn install(&self, root: &TrustAnchor) -> Result<Outcome, StoreError> {
        let file = self.file(root);
        let outcome = match fs::read(&file) {
            Ok(held) => already(&certificates(&held), root).unwrap_or(Outcome::Replaced),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Installed,
            Err(source) => return Err(StoreError::Io { action: "read", path: file, source }),
        };
        if outcome != Outcome::AlreadyThere {
            write(&file, root.pem.as_bytes())?;
        }
        // Also where nothing has changed: it may have failed the last time.
        self.update.run(self.arguments)?;
        Ok(outcome)
    }

    fn remove(&self, root: &TrustAnchor) -> Result<Outcome, StoreError> {
        let file = self.file(root);
        let held = match fs::read(&file) {
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::NotThere),
            Err(source) => return Err(StoreError::Io { action: "read", path: file, source }),
        };
        if let Err(source) = fs::remove_file(&file) {
            return Err(StoreError::Io { action: "remove", path: file, source });
        }
        if let Err(error) = self.update.run(self.arguments) {
            // What was made of it still has the root: without the file the next attempt would find nothing to do.
            write(&file, &held)?;
            return Err(error);
        }
        Ok(Outcome::Removed)
    }
}

/// Readable by everybody: programs of all users look here.
fn write(file: &Path, pem: &[u8]) -> Result<(), StoreError> {
    private_file::write(file, pem)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let opened = fs::set_permissions(file, fs::Permissions::from_mode(0o644));
        opened.map_err(|source| StoreError::Io {
            action: "open to everybody",
            path: file.to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// What root is told where the system has no such folder.
#[derive(Debug)]
pub(super) struct NoAnchors;

impl fmt::Display for NoAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system's store")
    }
}

impl Store for NoAnchors {
    fn install(&self, _root: &TrustAnchor) -> Result<Outcome, StoreError> {
        Err(StoreError::Unknown)
    }

    fn remove(&self, _root: &TrustAnchor) -> Result<Outcome, StoreError> {
        Ok(Outcome::NotThere)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn root() -> TrustAnchor {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        TrustAnchor {
            name: "Adit on laptop 3f9a01".to_owned(),
            pem: made.cert.pem(),
            file: PathBuf::from("/data/ca.pem"),
        }
    }

    fn anchors(folder: &tempfile::TempDir, update: &'static str) -> Anchors {
        let update = Program { name: update, missing: "install it", failed: FAILED };
        Anchors { folder: folder.path().to_owned(), update, arguments: &[] }
    }

    #[test]
    fn a_root_is_installed_once_replaced_by_a_newer_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = anchors(&folder, "true");
        let (root, newer) = (root(), root());
        assert_eq!(store.remove(&root).unwrap(), Outcome::NotThere);
        assert_eq!(store.install(&root).unwrap(), Outcome::Installed);
        let file = folder.path().join("adit-on-laptop-3f9a01.crt");
        assert_eq!(fs::read_to_string(&file).unwrap(), root.pem);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(store.install(&root).unwrap(), Outcome::AlreadyThere);
        assert_eq!(store.install(&newer).unwrap(), Outcome::Replaced);
        assert_eq!(fs::read_to_string(&file).unwrap(), newer.pem);
        assert_eq!(store.remove(&root).unwrap(), Outcome::Removed);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_program_that_fails_is_run_again_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let root = root();
        for _ in 0..2 {
            let error = anchors(&folder, "false").install(&root).unwrap_err();
            assert!(matches!(error, StoreError::Failed { .. }) && error.hint().is_some(), "{error}");
        }
        assert_eq!(anchors(&folder, "true").install(&root).unwrap(), Outcome::AlreadyThere);
        assert!(anchors(&folder, "false").remove(&root).is_err());
        assert_eq!(anchors(&folder, "true").remove(&root).unwrap(), Outcome::Removed);
    }

    #[test]
    fn who_is_not_root_is_told_what_to_type() {
        let folder = tempfile::tempdir().unwrap();
        let store = anchors(&folder, "update-ca-certificates");
        let file = folder.path().join("adit-on-laptop-3f9a01.crt");
        let (root, file) = (root(), file.display());
        let installing = store.by_hand(&root, false);
        assert_eq!(
            installing,
            format!("sudo install -m 644 /data/ca.pem {file} && sudo update-ca-certificates")
        );
        assert_eq!(store.by_hand(&root, true), format!("sudo rm {file} && sudo update-ca-certificates"));
    }
}
