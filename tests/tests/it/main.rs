//! Adit end to end: the two real programs, with real sockets between them. A file for each topic.

mod access_log;
mod approval;
mod bodies;
mod broken_origins;
mod commands;
mod configuration;
mod enrollment;
mod forwarding;
mod framing;
mod hostnames;
mod neighbours;
mod origins;
mod real;
mod reload;
mod routing;
mod sessions;
mod smoke;
mod strangers;
mod websocket;
