//! What Adit's two processes, the agent and the relay, have in common. Nothing here knows of tunnels or peers.
//!
//! In the order in which a process needs them:
//!
//! 1. [`terminal`] speaks to the person who started it; [`logging`] sets up what it tells while it runs.
//! 2. [`config_file`] and [`document`] read its configuration file and report every mistake in it; [`watch`] tells when
//!    the file changed.
//! 3. [`open_files`] lets it have many connections; [`private_file`] keeps its keys and makes sure that only one process
//!    uses them; [`random`] makes new ones.
//! 4. [`local`] answers the commands that talk to it, over a unix socket.
//! 5. [`shutdown`] ends it.

pub mod config_file;
pub mod document;
pub mod local;
pub mod logging;
pub mod open_files;
pub mod private_file;
pub mod random;
pub mod shutdown;
pub mod terminal;
pub mod watch;
