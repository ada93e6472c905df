//! Builds `agent` and `relay` once, as cargo would, and says where they are.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The programs under test.
#[derive(Debug)]
pub struct Binaries {
    pub agent: PathBuf,
    pub relay: PathBuf,
}

/// Builds the programs in the profile that this program was built in, the first time.
pub fn binaries() -> &'static Binaries {
    static BUILT: OnceLock<Binaries> = OnceLock::new();
    BUILT.get_or_init(build)
}

/// The workspace's folder.
#[must_use]
pub fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn build() -> Binaries {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let status = Command::new(cargo)
        .current_dir(workspace())
        .args([
            "build",
            "--quiet",
            "--profile",
            profile,
            "--package",
            "relay",
            "--package",
            "agent",
            "--bins",
        ])
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "relay and agent do not build");
    let folder = folder_of_this_program();
    Binaries { agent: folder.join("agent"), relay: folder.join("relay") }
}

/// Tests lie in `deps`, below the folder that the binaries are in.
fn folder_of_this_program() -> PathBuf {
    let mut folder = std::env::current_exe().expect("this program is a file");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}
