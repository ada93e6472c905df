//! What is wrong between this machine and the relay: every step of a connection, one after the other.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use process::terminal;
use protocol::close::SessionClose;
use tokio::net::TcpStream;
use transport::buffers::BUFFER;

use crate::authority::RelayAddress;
use crate::config;
use crate::dial::{self, DialError, socket};
use crate::identity::{DataDir, IdentityError};
use crate::resolve;

/// For one address to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// Not as it could be, but no obstacle.
    Note,
    Wrong,
}

/// One thing found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    pub text: String,
    /// The way out, where there is one.
    pub hint: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        Self { verdict, text: text.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Fine => "ok  ",
            Verdict::Note => "note",
            Verdict::Wrong => "FAIL",
        };
        write!(f, "{word}  {}", self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\n      hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Looks at everything and tells each finding as it comes. True where nothing is wrong.
///
/// # Errors
///
/// Where `tell` fails.
pub async fn examine<E>(
    relay: Option<RelayAddress>,
    file: &Path,
    data_dir: &DataDir,
    mut tell: impl FnMut(&Finding) -> Result<(), E>,
) -> Result<bool, E> {
    let mut healthy = true;
    let mut report = |finding: Finding| {
        healthy &= finding.verdict != Verdict::Wrong;
        tell(&finding)
    };
    let (finding, configured) = configuration(file);
    report(finding)?;
    let (finding, enrolled) = identity(data_dir);
    report(finding)?;
    report(buffers())?;
    let Some(relay) = relay.or(enrolled).or(configured) else {
        report(Finding::new(Verdict::Wrong, "no relay is known").hint("name one with `--relay HOST`"))?;
        return Ok(false);
    };
    match resolve::addresses(relay.authority()).await {
        Err(error) => {
            let failed = Finding::new(Verdict::Wrong, terminal::chain(&error));
            report(failed.hint("check the name, and this machine's DNS"))?;
        }
        Ok(addresses) => {
            let shown =
                addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
            report(Finding::new(Verdict::Fine, format!("`{relay}` resolves to {shown}")))?;
            for finding in reach(&relay, &addresses).await {
                report(finding)?;
            }
        }
    }
    Ok(healthy)
}

fn configuration(file: &Path) -> (Finding, Option<RelayAddress>) {
    match config::load(file) {
        Ok(config) => {
            let text = format!("the configuration `{}` is right", file.display());
            (Finding::new(Verdict::Fine, text), config.relay().cloned())
        }
        Err(config::ConfigError::Missing { path }) => {
            let text = format!("there is no configuration file `{}`; `agent run` needs one", path.display());
            (Finding::new(Verdict::Note, text), None)
        }
        Err(error @ config::ConfigError::Rejected(_)) => {
            let text = format!("the configuration `{}` has mistakes", file.display());
            drop(error);
            (Finding::new(Verdict::Wrong, text).hint("run `agent check` to see them"), None)
        }
        Err(error @ config::ConfigError::Read { .. }) => {
            (Finding::new(Verdict::Wrong, terminal::chain(&error)), None)
        }
    }
}

fn identity(data_dir: &DataDir) -> (Finding, Option<RelayAddress>) {
    let loaded = data_dir.load().and_then(|identity| identity.ok_or(IdentityError::NotEnrolled));
    let enrolled = loaded.and_then(|identity| identity.enrolled_at(None).cloned());
    match enrolled {
        Ok(enrolled) => {
            let text = format!("enrolled as `{}` at `{}`", enrolled.peer, enrolled.relay);
            (Finding::new(Verdict::Fine, text), Some(enrolled.relay))
        }
        Err(error) => {
            let finding = Finding::new(Verdict::Wrong, terminal::chain(&error));
            (Finding { hint: error.hint(), ..finding }, None)
        }
    }
}

fn buffers() -> Finding {
    match socket::bind() {
        Err(error) => Finding::new(Verdict::Wrong, format!("cannot open a UDP socket: {error}")),
        Ok((_, buffers)) => {
            let kib = |bytes: usize| bytes / 1024;
            let text = format!(
                "UDP buffers of {} KiB to receive and {} KiB to send",
                kib(buffers.receive),
                kib(buffers.send)
            );
            let refused = buffers.too_small();
            if refused.is_empty() {
                return Finding::new(Verdict::Fine, text);
            }
            let settings: Vec<String> = refused.iter().map(|name| format!("{name}={BUFFER}")).collect();
            Finding::new(Verdict::Note, format!("{text}: large transfers will be slower"))
                .hint(format!("as root, run `sysctl -w {}`", settings.join(" ")))
        }
    }
}

async fn reach(relay: &RelayAddress, addresses: &[SocketAddr]) -> Vec<Finding> {
    let name = relay.authority().host().to_string();
    let mut findings = Vec::new();
    let mut answered = false;
    let mut blocked = false;
    for address in addresses {
        let udp = quic(*address, &name).await;
        let tcp = tcp(*address).await;
        answered |= udp.verdict == Verdict::Fine;
        blocked |= udp.verdict != Verdict::Fine && tcp.verdict == Verdict::Fine;
        findings.extend([udp, tcp]);
    }
    if !answered {
        let port = relay.authority().port();
        let hint = if blocked {
            format!(
                "TCP gets through and UDP does not: a firewall blocks UDP port {port}, here or at the relay"
            )
        } else {
            format!(
                "neither UDP nor TCP port {port} answers: is the relay running, and is its firewall open?"
            )
        };
        findings.push(Finding::new(Verdict::Wrong, "no address of the relay can be reached").hint(hint));
    }
    findings
}

async fn quic(address: SocketAddr, name: &str) -> Finding {
    let began = Instant::now();
    let tls = match dial::tls::dangerous_any_certificate() {
        Ok(tls) => tls,
        Err(error) => return Finding::new(Verdict::Wrong, terminal::chain(&DialError::Tls(error))),
    };
    match tokio::time::timeout(PATIENCE, dial::connect_to(&[address], name, tls)).await {
        Ok(Ok(tunnel)) => {
            let took = began.elapsed().as_millis();
            tunnel.close(SessionClose::Done).await;
            Finding::new(Verdict::Fine, format!("UDP {address} answers as a relay in {took} ms"))
        }
        Ok(Err(error)) => Finding::new(Verdict::Note, format!("UDP {address}: {}", terminal::chain(&error))),
        Err(_) => {
            Finding::new(Verdict::Note, format!("UDP {address}: no answer in {} s", PATIENCE.as_secs()))
        }
    }
}

async fn tcp(address: SocketAddr) -> Finding {
    let began = Instant::now();
    match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => {
            let took = began.elapsed().as_millis();
            Finding::new(Verdict::Fine, format!("TCP {address} answers in {took} ms"))
        }
        Ok(Err(error)) => Finding::new(Verdict::Note, format!("TCP {address}: {error}")),
        Err(_) => {
            Finding::new(Verdict::Note, format!("TCP {address}: no answer in {} s", PATIENCE.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_without_anything_is_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::new(folder.path().join("data"));
        let mut told = Vec::new();
        let file = folder.path().join("agent.toml");
        let healthy = examine(None, &file, &data_dir, |finding| {
            told.push(finding.to_string());
            Ok::<(), ()>(())
        });
        assert_eq!(healthy.await, Ok(false));
        assert!(told.iter().any(|line| line.contains("hint: run `agent enroll --relay HOST`")), "{told:?}");
        assert!(told.iter().any(|line| line.starts_with("note  there is no configuration")), "{told:?}");
    }
}
