//! A program that runs beside a test, with its log.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::wait::eventually_blocking;

/// A program that ends with its handle.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let out = File::options().create(true).append(true).open(&log).expect("a log can be written");
        let err = out.try_clone().expect("a log can be shared");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("the program starts");
        Self { child, log }
    }

    /// Everything it has said, of earlier runs as well.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its id, for /proc and signals.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _already_dead = self.child.kill();
        let _status = self.child.wait();
    }

    /// Sends a signal by name: `TERM`, `HUP`, `STOP`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} {id}");
    }

    /// Waits for its end and tells the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        eventually_blocking("the process ends", || self.child.try_wait().ok().flatten()).code()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().ok().flatten().is_some()
    }

    /// Waits until its log holds a text.
    pub fn wait_for_log(&self, text: &str) {
        eventually_blocking(&format!("`{text}` in {}", self.log.display()), || {
            self.log().contains(text).then_some(())
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}
