//! `agent.toml`: where it is, what it says, and what `agent expose` and `agent connect` say in its place.

mod expose;
mod hsts;
mod place;
mod private;
mod reach;
pub(crate) mod read;
mod sealed;
mod target;
#[cfg(test)]
mod tests;
mod validated;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use process::document::Rejected;
use protocol::control::{Expose, HeaderEdit, Route, Timeouts};
use protocol::hostname::HostnamePattern;
use protocol::id::ServiceName;

pub(crate) use place::is_root;
pub use place::{default_data_dir, default_file};
pub use private::{Allow, Connect, LocalAddress, LocalAddressError, Private, PrivateServices};
pub use reach::Reach;
pub use target::{NotRoutable, Target, TargetError};
pub use validated::{Config, OriginTrust, ProxyProtocol, ServiceConfig};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("there is no configuration file `{}`", path.display())]
    Missing { path: PathBuf },
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The whole report, of several lines.
    #[error("{0}")]
    Rejected(Rejected),
}

impl ConfigError {
    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some(
                "name another with `--config FILE`, or start with `agent expose HOSTNAME --to 3000`"
                    .to_owned(),
            ),
            Self::Read { .. } | Self::Rejected(_) => None,
        }
    }
}

/// Reads the file and every certificate file that it names.
///
/// # Errors
///
/// Where a file is not there or cannot be read, or with every mistake of it.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source: io::Error| {
        let path = path.to_owned();
        let missing = source.kind() == io::ErrorKind::NotFound;
        if missing { ConfigError::Missing { path } } else { ConfigError::Read { path, source } }
    };
    let text = process::config_file::read(path).map_err(unreadable)?;
    // Named files are relative to the folder of the file that names them.
    let folder = path.parent().unwrap_or(Path::new("."));
    let files = |file: &Path| fs::read(folder.join(file));
    let config = read::read(&path.display().to_string(), &text, &files).map_err(ConfigError::Rejected)?;
    Ok(config.below(folder))
}

/// Doors to services of other peers, as said on the command line.
#[must_use]
pub fn of_doors(connects: Vec<Connect>, socks5: Option<LocalAddress>) -> Config {
    Config { connects, socks5, ..Config::default() }
}

/// What one hostname leads to, as said on the command line.
///
/// `routes` are in any order; each target becomes a service of its own.
#[must_use]
pub fn of_command_line(
    hostname: HostnamePattern,
    routes: Vec<(protocol::path::PathPattern, Target)>,
    trust: &OriginTrust,
) -> Config {
    let mut targets: BTreeMap<ServiceName, (Target, OriginTrust)> = BTreeMap::new();
    let mut named = Vec::with_capacity(routes.len());
    for (number, (path, target)) in routes.into_iter().enumerate() {
        let known = targets.iter().find(|(_, (known, _))| *known == target).map(|(name, _)| name.clone());
        // A word and a number are always a name.
        let Some(service) = known.or_else(|| format!("target-{number}").parse().ok()) else { continue };
        targets.entry(service.clone()).or_insert_with(|| (target, trust.clone()));
        named.push(Route { path, service });
    }
    let expose = Expose {
        hostname,
        routes: named,
        sealed: None,
        response_headers: HeaderEdit::default(),
        headers: Vec::new(),
        max_body: None,
        allow_from: Vec::new(),
        timeouts: Timeouts::default(),
        upgrades: None,
        hsts: None,
    };
    Config { relay: None, services: read::services_of(targets), expose: vec![expose], ..Config::default() }
}
