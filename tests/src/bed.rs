//! A relay and agents as processes, each with a folder of its own that goes away with them.

mod process;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::binaries::binaries;
use crate::lab::Host;
use crate::wait::eventually_blocking;

pub use self::process::Process;

/// The names that the suite and the demo use. Named, so that the root stays what it is when one is granted.
const INTERNAL_CA: &str = "[internal_ca]\nenabled = true\ndomains = [\"example.com\", \"localhost\"]\n";

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    /// Before its folder: the log is shown when it ends.
    pub process: Process,
    folder: TempDir,
    pub https: SocketAddr,
    pub http: SocketAddr,
    pub fingerprint: String,
    log_filter: String,
    /// Where it runs, unless on this machine's loopback.
    host: Option<Host>,
}

impl Relay {
    /// With an internal CA, on ports of the kernel's choice.
    #[must_use]
    pub fn start() -> Self {
        Self::with("")
    }

    /// The same, with further sections of `relay.toml`.
    #[must_use]
    pub fn with(sections: &str) -> Self {
        Self::configured("127.0.0.1:0", "127.0.0.1:0", INTERNAL_CA, sections)
    }

    /// With an internal CA whose root permits what is granted.
    #[must_use]
    pub fn with_growing_root() -> Self {
        Self::configured("127.0.0.1:0", "127.0.0.1:0", "[internal_ca]\nenabled = true\n", "")
    }

    /// With an internal CA, behind proxies of these networks.
    #[must_use]
    pub fn trusting(network: &str) -> Self {
        let edge = format!("trusted_proxies = [\"{network}\"]\n{INTERNAL_CA}");
        Self::configured("127.0.0.1:0", "127.0.0.1:0", &edge, "")
    }

    /// With an internal CA, and further keys of `[edge]`.
    #[must_use]
    pub fn with_edge(keys: &str) -> Self {
        let edge = format!("{keys}{INTERNAL_CA}");
        Self::configured("127.0.0.1:0", "127.0.0.1:0", &edge, "")
    }

    /// With an internal CA, on a host of a lab, on the ports 80 and 443 of all its addresses.
    #[must_use]
    pub fn in_namespace(host: &Host, sections: &str) -> Self {
        let addresses = ("[::]:80", "[::]:443");
        Self::logging(Some(host.clone()), log_filter(), addresses, INTERNAL_CA, sections)
    }

    /// Without an internal CA.
    #[must_use]
    pub fn without_ca(sections: &str) -> Self {
        Self::configured("127.0.0.1:0", "127.0.0.1:0", "", sections)
    }

    /// The same, with everything in its log that could be there.
    #[must_use]
    pub fn without_ca_that_says_all(sections: &str) -> Self {
        Self::logging(None, "trace".to_owned(), ("127.0.0.1:0", "127.0.0.1:0"), "", sections)
    }

    /// With an internal CA, and with everything in its log that could be there.
    #[must_use]
    pub fn with_everything_said() -> Self {
        Self::logging(None, "trace".to_owned(), ("127.0.0.1:0", "127.0.0.1:0"), INTERNAL_CA, "")
    }

    fn configured(http: &str, https: &str, ca: &str, sections: &str) -> Self {
        Self::logging(None, log_filter(), (http, https), ca, sections)
    }

    fn logging(
        host: Option<Host>,
        log_filter: String,
        (http, https): (&str, &str),
        ca: &str,
        sections: &str,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().display();
        let text = format!(
            "name = \"relay.example.com\"\ndata_dir = \"{path}/data\"\nadmin_socket = \"{path}/data/relay.sock\"\n\
             [edge]\nhttp = \"{http}\"\nhttps = \"{https}\"\n{ca}{sections}"
        );
        fs::write(folder.path().join("relay.toml"), text).expect("a configuration can be written");
        let process = Self::launch(folder.path(), &log_filter, host.as_ref());
        let (https, http, fingerprint) = (unspecified(), unspecified(), String::new());
        let mut relay = Self { folder, process, https, http, fingerprint, log_filter, host };
        relay.learn();
        relay
    }

    fn launch(folder: &Path, log_filter: &str, host: Option<&Host>) -> Process {
        let mut command = Command::new(&binaries().relay);
        command.arg("serve").arg("--config").arg(folder.join("relay.toml")).env("ADIT_LOG", log_filter);
        Process::start(placed(host, command), folder.join("relay.log"))
    }

    fn learn(&mut self) {
        let status = eventually_blocking("the relay answers `relay status`", || {
            assert!(!self.process.has_ended(), "the relay ended: {}", self.process.log());
            let output = self.command(&["status", "--json"]);
            output.status.success().then_some(output.stdout)
        });
        let status: Value = serde_json::from_slice(&status).expect("`relay status --json` prints JSON");
        let address = |key: &str| status[key].as_str().and_then(|text| text.parse().ok());
        self.https = address("https").expect("an https address");
        self.http = address("http").unwrap_or_else(unspecified);
        if let Some(host) = &self.host {
            self.https.set_ip(host.address());
            self.http.set_ip(host.address());
        }
        status["fingerprint"].as_str().unwrap_or_default().clone_into(&mut self.fingerprint);
    }

