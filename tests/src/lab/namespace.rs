//! One network namespace of Linux: made, wired and configured with iproute2 and nftables, and gone with its handle.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::wait::eventually_blocking;

/// Every namespace is its own network stack: devices, routes, firewall.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    /// Without IPv6, devices have no link-local addresses either, so that nobody finds a way around a NAT.
    pub(super) fn new(name: String, ipv6: bool) -> Self {
        feed(Command::new("ip").args(["netns", "add", &name]), "");
        let made = Self { name };
        made.set("net/ipv6/conf/all/disable_ipv6", if ipv6 { "0" } else { "1" });
        // Nobody else has our addresses; asking would take a second.
        made.set("net/ipv6/conf/default/accept_dad", "0");
        made.ip("link set lo up");
        made
    }

    /// As `ip netns` has it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// `ip` commands, one a line.
    pub(super) fn ip(&self, commands: &str) {
        feed(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), commands);
    }

    /// Commands or tables for `nft`.
    pub(super) fn nft(&self, script: &str) {
        let mut command = Command::new("nft");
        feed(&mut self.wrap(command.args(["-f", "-"])), script);
    }

    /// Writes one file of /proc/sys.
    pub(super) fn set(&self, key: &str, value: &str) {
        let write = format!("echo {value} > /proc/sys/{key}");
        feed(&mut self.wrap(Command::new("sh").args(["-c", &write])), "");
    }

    /// Makes a device here whose cable ends at a port of a bridge elsewhere.
    pub(super) fn plug(&self, device: &str, (there, bridge): (&Self, &str), port: &str) {
        self.ip(&format!("link add {device} type veth peer name {port} netns {there}", there = there.name));
        there.ip(&format!("link set {port} master {bridge} up"));
        self.ip(&format!("link set {device} up"));
        [(self, device), (there, port)].iter().for_each(|(end, device)| end.wait_for_link(device));
    }

    /// The kernel brings a link up in the background, and drops what is sent before.
    fn wait_for_link(&self, device: &str) {
        eventually_blocking(&format!("{device} in {} is up", self.name), || {
            (self.show(device)["operstate"] == "UP").then_some(())
        });
    }

    /// What `ip -j -s link` tells of a device.
    pub(super) fn show(&self, device: &str) -> Value {
        let mut command = Command::new("ip");
        let shown = feed(command.args(["-n", &self.name, "-j", "-s", "link", "show", device]), "");
        let shown: Value = serde_json::from_str(&shown).expect("`ip -j` prints JSON");
        shown[0].clone()
    }

    /// The same command, inside. Keeps its arguments, environment and folder; pipes have to be set afterwards.
    pub(super) fn wrap(&self, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }

    /// Runs on a thread that enters the namespace and then ends. What it opens stays inside.
    #[cfg(target_os = "linux")]
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        use nix::sched::{CloneFlags, setns};
        let enter = || {
            let namespace = std::fs::File::open(format!("/var/run/netns/{}", self.name))?;
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Ok::<_, std::io::Error>(work())
        };
        let ended = std::thread::scope(|scope| scope.spawn(enter).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).expect("a namespace can be entered")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A panic in here would end the process while another one unwinds, and leave the other namespaces.
        let status = Command::new("ip").args(["netns", "delete", &self.name]).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("the namespace {} is left behind", self.name);
        }
    }
}

/// Runs a command on this input, which has to succeed; what it printed.
fn feed(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("iproute2 and nftables are installed");
    // Who ends without reading has said why.
    let _unread = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the command ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} (which needs root) on `{input}`: {err}");
    String::from_utf8(output.stdout).expect("text")
}
