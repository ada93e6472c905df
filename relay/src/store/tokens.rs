//! Queries on tokens. A token is looked up by its hash alone; what does not fit is refused in the same steps, whatever
//! the reason.

use protocol::id::PeerName;
use protocol::key::PublicKey;
use protocol::roster::Role;
use protocol::token::TokenHash;
use sqlx::{Error, Row as _, query, query_scalar};

use super::audit::{self, ADMIN, Action};
use super::error::Undone;
use super::record::{Grants, NewPeer, Redeemed, Token, TokenState};
use super::row::{parsed, parsed_if_any};
use super::sqlite::{Connection, Row};
use super::{grants, peers};

pub(super) async fn create(
    db: &mut Connection,
    hash: &TokenHash,
    grant: &NewPeer,
    now: i64,
    expires_at: i64,
) -> Result<i64, Undone> {
    grant.grants.check_growth(&Grants::default())?;
    let insert = "INSERT INTO tokens (hash, name, role, created_at, expires_at) VALUES ($1, $2, $3, $4, $5) \
                  RETURNING id";
    let id: i64 = query_scalar(insert)
        .bind(hash.as_bytes().as_slice())
        .bind(grant.name.as_ref().map(PeerName::as_str))
        .bind(grant.role.as_str())
        .bind(now)
        .bind(expires_at)
        .fetch_one(&mut *db)
        .await?;
    grants::put_on_token(&mut *db, id, &grant.grants).await?;
    audit::note(db, now, ADMIN, Action::TokenCreated, &audit::token(id)).await?;
    Ok(id)
}

pub(super) async fn all(db: &mut Connection, now: i64) -> Result<Vec<Token>, Error> {
    let select = "SELECT t.id, t.name, t.role, t.created_at, t.expires_at, t.revoked_at, t.used_at, t.used_name, \
                  g.kind, g.value FROM tokens t \
                  LEFT JOIN token_grants g ON g.token_id = t.id ORDER BY t.id, g.kind, g.value";
    let mut tokens: Vec<Token> = Vec::new();
    for row in query(select).fetch_all(db).await? {
        let id: i64 = row.try_get("id")?;
        if tokens.last().is_none_or(|last| last.id != id) {
            tokens.push(token(&row, id, now)?);
        }
        if let Some(token) = tokens.last_mut() {
            grants::read(&row, &mut token.grant.grants)?;
        }
    }
    Ok(tokens)
}

/// The token of a row, without what it grants.
fn token(row: &Row, id: i64, now: i64) -> Result<Token, Error> {
    let grant =
        NewPeer { name: parsed_if_any(row, "name")?, role: parsed(row, "role")?, grants: Grants::default() };
    let expires_at = row.try_get("expires_at")?;
    let state = match (row.try_get("used_at")?, row.try_get("revoked_at")?) {
        (Some(at), _) => TokenState::Used { by: parsed(row, "used_name")?, at },
        (None, Some(at)) => TokenState::Revoked { at },
        (None, None) if now < expires_at => TokenState::Open,
        (None, None) => TokenState::Expired,
    };
    Ok(Token { id, grant, created_at: row.try_get("created_at")?, expires_at, state })
}

pub(super) async fn revoke(db: &mut Connection, id: i64, now: i64) -> Result<bool, Error> {
    let update = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND used_at IS NULL AND revoked_at IS NULL";
    let revoked = query(update).bind(id).bind(now).execute(&mut *db).await?.rows_affected() > 0;
    if revoked {
        audit::note(db, now, ADMIN, Action::TokenRevoked, &audit::token(id)).await?;
    }
    Ok(revoked)
}

/// A token that this transaction has used up: whoever holds one may enroll.
struct Consumed {
    id: i64,
    name: Option<PeerName>,
    role: Role,
}

pub(super) async fn redeem(
    db: &mut Connection,
    hash: &TokenHash,
    key: &PublicKey,
    wished: Option<&PeerName>,
    now: i64,
) -> Result<Redeemed, Undone> {
    let Some(token) = consume(&mut *db, hash, now).await? else {
        let again = peers::by_used_token(db, hash.as_bytes(), key).await?;
        return Ok(again.map_or(Redeemed::Refused, Redeemed::Enrolled));
    };
    let before = peers::by_key(&mut *db, key).await?;
    let peer_id = peers::enroll(&mut *db, key, token.role, token.name.as_ref().or(wished), now).await?;
    hand_over(&mut *db, token.id, peer_id).await?;
    let peer = peers::by_key(&mut *db, key).await?.ok_or(Error::RowNotFound)?;
    let (was_peer, before) = (before.is_some(), before.map(|peer| peer.grants).unwrap_or_default());
    peer.grants.check_growth(&before)?;

    let actor = audit::token(token.id);
    audit::note(&mut *db, now, &key.fingerprint(), Action::TokenRedeemed, &actor).await?;
    let action = if was_peer { Action::Granted } else { Action::Enrolled };
    audit::note(db, now, &actor, action, &audit::peer_with(&peer.name, &peer.grants)).await?;
    Ok(Redeemed::Enrolled(peer))
}

/// Uses the token up, where it can be used.
async fn consume(db: &mut Connection, hash: &TokenHash, now: i64) -> Result<Option<Consumed>, Error> {
    let update = "UPDATE tokens SET used_at = $2 \
                  WHERE hash = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $2 \
                  RETURNING id, name, role";
    let row = query(update).bind(hash.as_bytes().as_slice()).bind(now).fetch_optional(db).await?;
    row.map(|row| {
        let (name, role) = (parsed_if_any(&row, "name")?, parsed(&row, "role")?);
        Ok(Consumed { id: row.try_get("id")?, name, role })
    })
    .transpose()
}

/// Gives the peer what the token carries, and notes on the token whose it is.
async fn hand_over(db: &mut Connection, token_id: i64, peer_id: i64) -> Result<(), Error> {
    query(
        "INSERT INTO grants (peer_id, kind, value) SELECT $2, kind, value FROM token_grants WHERE token_id = $1 \
         ON CONFLICT DO NOTHING",
    )
    .bind(token_id)
    .bind(peer_id)
    .execute(&mut *db)
    .await?;
    query(
        "UPDATE tokens SET used_peer = $2, used_name = (SELECT name FROM peers WHERE id = $2) WHERE id = $1",
    )
    .bind(token_id)
    .bind(peer_id)
    .execute(db)
    .await?;
    Ok(())
}
