//! Real programs behind the tunnel: Node and nginx, as processes that end with their handles.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::binaries::workspace;
use crate::wait::eventually_blocking;

/// The folder with the Node programs.
#[must_use]
pub fn real_folder() -> PathBuf {
    workspace().join("tests/real")
}

/// A program that serves on a port of 127.0.0.1.
#[derive(Debug)]
pub struct Program {
    child: Child,
    pub port: u16,
    _folder: Option<TempDir>,
}

impl Program {
    /// A Node program that prints `{"port": N}` when it listens.
    #[must_use]
    pub fn node(script: &str) -> Self {
        let mut command = Command::new("node");
        command.arg(script).current_dir(real_folder());
        Self::announced(command)
    }

    /// Any program that does so.
    #[must_use]
    pub fn announced(mut command: Command) -> Self {
        let name = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{name}: {error}; `.ci/run` installs it"));
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line of text");
        let said: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{name}: {error}: {line:?}"));
        let port = said["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
        Self { child, port, _folder: None }
    }

    /// The built Next.js server.
    #[must_use]
    pub fn next() -> Self {
        let port = free_port();
        let server = real_folder().join("next/.next/standalone/next/server.js");
        assert!(
            server.exists(),
            "{} is missing: run `npm ci && npm run build:next` in tests/real",
            server.display()
        );
        let mut command = Command::new("node");
        command.arg(server).env("PORT", port.to_string()).env("HOSTNAME", "127.0.0.1");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("node is installed");
        Self { child, port, _folder: None }.listening()
    }

    /// nginx with files of a folder; `name` holds `bytes`.
    #[must_use]
    pub fn nginx(name: &str, bytes: &[u8]) -> Self {
        Self::nginx_server("listen 127.0.0.1:{port}; root {folder};", &[(name, bytes)])
    }

    /// nginx with a `server` block, in which `{port}` and `{folder}` are its own, and files of that folder.
    #[must_use]
    pub fn nginx_server(server: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, port) = (folder.path().display(), free_port());
        fs::create_dir(folder.path().join("www")).expect("a folder can be made");
        for (name, bytes) in files {
            fs::write(folder.path().join("www").join(name), bytes).expect("a file can be written");
        }
        let server = server.replace("{port}", &port.to_string()).replace("{folder}", &format!("{path}/www"));
        let config = format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {path}/nginx.pid;\nerror_log {path}/error.log;\n\
             events {{}}\nhttp {{ access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;\n\
             server {{ {server} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).expect("a configuration can be written");
        let log = File::create(folder.path().join("out.log")).expect("a log can be written");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).stdin(Stdio::null()).stderr(log);
        let child = command.spawn().expect("nginx is installed");
        Self { child, port, _folder: Some(folder) }.listening()
    }

    fn listening(self) -> Self {
        let address = ("127.0.0.1", self.port);
        eventually_blocking("the program listens", || std::net::TcpStream::connect(address).ok());
        self
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // nginx' worker ends with its master only where the master is asked.
        let _gone = Command::new("kill").arg(self.child.id().to_string()).status();
        let _status = self.child.wait();
    }
}

/// Runs a Node program to its end.
#[must_use]
pub fn run_node(arguments: &[&str]) -> Output {
    let mut command = Command::new("node");
    command.args(arguments).current_dir(real_folder()).stdin(Stdio::null());
    command.output().expect("node is installed")
}

/// What such a program printed as JSON.
#[must_use]
pub fn said(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(text.trim()).unwrap_or_else(|problem| panic!("{problem}: {text}{error}"))
}

/// A path as text.
#[must_use]
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

/// For programs that cannot tell which port they were given.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The same for programs that take it for UDP as well.
pub(crate) fn free_port_of_both() -> u16 {
    eventually_blocking("a port that is free for TCP and UDP", || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::net::UdpSocket::bind(address).is_ok().then_some(address.port())
    })
}
