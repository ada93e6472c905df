//! Queries on peers and what they are granted.

use protocol::id::PeerName;
use protocol::key::PublicKey;
use protocol::roster::Role;
use sqlx::{Error, Row as _, query, query_scalar};

use super::audit::{self, ADMIN, Action};
use super::error::Undone;
use super::grants;
use super::record::{Grants, Peer};
use super::row::{key, parsed};
use super::sqlite::{Connection, Row};

/// What a peer is called that nobody named.
const UNNAMED: &str = "peer";
/// Longest name of a peer, in bytes (`protocol::id`).
const LONGEST_NAME: usize = 63;

/// A query for peers, one row for each of their grants. All of a peer's rows follow each other.
macro_rules! select_peers {
    ($where:literal) => {
        concat!(
            "SELECT p.id, p.name, p.key, p.role, p.enrolled_at, p.last_seen_at, g.kind, g.value FROM peers p ",
            "LEFT JOIN grants g ON g.peer_id = p.id ",
            $where,
            " ORDER BY p.name, g.kind, g.value"
        )
    };
}

pub(super) async fn all(db: &mut Connection) -> Result<Vec<Peer>, Error> {
    joined(&query(select_peers!("")).fetch_all(db).await?)
}

pub(super) async fn by_key(db: &mut Connection, key: &PublicKey) -> Result<Option<Peer>, Error> {
    let by_key = query(select_peers!("WHERE p.key = $1")).bind(key.as_bytes().as_slice());
    Ok(joined(&by_key.fetch_all(db).await?)?.pop())
}

/// The peer that a token made out of this very key.
pub(super) async fn by_used_token(
    db: &mut Connection,
    hash: &[u8; 32],
    key: &PublicKey,
) -> Result<Option<Peer>, Error> {
    let by_token =
        query(select_peers!("JOIN tokens t ON t.used_peer = p.id WHERE t.hash = $1 AND p.key = $2"))
            .bind(hash.as_slice())
            .bind(key.as_bytes().as_slice());
    Ok(joined(&by_token.fetch_all(db).await?)?.pop())
}

async fn by_name(db: &mut Connection, name: &PeerName) -> Result<Option<Peer>, Error> {
    let by_name = query(select_peers!("WHERE p.name = $1")).bind(name.as_str());
    Ok(joined(&by_name.fetch_all(db).await?)?.pop())
}

/// Peers out of the rows of [`select_peers`].
fn joined(rows: &[Row]) -> Result<Vec<Peer>, Error> {
    let mut peers: Vec<Peer> = Vec::new();
    for row in rows {
        let id: i64 = row.try_get("id")?;
        if peers.last().is_none_or(|last| last.id != id) {
            peers.push(peer(row, id)?);
        }
        if let Some(peer) = peers.last_mut() {
            grants::read(row, &mut peer.grants)?;
        }
    }
    Ok(peers)
}

/// The peer of a row, without its grants.
fn peer(row: &Row, id: i64) -> Result<Peer, Error> {
    Ok(Peer {
        id,
        name: parsed(row, "name")?,
        key: key(row, "key")?,
        role: parsed(row, "role")?,
        grants: Grants::default(),
        enrolled_at: row.try_get("enrolled_at")?,
        last_seen_at: row.try_get("last_seen_at")?,
    })
}

/// Makes a key a peer of this role, with this name or the next that is free, and ends its waiting for approval. Returns
/// its id. A key that is a peer already stays as it is.
pub(super) async fn enroll(
    db: &mut Connection,
    key: &PublicKey,
    role: Role,
    name: Option<&PeerName>,
    now: i64,
) -> Result<i64, Error> {
    query("DELETE FROM pending WHERE key = $1").bind(key.as_bytes().as_slice()).execute(&mut *db).await?;
    if let Some(peer) = by_key(&mut *db, key).await? {
        return Ok(peer.id);
    }
    let name = free_name(&mut *db, name.map_or(UNNAMED, PeerName::as_str)).await?;
    query_scalar("INSERT INTO peers (name, key, role, enrolled_at) VALUES ($1, $2, $3, $4) RETURNING id")
        .bind(name.as_str())
        .bind(key.as_bytes().as_slice())
        .bind(role.as_str())
        .bind(now)
        .fetch_one(db)
        .await
}

