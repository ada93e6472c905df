//! What can be typed after `relay`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};
use process::document::{self, QuantityError};
use protocol::hostname::HostnamePattern;
use protocol::id::{PeerName, Tag};
use protocol::service::ServicePattern;

use crate::store::{Grants, NewPeer, Role};

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
        #[command(flatten)]
        grant: NewPeerArguments,
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
        #[command(flatten)]
        grant: NewPeerArguments,
    },
    /// Forget a peer and end its sessions at once
    Revoke { name: PeerName },
    /// Let a peer expose further hostnames or reach further services, or tag it; takes effect at once
    #[command(group = any_grant())]
    Grant {
        name: PeerName,
        #[command(flatten)]
        grants: GrantArguments,
    },
    /// Take from a peer what it was granted, written as it was granted; takes effect at once
    #[command(group = any_grant())]
    Ungrant {
        name: PeerName,
        #[command(flatten)]
        grants: GrantArguments,
    },
}

/// What a device becomes.
#[derive(Debug, Args)]
pub(super) struct NewPeerArguments {
    /// The device is an operator's: it is there to reach private services
    #[arg(long, requires = "services")]
    operator: bool,
    #[command(flatten)]
    grants: GrantArguments,
    /// What the peer will be called, whatever the device wishes; a number is added where the name is taken
    #[arg(long)]
    name: Option<PeerName>,
}

impl From<NewPeerArguments> for NewPeer {
    fn from(NewPeerArguments { operator, grants, name }: NewPeerArguments) -> Self {
        let role = if operator { Role::Operator } else { Role::Host };
        Self { name, role, grants: grants.into() }
    }
}

/// What a peer may do. Each can be given several times.
#[derive(Debug, Args)]
pub(super) struct GrantArguments {
    /// A hostname that it may expose; `*.example.com` for all below a domain
    #[arg(long = "hostname", value_name = "HOSTNAME")]
    hostnames: Vec<HostnamePattern>,
    /// A private service that it may reach, `home/dashboard`; `home/*`, `*/ssh` or `tag:media/*` for several
    #[arg(long = "service", value_name = "PEER/SERVICE")]
    services: Vec<ServicePattern>,
    /// A group that it belongs to, which services and the allow lists of homes can name: `family`
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<Tag>,
}

impl From<GrantArguments> for Grants {
    fn from(GrantArguments { hostnames, services, tags }: GrantArguments) -> Self {
        Self { hostnames, services, tags }
    }
}

/// At least one of [`GrantArguments`].
fn any_grant() -> ArgGroup {
    ArgGroup::new("grants").args(["hostnames", "services", "tags"]).required(true).multiple(true)
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

    fn peer_command(words: &str) -> Option<PeerCommand> {
        let Command::Peer(command) = Arguments::try_parse_from(words.split(' ')).ok()?.command else {
            return None;
        };
        Some(command)
    }

    #[test]
    fn a_grant_is_a_hostname_a_service_or_a_tag_and_one_at_least() {
        let words = "relay peer grant home --tag a --service nas/* --hostname a.example.com --tag b";
        let Some(PeerCommand::Grant { name, grants }) = peer_command(words) else { panic!("{words}") };
        let grants = Grants::from(grants);
        assert_eq!(
            (name.as_str(), grants.to_string().as_str()),
            ("home", "a.example.com, nas/*, tag a, tag b")
        );
        for command in ["grant", "ungrant"] {
            for one in ["--hostname a.example.com", "--service */ssh", "--tag a"] {
                assert!(
                    peer_command(&format!("relay peer {command} home {one}")).is_some(),
                    "{command} {one}"
                );
            }
            for wrong in ["", " --service nas", " --tag tag:a", " --tag"] {
                assert!(
                    peer_command(&format!("relay peer {command} home{wrong}")).is_none(),
                    "{command}{wrong}"
                );
            }
        }
    }

    #[test]
    fn an_operator_reaches_something_and_a_host_needs_no_grants() {
        let approved = |words: &str| {
            let PeerCommand::Approve { grant, .. } =
                peer_command(&format!("relay peer approve abcd{words}"))?
            else {
                return None;
            };
            Some(NewPeer::from(grant))
        };
        let host = approved("").unwrap();
        assert_eq!((host.role, host.grants, host.name), (Role::Host, Grants::default(), None));
        let operator = approved(" --operator --service home/* --name laptop").unwrap();
        assert_eq!((operator.role, operator.grants.to_string()), (Role::Operator, "home/*".to_owned()));
        assert_eq!(operator.name, Some("laptop".parse().unwrap()));
        assert!(approved(" --operator").is_none() && approved(" --operator --tag family").is_none());
    }
}
