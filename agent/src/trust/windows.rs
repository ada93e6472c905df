//! The store of Windows: the user's trusted roots, which Edge, Chrome and Firefox read alike. Windows asks the user whether it
//! may be changed.

use std::fmt;

use super::program::Program;
use super::{Outcome, Store, StoreError, TrustAnchor};

/// Not that of NSS, which has its name.
const CERTUTIL: Program = Program {
    name: "certutil.exe",
    missing: "it is part of Windows: look whether `System32` is in `PATH`",
    failed: "run it in a session on the screen, where Windows can ask whether it may; or import what `agent trust --print` \
             prints into \"Trusted Root Certification Authorities\" with `certmgr.msc`",
};

#[derive(Debug)]
pub(super) struct UserRoots;

impl UserRoots {
    fn holds(root: &TrustAnchor) -> Result<bool, StoreError> {
        Ok(CERTUTIL.output(&["-user", "-store", "Root", &root.name])?.status.success())
    }
}

impl fmt::Display for UserRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the user's trusted roots")
    }
}

impl Store for UserRoots {
    fn install(&self, root: &TrustAnchor) -> Result<Outcome, StoreError> {
        // What certutil prints of it is in the system's language: which version it is cannot be told.
        let before = self.remove(root)?;
        CERTUTIL.run(&["-user".as_ref(), "-addstore".as_ref(), "Root".as_ref(), root.file.as_os_str()])?;
        Ok(if before == Outcome::Removed { Outcome::Replaced } else { Outcome::Installed })
    }

    fn remove(&self, root: &TrustAnchor) -> Result<Outcome, StoreError> {
        if !Self::holds(root)? {
            return Ok(Outcome::NotThere);
        }
        CERTUTIL.run(&["-user", "-delstore", "Root", &root.name])?;
        Ok(Outcome::Removed)
    }
}
