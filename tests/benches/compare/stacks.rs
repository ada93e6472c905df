//! One module a program: its configuration, and how it starts.

pub(crate) mod adit;
pub(crate) mod caddy;
pub(crate) mod nginx;
pub(crate) mod rathole;
pub(crate) mod ssh;
