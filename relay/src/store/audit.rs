//! Who changed what. Written inside the change's own transaction, so that neither exists without the other.

use protocol::id::PeerName;
use sqlx::{Error, Row as _, query};

use super::record::{AuditEntry, Grants};
use super::sqlite::{Connection, Row};

/// Whoever reaches the relay's administration: its socket, or the dashboard.
pub(super) const ADMIN: &str = "admin";

/// What happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Enrolled,
    Approved,
    Revoked,
    Granted,
    Ungranted,
    TokenCreated,
    TokenRevoked,
    TokenRedeemed,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Approved => "approved",
            Self::Revoked => "revoked",
            Self::Granted => "granted",
            Self::Ungranted => "ungranted",
            Self::TokenCreated => "token created",
            Self::TokenRevoked => "token revoked",
            Self::TokenRedeemed => "token redeemed",
        }
    }
}

/// A token, as an actor or a subject.
pub(super) fn token(id: i64) -> String {
    format!("token {id}")
}

/// A peer and the grants in question: `home: a.example.com, b.example.com`, `laptop: home/dashboard, tag family`.
pub(super) fn peer_with(name: &PeerName, grants: &Grants) -> String {
    if grants.is_empty() { name.to_string() } else { format!("{name}: {grants}") }
}

pub(super) async fn note(
    db: &mut Connection,
    at: i64,
    actor: &str,
    action: Action,
    subject: &str,
) -> Result<(), Error> {
    query("INSERT INTO audit (at, actor, action, subject) VALUES ($1, $2, $3, $4)")
        .bind(at)
        .bind(actor)
        .bind(action.as_str())
        .bind(subject)
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn latest(db: &mut Connection, limit: u32) -> Result<Vec<AuditEntry>, Error> {
    let rows = query("SELECT at, actor, action, subject FROM audit ORDER BY id DESC LIMIT $1")
        .bind(i64::from(limit))
        .fetch_all(db)
        .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &Row) -> Result<AuditEntry, Error> {
    Ok(AuditEntry {
        at: row.try_get("at")?,
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
    })
}
