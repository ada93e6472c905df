//! Queries on enrollments that wait for approval. Anybody can ask for one, so they are few and short-lived.

use std::net::{IpAddr, Ipv6Addr};

use protocol::id::PeerName;
use protocol::key::PublicKey;
use sqlx::{Error, Row as _, query, query_scalar};

use super::audit::{self, ADMIN, Action};
use super::error::Undone;
use super::record::{Grants, NewPeer, Peer, Pending, Refusal, Requested};
use super::row::{key, parsed, parsed_if_any};
use super::sqlite::{Connection, Row};
use super::{grants, peers};

/// How many wait at most.
const MOST: i64 = 32;
/// How many of them may have asked from one address.
const MOST_FROM_ADDRESS: i64 = 4;
/// How long a request waits, in seconds.
const LIFETIME: i64 = 15 * 60;

/// Somebody asks to become a peer.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) key: &'a PublicKey,
    pub(super) wished: Option<&'a PeerName>,
    pub(super) address: IpAddr,
    pub(super) fresh_code: &'a str,
}

pub(super) async fn request(
    db: &mut Connection,
    request: &Request<'_>,
    now: i64,
) -> Result<Requested, Error> {
    if let Some(peer) = peers::by_key(&mut *db, request.key).await? {
        return Ok(Requested::Already(peer));
    }
    query("DELETE FROM pending WHERE expires_at <= $1").bind(now).execute(&mut *db).await?;
    update_address(&mut *db, request).await?;
    if let Some(waiting) = by_key(&mut *db, request.key).await? {
        return Ok(Requested::Pending(waiting));
    }
    if let Some(refusal) = refusal(&mut *db, request.address).await? {
        return Ok(Requested::Refused(refusal));
    }
    insert(db, request, now).await.map(Requested::Pending)
}

async fn by_key(db: &mut Connection, key: &PublicKey) -> Result<Option<Pending>, Error> {
    let by_key = query("SELECT * FROM pending WHERE key = $1").bind(key.as_bytes().as_slice());
    by_key.fetch_optional(db).await?.as_ref().map(pending).transpose()
}

/// Notes where a key that waits asks from now. Writes nothing, and so waits for no disk, where that has not changed.
async fn update_address(db: &mut Connection, request: &Request<'_>) -> Result<(), Error> {
    query("UPDATE pending SET address = $2, network = $3 WHERE key = $1 AND address <> $2")
        .bind(request.key.as_bytes().as_slice())
        .bind(request.address.to_canonical().to_string())
        .bind(network(request.address))
        .execute(db)
        .await?;
    Ok(())
}

async fn refusal(db: &mut Connection, address: IpAddr) -> Result<Option<Refusal>, Error> {
    let from_address: i64 = query_scalar("SELECT count(*) FROM pending WHERE network = $1")
        .bind(network(address))
        .fetch_one(&mut *db)
        .await?;
    if from_address >= MOST_FROM_ADDRESS {
        return Ok(Some(Refusal::TooManyFromAddress));
    }
    let in_all: i64 = query_scalar("SELECT count(*) FROM pending").fetch_one(db).await?;
    Ok((in_all >= MOST).then_some(Refusal::TooMany))
}

async fn insert(db: &mut Connection, request: &Request<'_>, now: i64) -> Result<Pending, Error> {
    let insert = query(
        "INSERT INTO pending (key, code, wished, address, network, requested_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *",
    );
    let row = insert
        .bind(request.key.as_bytes().as_slice())
        .bind(request.fresh_code)
        .bind(request.wished.map(PeerName::as_str))
        .bind(request.address.to_canonical().to_string())
        .bind(network(request.address))
        .bind(now)
        .bind(now + LIFETIME)
        .fetch_one(db)
        .await?;
    pending(&row)
}

/// What is counted as one address: whoever has one IPv6 address usually has its whole /64.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{}/64", Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

pub(super) async fn all(db: &mut Connection, now: i64) -> Result<Vec<Pending>, Error> {
    let waiting = query("SELECT * FROM pending WHERE expires_at > $1 ORDER BY requested_at, code").bind(now);
    waiting.fetch_all(db).await?.iter().map(pending).collect()
}

fn pending(row: &Row) -> Result<Pending, Error> {
    Ok(Pending {
        code: row.try_get("code")?,
        key: key(row, "key")?,
        wished: parsed_if_any(row, "wished")?,
        address: parsed(row, "address")?,
        requested_at: row.try_get("requested_at")?,
        expires_at: row.try_get("expires_at")?,
    })
}

pub(super) async fn approve(
    db: &mut Connection,
    code: &str,
    grant: &NewPeer,
    now: i64,
) -> Result<Option<Peer>, Undone> {
    let by_code = "SELECT * FROM pending WHERE lower(replace(code, '-', '')) = $1 AND expires_at > $2";
    let plain = code.trim().replace('-', "").to_ascii_lowercase();
    let Some(row) = query(by_code).bind(plain).bind(now).fetch_optional(&mut *db).await? else {
        return Ok(None);
    };
    let Pending { key, wished, .. } = pending(&row)?;
    // Also ends the waiting.
    let id = peers::enroll(&mut *db, &key, grant.role, grant.name.as_ref().or(wished.as_ref()), now).await?;
    grants::give(&mut *db, id, &grant.grants).await?;
    let peer = peers::by_key(&mut *db, &key).await?.ok_or(Error::RowNotFound)?;
    peer.grants.check_growth(&Grants::default())?;
    audit::note(db, now, ADMIN, Action::Approved, &audit::peer_with(&peer.name, &peer.grants)).await?;
    Ok(Some(peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_is_one_ipv4_address_or_one_ipv6_64() {
        let network = |address: &str| network(address.parse().unwrap());
        assert_eq!(network("203.0.113.7"), network("::ffff:203.0.113.7"));
        assert_ne!(network("203.0.113.7"), network("203.0.113.8"));
        assert_eq!(network("2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    }
}