/// `home`, or where that is taken `home-2`, `home-3` and so on.
async fn free_name(db: &mut Connection, wished: &str) -> Result<PeerName, Error> {
    let mut number = 1_u32;
    loop {
        let name = numbered(wished, number).parse().map_err(|source| Error::Encode(Box::new(source)))?;
        if by_name(&mut *db, &name).await?.is_none() {
            return Ok(name);
        }
        number += 1;
    }
}

fn numbered(name: &str, number: u32) -> String {
    if number == 1 {
        return name.to_owned();
    }
    let suffix = format!("-{number}");
    let kept: String = name.chars().take(LONGEST_NAME - suffix.len()).collect();
    kept + &suffix
}

pub(super) async fn grant(
    db: &mut Connection,
    name: &PeerName,
    grants: &Grants,
    now: i64,
) -> Result<Option<Peer>, Undone> {
    let Some(before) = by_name(&mut *db, name).await? else { return Ok(None) };
    grants::give(&mut *db, before.id, grants).await?;
    let after = by_name(&mut *db, name).await?.ok_or(Error::RowNotFound)?;
    after.grants.check_growth(&before.grants)?;
    let added = after.grants.minus(&before.grants);
    if !added.is_empty() {
        audit::note(db, now, ADMIN, Action::Granted, &audit::peer_with(name, &added)).await?;
    }
    Ok(Some(after))
}

pub(super) async fn ungrant(
    db: &mut Connection,
    name: &PeerName,
    grants: &Grants,
    now: i64,
) -> Result<Option<Peer>, Error> {
    let Some(before) = by_name(&mut *db, name).await? else { return Ok(None) };
    grants::take(&mut *db, before.id, grants).await?;
    let after = by_name(&mut *db, name).await?.ok_or(Error::RowNotFound)?;
    let taken = before.grants.minus(&after.grants);
    if !taken.is_empty() {
        audit::note(db, now, ADMIN, Action::Ungranted, &audit::peer_with(name, &taken)).await?;
    }
    Ok(Some(after))
}

/// Deletes the peer. The schema lets its grants go with it, and the claim on the token that made it.
pub(super) async fn revoke(db: &mut Connection, name: &PeerName, now: i64) -> Result<Option<Peer>, Error> {
    let Some(peer) = by_name(&mut *db, name).await? else { return Ok(None) };
    query("DELETE FROM peers WHERE id = $1").bind(peer.id).execute(&mut *db).await?;
    query("DELETE FROM pending WHERE key = $1")
        .bind(peer.key.as_bytes().as_slice())
        .execute(&mut *db)
        .await?;
    audit::note(db, now, ADMIN, Action::Revoked, name.as_str()).await?;
    Ok(Some(peer))
}

pub(super) async fn seen(db: &mut Connection, id: i64, now: i64) -> Result<(), Error> {
    query("UPDATE peers SET last_seen_at = $2 WHERE id = $1 AND (last_seen_at IS NULL OR last_seen_at < $2)")
        .bind(id)
        .bind(now)
        .execute(db)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_name_is_a_name() {
        let long = "a".repeat(LONGEST_NAME);
        for (name, number, expected) in [("home", 1, "home"), ("home", 12, "home-12"), (&long, 1, &long)] {
            assert_eq!(numbered(name, number), expected);
        }
        for number in [2, 99, u32::MAX] {
            let name = numbered(&long, number);
            assert!(name.len() == LONGEST_NAME && name.parse::<PeerName>().is_ok());
        }
    }
}
