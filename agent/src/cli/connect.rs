//! `agent connect`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use process::shutdown::{self, Ended};
use process::terminal;
use protocol::hostname::Hostname;
use protocol::service::ServiceAddress;
use tokio::sync::watch;

use super::run::{SignalError, session_of};
use super::{Failure, Places, print};
use crate::agent::Agent;
use crate::config::{self, Connect, LocalAddress};
use crate::private::doors::{Door, DoorState, Doors, Patience};
use crate::private::operator::ReachError;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to reach, such as `home/dashboard`: the peer as the relay calls it, and its service. `agent services` lists
    /// them. Several are kept open at once.
    #[arg(value_name = "PEER/SERVICE", required_unless_present = "socks5")]
    services: Vec<ServiceAddress>,
    /// Where to listen on this device: an address and a port, or a port alone, which is one of 127.0.0.1. For several
    /// services once each, in their order [default: the port of 127.0.0.1 that the service has at its peer].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<LocalAddress>,
    /// Serve `https` under this name, for browsers, after `agent trust HOSTNAME`; HOSTNAME is one such as
    /// `koda.localhost`. For several services once each, in their order.
    #[arg(long, value_name = "HOSTNAME")]
    https: Vec<Hostname>,
    /// Open one SOCKS5 proxy that leads to all services, by names such as `home.dashboard` and any port. It has no
    /// password, and programs have to let it look names up: `curl -x socks5h://127.0.0.1:1080 http://home.dashboard/`.
    #[arg(long, value_name = "ADDR:PORT")]
    socks5: Option<LocalAddress>,
    /// Connect standard input and output to the service, for `ssh -o ProxyCommand='agent connect home/ssh --stdio'`.
    #[arg(long, conflicts_with_all = ["listen", "https", "socks5"])]
    stdio: bool,
    /// Go through the relay alone, also where a direct path is possible.
    #[arg(long)]
    relayed: bool,
    /// Wait for peers that are offline, in place of failing at once. What is open stays open in either case.
    #[arg(long)]
    wait: bool,
}

/// How long until a peer that was away is tried again, where nothing is heard of it.
const AGAIN: Duration = Duration::from_secs(5);

/// What was asked for does not fit together.
#[derive(Debug, thiserror::Error)]
enum ArgumentError {
    #[error("{listens} addresses to listen on for {services} services")]
    Listens { listens: usize, services: usize },
    #[error("{hostnames} hostnames for {services} services")]
    Hostnames { hostnames: usize, services: usize },
    #[error("`--stdio` is for one service")]
    Stdio,
}

/// No door could be opened.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotOpen(String);

