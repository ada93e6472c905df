//! `cargo bench -p tests --bench compare`: Adit beside others that do its job, on one machine in one run, rounds
//! interleaved, as tables. `README.md` in the folder above says what is measured, how, and what is fair.

mod client;
mod compare;
mod daemon;
mod ground;
mod held_link;
mod links;
mod load;
mod measure;
mod namespace;
mod origin;
mod place;
mod stack;
mod stacks;
mod table;
mod usage;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::held_link::HeldLink;

/// Adit beside others that do its job.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    choice: Choice,
    #[command(subcommand)]
    command: Option<Task>,
}

/// What to run, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// Only these measurements (several: separated by commas)
    #[arg(long, value_name = "NAME", value_delimiter = ',', global = true)]
    only: Vec<String>,
    /// Only these stacks
    #[arg(long, value_name = "NAME", value_delimiter = ',', global = true)]
    stack: Vec<String>,
    /// Samples of each stack, medians of which are printed (default: 3, over links 1)
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// How long one sample lasts, where it is a matter of time (default: 5, over links 10)
    #[arg(long, global = true)]
    seconds: Option<u64>,
    /// JSON in place of tables
    #[arg(long, global = true)]
    json: bool,
    /// What cargo adds
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Tunnels over emulated links; needs root
    Links,
    /// Holds one emulated link between two namespaces for other programs, until Ctrl-C; needs root
    Link(HeldLink),
    /// Prints the names of measurements and stacks
    List,
    /// The origin's own half, started by the benchmark itself
    #[command(hide = true)]
    Origin { address: SocketAddr },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What runs is given up in the middle and takes its programs with it.
    let ended = tokio::select! {
        ended = run(arguments) => ended,
        signal = any_signal() => signal.and_then(|name| Err(anyhow::anyhow!("ended by {name}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Thousands of sockets are open at once, here and in the programs started from here.
    rlimit::increase_nofile_limit(65_536).context("raising the number of open files")?;
    match arguments.command {
        None => compare::run(&arguments.choice).await,
        Some(Task::Links) => links::run(&arguments.choice).await,
        Some(Task::Link(link)) => link.hold().await,
        Some(Task::List) => {
            compare::list();
            Ok(())
        }
        Some(Task::Origin { address }) => origin::serve(address).await,
    }
}

async fn any_signal() -> anyhow::Result<&'static str> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminated.recv() => "SIGTERM",
        _ = interrupted.recv() => "SIGINT",
    })
}
