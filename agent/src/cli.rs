//! The command line: what can be asked for, and one way to fail.

mod check;
mod connect;
mod enroll;
mod expose;
mod peer;
mod run;
mod services;
mod status;
mod token;
mod trust;
mod verify;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use process::local::CallError;
use process::logging::{self, LogFormat};
use process::terminal;

use crate::agent::AgentError;
use crate::authority::RelayAddress;
use crate::config::{self, ConfigError};
use crate::doctor;
use crate::enroll::EnrollError;
use crate::identity::{DataDir, IdentityError};
use crate::local_ca::LocalCaError;
use crate::origin::PrepareError;

/// Adit's agent: makes services of this machine reachable through a relay, with no port open here.
#[derive(Debug, Parser)]
#[command(name = "agent", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    places: Places,
    /// How log lines are written: `text` or `json`.
    #[arg(long, global = true, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// Where the files of this agent are.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Common options")]
struct Places {
    /// Configuration file [default: /etc/adit/agent.toml for root, else ~/.config/adit/agent.toml].
    #[arg(long, global = true, env = "ADIT_CONFIG", value_name = "FILE", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Folder of this device's key and socket [default: /var/lib/adit-agent for root, else ~/.local/state/adit].
    #[arg(long, global = true, env = "ADIT_DATA_DIR", value_name = "DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,
}

impl Places {
    fn config(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(config::default_file)
    }

    fn data_dir(&self) -> DataDir {
        DataDir::new(self.data_dir.clone().unwrap_or_else(config::default_data_dir))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make this device a peer of a relay.
    ///
    /// With a token it is one at once. Without, a short code is printed and a person approves it at the relay.
    Enroll(enroll::Arguments),
    /// Keep the tunnel up and serve what the configuration file says.
    Run,
    /// Expose a hostname from the command line, until Ctrl-C.
    Expose(expose::Arguments),
    /// Reach private services of other peers, end to end encrypted, until Ctrl-C.
    ///
    /// Prints where each is to be found on this device. The relay has to grant the service to this device, and the peer's own
    /// `[[private]]` has to allow it. What should always be there belongs into `[[connect]]` of `agent run`.
    Connect(connect::Arguments),
    /// List the private services that the relay lets this device reach, and how each peer is reached.
    ///
    /// Asks the agent that runs, or the relay where none does. A peer is reached directly only by an agent that runs on.
    Services {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// See and verify the keys of other peers.
    #[command(subcommand)]
    Peer(peer::Command),
    /// Say what the running agent is doing. Exits 0 with a session up, 1 with none, 2 when no agent runs.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration file and report every mistake in it.
    Check,
    /// Look at a published site from outside: does it answer, and are its cookies, policies and redirects right?
    Verify(verify::Arguments),
    /// Find out what is wrong between this machine and the relay.
    Doctor {
        /// The relay to look at [default: where this device is enrolled].
        #[arg(long, value_name = "HOST[:PORT]")]
        relay: Option<RelayAddress>,
    },
    /// Have this device trust its local CA, for services that get a hostname and `https` here.
    ///
    /// The CA is made when the first name is given, and is good for the given names alone. Its certificate is put where the
    /// system and the browsers look; run this again after a browser was installed.
    Trust(trust::Arguments),
    /// Print a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

/// Why a command failed, for a person.
#[derive(Debug)]
struct Failure {
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl Failure {
    fn new(error: impl Error + Send + Sync + 'static, hint: Option<String>) -> Self {
        Self { error: Box::new(error), hint }
    }

    /// What a person sees of it. The mistakes of a file are a report of their own.
    fn report(&self) -> String {
        match self.error.downcast_ref() {
            Some(ConfigError::Rejected(rejected)) => rejected.render(terminal::stderr_has_colour()),
            Some(ConfigError::Missing { .. } | ConfigError::Read { .. }) | None => {
                terminal::report(&*self.error, self.hint.as_deref())
            }
        }
    }
}

macro_rules! failures {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let hint = error.hint();
                Self::new(error, hint)
            }
        })*
    };
}

failures!(AgentError, CallError, ConfigError, EnrollError, IdentityError, LocalCaError, PrepareError);

