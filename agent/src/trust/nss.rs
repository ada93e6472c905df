//! The browsers' own stores on Linux: NSS databases, which `certutil` of NSS changes. Chromium has one for each user, Firefox
//! one for each profile.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use process::private_file;
use rustls::pki_types::CertificateDer;

use super::program::Program;
use super::{Outcome, Store, StoreError, TrustAnchor, already, certificates};

const CERTUTIL: Program = Program {
    name: "certutil",
    missing: "install it (`apt install libnss3-tools`, `dnf install nss-tools`, `pacman -S nss`) and run this again; or \
              save what `agent trust --print` prints, and import it under \"Authorities\" in the browser's settings of \
              certificates",
    failed: "close the browser and run this again",
};

/// Chromium and its kin, below the home: on their own, as a snap, as a Flatpak.
const CHROMIUM: [&str; 4] = [
    ".pki/nssdb",
    "snap/chromium/current/.pki/nssdb",
    ".var/app/org.chromium.Chromium/.pki/nssdb",
    ".var/app/com.google.Chrome/.pki/nssdb",
];
/// Folders of Firefox's profiles, below the home.
const FIREFOX: [&str; 4] = [
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
];
/// The one file of a database that is always there.
const FILE: &str = "cert9.db";
/// A root that was put in more often than this under one name is not ours.
const MOST: usize = 16;

/// One database. It is made where it is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Database(PathBuf);

/// Those of a user; `data_home` is where newer versions of Chromium have theirs. `with_new` adds the one that Chromium will
/// look for, where it has none yet.
pub(super) fn databases(home: &Path, data_home: &Path, with_new: bool) -> Vec<Database> {
    let chromium = CHROMIUM.iter().map(|folder| home.join(folder)).chain([data_home.join("pki/nssdb")]);
    let mut found: Vec<_> = chromium.filter(|folder| is_database(folder)).map(Database).collect();
    if found.is_empty() && with_new {
        found.push(Database(home.join(CHROMIUM[0])));
    }
    let firefox = FIREFOX.iter().flat_map(|folder| profiles(&home.join(folder)));
    found.extend(firefox.map(Database));
    found
}

/// A folder that is not there, or cannot be read, holds none.
fn profiles(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(|folder| is_database(folder)).collect();
    found.sort();
    found
}

fn is_database(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}

impl Database {
    fn certutil(&self, arguments: &[&str]) -> Result<Vec<u8>, StoreError> {
        CERTUTIL.run(&self.arguments(arguments))
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<OsString> {
        // The prefix says that it is of the format that has a `cert9.db`.
        let mut folder = OsString::from("sql:");
        folder.push(&self.0);
        let place = [OsString::from("-d"), folder];
        arguments.iter().map(|argument| OsString::from(*argument)).chain(place).collect()
    }

    fn make(&self) -> Result<(), StoreError> {
        // Its parent may be there already, and need not be private.
        if let Some(parent) = self.0.parent() {
            fs::create_dir_all(parent).map_err(|source| StoreError::Io {
                action: "create",
                path: parent.to_owned(),
                source,
            })?;
        }
        private_file::create_folder(&self.0)?;
        self.certutil(&["-N", "--empty-password"]).map(drop)
    }

    /// The certificates of this name.
    fn held(&self, name: &str) -> Result<Vec<CertificateDer<'static>>, StoreError> {
        // A database that cannot be read is an error here; a name that is not in it is none below.
        self.certutil(&["-L"])?;
        let output = CERTUTIL.output(&self.arguments(&["-L", "-a", "-n", name]))?;
        Ok(if output.status.success() { certificates(&output.stdout) } else { Vec::new() })
    }

    /// One at a time is what certutil does.
    fn clear(&self, name: &str) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::NotThere;
        for _ in 0..MOST {
            if self.held(name)?.is_empty() {
                break;
            }
            self.certutil(&["-D", "-n", name])?;
            outcome = Outcome::Removed;
        }
        Ok(outcome)
    }

    fn add(&self, root: &TrustAnchor) -> Result<(), StoreError> {
        let mut arguments = self.arguments(&["-A", "-n", &root.name, "-t", "C,,"]);
        arguments.extend([OsStr::new("-i").to_owned(), root.file.clone().into_os_string()]);
        CERTUTIL.run(&arguments).map(drop)
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the NSS database `{}`", self.0.display())
    }
}

impl Store for Database {
    fn install(&self, root: &TrustAnchor) -> Result<Outcome, StoreError> {
        if !is_database(&self.0) {
            self.make()?;
        }
        if let Some(already) = already(&self.held(&root.name)?, root) {
            // Somebody may have taken it away in the browser's settings.
            self.certutil(&["-M", "-n", &root.name, "-t", "C,,"])?;
            return Ok(already);
        }
        let before = self.clear(&root.name)?;
        self.add(root)?;
        Ok(if before == Outcome::Removed { Outcome::Replaced } else { Outcome::Installed })
    }

    fn remove(&self, root: &TrustAnchor) -> Result<Outcome, StoreError> {
        if is_database(&self.0) { self.clear(&root.name) } else { Ok(Outcome::NotThere) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(folder: PathBuf) -> Database {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(FILE), "").unwrap();
        Database(folder)
    }

    #[test]
    fn every_browsers_database_is_found() {
        let home = tempfile::tempdir().unwrap();
        let below = |folder: &str| home.path().join(folder);
        let data_home = below(".local/share");
        assert_eq!(databases(home.path(), &data_home, false), []);
        let new = Database(below(".pki/nssdb"));
        assert_eq!(databases(home.path(), &data_home, true), [new]);
        let chromium = make(data_home.join("pki/nssdb"));
        let first = make(below(".mozilla/firefox/a.default"));
        let second = make(below(".mozilla/firefox/b.default-release"));
        let snap = make(below("snap/firefox/common/.mozilla/firefox/c.default"));
        fs::create_dir(below(".mozilla/firefox/Crash Reports")).unwrap();
        assert_eq!(databases(home.path(), &data_home, true), [chromium, first, second, snap]);
    }

    #[test]
    fn certutil_is_told_the_format() {
        let database = Database(PathBuf::from("/home/me/.pki/nssdb"));
        assert_eq!(database.arguments(&["-L"]), ["-L", "-d", "sql:/home/me/.pki/nssdb"]);
    }
}