/// There is nothing to write to.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be used")]
struct OutputError(#[source] std::io::Error);

pub(super) async fn run(arguments: Arguments, places: &Places) -> Result<ExitCode, Failure> {
    let refused = |error: ArgumentError| Failure::new(error, Some("see `agent connect --help`".to_owned()));
    let count = arguments.services.len();
    if arguments.stdio {
        let [service] = &arguments.services[..] else { return Err(refused(ArgumentError::Stdio)) };
        return stdio(service, arguments.relayed, arguments.wait, places).await;
    }
    if !arguments.listen.is_empty() && arguments.listen.len() != count {
        return Err(refused(ArgumentError::Listens { listens: arguments.listen.len(), services: count }));
    }
    if !arguments.https.is_empty() && arguments.https.len() != count {
        return Err(refused(ArgumentError::Hostnames { hostnames: arguments.https.len(), services: count }));
    }
    let Arguments { services, listen, https, socks5, relayed, wait, .. } = arguments;
    let connect =
        |(at, service)| Connect { service, listen: listen.get(at).copied(), https: https.get(at).cloned() };
    let connects: Vec<_> = services.into_iter().enumerate().map(connect).collect();
    let config = config::of_doors(connects, socks5).relayed(relayed);
    let agent = session_of("connect", config, places)?;
    let patience = if wait { Patience::ForThePeer } else { Patience::None };
    let doors = Doors::new(Arc::clone(agent.operator()), places.data_dir(), patience);
    let states = doors.follow();
    let wanted = count + usize::from(socks5.is_some());
    let ended = shutdown::run_in_terminal(async |stop| {
        let up = agent.keep_up(&stop);
        tokio::pin!(up);
        let failed = tokio::select! {
            () = &mut up => return Ok(()),
            never = doors.run(agent.offers()) => match never {},
            failed = tell(states, wanted) => failed,
        };
        stop.cancel();
        up.await;
        Err(failed)
    });
    match ended.await.map_err(|error| Failure::new(SignalError(error), None))? {
        Ended::Finished(Ok(())) | Ended::Forced => Ok(ExitCode::SUCCESS),
        Ended::Finished(Err(failure)) => Err(failure),
    }
}

/// Says where each service is to be found, once it is, and of those that are not why. Ends when none of them is or will be.
async fn tell(mut states: watch::Receiver<Vec<(Door, DoorState)>>, wanted: usize) -> Failure {
    let mut told: Vec<(Door, DoorState)> = Vec::new();
    loop {
        let now = states.borrow_and_update().clone();
        let failed = |state: &DoorState| matches!(state, DoorState::Failed { .. });
        if now.len() == wanted && now.iter().all(|(_, state)| failed(state)) && wanted == 1 {
            return of_doors(&now);
        }
        for (door, state) in now.iter().filter(|known| !told.contains(known)) {
            if let Err(failure) = tell_one(door, state) {
                return failure;
            }
        }
        if now.len() == wanted && now.iter().all(|(_, state)| failed(state)) {
            return of_doors(&now);
        }
        told = now;
        if states.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn tell_one(door: &Door, state: &DoorState) -> Result<(), Failure> {
    let name = door.name();
    match state {
        DoorState::Open { address, url } => {
            let place = url.clone().unwrap_or_else(|| address.to_string());
            if !address.ip().is_loopback() {
                terminal::stderr_line(format_args!("warning: whoever reaches `{address}` reaches `{name}`"));
            }
            print(format_args!("{name} is at {place}"))?;
        }
        DoorState::Waiting { reason } => {
            terminal::stderr_line(format_args!("waiting for `{name}`: {reason}"))
        }
        DoorState::Failed { error, hint } => {
            terminal::stderr_line(terminal::report(&NotOpen(format!("{name}: {error}")), hint.as_deref()));
        }
    }
    Ok(())
}

/// The trouble of one door is told with its way out; of several each has been said.
fn of_doors(doors: &[(Door, DoorState)]) -> Failure {
    match doors {
        [(_, DoorState::Failed { error, hint })] => Failure::new(NotOpen(error.clone()), hint.clone()),
        _ => Failure::new(NotOpen("none of the services can be reached".to_owned()), None),
    }
}

/// Standard input and output as the two ends of one connection.
async fn stdio(
    service: &ServiceAddress,
    relayed: bool,
    wait: bool,
    places: &Places,
) -> Result<ExitCode, Failure> {
    let config = config::of_doors(Vec::new(), None).relayed(relayed);
    let agent = session_of("connect", config, places)?;
    let ended = shutdown::run_in_terminal(async |stop| {
        let up = agent.keep_up(&stop);
        tokio::pin!(up);
        let carried = tokio::select! {
            () = &mut up => return Ok(()),
            carried = carry(&agent, service, wait) => carried,
        };
        // The relay hears of the end, and does not have to wait for what never comes.
        stop.cancel();
        up.await;
        carried
    });
    match ended.await.map_err(|error| Failure::new(SignalError(error), None))? {
        Ended::Finished(Ok(())) => Ok(ExitCode::SUCCESS),
        Ended::Finished(Err(failure)) => Err(failure),
        Ended::Forced => Ok(ExitCode::FAILURE),
    }
}

async fn carry(agent: &Agent, service: &ServiceAddress, wait: bool) -> Result<(), Failure> {
    let operator = agent.operator();
    let mut told = operator.follow();
    let stream = loop {
        told.mark_unchanged();
        match Box::pin(operator.connect(service)).await {
            Ok(stream) => break stream,
            // What has changed since is looked at again, and nothing else can have made it reachable.
            Err(error) if wait && error.is_temporary() => {
                let _either = tokio::time::timeout(AGAIN, told.changed()).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let output = own_output().map_err(|error| Failure::new(OutputError(error), None))?;
    let carried = stream.carry(tokio::io::stdin(), output).await;
    carried.map_err(|error| Failure::new(error, None))
}

/// Standard output as the connection's alone: whoever reads it hears the end when the other side has said everything, and
/// not only when this program ends, which still waits for the end of standard input.
#[cfg(unix)]
fn own_output() -> std::io::Result<tokio::fs::File> {
    use std::os::fd::AsFd as _;
    let own = std::io::stdout().as_fd().try_clone_to_owned()?;
    let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(nowhere)?;
    Ok(tokio::fs::File::from_std(own.into()))
}

#[cfg(not(unix))]
fn own_output() -> std::io::Result<tokio::io::Stdout> {
    Ok(tokio::io::stdout())
}

impl From<ReachError> for Failure {
    fn from(error: ReachError) -> Self {
        let hint = error.hint();
        Self::new(error, hint)
    }
}