/// What of a command is an output, not an error of its own.
#[derive(Debug, thiserror::Error)]
#[error("cannot print the answer")]
struct PrintError(#[source] io::Error);

fn print(line: impl std::fmt::Display) -> Result<(), Failure> {
    terminal::stdout_line(line).map_err(|error| Failure::new(PrintError(error), None))
}

/// The answer cannot be written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be written as JSON")]
struct EncodeError(#[source] serde_json::Error);

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    print(text.map_err(|error| Failure::new(EncodeError(error), None))?)
}

/// What the running agent says of its trouble.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

/// The agent that runs is of another version.
#[derive(Debug, thiserror::Error)]
#[error("the running agent gave an answer that belongs to another command; it may be of another version")]
struct Mismatch;

/// The outcome of looking at the arguments.
#[derive(Debug)]
pub enum Parsed {
    Command(Box<Cli>),
    /// Help, the version or a mistake was printed.
    Answered(ExitCode),
}

/// Reads the arguments of this process.
#[must_use]
pub fn parse() -> Parsed {
    match Cli::try_parse() {
        Ok(command) => Parsed::Command(Box::new(command)),
        Err(error) => {
            // Nobody is left to be told that it cannot be printed.
            let _ = error.print();
            Parsed::Answered(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)))
        }
    }
}

impl Cli {
    /// Where a token was given as an argument, starts this program again without it: arguments can be read by every
    /// user of the machine. Returns where there is nothing to hide.
    ///
    /// # Errors
    ///
    /// Where the program cannot be started again.
    pub fn hide_token(&self) -> io::Result<()> {
        match &self.command {
            Command::Enroll(arguments) => arguments.hide_token(),
            Command::Run
            | Command::Expose(_)
            | Command::Connect(_)
            | Command::Services { .. }
            | Command::Peer(_)
            | Command::Status { .. }
            | Command::Check
            | Command::Verify(_)
            | Command::Doctor { .. }
            | Command::Trust(_)
            | Command::Completions { .. } => Ok(()),
        }
    }

    /// Does what was asked for and says so.
    pub async fn run(self) -> ExitCode {
        let done = match logging::init(self.log_format, self.command.log_filter()) {
            Ok(_logging) => self.command.run(&self.places).await,
            Err(error) => Err(Failure::new(error, None)),
        };
        done.unwrap_or_else(|failure| {
            terminal::stderr_line(failure.report());
            ExitCode::FAILURE
        })
    }
}

impl Command {
    /// What runs on tells what happens; a command that answers tells only what is wrong. The verifier logs what we
    /// report, or have good reason to pass over.
    fn log_filter(&self) -> &'static str {
        match self {
            Self::Run | Self::Expose(_) => "info,rustls_platform_verifier=off",
            Self::Enroll(_)
            | Self::Connect(_)
            | Self::Services { .. }
            | Self::Peer(_)
            | Self::Status { .. }
            | Self::Check
            | Self::Verify(_)
            | Self::Doctor { .. }
            | Self::Trust(_)
            | Self::Completions { .. } => "warn,rustls_platform_verifier=off",
        }
    }

    async fn run(self, places: &Places) -> Result<ExitCode, Failure> {
        match self {
            Self::Enroll(arguments) => enroll::run(arguments, places).await,
            Self::Run => run::run(places).await,
            Self::Expose(arguments) => expose::run(arguments, places).await,
            Self::Connect(arguments) => connect::run(arguments, places).await,
            Self::Services { json } => services::run(json, places).await,
            Self::Peer(command) => peer::run(command, places).await,
            Self::Status { json } => status::run(json, places).await,
            Self::Check => check::run(places),
            Self::Verify(arguments) => verify::run(arguments).await,
            Self::Doctor { relay } => diagnose(relay, places).await,
            Self::Trust(arguments) => trust::run(&arguments, places),
            Self::Completions { shell } => completions(shell),
        }
    }
}

async fn diagnose(relay: Option<RelayAddress>, places: &Places) -> Result<ExitCode, Failure> {
    let healthy =
        doctor::examine(relay, &places.config(), &places.data_dir(), |finding| print(finding)).await?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "agent", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn places_are_taken_before_and_after_the_command() {
        for arguments in [["agent", "--data-dir", "/x", "run"], ["agent", "run", "--data-dir", "/x"]] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert_eq!(cli.places.data_dir().path(), PathBuf::from("/x"));
        }
    }
}
