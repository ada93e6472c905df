//! Adit end to end: the two real programs, with real sockets between them. A file for each topic.

mod approval;
mod broken_origins;
mod enrollment;
mod real;
mod bodies;
mod forwarding;
mod framing;
mod hostnames;
mod routing;
mod sessions;
mod smoke;
mod strangers;
