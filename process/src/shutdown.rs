//! Ends the process when somebody asks: orderly at the first SIGTERM or Ctrl-C, at once at the second.

use std::io;

use tokio_util::sync::CancellationToken;

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<T> {
    /// By itself, or because it was told to stop and did.
    Finished(T),
    /// It was dropped at the second signal: main should return at once.
    Forced,
}

/// Runs `work` with a token that is cancelled at the first signal, and drops it at the second. Needs a tokio runtime.
///
/// # Errors
///
/// Where the operating system refuses to tell of signals; the work was not begun then.
pub async fn run<F: Future>(work: impl FnOnce(CancellationToken) -> F) -> io::Result<Ended<F::Output>> {
    run_until(Signals::listen()?, work).await
}

/// The same for a command that belongs to a terminal, and ends with it.
///
/// # Errors
///
/// As there.
pub async fn run_in_terminal<F: Future>(
    work: impl FnOnce(CancellationToken) -> F,
) -> io::Result<Ended<F::Output>> {
    run_until(Signals::listen()?.and_hangup()?, work).await
}

async fn run_until<F: Future>(
    mut signals: Signals,
    work: impl FnOnce(CancellationToken) -> F,
) -> io::Result<Ended<F::Output>> {
    let token = CancellationToken::new();
    let stop = token.clone();
    let told_twice = async move {
        let signal = signals.next().await;
        tracing::info!(signal, "stopping, a second signal ends it at once");
        stop.cancel();
        signals.next().await;
    };
    Ok(tokio::select! {
        // Work that is done when the second signal comes has finished.
        biased;
        output = work(token) => Ended::Finished(output),
        () = told_twice => Ended::Forced,
    })
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())?, hangup: None })
    }

    fn and_hangup(self) -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { hangup: Some(signal(SignalKind::hangup())?), ..self })
    }

    async fn next(&mut self) -> &'static str {
        let Self { terminate, interrupt, hangup } = self;
        let hangup = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(()) = hangup => "SIGHUP",
            Some(()) = terminate.recv() => "SIGTERM",
            Some(()) = interrupt.recv() => "SIGINT",
            else => std::future::pending().await,
        }
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
    close: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_c, ctrl_shutdown};
        Ok(Self { interrupt: ctrl_c()?, close: ctrl_shutdown()? })
    }

    /// There is none here.
    fn and_hangup(self) -> io::Result<Self> {
        Ok(self)
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            Some(()) = self.interrupt.recv() => "Ctrl-C",
            Some(()) = self.close.recv() => "shutdown",
            else => std::future::pending().await,
        }
    }
}
