//! Caddy alone.

use crate::daemon::Daemon;
use crate::ground::{Ground, HOSTNAME};
use crate::place::Side;

pub(crate) fn start(ground: &Ground, https: u16) -> anyhow::Result<Vec<Daemon>> {
    let folder = ground.folder.display();
    // It keeps 32 idle connections to an origin unless told otherwise, and we come with more visitors.
    let config = format!(
        "{{\n admin off\n auto_https off\n persist_config off\n}}\n\
         https://{HOSTNAME}:{https} {{\n bind 127.0.0.1\n tls {certificate} {key}\n\
         log {{\n  output file {folder}/access.log {{\n   roll_disabled\n  }}\n }}\n\
         reverse_proxy {origin} {{\n  transport http {{\n   keepalive_idle_conns_per_host 256\n  }}\n }}\n}}\n",
        certificate = ground.certificate.display(),
        key = ground.key.display(),
        origin = ground.origin,
    );
    let file = ground.write("Caddyfile", &config)?;
    let mut command = ground.place.command(Side::Relay, "caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command.env("HOME", &ground.folder).env("XDG_DATA_HOME", &ground.folder);
    Ok(vec![Daemon::start("caddy", command, ground.log("caddy"))?])
}
