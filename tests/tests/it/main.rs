//! Adit end to end: the two real programs, with real sockets between them. A file for each topic.

mod approval;
mod enrollment;
mod real;
mod framing;
mod hostnames;
mod routing;
mod smoke;
