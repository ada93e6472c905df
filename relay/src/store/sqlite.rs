//! The SQLite file: who may read it, how it is opened, and the two ways into it.
//!
//! SQLite lets one writer in at a time. Writers therefore queue for one connection here, where they wait in order and
//! without a thread each, instead of meeting at the file's lock. Readers never wait for them (WAL).

use std::fs::{OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Error};

use super::error::{StoreError, Undone};
use super::schema::{self, Version};

/// What queries run on, and the rows that they give.
pub(super) type Connection = SqliteConnection;
pub(super) type Row = SqliteRow;

/// How long another process (a backup, somebody's shell) may hold the file before a write is refused.
const BUSY: Duration = Duration::from_secs(5);
/// How long a caller queues for a connection.
const QUEUE: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// The connections to one file.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Pools {
    /// Runs a change as one transaction, which takes the write lock before it reads anything, and commits where the
    /// change succeeds. Where it fails, or the caller stops waiting, nothing has changed.
    pub(super) async fn write<T, E: Into<Undone>>(
        &self,
        operation: &'static str,
        change: impl AsyncFnOnce(&mut Connection) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let acquired = self.writer.acquire().await;
        let mut connection = acquired.map_err(|source| StoreError::Operation { operation, source })?;
        let changed = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let value = change(&mut transaction).await.map_err(Into::into)?;
            transaction.commit().await?;
            Ok(value)
        };
        let changed: Result<T, Undone> = changed.await;
        if changed.is_err() {
            // SQLite ends a transaction by itself over a full disk, and the connection never hears of it.
            connection.close_on_drop();
        }
        changed.map_err(|undone| undone.of(operation))
    }

    /// Runs one query, which sees everything that was committed before it.
    pub(super) async fn read<T>(
        &self,
        operation: &'static str,
        query: impl AsyncFnOnce(&mut Connection) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let answer = async { query(&mut *self.readers.acquire().await?).await };
        answer.await.map_err(|source| StoreError::Operation { operation, source })
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Opens the file, and brings it to the schema of this version.
pub(super) async fn open(path: &Path) -> Result<Pools, StoreError> {
    make_private(path).map_err(|source| StoreError::Private { path: path.to_owned(), source })?;
    let bare = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).disable_statement_logging();
    schema::examine(&bare).await?;
    let pools = connect(bare).await.map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
    match pools.write("bring its tables up to date", schema::migrate).await? {
        Version::Current => Ok(pools),
        Version::Later { found, known } => {
            pools.close().await;
            Err(StoreError::Later { path: path.to_owned(), found, known })
        }
    }
}

async fn connect(bare: SqliteConnectOptions) -> Result<Pools, Error> {
    // FULL: a power cut must not bring a revoked peer back, which NORMAL allows in WAL mode.
    let writing =
        bare.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full).foreign_keys(true);
    let reading = writing.clone().pragma("query_only", "on");
    let pool = SqlitePoolOptions::new().acquire_timeout(QUEUE).idle_timeout(None).max_lifetime(None);
    let writer = pool.clone().max_connections(1).connect_with(writing).await?;
    let readers = pool.max_connections(READERS).connect_lazy_with(reading);
    Ok(Pools { writer, readers })
}

/// Makes sure that the file is there, for its owner alone. SQLite gives the files beside it (`-wal`, `-shm`) its mode.
///
/// A file that is there already is not opened: closing it would drop the locks that this process holds on it through
/// SQLite (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
fn make_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_created) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if path.metadata()?.permissions().mode() & 0o077 == 0 {
                return Ok(());
            }
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        Err(error) => Err(error),
    }
}
