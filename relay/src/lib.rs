//! Adit's public side. The life of a request, in the order of the modules:
//!
//! 1. [`config`] says which addresses and certificates there are.
//! 2. [`edge`] accepts a visitor and finishes TLS.
//! 3. [`ingress`] reads a request, which [`gate`] and [`throttle`] may find to be one too many, and asks [`route`] which service its path leads to and [`policy`] for a permit.
//! 4. [`tunnel`] takes the permit and carries the request to the agent over a stream of its session.
//!    Peers that the [`roster`] brings together are led to each other there as well.
//! 5. [`enrollment`] decides who may have a session, and remembers it in the [`store`].
//! 6. [`certificates`] are ordered for what peers serve, with records in the [`zone`] where that is wanted.
//! 7. [`relay`] starts and stops all of it; [`admin`] answers the commands of [`cli`] while it runs.
//!
//! All of them count in [`metrics`], which [`metrics_endpoint`] shows.

mod admin;
mod certificates;
pub mod cli;
mod config;
mod edge;
mod enrollment;
mod gate;
mod ingress;
#[cfg(any(test, feature = "inside"))]
#[doc(hidden)]
pub mod inside;
mod lock;
mod metrics;
mod metrics_endpoint;
mod policy;
mod relay;
mod roster;
mod route;
mod store;
mod throttle;
mod tunnel;
mod zone;

/// This program's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
