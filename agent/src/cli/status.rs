//! `agent status`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use process::local::{self, CallError};
use process::terminal;

use super::{Failure, Mismatch, Places, print, print_json};
use crate::ordered::CertificateStatus;
use crate::private::doors::DoorState;
use crate::status::{Answer, DEADLINE, DoorStatus, Request, SessionState, Status};

/// The exit code when no agent runs.
const NOT_RUNNING: u8 = 2;

pub(super) async fn run(json: bool, places: &Places) -> Result<ExitCode, Failure> {
    let socket = places.data_dir().socket();
    let status = match local::call_within(&socket, &Request::Status, DEADLINE).await {
        Ok(Answer::Status(status)) => status,
        Ok(Answer::Services { .. } | Answer::Failed { .. }) => return Err(Failure::new(Mismatch, None)),
        Err(error @ CallError::NotRunning { .. }) => {
            let hint = "start it with `agent run`, or name its folder with `--data-dir`";
            terminal::stderr_line(terminal::report(&error, Some(hint)));
            return Ok(ExitCode::from(NOT_RUNNING));
        }
        Err(error) => return Err(error.into()),
    };
    if json {
        print_json(&status)?;
    } else {
        for line in lines(&status) {
            print(line)?;
        }
    }
    Ok(match status.session {
        SessionState::Up => ExitCode::SUCCESS,
        SessionState::Down => ExitCode::FAILURE,
    })
}

fn lines(status: &Status) -> Vec<String> {
    let mut lines = vec![match status.session {
        SessionState::Up => format!(
            "session up: {} as `{}`, {:.1} ms away, {} streams open",
            status.relay,
            status.peer.as_deref().unwrap_or("?"),
            status.rtt_ms.unwrap_or_default(),
            status.streams
        ),
        SessionState::Down => format!("no session with {}", status.relay),
    }];
    if let Some(error) = status.last_error.as_ref().filter(|_| status.session == SessionState::Down) {
        lines.push(format!("  {error}"));
    }
    if let Some(retry) = status.retry_in_ms {
        lines.push(format!("  next attempt in {:.1} s", Duration::from_millis(retry).as_secs_f32()));
    }
    for hostname in &status.hostnames {
        let state = match (&hostname.refused, hostname.serving) {
            (Some(reason), _) => format!("refused: {reason}"),
            (None, true) => "serving".to_owned(),
            (None, false) => "not served".to_owned(),
        };
        lines.push(format!("hostname {}: {state}", hostname.hostname));
    }
    lines.extend(status.certificates.iter().map(certificate));
    for service in &status.services {
        lines.push(format!("service {}: {}", service.name, service.origin));
    }
    lines.extend(status.doors.iter().map(door));
    lines
}

fn door(door: &DoorStatus) -> String {
    let state = match &door.state {
        DoorState::Open { url: Some(url), .. } => format!("at {url}"),
        DoorState::Open { address, url: None } => format!("at {address}"),
        DoorState::Waiting { reason } => format!("waiting: {reason}"),
        DoorState::Failed { error, .. } => format!("not open: {error}"),
    };
    format!("door {}: {state}", door.door)
}

/// Who issued it and how long it counts, or why there is none.
fn certificate(certificate: &CertificateStatus) -> String {
    let CertificateStatus { hostname, issuer, not_after, late, error, .. } = certificate;
    let standing = match (issuer, not_after) {
        (Some(issuer), Some(not_after)) => {
            let days = (not_after - unix_now()) / 86_400;
            let late = if *late { ", and should have been renewed" } else { "" };
            format!("of {issuer}, for {days} days{late}")
        }
        _ => "none yet".to_owned(),
    };
    let error = error.as_ref().map_or(String::new(), |error| format!("; the last order failed: {error}"));
    format!("certificate {hostname}: {standing}{error}")
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
