//! Adit: the relay, and an agent that enrolled with a token.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::daemon::Daemon;
use crate::ground::{Ground, HOSTNAME, program};
use crate::place::Side;

/// Names a folder with the `agent` and `relay` to measure; they are built where it is not set.
const BINARIES: &str = "ADIT_BENCH_BINARIES";
/// Names a folder with another `agent` and `relay`, which become a stack of their own.
pub(crate) const BASELINE_BINARIES: &str = "ADIT_BENCH_BASELINE";

/// What the programs log: each request, as they come, and no more than a running service would.
const LOG: &str = "info";

pub(crate) fn start(ground: &Ground, https: u16) -> anyhow::Result<Vec<Daemon>> {
    start_from(BINARIES, ground, https)
}

pub(crate) fn start_baseline(ground: &Ground, https: u16) -> anyhow::Result<Vec<Daemon>> {
    start_from(BASELINE_BINARIES, ground, https)
}

fn start_from(binaries: &str, ground: &Ground, https: u16) -> anyhow::Result<Vec<Daemon>> {
    let (relay, agent) = (program("relay", binaries), program("agent", binaries));
    let mut running = vec![start_relay(&relay, ground, https)?];
    let folder = ground.folder.join("agent");
    let device = Device { agent: &agent, relay: &relay, folder: &folder, ground, https };
    running.push(device.enroll_and_run(HOSTNAME)?);
    Ok(running)
}

/// Agents that only are there. Which version they are does not matter to the relay's memory.
pub(crate) fn more_agents(ground: &Ground, https: u16, count: usize) -> anyhow::Result<Vec<Daemon>> {
    let (relay, agent) = (program("relay", BINARIES), program("agent", BINARIES));
    let start = |number| {
        let folder = ground.folder.join(format!("agent-{number}"));
        let device = Device { agent: &agent, relay: &relay, folder: &folder, ground, https };
        device.enroll_and_run(&format!("{number}.{HOSTNAME}"))
    };
    (0..count).map(start).collect()
}

fn start_relay(relay: &Path, ground: &Ground, https: u16) -> anyhow::Result<Daemon> {
    let folder = ground.folder.display();
    let config = format!(
        "name = \"relay.example.com\"\ndata_dir = \"{folder}/data\"\nadmin_socket = \"{folder}/data/relay.sock\"\n\
         [edge]\nhttp = \"off\"\nhttps = \"0.0.0.0:{https}\"\n\
         [[certificate]]\ncert = \"{}\"\nkey = \"{}\"\n",
        ground.certificate.display(),
        ground.key.display(),
    );
    let file = ground.write("relay.toml", &config)?;
    let mut command = ground.place.command(Side::Relay, relay);
    command.args(["serve", "--config"]).arg(&file).env("ADIT_LOG", LOG);
    let mut daemon = Daemon::start("relay", command, ground.log("relay"))?;
    daemon.wait_until(|| succeeds(Command::new(relay).args(["status", "--config"]).arg(&file)))?;
    Ok(daemon)
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// An agent with a folder of its own.
struct Device<'a> {
    agent: &'a Path,
    relay: &'a Path,
    folder: &'a Path,
    ground: &'a Ground,
    https: u16,
}

impl Device<'_> {
    fn enroll_and_run(&self, hostname: &str) -> anyhow::Result<Daemon> {
        std::fs::create_dir_all(self.folder)?;
        let config = self.folder.join("agent.toml");
        std::fs::write(&config, agent_toml(hostname, self.ground))?;
        self.enroll(&config, hostname)?;
        let mut command = self.ground.place.command(Side::Home, self.agent);
        self.with_folders(command.arg("run"), &config);
        let mut daemon = Daemon::start("agent", command, self.folder.join("agent.log"))?;
        daemon.wait_until(|| {
            let mut status = Command::new(self.agent);
            succeeds(self.with_folders(status.arg("status"), &config))
        })?;
        Ok(daemon)
    }

    fn enroll(&self, config: &Path, hostname: &str) -> anyhow::Result<()> {
        let mut command = Command::new(self.relay);
        let relay_toml = self.ground.folder.join("relay.toml");
        command.args(["token", "create", "--hostname", hostname, "--config"]).arg(relay_toml);
        let token = command.output().context("running `relay token create`")?;
        ensure!(token.status.success(), "relay token create: {}", String::from_utf8_lossy(&token.stderr));
        let file = self.folder.join("token");
        std::fs::write(&file, &token.stdout)?;
        let mut command = self.ground.place.command(Side::Home, self.agent);
        let relay = format!("{}:{}", self.ground.place.relay, self.https);
        command.args(["enroll", "--relay", &relay, "--token-file"]).arg(&file);
        let output = self.with_folders(&mut command, config).output().context("running `agent enroll`")?;
        ensure!(output.status.success(), "agent enroll: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn with_folders<'c>(&self, command: &'c mut Command, config: &Path) -> &'c mut Command {
        command
            .arg("--data-dir")
            .arg(self.folder.join("data"))
            .arg("--config")
            .arg(config)
            .env("ADIT_LOG", LOG)
    }
}

fn agent_toml(hostname: &str, ground: &Ground) -> String {
    format!(
        "[service.web]\norigin = \"http://{}\"\n[[expose]]\nhostname = \"{hostname}\"\n\
         routes = [{{ path = \"/*\", service = \"web\" }}]\n",
        ground.origin
    )
}
