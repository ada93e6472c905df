//! Adit end to end: the two real programs, with real sockets between them. A file for each topic.

mod approval;
mod access_log;
mod bodies;
mod broken_origins;
mod commands;
mod configuration;
mod enrollment;
mod forwarding;
mod framing;
mod hostnames;
mod real;
mod origins;
mod reload;
mod routing;
mod sessions;
mod smoke;
mod websocket;
mod strangers;
