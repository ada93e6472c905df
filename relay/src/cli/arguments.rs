//! What can be typed after `relay`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use process::document::{self, QuantityError};
use protocol::hostname::HostnamePattern;
use protocol::id::PeerName;

/// Adit's relay: publishes services of enrolled home servers, which open no port.
#[derive(Debug, Parser)]
#[command(name = "relay", version, arg_required_else_help = true)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ADIT_RELAY_CONFIG",
        default_value = "/etc/adit/relay.toml"
    )]
    pub(super) config: PathBuf,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the relay in the foreground
    Serve,
    /// Read the configuration and the certificates it names, and report every mistake
    Check,
    /// Show what the running relay is doing
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make, list and revoke enrollment tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Admit, list and revoke peers
    #[command(subcommand)]
    Peer(PeerCommand),
    /// See which hostnames and paths lead where
    #[command(subcommand)]
    Route(RouteCommand),
    /// See who changed what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Hand out the root of the internal CA
    #[command(subcommand)]
    Ca(CaCommand),
    /// See and renew certificates
    #[command(subcommand)]
    Cert(CertCommand),
    /// Print what the running relay has counted, as Prometheus reads it
    Metrics,
    /// Print a completion script
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token that enrolls one device; prints the token alone
    Create {
        /// A hostname that the device may expose; `*.example.com` for all below a domain
        #[arg(long = "hostname", value_name = "HOSTNAME", required = true)]
        hostnames: Vec<HostnamePattern>,
        /// What the peer will be called, whatever the device wishes; a number is added where the name is taken
        #[arg(long)]
        name: Option<PeerName>,
        /// How long the token can be used
        #[arg(long, value_name = "DURATION", default_value = "1h")]
        expires: Lifetime,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List tokens; never their secrets, which are not kept
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an unused token worthless
    Revoke {
        /// As `relay token list` shows it
        id: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PeerCommand {
    /// List peers, and devices that wait for approval
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Admit a device that waits
    Approve {
        /// As the device shows it
        code: String,
        /// A hostname that it may expose
        #[arg(long = "hostname", value_name = "HOSTNAME", required = true)]
        hostnames: Vec<HostnamePattern>,
        /// What the peer will be called, whatever the device wishes; a number is added where the name is taken
        #[arg(long)]
        name: Option<PeerName>,
    },
    /// Forget a peer and end its sessions at once
    Revoke { name: PeerName },
    /// Let a peer expose further hostnames; takes effect at once
    Grant {
        name: PeerName,
        /// A hostname that it may expose
        #[arg(long = "hostname", value_name = "HOSTNAME", required = true)]
        hostnames: Vec<HostnamePattern>,
    },
    /// Take hostnames from a peer; takes effect at once
    Ungrant {
        name: PeerName,
        /// A hostname as it was granted
        #[arg(long = "hostname", value_name = "HOSTNAME", required = true)]
        hostnames: Vec<HostnamePattern>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RouteCommand {
    /// List what is served now
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what would answer a URL, and why
    Explain { url: String },
}

#[derive(Debug, Subcommand)]
pub(super) enum CertCommand {
    /// List certificates: where they are from, how long they count, what is next, what went wrong
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Order a certificate anew at once; the old one is shown until the new one is there
    Renew { hostname: HostnamePattern },
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List changes, the latest first
    List {
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Print the root alone, as PEM, for devices that are to trust it; no relay has to run
    Export {
        /// Print its SHA-256 fingerprint instead, to compare on such a device
        #[arg(long)]
        fingerprint: bool,
    },
}

/// A duration such as `30m` or `7d`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime(pub(super) Duration);

impl FromStr for Lifetime {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        document::duration(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Arguments::command().debug_assert();
    }
}
