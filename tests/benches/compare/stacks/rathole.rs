//! nginx in front of rathole, whose tunnel is plain TCP or Noise over TCP.

use std::process::Command;

use anyhow::Context;

use crate::daemon::Daemon;
use crate::ground::Ground;
use crate::place::{Side, free_port};
use crate::stacks::nginx;

pub(crate) fn start_plain(ground: &Ground, https: u16) -> anyhow::Result<Vec<Daemon>> {
    start(ground, https, "type = \"tcp\"", "type = \"tcp\"")
}

pub(crate) fn start_noise(ground: &Ground, https: u16) -> anyhow::Result<Vec<Daemon>> {
    let output = Command::new("rathole").arg("--genkey").output().context("running `rathole --genkey`")?;
    let text = String::from_utf8(output.stdout)?;
    let after = |title: &str| {
        let mut lines = text.lines().skip_while(|line| !line.starts_with(title));
        lines.nth(1).map(str::trim).with_context(|| format!("no `{title}` in: {text}"))
    };
    let [server, client] =
        [("local_private_key", "Private Key"), ("remote_public_key", "Public Key")].map(|(name, title)| {
            after(title).map(|key| format!("type = \"noise\"\n[SIDE.transport.noise]\n{name} = \"{key}\""))
        });
    start(ground, https, &server?, &client?)
}

fn start(ground: &Ground, https: u16, server: &str, client: &str) -> anyhow::Result<Vec<Daemon>> {
    let tunnel = ground.place.relay_address()?;
    let visible = ([127, 0, 0, 1], free_port()?).into();
    let server = format!(
        "[server]\nbind_addr = \"{tunnel}\"\ndefault_token = \"bench\"\n[server.transport]\n{}\n\
         [server.services.web]\nbind_addr = \"{visible}\"\n",
        server.replace("SIDE", "server")
    );
    let client = format!(
        "[client]\nremote_addr = \"{tunnel}\"\ndefault_token = \"bench\"\n[client.transport]\n{}\n\
         [client.services.web]\nlocal_addr = \"{}\"\n",
        client.replace("SIDE", "client"),
        ground.origin
    );
    let half = |side, flag: &str, text: &str| {
        let mut command = ground.place.command(side, "rathole");
        command.arg(flag).arg(ground.write(&format!("rathole{flag}.toml"), text)?);
        Daemon::start(&format!("rathole {flag}"), command, ground.log(&format!("rathole{flag}")))
    };
    Ok(vec![
        half(Side::Relay, "--server", &server)?,
        half(Side::Home, "--client", &client)?,
        nginx::front(ground, https, visible)?,
    ])
}
