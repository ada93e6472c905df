//! `agent enroll`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use process::terminal;
use protocol::id::PeerName;
use protocol::token::EnrollmentToken;

use super::{Failure, Places, print, token};
use crate::authority::RelayAddress;
use crate::device;
use crate::enroll::{self, Accepted, Applicant, Pending};
use crate::identity::{DataDir, Enrolled, Identity};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The relay to become a peer of.
    #[arg(long, value_name = "HOST[:PORT]")]
    relay: RelayAddress,
    /// Enrollment token from `relay token create`; prefer `--token-file`, which leaves no trace in the shell's history.
    #[arg(long, env = token::VARIABLE, hide_env_values = true, conflicts_with = "token_file", value_name = "TOKEN")]
    token: Option<HiddenText>,
    /// File with an enrollment token; `-` reads standard input (recommended).
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The name that this device would like to have [default: made from its hostname].
    #[arg(long)]
    name: Option<PeerName>,
    /// Trust the relay with this fingerprint, as `relay status` shows it, whatever its certificate.
    #[arg(long, value_name = "FINGERPRINT")]
    trust_relay: Option<String>,
}

/// A text that `Debug` does not show.
#[derive(Clone)]
struct HiddenText(zeroize::Zeroizing<String>);

impl From<&str> for HiddenText {
    fn from(text: &str) -> Self {
        Self(text.to_owned().into())
    }
}

impl std::fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HiddenText(..)")
    }
}

impl Arguments {
    pub(super) fn hide_token(&self) -> io::Result<()> {
        if self.token.is_some() { token::hide() } else { Ok(()) }
    }

    fn token(&self) -> Result<Option<EnrollmentToken>, Failure> {
        let token = match (&self.token_file, &self.token) {
            (Some(file), _) => token::from_file(file),
            (None, Some(text)) => token::from_text(&text.0),
            (None, None) => return Ok(None),
        };
        token.map(Some).map_err(|error| {
            Failure::new(error, Some("make a new one with `relay token create` on the relay".to_owned()))
        })
    }
}

pub(super) async fn run(arguments: Arguments, places: &Places) -> Result<ExitCode, Failure> {
    let data_dir = places.data_dir();
    let identity = data_dir.load_or_create()?;
    let known = identity.enrolled.as_ref().filter(|enrolled| enrolled.relay == arguments.relay);
    let applicant = Applicant {
        secret: identity.secret.clone(),
        relay: arguments.relay.clone(),
        name: arguments.name.clone().or_else(|| peer_name(&device::name()?)),
        token: arguments.token()?,
        told: arguments.trust_relay.clone(),
        known: known.map(|enrolled| enrolled.relay_key),
    };
    let fingerprint = identity.secret.public().fingerprint();
    let asked = enroll::enroll(&applicant, |pending| tell_pending(pending, &fingerprint)).await;
    let accepted = asked?;
    keep(&data_dir, identity, arguments.relay, &accepted)?;
    tell_accepted(&accepted)
}

fn keep(
    data_dir: &DataDir,
    mut identity: Identity,
    relay: RelayAddress,
    accepted: &Accepted,
) -> Result<(), Failure> {
    let (peer, relay_key) = (accepted.peer.clone(), accepted.relay_key);
    identity.enrolled = Some(Enrolled { relay, relay_key, peer });
    Ok(data_dir.save(&identity)?)
}

fn tell_pending(pending: &Pending, fingerprint: &str) {
    let minutes = pending.expires_in.as_secs().div_ceil(60);
    terminal::stderr_line(format_args!("This device waits for approval. Its fingerprint is {fingerprint}"));
    terminal::stderr_line("On the relay, run:\n");
    terminal::stderr_line(format_args!("    relay peer approve {} --hostname HOSTNAME\n", pending.code));
    terminal::stderr_line("or, where this device is to reach private services:\n");
    let operator = "--operator --service PEER/SERVICE";
    terminal::stderr_line(format_args!("    relay peer approve {} {operator}\n", pending.code));
    terminal::stderr_line(format_args!("The code is {}, good for {minutes} min. Waiting ...", pending.code));
}

fn tell_accepted(accepted: &Accepted) -> Result<ExitCode, Failure> {
    print(format_args!("enrolled as `{}`", accepted.peer))?;
    for hostname in &accepted.hostnames {
        print(format_args!("may expose {hostname}"))?;
    }
    for service in &accepted.services {
        print(format_args!("may reach {service}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The device's name as a peer's, where something is left of it.
fn peer_name(hostname: &str) -> Option<PeerName> {
    let label = hostname.split('.').next().unwrap_or(hostname).to_ascii_lowercase();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = label.chars().map(allowed).take(63).collect();
    name.trim_matches(['-', '_']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_hostnames() {
        let name = |hostname: &str| peer_name(hostname).map(|name| name.to_string());
        assert_eq!(name("home.lan").as_deref(), Some("home"));
        assert_eq!(name("Jörgs MacBook").as_deref(), Some("j-rgs-macbook"));
        assert_eq!(name("---"), None);
        assert_eq!(name(&"a".repeat(100)).map(|name| name.len()), Some(63));
    }
}
