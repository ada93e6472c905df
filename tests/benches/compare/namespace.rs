//! Two network namespaces, the relay's side and the home side, with an emulated link between them. Their names hold this
//! process's id, and they go away with their handle.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, ensure};
use tests::link::{Counts, Direction, End, Link};

use crate::place::Place;

/// Both namespaces and what lies between them.
#[derive(Debug)]
pub(crate) struct Terrain {
    /// Before the namespaces: its devices are in them.
    link: Link,
    relay: Namespace,
    home: Namespace,
}

const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HOME: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

impl Terrain {
    /// Joins two new namespaces. Their TCP uses BBR.
    pub(crate) fn new(up: Direction, down: Direction) -> anyhow::Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "emulated links need root: namespaces and TUN devices are made"
        );
        let (relay, home) = (Namespace::new("relay")?, Namespace::new("home")?);
        let end = |namespace: &Namespace, address| End { namespace: namespace.name.clone(), address };
        let link =
            Link::start([&end(&home, HOME), &end(&relay, RELAY)], up, down).context("making the link")?;
        Ok(Self { link, relay, home })
    }

    /// What stacks have to know of it.
    pub(crate) fn place(&self) -> Place {
        let namespaces = (self.relay.name.clone(), self.home.name.clone());
        Place { namespaces: Some(namespaces), relay: RELAY.into() }
    }

    /// What the link has seen: upwards (from home to the relay), and downwards.
    pub(crate) fn counts(&self) -> [Counts; 2] {
        self.link.counts()
    }
}

/// A namespace that goes away with its handle.
#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Namespace {
    fn new(side: &str) -> anyhow::Result<Self> {
        let name = format!("adit-{}-{side}", std::process::id());
        ip(&["netns", "add", &name])?;
        let made = Self { name };
        ip(&["-n", &made.name, "link", "set", "lo", "up"])?;
        let bbr = "echo bbr > /proc/sys/net/ipv4/tcp_congestion_control";
        ip(&["netns", "exec", &made.name, "sh", "-c", bbr])
            .context("the kernel has no BBR (modprobe tcp_bbr)")?;
        Ok(made)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let status =
        Command::new("ip").args(arguments).status().context("running `ip` (apt-get install iproute2)")?;
    ensure!(status.success(), "ip {}: {status}", arguments.join(" "));
    Ok(())
}
