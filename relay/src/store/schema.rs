//! The tables, and how a file of an earlier version gets them. The version is SQLite's `user_version`.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _, Error, query_scalar, raw_sql};

use super::error::StoreError;
use super::sqlite::Connection;

/// Each entry leads from the version that is its index to the next.
const STEPS: [&str; 3] =
    [include_str!("schema.sql"), include_str!("certificates.sql"), include_str!("grants.sql")];

/// `application_id` of a store: "ADIT".
const APPLICATION: i64 = 0x4144_4954;

/// What a file turned out to be.
enum Finding {
    Sound,
    Inconsistent(String),
    Foreign,
}

/// Looks at the file, and changes nothing in it.
///
/// # Errors
///
/// Where it is no store, or a damaged one.
pub(super) async fn examine(options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let path = || options.get_filename().to_owned();
    match finding(options).await {
        Ok(Finding::Sound) => Ok(()),
        Ok(Finding::Inconsistent(finding)) => Err(StoreError::Inconsistent { path: path(), finding }),
        Ok(Finding::Foreign) => Err(StoreError::Foreign { path: path() }),
        Err(source) if is_damage(&source) => Err(StoreError::Damaged { path: path(), source }),
        Err(source) => Err(StoreError::Open { path: path(), source }),
    }
}

async fn finding(options: &SqliteConnectOptions) -> Result<Finding, Error> {
    let mut db = options.connect().await?;
    let check: String = query_scalar("PRAGMA quick_check(1)").fetch_one(&mut db).await?;
    if check != "ok" {
        return Ok(Finding::Inconsistent(check));
    }
    let application: i64 = query_scalar("PRAGMA application_id").fetch_one(&mut db).await?;
    let tables: i64 = query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut db).await?;
    db.close().await?;
    let is_ours = application == APPLICATION || (application == 0 && tables == 0);
    Ok(if is_ours { Finding::Sound } else { Finding::Foreign })
}

/// Whether SQLite says that the file is corrupt (11) or no database (26). The low byte is the primary result code.
fn is_damage(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 11 | 26))
}

/// Brings the tables up to date, inside the caller's transaction. Returns the version that was found, and the latest
/// that is known where the one found is later: then nothing was changed.
pub(super) async fn migrate(db: &mut Connection) -> Result<Version, Error> {
    let found: i64 = query_scalar("PRAGMA user_version").fetch_one(&mut *db).await?;
    let Some(missing) = usize::try_from(found).ok().and_then(|found| STEPS.get(found..)) else {
        return Ok(Version::Later { found, known: i64::try_from(STEPS.len()).unwrap_or(i64::MAX) });
    };
    for step in missing {
        raw_sql(*step).execute(&mut *db).await?;
    }
    Ok(Version::Current)
}

/// Which version the tables have.
pub(super) enum Version {
    Current,
    Later { found: i64, known: i64 },
}
