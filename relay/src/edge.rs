//! The public side, up to the point where a visitor speaks HTTP.
//!
//! [`listener`] accepts, within what [`admission`] allows, and gives each connection to one of the [`shards`]; [`proxy`]
//! reads what a proxy in front says of the visitor; [`hello`] reads the first words of TLS, and [`tls`] finishes the
//! handshake, unless the hostname is sealed, with a certificate of [`cert`] or of the [`internal_ca`], set up by
//! [`tls_config`], and asks for the visitor's own where the [`visitor_certificates`] say so.
//! [`guarded`] lets only requests through that have one reading, by the rules of [`framing`].

pub(crate) mod admission;
pub(crate) mod cert;
pub(crate) mod framing;
pub(crate) mod guarded;
mod hello;
pub(crate) mod internal_ca;
pub(crate) mod listener;
pub(crate) mod proxy;
pub(crate) mod shards;
pub(crate) mod tls;
mod tls_config;
pub(crate) mod visitor_certificates;
