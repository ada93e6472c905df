//! What a relay needs around it to get certificates (ACME, RFC 8555), as real programs on ports of this machine:
//!
//! - [`pebble`]: a certificate authority,
//! - [`middle`]: a proxy in front of it that records, holds and spoils what passes, and knows renewal windows and profiles,
//! - [`dns`]: a DNS server that says that every name leads here, unless a test says otherwise,
//! - [`named`]: BIND with a zone that takes signed updates,
//! - [`leaf`]: what a test reads from the certificate that came of it.
//!
//! The relay comes first: the authority has to know its ports. `.ci/run` installs the programs.

pub mod dns;
pub mod leaf;
mod management;
pub mod middle;
pub mod named;
pub mod pebble;
