//! Which stores this system has. The one module that knows which system this is; only Linux is tested.

use std::env;
use std::path::{Path, PathBuf};

use super::anchors::{Anchors, NoAnchors};
use super::keychain::Keychain;
use super::windows::UserRoots;
use super::{Store, TrustAnchor, nss};
use crate::config::is_root;

/// The stores that this user may change, and the one that only root may.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) mine: Vec<Box<dyn Store>>,
    for_root: Option<Anchors>,
    root: bool,
}

impl Stores {
    /// Those of the user whom this process runs as.
    pub(crate) fn find() -> Self {
        let (root, home) = (is_root(), env::home_dir().unwrap_or_default());
        let single = |store: Box<dyn Store>| Self { mine: vec![store], for_root: None, root };
        if cfg!(windows) {
            single(Box::new(UserRoots))
        } else if cfg!(target_os = "macos") {
            single(Box::new(if root { Keychain::of_all() } else { Keychain::of_user(&home) }))
        } else {
            Self::of_linux(root, &home)
        }
    }

    fn of_linux(root: bool, home: &Path) -> Self {
        // Whoever is root may browse as well, but mostly does not.
        let browsers = nss::databases(home, &data_home(home), !root).into_iter();
        let browsers = browsers.map(|database| -> Box<dyn Store> { Box::new(database) });
        let anchors = Anchors::find();
        if !root {
            return Self { mine: browsers.collect(), for_root: anchors, root };
        }
        let system: Box<dyn Store> = match anchors {
            Some(anchors) => Box::new(anchors),
            None => Box::new(NoAnchors),
        };
        Self { mine: std::iter::once(system).chain(browsers).collect(), for_root: None, root }
    }

    /// What there is to say about what is left out, to a person who wants it installed or removed.
    pub(crate) fn left_out(&self, anchor: &TrustAnchor, removing: bool) -> Option<String> {
        if let Some(store) = &self.for_root {
            let command = store.by_hand(anchor, removing);
            return match removing {
                true if !store.holds(anchor) => None,
                true => Some(format!("root may take it out of {store}: `{command}`")),
                false => Some(format!(
                    "browsers need no more; for curl and other programs root may put it into {store}: `{command}`"
                )),
            };
        }
        let user = env::var("SUDO_USER").ok().filter(|user| self.root && user != "root")?;
        Some(format!(
            "this is root's CA, and the browsers are root's too: for those of `{user}` run `agent trust` without `sudo`"
        ))
    }
}

/// A relative path in the variable is invalid and is passed over (XDG Base Directory Specification).
fn data_home(home: &Path) -> PathBuf {
    let named = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    named.unwrap_or_else(|| home.join(".local/share"))
}
