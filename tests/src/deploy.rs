//! The example configurations of `deploy/`, with the addresses of a test in them.

use std::fs;

use crate::bed::Relay;
use crate::binaries::workspace;

/// Reads an example and replaces texts in it, each of which has to be there.
///
/// # Panics
///
/// Where the example is gone or no longer holds one of the texts.
#[must_use]
pub fn example(name: &str, relay: &Relay, replacements: &[(&str, String)]) -> String {
    let file = workspace().join("deploy").join(name);
    let mut text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let relay = ("relay.example.com", relay.https.to_string());
    for (from, to) in replacements.iter().chain([&relay]) {
        assert!(text.contains(from), "`{from}` is not in {}", file.display());
        text = text.replace(from, to);
    }
    text
}

/// The smallest configuration: a hostname, all of it one service.
#[must_use]
pub fn simple(hostname: &str, origin: &str) -> String {
    with(hostname, origin, "", "")
}

/// The same with further keys of the service and of the exposure.
#[must_use]
pub fn with(hostname: &str, origin: &str, service: &str, expose: &str) -> String {
    format!(
        "[service.web]\norigin = \"{origin}\"\n{service}\n[[expose]]\nhostname = \"{hostname}\"\n\
         routes = [{{ path = \"/*\", service = \"web\" }}]\n{expose}\n"
    )
}
