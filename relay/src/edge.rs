//! The public side, up to the point where a visitor speaks HTTP.
//!
//! [`listener`] accepts and gives each connection to one of the [`shards`], [`tls`] finishes the handshake with a
//! certificate of [`cert`] or of the [`internal_ca`], and [`guarded`] lets only requests through that have one reading, by
//! the rules of [`framing`].

pub(crate) mod cert;
pub(crate) mod framing;
pub(crate) mod guarded;
pub(crate) mod internal_ca;
pub(crate) mod listener;
pub(crate) mod shards;
pub(crate) mod tls;
