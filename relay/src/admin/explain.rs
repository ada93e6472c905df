//! What would answer a URL, and why: `relay route explain`.

use std::sync::Arc;

use protocol::control::TlsEnd;
use protocol::hostname::{Hostname, HostnameError};

use crate::route::exposure::NoDecision;
use crate::route::readings;
use crate::route::table::{Lookup, Serving};
use crate::tunnel::registry::Routes;
use crate::tunnel::session::Session;

/// Why a text is no URL to explain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    #[error("this is not a URL")]
    NotAUrl,
    #[error("the URL's host cannot be used: {0}")]
    Host(HostnameError),
}

/// One line for each step of the way.
pub(crate) fn explain(routes: &Routes, url: &str) -> Result<Vec<String>, ExplainError> {
    let (hostname, path) = split(url)?;
    let mut lines = vec![format!("hostname: {hostname}")];
    let lookup = routes.lookup(&hostname);
    if routes.is_sealed(&hostname) {
        lines.extend(explain_sealed(&lookup));
        return Ok(lines);
    }
    let servers = match lookup {
        Lookup::Unknown => {
            lines.push("404 unknown-hostname: no peer is granted this hostname".into());
            return Ok(lines);
        }
        Lookup::Offline => {
            lines.push("503 agent-offline: the hostname is granted, and no session serves it".into());
            return Ok(lines);
        }
        Lookup::Served(servers) => servers,
    };
    lines.push(format!("path: {path}{}", read_as(&path)));
    for serving in servers.in_turn() {
        let (peer, exposure) = (&serving.session.peer, &serving.exposure);
        lines.push(match exposure.decide(&path) {
            Ok(decision) => {
                let (pattern, target) = exposure.route(decision);
                format!("{peer}: route `{pattern}` -> service `{}`", target.service)
            }
            Err(NoDecision::NoRoute) => {
                format!("{peer}: 404 no-route: no route of `{}` matches", exposure.hostname)
            }
            Err(NoDecision::Ambiguous) => {
                format!("{peer}: 400 ambiguous-path: its readings lead to different places")
            }
        });
    }
    Ok(lines)
}

/// Visitors get an alert of TLS where there is no way.
fn explain_sealed(lookup: &Lookup<'_, Arc<Session>>) -> Vec<String> {
    let sealed = |serving: &Arc<Serving<Arc<Session>>>| {
        let target = serving.exposure.sealed()?;
        let end = if target.sealed == Some(TlsEnd::Agent) { "the agent" } else { "the origin" };
        let (peer, service) = (&serving.session.peer, &target.service);
        Some(format!("{peer}: sealed, TLS ends at {end} -> service `{service}`, whatever the path"))
    };
    let mut lines = Vec::new();
    if let Lookup::Served(servers) = lookup {
        lines.extend(servers.in_turn().filter_map(sealed));
    }
    if lines.is_empty() {
        lines.push(
            "agent-offline: the hostname was sealed when it was last served, and no session serves it".into(),
        );
    }
    lines
}

fn read_as(path: &str) -> String {
    if readings::is_plain(path.as_bytes()) {
        return String::new();
    }
    match readings::readings(path) {
        Ok(all) => {
            let all: Vec<_> = all.iter().map(|one| format!("`{}`", String::from_utf8_lossy(one))).collect();
            format!(" (may be read as {})", all.join(", "))
        }
        Err(readings::Unreadable) => " (cannot be read)".into(),
    }
}

fn split(url: &str) -> Result<(Hostname, String), ExplainError> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if host.is_empty() {
        return Err(ExplainError::NotAUrl);
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    Ok((host.parse().map_err(ExplainError::Host)?, path.to_owned()))
}
