//! What can go wrong with the store.

use std::io;
use std::path::PathBuf;

use super::record::TooMany;

/// Why the store cannot be opened, or did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// There was no file, and none could be made; or its mode could not be set.
    #[error("cannot make the store `{}` a private file", .path.display())]
    Private { path: PathBuf, source: io::Error },
    /// The file is there and does not open.
    #[error("cannot open the store `{}`", .path.display())]
    Open { path: PathBuf, source: sqlx::Error },
    /// It is no SQLite file, or a broken one.
    #[error("the store `{}` is damaged, or is not a SQLite file", .path.display())]
    Damaged { path: PathBuf, source: sqlx::Error },
    /// It opens, but its pages contradict each other.
    #[error("the store `{}` is damaged: {finding}", .path.display())]
    Inconsistent { path: PathBuf, finding: String },
    /// A SQLite file of another program.
    #[error("`{}` belongs to another program: it is a SQLite file, but not a store of Adit", .path.display())]
    Foreign { path: PathBuf },
    /// Written by a relay newer than this one.
    #[error(
        "the store `{}` has schema {found}, and this relay knows schemas up to {known}: it was written by a later \
         version",
        .path.display()
    )]
    Later { path: PathBuf, found: i64, known: i64 },
    /// One of the operations failed. Nothing was changed, unless it is the outcome of the commit that got lost.
    #[error("the store could not {operation}")]
    Operation { operation: &'static str, source: sqlx::Error },
    /// More would be granted than the file has room for. Nothing was changed.
    #[error(transparent)]
    TooMany(TooMany),
}

/// Why a change was given up, and undone where it had begun.
#[derive(Debug)]
pub(super) enum Undone {
    Database(sqlx::Error),
    TooMany(TooMany),
}

impl Undone {
    pub(super) fn of(self, operation: &'static str) -> StoreError {
        match self {
            Self::Database(source) => StoreError::Operation { operation, source },
            Self::TooMany(too_many) => StoreError::TooMany(too_many),
        }
    }
}

impl From<sqlx::Error> for Undone {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<TooMany> for Undone {
    fn from(error: TooMany) -> Self {
        Self::TooMany(error)
    }
}
