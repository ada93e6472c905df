//! The bed that end-to-end tests and the demo lie in: the two real binaries as processes, visitors that speak to them
//! over sockets, and origins of every kind.

pub mod acme;
pub mod bed;
pub mod binaries;
pub mod certificate;
pub mod deploy;
pub mod foreign;
pub mod h2_raw;
pub mod h3_visitor;
pub mod held;
pub mod hostile;
pub mod koda;
pub mod lab;
#[cfg(target_os = "linux")]
pub mod link;
pub mod operator;
pub mod origin;
pub mod program;
pub mod raw;
pub mod tape;
pub mod tls;
pub mod tls_origin;
pub mod visitor;
pub mod wait;
