//! How Adit's programs move QUIC over UDP, which is the same at both ends: [`buffers`] of the socket, the [`runtime`]
//! that reads and writes it, the [`urgency`] of what is written to a stream, and [`congestion`], which decides how much is on
//! its way at once. The last is pure.

pub mod buffers;
pub mod congestion;
pub mod runtime;
#[cfg(unix)]
mod socket;
pub mod urgency;
