//! Where a stack runs: all of it on this machine's loopback, or its two sides in two network namespaces with an
//! emulated link between them. The visitor is always beside the relay.

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// One side of a tunnel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    /// The rented server, and the visitors.
    Relay,
    /// The agent and the origin.
    Home,
}

/// Both sides.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Names of the namespaces of the relay's side and of the home side.
    pub(crate) namespaces: Option<(String, String)>,
    /// How the home side reaches the relay's.
    pub(crate) relay: IpAddr,
}

impl Place {
    /// Everything on loopback.
    pub(crate) fn loopback() -> Self {
        Self { namespaces: None, relay: Ipv4Addr::LOCALHOST.into() }
    }

    /// A command that will run on one side.
    pub(crate) fn command(&self, side: Side, program: impl AsRef<Path>) -> Command {
        let Some((relay, home)) = &self.namespaces else { return Command::new(program.as_ref()) };
        let mut command = Command::new("ip");
        let namespace = match side {
            Side::Relay => relay,
            Side::Home => home,
        };
        command.args(["netns", "exec", namespace]).arg(program.as_ref());
        command
    }

    /// An address on the relay's side that the home side can dial, on a port that is free.
    pub(crate) fn relay_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(self.relay, free_port()?))
    }
}

/// A port that is free at this moment, for TCP and UDP alike.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("asking for a port")?;
        let port = tcp.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free for TCP and UDP")
}

/// Finds a program as a shell would, and where servers are kept.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders =
        env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}
