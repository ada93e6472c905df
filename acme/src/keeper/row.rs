//! What people are told of a hostname's certificate.

use serde::{Deserialize, Serialize};

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There is a certificate, and nothing to do.
    Ok,
    /// Less than a third of its lifetime is left.
    Warning,
    /// One is being ordered.
    Ordering,
    /// There is none, and it will be tried again.
    Waiting,
    /// There is none, and nobody orders one.
    Missing,
}

impl State {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Ordering => "ordering",
            Self::Waiting => "waiting",
            Self::Missing => "missing",
        }
    }
}

/// What is next for a hostname that is tended, and what went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whether an order is under way.
    pub ordering: bool,
    pub next: &'static str,
    /// Seconds since 1970.
    pub next_at: Option<i64>,
    /// Failures in a row.
    pub failures: u32,
    /// The last of them.
    pub error: Option<String>,
}
