//! Private access: services of one peer, reached by another, encrypted between the two.
//!
//! An [`operator`] knows from the relay what it may reach, and its [`doors`] (a [`socks`] proxy among them) lead there. A
//! [`host`] lets in who may come, by [`peers`]: the relay's word, the key that was first seen ([`pins`]), its own list.
//! Both give the [`proof`] of their keys at the beginning of every [`stream`]; what follows is in records ([`seal`]) or, for
//! a [`flow`] of datagrams, each by itself. The two agents [`talk`] about what is where, and whether they can meet in a
//! [`direct`] connection, which spares the relay. A [`survey`] asks all peers how they are reached, and people compare
//! [`words`] to know that nobody is in between.

pub mod direct;
pub mod doors;
pub mod flow;
pub mod host;
pub mod operator;
pub mod peers;
pub mod pins;
pub(crate) mod proof;
pub(crate) mod seal;
pub mod socks;
pub(crate) mod stream;
pub mod survey;
pub mod talk;
pub mod words;
