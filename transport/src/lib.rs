//! How Adit's programs move QUIC over UDP, which is the same at both ends: [`buffers`] of the socket, the [`runtime`]
//! that reads and writes it, the [`settings`] of a connection, the [`urgency`] of what is written to a stream, and
//! [`congestion`], which decides how much is on its way at once and does no I/O.

pub mod buffers;
pub mod congestion;
pub mod runtime;
pub mod settings;
#[cfg(unix)]
mod socket;
pub mod urgency;
