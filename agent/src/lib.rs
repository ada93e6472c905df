//! Adit's home side. It dials the relay, proves its key, says what it offers, and carries the streams that the relay
//! opens to local services. It never listens on a network and never dials what its own configuration does not name.
//!
//! The life of a session, in the order of the modules:
//!
//! 1. [`config`] says which services there are and what to expose; [`authority`] is how addresses are written.
//! 2. [`enroll`] once made this device a peer; [`identity`] keeps its key and whom it trusts.
//! 3. [`resolve`] finds the relay's addresses, [`dial`] connects to the first that answers ([`certificate`] says why any
//!    certificate will do), and [`session`] proves both keys. Where that fails, its `state` and [`backoff`] say when to
//!    try again.
//! 4. The session tells the relay the [`offer`] in force and hears what became of it.
//! 5. [`dispatch`] takes each stream of the relay to the [`origin`] of the service it names, and [`splice`] moves the
//!    bytes; [`terminate`] ends TLS first, where the relay only forwards it, with certificates that were [`ordered`] and are
//!    [`kept`] in files.
//! 6. Between two peers, one with a service and one that may reach it, [`private`] access is encrypted end to end.
//!    [`local_ca`] signs where that gets a hostname and `https` on this device, [`device`] is what that is called, and [`trust`]
//!    has its programs believe the CA.
//! 7. [`foreign`] tames what the relay says before a person reads it; [`board`] keeps what is known of all this for [`status`].
//!
//! [`agent`](mod@agent) puts it together; [`cli`] is what a person sees, with [`verify`] and [`doctor`] to look at the
//! result from outside.

pub mod agent;
pub mod authority;
pub mod backoff;
pub mod board;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod device;
pub mod dial;
pub mod dispatch;
pub mod doctor;
pub mod enroll;
pub mod foreign;
pub mod identity;
#[cfg(any(test, feature = "inside"))]
#[doc(hidden)]
pub mod inside;
pub mod kept;
pub mod local_ca;
pub mod offer;
pub mod ordered;
pub mod origin;
pub mod private;
pub mod resolve;
pub mod session;
pub mod splice;
pub mod status;
pub mod terminate;
#[cfg(test)]
mod testing;
mod trust;
pub mod verify;
