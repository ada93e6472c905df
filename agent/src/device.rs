//! What this device is called by the people who use it.

use std::env;
use std::fs;

/// The machine's own name, where it says one.
#[must_use]
pub fn name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| env::var("COMPUTERNAME").or_else(|_| env::var("HOSTNAME")).ok())?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
