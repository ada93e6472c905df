//! pebble-challtestsrv as a DNS server: every name leads to 127.0.0.1 until a test says otherwise. It knows addresses,
//! CNAME, CAA and TXT, and answers `NOTIMP` to the rest (SOA, NS): where zones matter there is [`super::named`].

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::management;
use crate::bed::Process;
use crate::program::{free_port, free_port_of_both};
use crate::wait::eventually_blocking;

/// A running server.
#[derive(Debug)]
pub struct ChallengeDns {
    /// Before its folder: the log is shown when it ends.
    _process: Process,
    _folder: TempDir,
    address: SocketAddr,
    management: SocketAddr,
}

impl ChallengeDns {
    /// On a port that is free, for UDP and TCP.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (address, management) = (local(free_port_of_both()), local(free_port()));
        let mut command = Command::new("pebble-challtestsrv");
        command.args(["-dns01", &address.to_string(), "-management", &management.to_string()]);
        command.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        let process = Process::start(command, folder.path().join("dns.log"));
        for address in [address, management] {
            eventually_blocking("pebble-challtestsrv listens", || TcpStream::connect(address).ok());
        }
        Self { _process: process, _folder: folder, address, management }
    }

    /// Where it answers, over UDP and TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A name leads to these addresses from now on; with none it is as all others.
    pub fn set_a(&self, host: &str, addresses: &[Ipv4Addr]) {
        self.manage("/clear-a", &json!({ "host": host }));
        if !addresses.is_empty() {
            self.manage("/add-a", &json!({ "host": host, "addresses": addresses }));
        }
    }

    /// Every question for a name ends in `SERVFAIL` from now on.
    pub fn fail(&self, host: &str) {
        self.manage("/set-servfail", &json!({ "host": host }));
    }

    fn manage(&self, path: &str, body: &Value) {
        management::post(self.management, path, body);
    }
}
