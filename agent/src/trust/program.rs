//! Runs the programs that change stores, and says what they said.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Output, Stdio};

use super::StoreError;

/// A program of the system's, and what to do where it is missing or fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) missing: &'static str,
    pub(super) failed: &'static str,
}

impl Program {
    /// Runs it to its end; what it printed, where it succeeded.
    pub(super) fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Vec<u8>, StoreError> {
        let output = self.output(arguments)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let words = arguments.iter().map(|argument| argument.as_ref().to_string_lossy());
        let words: Vec<_> = std::iter::once(self.name.into()).chain(words).collect();
        Err(StoreError::Failed { command: words.join(" "), said: said(&output), hint: self.failed })
    }

    /// What it printed, however it ended.
    pub(super) fn output<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Output, StoreError> {
        let mut command = Command::new(self.name);
        let output = command.args(arguments).stdin(Stdio::null()).output();
        output.map_err(|source| {
            let program = self.name;
            if source.kind() == io::ErrorKind::NotFound {
                return StoreError::NoProgram { program, hint: self.missing };
            }
            StoreError::Start { program, source }
        })
    }
}

/// The last it said: what went wrong stands there, and some programs explain their options before.
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
    };
    text(&output.stderr).or_else(|| text(&output.stdout)).unwrap_or_else(|| output.status.to_string())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    const SH: Program = Program { name: "sh", missing: "install one", failed: "look" };

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = SH.run(&["-c", "echo usage; echo first >&2; echo broken >&2; exit 3"]).unwrap_err();
        assert!(error.to_string().ends_with("failed: broken"), "{error}");
        assert_eq!(error.hint().as_deref(), Some("look"));
        let silent = SH.run(&["-c", "exit 3"]).unwrap_err();
        assert!(silent.to_string().contains("3"), "{silent}");
        assert_eq!(SH.run(&["-c", "echo done"]).unwrap(), b"done\n");
    }

    #[test]
    fn a_program_that_is_missing_says_how_to_get_it() {
        let missing = Program { name: "adit-no-such-program", ..SH };
        let error = missing.run(&["-x"]).unwrap_err();
        assert!(matches!(error, StoreError::NoProgram { .. }), "{error}");
        assert_eq!(error.hint().as_deref(), Some("install one"));
    }
}
