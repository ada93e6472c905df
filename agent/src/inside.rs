//! The door for `tests/fuzz` to what is private to the agent. Only there with the feature `inside`, and in tests.

use std::io;
use std::path::Path;

/// Reads a configuration file of whatever text, and what is said of its mistakes. The files that it names hold no
/// certificate.
pub fn read_config(text: &str) {
    let files = |_: &Path| -> io::Result<Vec<u8>> { Err(io::ErrorKind::NotFound.into()) };
    match crate::config::read::read("agent.toml", text, &files) {
        Ok(config) => drop(format!("{config:?}")),
        Err(rejected) => assert!(!rejected.to_string().is_empty(), "refused without a word"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn the_corpus_of_fuzzing_panics_nowhere() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/agent_config");
        let mut played = 0;
        for file in fs::read_dir(folder).unwrap() {
            super::read_config(&fs::read_to_string(file.unwrap().path()).unwrap());
            played += 1;
        }
        assert!(played >= 4, "{played} files");
    }
}
