//! The store of macOS: a keychain, which Safari, Chromium and Firefox read alike. The system asks the user whether it may be
//! changed.

use std::fmt;
use std::path::PathBuf;

use super::program::Program;
use super::{Outcome, Store, StoreError, TrustAnchor, already, certificates};

const SECURITY: Program = Program {
    name: "security",
    missing: "it is part of macOS: look whether `/usr/bin` is in `PATH`",
    failed: "run it in a session on the screen, where the system can ask whether it may; or add what `agent trust --print` \
             prints to a keychain by hand, and trust it there",
};

/// A keychain: of all users for root, else of one.
#[derive(Debug)]
pub(super) struct Keychain {
    file: PathBuf,
    of_all: bool,
}

impl Keychain {
    pub(super) fn of_all() -> Self {
        Self { file: "/Library/Keychains/System.keychain".into(), of_all: true }
    }

    pub(super) fn of_user(home: &std::path::Path) -> Self {
        Self { file: home.join("Library/Keychains/login.keychain-db"), of_all: false }
    }

    fn file(&self) -> String {
        self.file.to_string_lossy().into_owned()
    }

    fn add(&self, root: &TrustAnchor) -> Vec<String> {
        let words: &[&str] = if self.of_all { &["add-trusted-cert", "-d"] } else { &["add-trusted-cert"] };
        let rest = ["-r", "trustRoot", "-p", "ssl", "-k"];
        let mut arguments: Vec<String> = words.iter().chain(&rest).map(|word| (*word).to_owned()).collect();
        arguments.extend([self.file(), root.file.to_string_lossy().into_owned()]);
        arguments
    }

    /// With the trust that was set for it.
    fn delete(&self, root: &TrustAnchor) -> Result<(), StoreError> {
        SECURITY.run(&["delete-certificate", "-t", "-c", &root.name, &self.file()]).map(drop)
    }

    fn held(&self, root: &TrustAnchor) -> Result<Vec<u8>, StoreError> {
        // It fails where there is none.
        let output = SECURITY.output(&["find-certificate", "-a", "-p", "-c", &root.name, &self.file()])?;
        Ok(if output.status.success() { output.stdout } else { Vec::new() })
    }
}

impl fmt::Display for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the keychain `{}`", self.file.display())
    }
}

impl Store for Keychain {
    fn install(&self, root: &TrustAnchor) -> Result<Outcome, StoreError> {
        let held = certificates(&self.held(root)?);
        let outcome = already(&held, root).unwrap_or(if held.is_empty() {
            Outcome::Installed
        } else {
            Outcome::Replaced
        });
        if outcome == Outcome::Replaced {
            self.remove(root)?;
        }
        // Also where it is there: whether it is trusted as well cannot be asked.
        SECURITY.run(&self.add(root))?;
        Ok(outcome)
    }

    fn remove(&self, root: &TrustAnchor) -> Result<Outcome, StoreError> {
        let held = certificates(&self.held(root)?);
        held.iter().try_for_each(|_| self.delete(root))?;
        Ok(if held.is_empty() { Outcome::NotThere } else { Outcome::Removed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_for_servers_alone_and_for_whom_it_may_be() {
        let root = TrustAnchor {
            name: "Adit on mac 3f9a01".to_owned(),
            pem: String::new(),
            file: PathBuf::from("/data/ca.pem"),
        };
        let user = Keychain::of_user(std::path::Path::new("/Users/me")).add(&root).join(" ");
        assert_eq!(
            user,
            "add-trusted-cert -r trustRoot -p ssl -k /Users/me/Library/Keychains/login.keychain-db /data/ca.pem"
        );
        let all = Keychain::of_all().add(&root).join(" ");
        assert!(all.starts_with("add-trusted-cert -d -r trustRoot -p ssl -k /Library/"), "{all}");
    }
}
