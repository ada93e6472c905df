//! Where the files of an agent are, when nobody says otherwise. The one module that knows the folders of systems.

use std::env;
use std::path::PathBuf;

/// `agent.toml` of the system for root, else the user's own.
#[must_use]
pub fn default_file() -> PathBuf {
    if is_root() {
        return PathBuf::from("/etc/adit/agent.toml");
    }
    user_folder("XDG_CONFIG_HOME", "APPDATA", ".config").join("adit").join("agent.toml")
}

/// Where the key and the socket are: the system's folder for root, else the user's own.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    if is_root() {
        return PathBuf::from("/var/lib/adit-agent");
    }
    user_folder("XDG_STATE_HOME", "LOCALAPPDATA", ".local/state").join("adit")
}

/// Relative paths in these variables are invalid and are passed over (XDG Base Directory Specification).
fn user_folder(xdg: &str, windows: &str, below_home: &str) -> PathBuf {
    let variable = if cfg!(windows) { windows } else { xdg };
    let named = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    named.unwrap_or_else(|| env::home_dir().unwrap_or_default().join(below_home))
}

/// The owner of this process's entry in `/proc` is its effective user; asking the C library would need unsafe code.
#[cfg(target_os = "linux")]
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_root() -> bool {
    cfg!(unix) && env::var_os("USER").is_some_and(|user| user == "root")
}
