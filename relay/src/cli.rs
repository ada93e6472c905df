//! The commands of `relay`. Standard output is data, standard error is talk.

mod arguments;
mod ca;
mod output;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use acme::ca::{self as ca_of_acme, CaError};
use clap::{CommandFactory, Parser};
use process::local::{self, CallError};
use process::shutdown::{self, Ended};
use process::{logging, open_files, terminal};
use zeroize::Zeroizing;

use self::arguments::{
    Arguments, AuditCommand, CaCommand, CertCommand, Command, PeerCommand, RouteCommand, TokenCommand,
};
use crate::admin::{Answer, Request};
use crate::config::acme::Acme;
use crate::config::validated::Config;
use crate::config::{self, ConfigError};
use crate::edge::cert::{CertError, FileCertificates};
use crate::edge::visitor_certificates::Authorities;
use crate::relay::{self, RelayError};

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("a certificate cannot be used")]
    Certificate(#[source] CertError),
    #[error("the CA of `[acme]` cannot be verified")]
    Roots(#[source] CaError),
    #[error("`{}`, which `[acme]` names, cannot be read", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error("logging cannot be set up")]
    Logging(#[from] logging::LoggingError),
    #[error("the runtime cannot be started")]
    Runtime(#[source] std::io::Error),
    #[error("the running relay cannot be asked")]
    Call(#[from] CallError),
    #[error("{message}")]
    Failed { message: String, hint: Option<String> },
    #[error(transparent)]
    Root(#[from] ca::RootError),
    #[error("standard output cannot be written")]
    Output(#[source] std::io::Error),
    #[error("the relay gave an answer that belongs to another command; it may be of another version")]
    Mismatch,
}

impl CommandError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Relay(error) => error.hint(),
            Self::Call(CallError::NotRunning { .. }) => {
                Some("start it with `relay serve`, and give both commands the same `--config`".into())
            }
            Self::Call(error) => error.hint(),
            Self::Failed { hint, .. } => hint.clone(),
            Self::Root(error) => error.hint(),
            Self::Config(ConfigError::Unreadable { .. }) => {
                Some("name the relay's file with `--config FILE`; `deploy/relay.toml` is an example".into())
            }
            Self::Config(ConfigError::Rejected(_))
            | Self::Certificate(_)
            | Self::Roots(_)
            | Self::Unreadable { .. }
            | Self::Logging(_)
            | Self::Runtime(_)
            | Self::Output(_)
            | Self::Mismatch => None,
        }
    }
}

/// Runs the command that was asked for.
#[must_use]
pub fn main() -> ExitCode {
    relay::install_provider();
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let report = if let CommandError::Config(ConfigError::Rejected(rejected)) = &error {
                rejected.render(terminal::stderr_has_colour())
            } else {
                terminal::report(&error, error.hint().as_deref())
            };
            terminal::stderr_line(report);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let path = arguments.config;
    match arguments.command {
        Command::Serve => serve(path),
        Command::Check => check(&path),
        Command::Completions { shell } => completions(shell),
        Command::Status { json } => ask(&path, &Request::Status, json),
        Command::Token(command) => token(&path, command),
        Command::Peer(command) => peer(&path, command),
        Command::Route(RouteCommand::List { json }) => ask(&path, &Request::RouteList, json),
        Command::Route(RouteCommand::Explain { url }) => ask(&path, &Request::RouteExplain { url }, false),
        Command::Ca(CaCommand::Export { fingerprint }) => ca::export(&path, fingerprint),
        Command::Cert(CertCommand::List { json }) => ask(&path, &Request::CertList, json),
        Command::Cert(CertCommand::Renew { hostname: name }) => {
            ask(&path, &Request::CertRenew { name }, false)
        }
        Command::Metrics => ask(&path, &Request::Metrics, false),
        Command::Audit(AuditCommand::List { limit, json }) => ask(&path, &Request::AuditList { limit }, json),
    }
}

fn serve(path: PathBuf) -> Result<ExitCode, CommandError> {
    let config = config::load(&path)?;
    let _logging = logging::init(config.log_format, "info")?;
    open_files::raise_limit();
    // Visitors have threads of their own beside this one, see `edge::shards`.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Runtime)?;
    let ended = runtime.block_on(shutdown::run(|stop| relay::run(path, config, stop)));
    // A disk that hangs while files are read again must not hold up the end.
    runtime.shutdown_background();
    match ended.map_err(CommandError::Runtime)? {
        Ended::Finished(result) => result.map(|()| ExitCode::SUCCESS).map_err(CommandError::from),
        Ended::Forced => Ok(ExitCode::FAILURE),
    }
}

/// Printed as everything is: a reader that goes away is no error.
fn completions(shell: clap_complete::Shell) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "relay", &mut script);
    let script = String::from_utf8_lossy(&script);
    terminal::stdout_line(script.trim_end()).map_err(CommandError::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the file and everything that it names.
fn check(path: &Path) -> Result<ExitCode, CommandError> {
    let config = config::load(path)?;
    let certificates = FileCertificates::load(&config.certificates).err();
    let authorities = Authorities::load(&config.visitor_certificates).err();
    let certificates = certificates.into_iter().chain(authorities).flatten().map(CommandError::Certificate);
    let errors: Vec<_> = certificates.chain(unreadable(&config)).collect();
    if !errors.is_empty() {
        for error in errors {
            terminal::stderr_line(terminal::report(&error, None));
        }
        return Ok(ExitCode::FAILURE);
    }
    let Config { name, certificates, acme, .. } = &config;
    let count = certificates.len();
    let ordered =
        acme.as_ref().map_or(String::new(), |acme| format!(", others from {}", acme.settings.directory));
    let line =
        format!("`{}` is right: relay `{name}`, {count} certificates from files{ordered}", path.display());
    terminal::stdout_line(line).map_err(CommandError::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// What `[acme]` names and is of no use. Nothing of it is shown: most of it is secret.
fn unreadable(config: &Config) -> impl Iterator<Item = CommandError> {
    let roots = config.acme.iter().filter_map(|acme| acme.settings.ca_file.as_deref());
    let roots = roots.filter_map(|file| ca_of_acme::check_roots(file).err()).map(CommandError::Roots);
    let secrets = config.acme.iter().flat_map(Acme::secrets).filter_map(|file| {
        let source = std::fs::read(file).map(Zeroizing::new).err()?;
        Some(CommandError::Unreadable { path: file.to_owned(), source })
    });
    roots.chain(secrets)
}

fn token(path: &Path, command: TokenCommand) -> Result<ExitCode, CommandError> {
    match command {
        TokenCommand::Create { grant, expires, json } => {
            let lifetime_s = expires.0.as_secs();
            ask(path, &Request::TokenCreate { grant: grant.into(), lifetime_s }, json)
        }
        TokenCommand::List { json } => ask(path, &Request::TokenList, json),
        TokenCommand::Revoke { id } => ask(path, &Request::TokenRevoke { id }, false),
    }
}

fn peer(path: &Path, command: PeerCommand) -> Result<ExitCode, CommandError> {
    match command {
        PeerCommand::List { json } => ask(path, &Request::PeerList, json),
        PeerCommand::Approve { code, grant } => {
            ask(path, &Request::PeerApprove { code, grant: grant.into() }, false)
        }
        PeerCommand::Revoke { name } => ask(path, &Request::PeerRevoke { name }, false),
        PeerCommand::Grant { name, grants } => {
            ask(path, &Request::PeerGrant { name, grants: grants.into() }, false)
        }
        PeerCommand::Ungrant { name, grants } => {
            ask(path, &Request::PeerUngrant { name, grants: grants.into() }, false)
        }
    }
}

fn ask(path: &Path, request: &Request, json: bool) -> Result<ExitCode, CommandError> {
    let socket = config::admin_socket(path)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Runtime)?;
    let answer = runtime.block_on(local::call(&socket, request))?;
    if let Answer::Failed { message, hint } = answer {
        return Err(CommandError::Failed { message, hint });
    }
    output::show(request, answer, json).map(|()| ExitCode::SUCCESS)
}
