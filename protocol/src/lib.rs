//! What an agent and a relay say to each other, and what the words mean. No sockets, no clock, no global randomness:
//! time, bytes and randomness come in as arguments.
//!
//! The life of a session, in the order of the modules:
//!
//! 1. Both sides agree on a [`version`] by ALPN and keep to the [`limits`].
//! 2. A device has a static [`key`]; it became a peer by approval or with a [`token`].
//! 3. Its connection is proven by a [`handshake`], which drives [`noise`] and travels in [`frame`]s.
//! 4. Over the control stream it says with [`control`] messages which [`hostname`]s and [`path`]s lead to which
//!    services, by the names of [`id`], which header [`field`]s change, what may be [`upgrade`]d to, and its [`hsts`].
//! 5. Every data stream begins with the header of [`stream`].
//! 6. To peers that reach each other's private [`service`]s the relay tells the [`roster`]; between the two of them
//!    [`private`] proves the keys and encrypts end to end, also what is carried without order ([`datagram`]) and what the
//!    two agents [`talk`] about.
//! 7. What ends a session or a stream is told by a code of [`close`].
//!
//! [`framed`] is the one module that touches tokio: it moves frames over any byte stream.

pub mod close;
pub mod control;
pub mod datagram;
pub mod field;
pub mod frame;
pub mod framed;
pub mod handshake;
pub mod hostname;
pub mod hsts;
pub mod id;
pub mod key;
pub mod limits;
pub mod noise;
pub mod path;
pub mod private;
pub mod roster;
pub mod service;
pub mod stream;
pub mod talk;
mod textual;
pub mod token;
pub mod upgrade;
pub mod version;
