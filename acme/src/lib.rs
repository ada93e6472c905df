//! Certificates of an ACME CA (RFC 8555) for the hostnames that a program answers for: ordered, kept, renewed in time.
//!
//! The life of a certificate, in the order of the modules:
//!
//! 1. [`settings`] say which CA, for whom, and by which challenges.
//! 2. The [`keeper`] tends each hostname that is wished for: [`schedule`] says when something is due.
//! 3. [`reach`] finds out whether the hostname leads here before a CA is troubled.
//! 4. Over [`ca`], as the [`account`] that there is or is made, an [`order`] goes from step to step; the answers to its
//!    challenges wait in [`challenge`], and the records of DNS-01 are written by whoever implements [`publish`].
//! 5. All that must survive a crash lies in what implements [`keep`] before the next step is taken.
//! 6. What comes out is a [`certificate`] on the [`shelf`], where TLS finds it; what does not is a [`failure`], which says
//!    when it is tried again.

pub mod account;
pub mod ca;
pub mod certificate;
pub mod challenge;
pub mod failure;
pub mod keep;
pub mod keeper;
pub mod order;
pub mod publish;
pub mod reach;
pub mod schedule;
pub mod settings;
pub mod shelf;

mod clock;
mod lock;
