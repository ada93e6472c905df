//! Sessions of agents and the streams inside them.
//!
//! [`listener`] accepts QUIC connections, [`establish`] lets nobody in who has not proven a key, [`enroll`] makes peers,
//! [`session`] and its [`control`] stream are the life
//! of one that was admitted, [`registry`] knows all of them and what they serve, [`pool`] and
//! [`stream`] carry requests, [`private`] streams and [`datagrams`] those of peers to each other, [`crowd`] keeps visitors who do not read from stalling those who do.

pub(crate) mod control;
pub(crate) mod crowd;
pub(crate) mod datagrams;
pub(crate) mod enroll;
pub(crate) mod establish;
pub(crate) mod listener;
pub(crate) mod pool;
pub(crate) mod private;
pub(crate) mod registry;
pub(crate) mod session;
pub(crate) mod stream;
