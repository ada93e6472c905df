//! The `agent` binary: sets up what belongs to the whole process and hands over to [`agent::cli`].

use std::process::ExitCode;

use agent::cli::{self, Parsed};
use anyhow::Context as _;
use process::terminal;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            terminal::stderr_line(terminal::report(error.as_ref(), None));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    // Refused only where a provider is there already, and there is none other in this program.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let command = match cli::parse() {
        Parsed::Command(command) => command,
        Parsed::Answered(code) => return Ok(code),
    };
    command.hide_token().context("cannot hide the token from the list of processes")?;
    // One thread: carrying bytes costs a quarter less than on a work-stealing runtime.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(command.run());
    // A lookup that hangs in the system's resolver must not hold up the end.
    runtime.shutdown_background();
    Ok(code)
}
