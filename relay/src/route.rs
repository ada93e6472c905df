//! Which hostname and path leads to which service. Pure: [`exposure`] is what one session serves under one hostname,
//! [`readings`] is what a path may mean, [`table`] is all hostnames of all sessions.

pub(crate) mod exposure;
#[cfg(test)]
mod properties;
pub(crate) mod readings;
pub(crate) mod table;
