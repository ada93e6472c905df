//! What fuzzing has collected in `tests/fuzz/corpus`, played again without a fuzzer. The relay's and the agent's own parts
//! of it are played by their own tests.

#[path = "../../fuzz/src/wire.rs"]
mod wire;

use std::fs;

use tests::binaries::workspace;

/// Every folder of the corpus, and who plays it.
const TARGETS: [&str; 7] =
    ["agent_config", "control", "fields", "framing", "path", "relay_config", "stream_header"];

fn replay(target: &str, check: impl Fn(&[u8])) {
    let mut played = 0;
    for file in fs::read_dir(workspace().join("tests/fuzz/corpus").join(target)).expect("a folder") {
        check(&fs::read(file.expect("a file").path()).expect("a file"));
        played += 1;
    }
    assert!(played >= 4, "{played} files of {target}");
}

#[test]
fn stream_headers() {
    replay("stream_header", wire::stream_header);
}

#[test]
fn control_streams() {
    replay("control", wire::control);
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let names = |folder: &str| {
        let entries = fs::read_dir(workspace().join("tests/fuzz").join(folder)).expect("a folder");
        let name =
            |entry: fs::DirEntry| entry.path().file_stem().map(|name| name.to_string_lossy().into_owned());
        let mut names: Vec<String> = entries.filter_map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    };
    assert_eq!(names("corpus"), TARGETS);
    assert_eq!(names("fuzz_targets"), TARGETS);
}
