//! `agent expose`.

use std::process::ExitCode;
use std::str::FromStr;

use process::shutdown::{self, Ended};
use protocol::control::HostnameState;
use protocol::hostname::HostnamePattern;
use protocol::path::PathPattern;
use tokio::sync::watch;

use super::run::{SignalError, credentials};
use super::{Failure, Places, print};
use crate::agent::Agent;
use crate::board::State;
use crate::config::{self, Config, NotRoutable, OriginTrust, Target, TargetError};
use crate::offer::Offer;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The hostname to expose; the relay must grant it to this device.
    hostname: HostnamePattern,
    /// Where it leads: a port of this machine, `host:port`, or an origin such as `https://nas.local` or `unix:/run/app.sock`.
    #[arg(long, value_name = "TARGET", required_unless_present = "route")]
    to: Option<ShortTarget>,
    /// Leads some paths elsewhere, such as `/api/*=8090`; may be repeated, the longest match wins.
    #[arg(long, value_name = "PATH=TARGET")]
    route: Vec<RouteArgument>,
    /// Believe any certificate of `https://` targets.
    #[arg(long)]
    dangerous_accept_any_certificate: bool,
}

/// A target as people type it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ShortTarget(Target);

impl FromStr for ShortTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let is_port = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let target = if is_port {
            format!("http://127.0.0.1:{text}").parse()
        } else if text.contains("://") || text.starts_with("unix:") {
            text.parse()
        } else {
            format!("http://{text}").parse()
        };
        target.map(Self)
    }
}

/// `PATH=TARGET`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RouteArgument {
    path: PathPattern,
    target: ShortTarget,
}

/// Why a text is no route.
#[derive(Debug, thiserror::Error)]
enum RouteError {
    #[error("expected `PATH=TARGET`, such as `/api/*=8090`")]
    Shape,
    #[error("{0}")]
    Path(protocol::path::PatternError),
    #[error("{0}")]
    Target(TargetError),
}

impl FromStr for RouteArgument {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let (path, target) = text.split_once('=').ok_or(RouteError::Shape)?;
        let path = path.parse().map_err(RouteError::Path)?;
        Ok(Self { path, target: target.parse().map_err(RouteError::Target)? })
    }
}

/// The relay will not serve the hostname.
#[derive(Debug, thiserror::Error)]
#[error("the relay refuses `{hostname}`: {reason}")]
struct RefusedError {
    hostname: HostnamePattern,
    reason: String,
}

/// One path leads to two places.
#[derive(Debug, thiserror::Error)]
#[error("the path `{0}` is given twice")]
struct TwiceError(PathPattern);

pub(super) async fn run(arguments: Arguments, places: &Places) -> Result<ExitCode, Failure> {
    let hostname = arguments.hostname.clone();
    let routes = routes(&arguments)?;
    let lines: Vec<String> = routes.iter().map(|(path, target)| line(&hostname, path, target)).collect();
    let trust = match arguments.dangerous_accept_any_certificate {
        true => OriginTrust::DangerousAnyCertificate,
        false => OriginTrust::Platform,
    };
    let config: Config = config::of_command_line(hostname.clone(), routes, &trust);
    let data_dir = places.data_dir();
    let instance = format!("expose:{hostname}");
    let credentials = credentials(&data_dir, &config, &instance)?;
    let _lock = data_dir.lock(&instance)?;
    let agent = Agent::new(credentials, Offer::new(config)?, &data_dir)?;
    let state = agent.board().follow();
    let ended = shutdown::run_in_terminal(async |stop| {
        let up = agent.keep_up(&stop);
        tokio::pin!(up);
        let failed = tokio::select! {
            () = &mut up => return Ok(()),
            failed = watch_hostname(state, &hostname, &lines) => failed,
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

fn routes(arguments: &Arguments) -> Result<Vec<(PathPattern, Target)>, Failure> {
    let mut routes: Vec<(PathPattern, Target)> = Vec::new();
    let everything = arguments.to.iter().filter_map(|to| Some(("/*".parse().ok()?, to.0.clone())));
    let named = arguments.route.iter().map(|route| (route.path.clone(), route.target.0.clone()));
    for (path, target) in everything.chain(named) {
        let unroutable = |error: NotRoutable| Failure::new(error, Some(error.hint().to_owned()));
        target.check_routable().map_err(unroutable)?;
        if routes.iter().any(|(known, _)| *known == path) {
            return Err(Failure::new(TwiceError(path), None));
        }
        routes.push((path, target));
    }
    Ok(routes)
}

/// `https://koda.example.com/ -> http://127.0.0.1:3000`
fn line(hostname: &HostnamePattern, path: &PathPattern, target: &Target) -> String {
    let path =
        path.as_str().strip_suffix("/*").map_or(path.as_str().to_owned(), |parent| format!("{parent}/"));
    format!("https://{hostname}{path} -> {target}")
}

/// Prints where the hostname is served, once. Ends when the relay refuses it.
async fn watch_hostname(
    mut state: watch::Receiver<State>,
    hostname: &HostnamePattern,
    lines: &[String],
) -> Failure {
    let mut printed = false;
    loop {
        let told =
            state.borrow_and_update().hostnames.iter().find(|told| told.hostname == *hostname).cloned();
        match told {
            Some(HostnameState { refused: Some(reason), .. }) => {
                let refused = RefusedError { hostname: hostname.clone(), reason };
                return Failure::new(refused, None);
            }
            Some(HostnameState { refused: None, .. }) if !printed => {
                printed = true;
                for line in lines {
                    if let Err(failure) = print(line) {
                        return failure;
                    }
                }
            }
            Some(HostnameState { refused: None, .. }) | None => {}
        }
        if state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_people_type_them() {
        let shown = |text: &str| text.parse::<ShortTarget>().unwrap().0.to_string();
        assert_eq!(shown("3000"), "http://127.0.0.1:3000");
        assert_eq!(shown("nas.local:8080"), "http://nas.local:8080");
        assert_eq!(shown("https://nas.local"), "https://nas.local:443");
        assert_eq!(shown("unix:/run/app.sock"), "unix:/run/app.sock");
        assert!("99999".parse::<ShortTarget>().is_err());
    }

    #[test]
    fn an_origin_without_http_is_refused_as_in_the_file() {
        let hostname = "koda.example.com".parse().unwrap();
        let to = Some("tcp://127.0.0.1:22".parse().unwrap());
        let arguments =
            Arguments { hostname, to, route: Vec::new(), dangerous_accept_any_certificate: false };
        let report = routes(&arguments).unwrap_err().report();
        assert!(report.contains("a `tcp://` origin speaks no HTTP"), "{report}");
        assert!(report.contains("`tls = \"passthrough\"`"), "{report}");
    }

    #[test]
    fn a_route_shows_what_it_is() {
        let route: RouteArgument = "/api/runtime/*=8090".parse().unwrap();
        let hostname = "koda.example.com".parse().unwrap();
        let shown = line(&hostname, &route.path, &route.target.0);
        assert_eq!(shown, "https://koda.example.com/api/runtime/ -> http://127.0.0.1:8090");
        assert!("8090".parse::<RouteArgument>().is_err());
    }
}
