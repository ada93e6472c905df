//! What every stack is given: a folder, a certificate, an origin, and the programs of Adit.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;
use tests::binaries::binaries;
use tests::certificate::Authority;

use crate::origin::write_files;
use crate::place::Place;

/// The hostname of every stack: resolved everywhere, and in the certificate.
pub(crate) const HOSTNAME: &str = "localhost";

/// One folder for a whole run, removed at its end.
#[derive(Debug)]
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    /// Writes a certificate (ECDSA, P-256) that all stacks will show.
    pub(crate) fn new() -> anyhow::Result<Self> {
        // nginx's workers may run as somebody else.
        let open = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().prefix("adit-bench-").permissions(open).tempdir()?;
        let authority = Authority::new();
        authority.write_root(&folder.path().join("root.pem"));
        authority.write(folder.path(), "edge", &[HOSTNAME]);
        let bench = Self { folder };
        fs::create_dir(bench.files())?;
        write_files(&bench.files())?;
        Ok(bench)
    }

    /// What the origin serves.
    pub(crate) fn files(&self) -> PathBuf {
        self.path().join("files")
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The root that visitors believe.
    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("root.pem")
    }

    /// A new folder inside.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        for number in 0.. {
            let folder = self.path().join(format!("{name}-{number}"));
            if !folder.exists() {
                fs::create_dir(&folder)?;
                return Ok(folder);
            }
        }
        unreachable!("a number is free")
    }

    /// The ground for one start of a stack.
    pub(crate) fn ground(&self, name: &str, place: &Place, origin: SocketAddr) -> anyhow::Result<Ground> {
        Ok(Ground {
            folder: self.folder(name)?,
            place: place.clone(),
            certificate: self.path().join("edge.pem"),
            key: self.path().join("edge.key"),
            origin,
        })
    }
}

/// What a stack starts from.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) folder: PathBuf,
    pub(crate) place: Place,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// On the home side.
    pub(crate) origin: SocketAddr,
}

impl Ground {
    /// Writes a file of configuration.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let file = self.folder.join(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    }

    /// Where a program writes what it says.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

/// Where `agent` and `relay` are: in the folder that an environment variable names, else where they are built.
pub(crate) fn program(name: &str, variable: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os(variable) {
        return Path::new(&folder).join(name);
    }
    let built = binaries();
    if name == "relay" { built.relay.clone() } else { built.agent.clone() }
}
