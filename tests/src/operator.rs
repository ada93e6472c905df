//! An operator's device: it reaches private services of others, through doors on this machine or between two pipes.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::bed::{Agent, Relay};
use crate::wait::{PATIENCE, eventually_blocking};

/// The device. Ends with its handle.
#[derive(Debug, Default)]
pub struct Operator {
    pub agent: Agent,
}

impl Operator {
    /// Enrolled as an operator's, under a name and with a grant of these services.
    #[must_use]
    pub fn enrolled(relay: &Relay, name: &str, services: &[&str]) -> Self {
        let mut arguments = vec!["token", "create", "--operator", "--name", name];
        arguments.extend(services.iter().flat_map(|service| ["--service", service]));
        let operator = Self::default();
        operator.agent.enroll(relay, &relay.ask(&arguments));
        operator
    }

    /// The same, and with `agent connect` to the first of them at a port of the kernel's choice.
    #[must_use]
    pub fn connected(relay: &Relay, name: &str, services: &[&str]) -> Self {
        let mut operator = Self::enrolled(relay, name, services);
        operator.connect(&[services[0], "--listen", "127.0.0.1:0"]);
        operator
    }

    /// Starts `agent connect`, through the relay alone.
    pub fn connect(&mut self, arguments: &[&str]) {
        self.agent.launch(&[&["connect", "--relayed"], arguments].concat());
    }

    /// Where a door is that opens.
    pub fn door(&mut self, name: &str) -> SocketAddr {
        eventually_blocking(&format!("the door `{name}` opens"), || {
            let log = self.agent.process().log();
            assert!(!self.agent.process().has_ended(), "the agent ended: {log}");
            log.lines().rev().find_map(|line| address(line, name))
        })
    }

    /// Starts `agent connect` between two pipes.
    #[must_use]
    pub fn piped(&self, arguments: &[&str]) -> Piped {
        let mut command = self.agent.program(&[&["connect", "--relayed"], arguments].concat());
        command.env_remove("ADIT_LOG");
        Piped::start(command)
    }
}

/// What a line says of where a door is: on standard output, or in a log.
fn address(line: &str, name: &str) -> Option<SocketAddr> {
    let said = line.strip_prefix(&format!("{name} is at "));
    // With `https` it is a name of this device, and the port is what counts.
    if let Some((_, port)) = said.and_then(|place| place.strip_prefix("https://")?.rsplit_once(':')) {
        return port.trim().parse().ok().map(|port| ([127, 0, 0, 1], port).into());
    }
    let place = said.map(|place| place.trim_start_matches("http://"));
    let logged = || line.contains(&format!("open door=\"{name}\"")).then(|| line.rsplit_once("address="));
    place.or_else(|| logged().flatten().map(|(_, rest)| rest))?.trim().parse().ok()
}

/// A program between two pipes, which ends with its handle.
#[derive(Debug)]
pub struct Piped {
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: ChildStdout,
}

impl Piped {
    /// Starts a program.
    #[must_use]
    pub fn start(command: std::process::Command) -> Self {
        let mut command = Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let stdout = child.stdout.take().expect("piped");
        Self { stdin: child.stdin.take(), stdout, child }
    }

    /// Writes to its standard input.
    pub async fn say(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        stdin.write_all(bytes).await.expect("it reads");
        stdin.flush().await.expect("it reads");
    }

    /// So many bytes of its standard output, which have to come.
    pub async fn hear(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = tokio::time::timeout(PATIENCE, self.stdout.read_exact(&mut bytes)).await;
        read.expect("it answers").expect("it does not end before");
        bytes
    }

    /// Its exit code, what was left on its standard output and what it has said on the other, when it has ended by itself.
    pub async fn end(mut self) -> (Option<i32>, Vec<u8>, String) {
        let (mut rest, mut said) = (Vec::new(), String::new());
        let mut stderr = self.child.stderr.take().expect("piped");
        let ending = async {
            tokio::try_join!(self.stdout.read_to_end(&mut rest), stderr.read_to_string(&mut said))
                .expect("pipes can be read");
            self.child.wait().await.expect("it ends")
        };
        let status = tokio::time::timeout(PATIENCE, ending).await.expect("it ends");
        (status.code(), rest, said)
    }
}
