//! Adit end to end: the two real programs, with real sockets between them. A file for each topic.

mod approval;
mod bodies;
mod broken_origins;
mod configuration;
mod enrollment;
mod forwarding;
mod framing;
mod hostnames;
mod real;
mod routing;
mod sessions;
mod smoke;
mod strangers;
