//! Answers as people and scripts want them.

use std::time::{SystemTime, UNIX_EPOCH};

use comfy_table::{Table, presets};
use process::terminal::Output;
use serde::Serialize;

use super::CommandError;
use crate::admin::{Answer, AuditRow, PeerRow, PendingRow, Request, RouteRow, Status, TokenRow};
use crate::certificates::CertRow;
use crate::store::Grants;

/// Prints an answer to standard output.
pub(super) fn show(request: &Request, answer: Answer, json: bool) -> Result<(), CommandError> {
    let text = if json { as_json(answer)? } else { as_text(request, answer) };
    if text.is_empty() {
        return Ok(());
    }
    Output::stdout().line(text).map_err(CommandError::Output)
}

fn as_json(answer: Answer) -> Result<String, CommandError> {
    match answer {
        Answer::Status(status) => pretty(&status),
        Answer::Token { id, token, expires_at } => {
            pretty(&serde_json::json!({ "id": id, "token": token, "expires_at": expires_at }))
        }
        Answer::Tokens(rows) => pretty(&rows),
        Answer::Peers { peers, pending } => {
            pretty(&serde_json::json!({ "peers": peers, "pending": pending }))
        }
        Answer::Routes(rows) => pretty(&rows),
        Answer::Audit(rows) => pretty(&rows),
        Answer::Certs(rows) => pretty(&rows),
        Answer::Peer(_)
        | Answer::Explanation(_)
        | Answer::Metrics(_)
        | Answer::Done
        | Answer::Failed { .. } => Err(CommandError::Mismatch),
    }
}

fn pretty(value: &impl Serialize) -> Result<String, CommandError> {
    serde_json::to_string_pretty(value).map_err(|error| CommandError::Output(error.into()))
}

fn as_text(request: &Request, answer: Answer) -> String {
    match answer {
        Answer::Status(status) => status_text(&status),
        Answer::Token { token, .. } => token,
        Answer::Tokens(rows) => tokens_text(&rows),
        Answer::Peers { peers, pending } => peers_text(&peers, &pending),
        Answer::Peer(peer) => peer_text(request, &peer),
        Answer::Routes(rows) => routes_text(&rows),
        Answer::Explanation(lines) => lines.join("\n"),
        Answer::Audit(rows) => audit_text(&rows),
        Answer::Certs(rows) => certs_text(&rows),
        Answer::Metrics(text) => text.trim_end().to_owned(),
        Answer::Done => done_text(request),
        Answer::Failed { .. } => String::new(),
    }
}

/// What has only begun is said; what is done needs no words.
fn done_text(request: &Request) -> String {
    let Request::CertRenew { name } = request else { return String::new() };
    format!("a certificate for `{name}` is being ordered; `relay cert list` shows what comes of it")
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.to_vec());
    table
}

fn status_text(status: &Status) -> String {
    let Status { name, version, https, http, metrics, fingerprint, peers, sessions, certificates_wanting } =
        status;
    let http = http.map_or("off".to_owned(), |address| address.to_string());
    let metrics = metrics.map_or(String::new(), |address| format!(", metrics {address}"));
    let head = format!(
        "relay {name} {version}\nhttps {https}, http {http}{metrics}\nfingerprint {fingerprint}\n{peers} peers, {} sessions",
        sessions.len()
    );
    let head = match &certificates_wanting[..] {
        [] => head,
        some => format!("{head}\ncertificates: look at {} (`relay cert list`)", list(some)),
    };
    if sessions.is_empty() {
        return head;
    }
    let mut rows = table(&["PEER", "INSTANCE", "ADDRESS", "UP", "RTT", "VERSION"]);
    for row in sessions {
        rows.add_row([
            row.peer.to_string(),
            row.instance.clone(),
            row.address.to_string(),
            span(row.up_s),
            format!("{} ms", row.rtt_ms),
            row.version.clone(),
        ]);
    }
    format!("{head}\n\n{}", trimmed(&rows))
}

fn tokens_text(tokens: &[TokenRow]) -> String {
    let mut rows = table(&["ID", "STATE", "ROLE", "NAME", "GRANTS", "EXPIRES"]);
    for token in tokens {
        let name = token.name.as_ref().map_or("-", |name| name.as_str());
        let (id, grants, expires) = (token.id.to_string(), granted(&token.grants), moment(token.expires_at));
        rows.add_row([&id, &token.state, token.role.as_str(), name, &grants, &expires]);
    }
    trimmed(&rows)
}

