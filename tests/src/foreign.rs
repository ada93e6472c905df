//! Programs of other people that visit the relay: a place for them to visit, and a run under a deadline. `.ci/run`
//! installs them.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::bed::{Agent, Relay};
use crate::binaries::workspace;
use crate::deploy::simple;
use crate::program::{Program, real_folder, text};

/// The hostname of a [`Place`].
pub const HOSTNAME: &str = "a.example.com";

/// A program behind an agent and a relay.
#[derive(Debug)]
pub struct Place {
    pub relay: Relay,
    pub origin: Program,
    _agent: Agent,
}

impl Place {
    /// Puts a Node program of `tests/real` there.
    #[must_use]
    pub fn of(script: &str) -> Self {
        Self::before(Program::node(script), "http")
    }

    /// Puts a program there that speaks a scheme.
    #[must_use]
    pub fn before(origin: Program, scheme: &str) -> Self {
        let relay = Relay::start();
        let config = simple(HOSTNAME, &format!("{scheme}://127.0.0.1:{}", origin.port));
        let agent = Agent::running(&relay, &[HOSTNAME], &config);
        Self { relay, origin, _agent: agent }
    }

    /// `HOSTNAME:PORT`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{HOSTNAME}:{}", self.relay.https.port())
    }

    /// A path there.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.authority())
    }

    /// The file with the root of its certificate.
    #[must_use]
    pub fn root(&self) -> String {
        text(&self.relay.ca_file())
    }
}

/// Runs a program to its end.
///
/// # Panics
///
/// Where it does not start, or has not ended after `limit`.
pub async fn finish(mut command: Command, limit: Duration) -> Output {
    let name = command.as_std().get_program().display().to_string();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(limit, output).await;
    let output = output.unwrap_or_else(|_| panic!("{name} has not ended after {limit:?}"));
    output.unwrap_or_else(|error| panic!("{name}: {error}; `.ci/run` installs it"))
}

/// The same for one that has to succeed; what it printed.
///
/// # Panics
///
/// Where it fails.
pub async fn succeed(command: Command, limit: Duration) -> Vec<u8> {
    let output = finish(command, limit).await;
    assert!(output.status.success(), "{}", everything(&output));
    output.stdout
}

/// What a program said on both of its outputs.
#[must_use]
pub fn everything(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

/// Python with the packages of `tests/real/NAME/requirements.txt`.
#[must_use]
pub fn python(name: &str) -> Command {
    let folder: PathBuf = workspace().join("target/real").join(name);
    let mut command = Command::new(folder.join("bin/python"));
    command.current_dir(real_folder().join(name));
    command
}

/// A Node program of `tests/real` that prints JSON.
pub async fn node(arguments: &[&str], limit: Duration) -> Value {
    let mut command = Command::new("node");
    command.args(arguments).current_dir(real_folder());
    let printed = succeed(command, limit).await;
    serde_json::from_slice(&printed)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&printed)))
}
