//! Queries on what is granted: to peers (`grants`), and by tokens (`token_grants`). Both tables are alike, a row for each
//! hostname, service or tag.

use std::str::FromStr;

use sqlx::{Error, query};

use super::record::Grants;
use super::row::{parsed, parsed_if_any};
use super::sqlite::{Connection, Row};

/// What a row grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hostname,
    Service,
    Tag,
}

/// Why a text is no kind of grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a grant is a `hostname`, a `service` or a `tag`")]
struct KindError;

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hostname => "hostname",
            Self::Service => "service",
            Self::Tag => "tag",
        }
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let all = [Self::Hostname, Self::Service, Self::Tag];
        all.into_iter().find(|kind| kind.as_str() == text).ok_or(KindError)
    }
}

/// Adds what a row grants, if anything, from its columns `kind` and `value`.
pub(super) fn read(row: &Row, grants: &mut Grants) -> Result<(), Error> {
    match parsed_if_any(row, "kind")? {
        Some(Kind::Hostname) => grants.hostnames.push(parsed(row, "value")?),
        Some(Kind::Service) => grants.services.push(parsed(row, "value")?),
        Some(Kind::Tag) => grants.tags.push(parsed(row, "value")?),
        None => {}
    }
    Ok(())
}

/// Grants this to a peer, where it is not granted yet.
pub(super) async fn give(db: &mut Connection, peer_id: i64, grants: &Grants) -> Result<(), Error> {
    let insert = "INSERT INTO grants (peer_id, kind, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    each(db, insert, peer_id, grants).await
}

/// Takes this from a peer, where it was granted, word for word.
pub(super) async fn take(db: &mut Connection, peer_id: i64, grants: &Grants) -> Result<(), Error> {
    let delete = "DELETE FROM grants WHERE peer_id = $1 AND kind = $2 AND value = $3";
    each(db, delete, peer_id, grants).await
}

/// Lets a token carry this.
pub(super) async fn put_on_token(db: &mut Connection, token_id: i64, grants: &Grants) -> Result<(), Error> {
    let insert =
        "INSERT INTO token_grants (token_id, kind, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    each(db, insert, token_id, grants).await
}

/// Runs the statement for each grant, which is its second and third argument.
async fn each(
    db: &mut Connection,
    statement: &'static str,
    owner: i64,
    grants: &Grants,
) -> Result<(), Error> {
    let hostnames = grants.hostnames.iter().map(|hostname| (Kind::Hostname, hostname.as_str()));
    let services = grants.services.iter().map(|service| (Kind::Service, service.as_str()));
    let tags = grants.tags.iter().map(|tag| (Kind::Tag, tag.as_str()));
    for (kind, value) in hostnames.chain(services).chain(tags) {
        query(statement).bind(owner).bind(kind.as_str()).bind(value).execute(&mut *db).await?;
    }
    Ok(())
}