fn peers_text(peers: &[PeerRow], pending: &[PendingRow]) -> String {
    let mut rows = table(&["PEER", "ROLE", "SESSIONS", "GRANTS", "LAST SEEN", "FINGERPRINT"]);
    for peer in peers {
        rows.add_row([
            peer.name.to_string(),
            peer.role.to_string(),
            peer.sessions.to_string(),
            granted(&peer.grants),
            peer.last_seen_at.map_or("never".into(), moment),
            peer.fingerprint.clone(),
        ]);
    }
    if pending.is_empty() {
        return trimmed(&rows);
    }
    let mut waiting = table(&["CODE", "WISHES", "ADDRESS", "EXPIRES", "FINGERPRINT"]);
    for row in pending {
        let wished = row.wished_name.as_ref().map_or("-", |name| name.as_str());
        waiting.add_row([&row.code, wished, &row.address, &moment(row.expires_at), &row.fingerprint]);
    }
    format!(
        "{}\n\nwaiting for approval (`relay peer approve CODE ...`):\n{}",
        trimmed(&rows),
        trimmed(&waiting)
    )
}

fn peer_text(request: &Request, peer: &PeerRow) -> String {
    let name = &peer.name;
    if let Request::PeerRevoke { .. } = request {
        return format!("`{name}` is revoked; its sessions have ended");
    }
    let Grants { hostnames, services, tags } = &peer.grants;
    let tagged = if tags.len() == 1 { "has the tag" } else { "has the tags" };
    let may = [("may expose", list(hostnames)), ("may reach", list(services)), (tagged, list(tags))];
    let may = may.into_iter().filter(|(_, what)| !what.is_empty());
    let lines: Vec<String> = may.map(|(may, what)| format!("`{name}` {may} {what}")).collect();
    if lines.is_empty() {
        return format!("`{name}` may expose no hostname and reach no service");
    }
    lines.join("\n")
}

/// One cell for all that is granted: hostnames have no slash, services have one.
fn granted(grants: &Grants) -> String {
    if grants.is_empty() { "-".into() } else { grants.to_string() }
}

fn routes_text(routes: &[RouteRow]) -> String {
    let mut rows = table(&["HOSTNAME", "PATH", "PEER", "SERVICE"]);
    for route in routes {
        rows.add_row([&route.hostname.to_string(), &route.path, route.peer.as_str(), &route.service]);
    }
    trimmed(&rows)
}

fn audit_text(entries: &[AuditRow]) -> String {
    let mut rows = table(&["WHEN", "WHO", "WHAT", "ON"]);
    for entry in entries {
        rows.add_row([&moment(entry.at), &entry.actor, &entry.action, &entry.subject]);
    }
    trimmed(&rows)
}

fn certs_text(certs: &[CertRow]) -> String {
    let mut rows = table(&["NAME", "STATE", "SOURCE", "ISSUER", "EXPIRES", "NEXT"]);
    for cert in certs {
        let next = match (&cert.next, cert.next_at) {
            (Some(next), Some(at)) => format!("{next} {}", moment(at)),
            (Some(next), None) => next.clone(),
            (None, _) => "-".into(),
        };
        rows.add_row([
            cert.name.to_string(),
            cert.state.as_str().into(),
            cert.source.clone(),
            cert.issuer.clone().unwrap_or_else(|| "-".into()),
            cert.not_after.map_or("-".into(), moment),
            next,
        ]);
    }
    let errors = certs.iter().filter_map(|cert| {
        let error = cert.error.as_ref()?;
        Some(format!("\n{}: failed {}, the last time: {error}", cert.name, times(cert.failures)))
    });
    std::iter::once(trimmed(&rows)).chain(errors).collect::<Vec<_>>().join("\n")
}

fn times(count: u32) -> String {
    if count == 1 { "once".into() } else { format!("{count} times in a row") }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Without the spaces that fill the last column.
fn trimmed(table: &Table) -> String {
    table.to_string().lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

/// A moment as people say it: `in 5m`, `2h ago`.
fn moment(at: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    match at - now {
        ahead if ahead > 0 => format!("in {}", span(ahead.unsigned_abs())),
        behind => format!("{} ago", span(behind.unsigned_abs())),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}
