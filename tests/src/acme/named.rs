//! BIND with one zone that takes updates from who knows a key (RFC 2136, RFC 8945).

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::bed::Process;
use crate::program::free_port_of_both;

/// 32 bytes, as the key is given to both sides.
pub const SECRET: &str = "IZagQDHWLJugHecAb2nxA5MU8FLqSkenWSnxWX5JeKA=";

/// A running server.
#[derive(Debug)]
pub struct Named {
    /// Before its folder: the log is shown when it ends.
    process: Process,
    folder: TempDir,
    address: SocketAddr,
    /// Of the key, which is for `hmac-sha256`.
    pub key_name: &'static str,
}

impl Named {
    /// With a zone, in which all names lead to 127.0.0.1. A name of which there will be a record below, as
    /// `_acme-challenge` is, has to be among `names`: the zone's wildcard is not for it and what lies below (RFC 4592).
    #[must_use]
    pub fn start(zone: &str, names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port_of_both()));
        let named = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).expect("a file can be written");
        };
        named("tsig", SECRET);
        fs::set_permissions(folder.path().join("tsig"), Permissions::from_mode(0o600)).expect("a mode");
        named("zone", &zone_file(zone, names));
        named("named.conf", &configuration(&folder, zone, address.port()));
        let mut command = Command::new("named");
        command.args(["-g", "-n", "1", "-c"]).arg(folder.path().join("named.conf"));
        let process = Process::start(command, folder.path().join("named.log"));
        process.wait_for_log(" running\n");
        Self { process, folder, address, key_name: "adit." }
    }

    /// Where it answers, over UDP and TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key's secret in base64, in a file of mode 0600.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("tsig")
    }

    /// The TXT records that it has for a name now.
    #[must_use]
    pub fn txt(&self, name: &str) -> Vec<String> {
        let mut command = Command::new("dig");
        command.args([
            "@127.0.0.1",
            "-p",
            &self.address.port().to_string(),
            "+short",
            "+norecurse",
            "TXT",
            name,
        ]);
        let output = command.output().expect("dig is installed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "dig: {said}");
        said.lines().map(|line| line.trim_matches('"').to_owned()).collect()
    }

    /// What it has said, of updates as well.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn zone_file(zone: &str, names: &[&str]) -> String {
    let mut text = format!(
        "$ORIGIN {zone}.\n$TTL 1\n@ SOA ns admin 1 60 60 3600 1\n@ NS ns\n@ A 127.0.0.1\n* A 127.0.0.1\n\
         ns A 127.0.0.1\n"
    );
    for name in names {
        text += &format!("{name} A 127.0.0.1\n*.{name} A 127.0.0.1\n");
    }
    text
}

/// All that it writes goes to its folder, whoever runs it.
fn configuration(folder: &TempDir, zone: &str, port: u16) -> String {
    let path = folder.path().display();
    format!(
        "key \"adit.\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         options {{ directory \"{path}\"; managed-keys-directory \"{path}\"; pid-file \"{path}/named.pid\";\n\
         session-keyfile \"{path}/session.key\"; lock-file none; recursion no; dnssec-validation no;\n\
         listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; }};\n\
         controls {{ }};\n\
         zone \"{zone}\" {{ type primary; file \"zone\"; update-policy {{ grant \"adit.\" zonesub ANY; }}; }};\n"
    )
}
