//! `cargo demo`: the main job on a fresh machine. A real relay with its internal CA, a real agent that enrolls with a
//! token, Koda's example configuration, and the four checks of Koda's page. Stays until Ctrl-C; `--once` ends it after
//! the checks, with their verdict as the exit code.

use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};
use tests::bed::{Agent, Relay};
use tests::binaries::{binaries, workspace};
use tests::koda;
use tests::origin::Origin;
use tokio::net::TcpStream;

/// Programs find names below `localhost` at home (RFC 6761, section 6.3), so the URL opens in a browser as it is.
const HOSTNAME: &str = "koda.localhost";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<ExitCode> {
    let once = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--once" => true,
        other => bail!("`cargo demo` takes `--once` or nothing, not {other:?}"),
    };
    eprintln!("building agent and relay (the first time takes some minutes) ...");
    tokio::task::spawn_blocking(binaries).await.context("the build panicked")?;
    let dashboard = Service::find("dashboard", 3000).await;
    let api = Service::find("control-plane", 8090).await;
    let relay = Relay::start();
    eprintln!("relay    `relay serve`: visitors on https {}, plain http {}", relay.https, relay.http);
    let config = koda_config(&relay, dashboard.port, api.port)?;
    let agent = Agent::running(&relay, &[HOSTNAME], &config);
    eprintln!("agent    `agent run`: enrolled with a token, dialled out, serves {HOSTNAME}");
    eprintln!("\n$ agent verify https://{HOSTNAME}/");
    let passed = verify(&relay, &agent)?;
    explain(&relay);
    if once {
        return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    eprintln!("\nCtrl-C ends it.");
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
    Ok(ExitCode::SUCCESS)
}

/// A service at home: the visitor's own where one listens, else a stand-in.
struct Service {
    port: u16,
    _stand_in: Option<Origin>,
}

impl Service {
    async fn find(name: &str, port: u16) -> Self {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            eprintln!("origin   {name}: what listens on 127.0.0.1:{port}");
            return Self { port, _stand_in: None };
        }
        let origin = if name == "dashboard" { koda::dashboard().await } else { koda::control_plane().await };
        eprintln!("origin   {name}: a stand-in on {} (nothing listens on 127.0.0.1:{port})", origin.address);
        Self { port: origin.port(), _stand_in: Some(origin) }
    }
}

/// `deploy/koda-agent.toml`, with the names and ports of this machine.
fn koda_config(relay: &Relay, dashboard: u16, api: u16) -> anyhow::Result<String> {
    let file = workspace().join("deploy/koda-agent.toml");
    let mut text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    for (from, to) in [
        ("relay.example.com", relay.https.to_string()),
        ("koda.example.com", HOSTNAME.to_owned()),
        ("127.0.0.1:3000", format!("127.0.0.1:{dashboard}")),
        ("127.0.0.1:8090", format!("127.0.0.1:{api}")),
    ] {
        ensure!(text.contains(from), "`{from}` is not in {}", file.display());
        text = text.replace(from, &to);
    }
    Ok(text)
}

fn verify(relay: &Relay, agent: &Agent) -> anyhow::Result<bool> {
    let mut command: Command =
        agent.program(&["verify", &format!("https://{HOSTNAME}:{}/", relay.https.port())]);
    command.arg("--ca-file").arg(relay.ca_file());
    command.args(["--connect-to", &relay.https.to_string(), "--http-connect-to", &relay.http.to_string()]);
    Ok(command.status().context("running `agent verify`")?.success())
}

fn explain(relay: &Relay) {
    let url = format!("https://{HOSTNAME}:{}/", relay.https.port());
    let ca = relay.ca_file();
    println!("\n{url}");
    println!("curl --cacert {} {url}", ca.display());
    eprintln!("(a browser warns until it trusts {})", ca.display());
}