    /// Starts it again, after [`Process::kill`], on the ports that it had.
    pub fn start_again(&mut self) {
        let file = self.config_file();
        let text = fs::read_to_string(&file).expect("the configuration");
        let text = text
            .replace("https = \"127.0.0.1:0\"", &format!("https = \"{}\"", self.https))
            .replace("http = \"127.0.0.1:0\"", &format!("http = \"{}\"", self.http));
        fs::write(&file, text).expect("the configuration can be written");
        self.process = Self::launch(self.folder.path(), &self.log_filter, self.host.as_ref());
        self.learn();
    }

    /// Runs one `relay` command.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&binaries().relay);
        command.args(arguments).arg("--config").arg(self.config_file()).stdin(Stdio::null());
        command.output().expect("the relay's command runs")
    }

    /// The same, which has to succeed; what it printed.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "relay {arguments:?}: {err}");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// A token for these hostnames.
    #[must_use]
    pub fn token(&self, hostnames: &[&str]) -> String {
        let mut arguments = vec!["token", "create"];
        for hostname in hostnames {
            arguments.extend(["--hostname", hostname]);
        }
        self.ask(&arguments)
    }

    /// Its `relay.toml`.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("relay.toml")
    }

    /// Its data folder.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its own folder, for files that a test needs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The root of its internal CA.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.data_folder().join("ca.pem")
    }
}

fn unspecified() -> SocketAddr {
    ([0, 0, 0, 0], 0).into()
}

/// The same command, on its host.
fn placed(host: Option<&Host>, command: Command) -> Command {
    host.map(|host| host.wrap(&command)).unwrap_or(command)
}

fn log_filter() -> String {
    std::env::var("ADIT_LOG").unwrap_or_else(|_| "info,relay=debug,agent=debug".into())
}

/// A device: an agent's folders, and the agent while it runs.
#[derive(Debug)]
pub struct Agent {
    /// Before its folder: the log is shown when it ends.
    process: Option<Process>,
    folder: TempDir,
    /// Where it runs, unless on this machine's loopback.
    host: Option<Host>,
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

impl Agent {
    /// A device that has never enrolled.
    #[must_use]
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), process: None, host: None }
    }

    /// The same, on a host of a lab, as is every command of it.
    #[must_use]
    pub fn in_namespace(host: &Host) -> Self {
        Self { host: Some(host.clone()), ..Self::new() }
    }

    /// A device that is enrolled with a token for these hostnames, and runs with this `agent.toml`.
    #[must_use]
    pub fn running(relay: &Relay, hostnames: &[&str], config: &str) -> Self {
        let mut agent = Self::new();
        agent.start(relay, hostnames, config);
        agent
    }

    /// Enrolls it with a token for these hostnames, and runs it with this `agent.toml`.
    pub fn start(&mut self, relay: &Relay, hostnames: &[&str], config: &str) {
        self.enroll(relay, &relay.token(hostnames));
        self.write_config(config);
        self.run();
        self.wait_until_up();
    }

    /// `agent` with the folders of this device.
    #[must_use]
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&binaries().agent);
        command.args(arguments).env_remove("ADIT_TOKEN").env("ADIT_LOG", log_filter());
        command.arg("--data-dir").arg(self.data_folder()).arg("--config").arg(self.config_file());
        placed(self.host.as_ref(), command)
    }

    /// Runs one `agent` command to its end.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = self.program(arguments);
        command.env_remove("ADIT_LOG").stdin(Stdio::null()).output().expect("the agent's command runs")
    }

    /// Enrolls with a token, which has to succeed.
    pub fn enroll(&self, relay: &Relay, token: &str) {
        let output = self.try_enroll(relay, token);
        assert!(output.status.success(), "agent enroll: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Enrolls with a token.
    #[must_use]
    pub fn try_enroll(&self, relay: &Relay, token: &str) -> Output {
        let file = self.folder.path().join("token");
        fs::write(&file, token).expect("a token can be written");
        let file = file.display().to_string();
        self.command(&["enroll", "--relay", &relay.https.to_string(), "--token-file", &file])
    }

    /// Writes `agent.toml`.
    pub fn write_config(&self, text: &str) {
        fs::write(self.config_file(), text).expect("a configuration can be written");
    }

    /// Starts `agent run`.
    pub fn run(&mut self) {
        self.launch(&["run"]);
    }

    /// Starts `agent` with a command that stays in the foreground.
    pub fn launch(&mut self, arguments: &[&str]) {
        self.process = Some(Process::start(self.program(arguments), self.folder.path().join("agent.log")));
    }

    /// The running agent.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the agent was started")
    }

    /// Waits until there is a session in which everything has been registered.
    pub fn wait_until_up(&mut self) {
        eventually_blocking("the agent has a session", || {
            let log = self.process().log();
            assert!(!self.process().has_ended(), "the agent ended: {log}");
            self.is_settled().then_some(())
        });
    }

    fn is_settled(&self) -> bool {
        let Some(status) = self.status() else { return false };
        let hostnames = status["hostnames"].as_array();
        status["session"] == "up"
            && hostnames
                .is_some_and(|all| all.iter().all(|one| one["serving"] == true || !one["refused"].is_null()))
    }

    /// `agent status --json`, where an agent runs.
    #[must_use]
    pub fn status(&self) -> Option<Value> {
        serde_json::from_slice(&self.command(&["status", "--json"]).stdout).ok()
    }

    /// Its `agent.toml`.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("agent.toml")
    }

    /// Its data folder.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its own folder, for files that a test needs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
