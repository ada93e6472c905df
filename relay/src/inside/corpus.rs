//! What fuzzing has collected in `tests/fuzz/corpus`, played again without a fuzzer.

use std::fs;
use std::path::Path;

use super::{fields, framing, path, read_config};

/// Runs a check over each file of a target.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus")).join(target);
    let mut played = 0;
    for file in fs::read_dir(folder).unwrap() {
        check(&fs::read(file.unwrap().path()).unwrap());
        played += 1;
    }
    assert!(played >= 4, "{played} files of {target}");
}

#[test]
fn paths() {
    replay("path", path::check);
}

#[test]
fn forwarding_fields() {
    replay("fields", fields::check);
}

#[test]
fn connections() {
    replay("framing", framing::check);
}

#[test]
fn configurations() {
    replay("relay_config", |bytes| read_config(&String::from_utf8_lossy(bytes)));
}
