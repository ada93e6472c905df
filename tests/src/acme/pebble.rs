//! Pebble, Let's Encrypt's authority for tests, as a process with a folder of its own. It forgets everything with its
//! end, and makes a new root at every start.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::management;
use crate::bed::{Process, Relay};
use crate::certificate::Authority;
use crate::program::free_port;
use crate::wait::eventually_blocking;

/// Where it looks for the answers to its challenges.
#[derive(Debug, Clone, Copy)]
pub struct Validation {
    pub http: u16,
    pub tls: u16,
    pub dns: SocketAddr,
}

impl Validation {
    /// At a relay.
    #[must_use]
    pub fn of(relay: &Relay, dns: SocketAddr) -> Self {
        Self { http: relay.http.port(), tls: relay.https.port(), dns }
    }
}

/// What can be chosen before it starts.
#[derive(Debug, Default)]
pub struct Builder {
    keys: Map<String, Value>,
    validity: Option<Duration>,
}

impl Builder {
    /// Takes accounts only with one of these keys: its id, and an HMAC key in base64url.
    #[must_use]
    pub fn external_account(mut self, id: &str, key: &str) -> Self {
        let _before = self.keys.insert(id.to_owned(), key.into());
        self
    }

    /// How long its certificates last; five years otherwise.
    #[must_use]
    pub fn validity(mut self, validity: Duration) -> Self {
        self.validity = Some(validity);
        self
    }

    /// Starts it, and waits until it listens.
    #[must_use]
    pub fn start(self, validation: &Validation, env: &[(&str, &str)]) -> Pebble {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new();
        authority.write_root(&folder.path().join("ca.pem"));
        authority.write(folder.path(), "pebble", &["127.0.0.1", "localhost"]);
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (address, management) = (local(free_port()), local(free_port()));
        let mut config = json!({
            "listenAddress": address,
            "managementListenAddress": management,
            "certificate": folder.path().join("pebble.pem"),
            "privateKey": folder.path().join("pebble.key"),
            "httpPort": validation.http,
            "tlsPort": validation.tls,
            "externalAccountBindingRequired": !self.keys.is_empty(),
            "externalAccountMACKeys": self.keys,
        });
        if let Some(validity) = self.validity {
            config["certificateValidityPeriod"] = validity.as_secs().into();
        }
        let file = folder.path().join("pebble.json");
        fs::write(file, json!({ "pebble": config }).to_string()).expect("a configuration can be written");
        let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let process = launch(&folder, validation.dns, &env);
        let pebble = Pebble { process, folder, address, management, dns: validation.dns, env };
        pebble.wait_until_it_listens();
        pebble
    }
}

/// A running authority.
#[derive(Debug)]
pub struct Pebble {
    /// Before its folder: the log is shown when it ends.
    process: Process,
    folder: TempDir,
    pub address: SocketAddr,
    management: SocketAddr,
    dns: SocketAddr,
    env: Vec<(String, String)>,
}

impl Pebble {
    /// One that takes everybody.
    #[must_use]
    pub fn start(validation: &Validation, env: &[(&str, &str)]) -> Self {
        Self::builder().start(validation, env)
    }

    /// One of which more is chosen.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where an ACME client begins.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// The root to trust when talking to it.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The root of the certificates that it issues.
    #[must_use]
    pub fn root(&self) -> String {
        management::get(self.management, &self.ca_file(), "/roots/0").expect("its root")
    }

    /// The same in a file, for visitors.
    #[must_use]
    pub fn root_file(&self) -> PathBuf {
        self.folder.path().join("issuer.pem")
    }

    /// Everything it has said.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until its log holds a text.
    pub fn wait_for_log(&self, text: &str) {
        self.process.wait_for_log(text);
    }

    /// Ends it and starts it again at the same address: accounts and orders are gone, the root is another.
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = launch(&self.folder, self.dns, &self.env);
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&self) {
        let (ca, root) = (self.ca_file(), || management::get(self.management, &self.ca_file(), "/roots/0"));
        eventually_blocking("pebble listens", || management::get(self.address, &ca, "/dir").ok());
        fs::write(self.root_file(), eventually_blocking("pebble tells its root", || root().ok()))
            .expect("a root can be written");
    }
}

/// Without the waits and surprises that it has by default; `env` says otherwise.
fn launch(folder: &TempDir, dns: SocketAddr, env: &[(String, String)]) -> Process {
    let mut command = Command::new("pebble");
    command.arg("-config").arg(folder.path().join("pebble.json")).args(["-dnsserver", &dns.to_string()]);
    command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0").env("PEBBLE_AUTHZREUSE", "0");
    for (name, value) in env {
        command.env(name, value);
    }
    Process::start(command, folder.path().join("pebble.log"))
}
