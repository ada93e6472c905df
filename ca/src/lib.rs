//! A certificate authority of one's own: the relay's, for hostnames that have no other certificate, and the one of an
//! operator's device, for services that are reached there under `https`. It is good for its owner's names alone.
//!
//! 1. The [`root`] lies in two files, and is made anew for other names; the [`subtrees`] of the DNS that it permits are a
//!    critical constraint in its certificate.
//! 2. It signs one short-lived [`leaf`] for each name that is served.
//! 3. What can fail is an [`error::CaError`].
//!
//! Who grows the root and when, and who keeps the leafs, is for the two programs to say.

pub mod error;
pub mod leaf;
pub mod root;
pub mod subtrees;
#[cfg(test)]
mod tests;

use time::Duration;

/// Clocks differ.
const BACKDATE: Duration = Duration::hours(1);
