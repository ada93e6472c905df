//! From what is stored to values again, and the relay's key, which is stored as it is.
//!
//! A text that is no name, hostname or role was not written by this program; it is reported as a column that cannot be
//! decoded.

use std::error::Error as StdError;
use std::str::FromStr;

use protocol::key::{PublicKey, SecretKey};
use sqlx::{Error, Row as _, query, query_scalar};

use super::sqlite::{Connection, Row};

/// The value whose text is in this column.
pub(super) fn parsed<T>(row: &Row, column: &str) -> Result<T, Error>
where
    T: FromStr<Err: StdError + Send + Sync + 'static>,
{
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|source| undecodable(column, source))
}

/// The same, where the column may be empty.
pub(super) fn parsed_if_any<T>(row: &Row, column: &str) -> Result<Option<T>, Error>
where
    T: FromStr<Err: StdError + Send + Sync + 'static>,
{
    let text: Option<&str> = row.try_get(column)?;
    text.map(str::parse).transpose().map_err(|source| undecodable(column, source))
}

/// The key in this column.
pub(super) fn key(row: &Row, column: &str) -> Result<PublicKey, Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(PublicKey::from_bytes).map_err(|source| undecodable(column, source))
}

pub(super) fn undecodable(column: &str, source: impl StdError + Send + Sync + 'static) -> Error {
    Error::ColumnDecode { index: column.to_owned(), source: Box::new(source) }
}

/// The stored key, or this one, which is stored by that.
pub(super) async fn relay_secret(db: &mut Connection, fresh: &[u8; 32]) -> Result<SecretKey, Error> {
    query("INSERT INTO relay_keys (id, secret) VALUES (1, $1) ON CONFLICT DO NOTHING")
        .bind(fresh.as_slice())
        .execute(&mut *db)
        .await?;
    let stored: Vec<u8> = query_scalar("SELECT secret FROM relay_keys WHERE id = 1").fetch_one(db).await?;
    let bytes = stored.as_slice().try_into().map_err(|source| undecodable("secret", source))?;
    SecretKey::from_bytes(bytes).map_err(|source| undecodable("secret", source))
}
