//! What a process tells while it runs: structured events on standard error, filtered by `ADIT_LOG`. [`lines`] writes them,
//! and other lines as well, also to a [`mod@file`] that is rotated.

pub mod file;
pub mod lines;
mod stderr;

use std::env::{self, VarError};
use std::fmt;
use std::io;
use std::str::FromStr;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, fmt as log};

use self::lines::Lines;
use self::stderr::Talk;

/// The variable that says what is logged, such as `debug` or `info,relay::edge=trace`.
pub const VARIABLE: &str = "ADIT_LOG";

/// What these libraries warn of, a visitor can make them say a million times. Named in the variable, they say it.
const QUIET: &str = "h2=error,h3=error,hyper=error,rustls=error,quinn=error,quinn_proto=error";

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for a person, with colour on a terminal.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The text is neither `text` nor `json`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `text` or `json`")]
pub struct UnknownFormat;

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why nothing would be logged.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("the variable {VARIABLE} is no log filter: `{value}`")]
    Variable { value: String, source: ParseError },
    #[error("the variable {VARIABLE} is not UTF-8")]
    NotUnicode,
    #[error("`{filter}` is no log filter")]
    Filter { filter: String, source: ParseError },
    #[error("the thread that writes the log cannot be started")]
    Thread(#[source] io::Error),
    #[error("logging was set up before")]
    Twice(#[source] TryInitError),
}

/// Keeps the writer of log lines at work; dropped, what is left of them is written out.
#[derive(Debug)]
#[must_use = "log lines are lost where this is dropped before the process ends"]
pub struct Logging {
    lines: Lines,
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.lines.finish();
    }
}

/// Sets up logging for the whole process, once. `default_filter` counts where `ADIT_LOG` is not set or empty.
pub fn init(format: LogFormat, default_filter: &str) -> Result<Logging, LoggingError> {
    let filter = filter(env::var(VARIABLE), default_filter)?;
    let lines = Lines::start("log", Talk::new(io::stderr())).map_err(LoggingError::Thread)?;
    let output = log::layer().with_writer(lines.clone()).log_internal_errors(false);
    let output = match format {
        LogFormat::Text => output.with_ansi(crate::terminal::stderr_has_colour()).boxed(),
        LogFormat::Json => output.json().flatten_event(true).boxed(),
    };
    let registry = tracing_subscriber::registry().with(filter).with(output);
    registry.try_init().map_err(LoggingError::Twice)?;
    Ok(Logging { lines })
}

fn filter(variable: Result<String, VarError>, default: &str) -> Result<EnvFilter, LoggingError> {
    match variable {
        Ok(value) if !value.trim().is_empty() => {
            parse(&value).map_err(|source| LoggingError::Variable { value, source })
        }
        Err(VarError::NotUnicode(_)) => Err(LoggingError::NotUnicode),
        Ok(_) | Err(VarError::NotPresent) => {
            parse(default).map_err(|source| LoggingError::Filter { filter: default.to_owned(), source })
        }
    }
}

/// Of two words on one library the last counts.
fn parse(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{QUIET},{filter}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_counts_before_the_default() {
        let shown = |variable| filter(variable, "info").unwrap().to_string();
        assert!(shown(Ok("debug".to_owned())).ends_with(",debug"));
        assert!(shown(Ok(" ".to_owned())).ends_with(",info"));
        assert!(shown(Err(VarError::NotPresent)).ends_with(",info"));
    }

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        let shown = |text: &str| filter(Ok(text.to_owned()), "info").unwrap().to_string();
        assert!(shown("debug").contains("h2=error"));
        let asked = shown("info,h2=debug");
        assert!(asked.contains("h2=debug") && !asked.contains("h2=error"), "{asked}");
    }

    #[test]
    fn a_wrong_filter_is_an_error_that_says_so() {
        let error = filter(Ok("relay=loud".to_owned()), "info").unwrap_err();
        assert_eq!(error.to_string(), "the variable ADIT_LOG is no log filter: `relay=loud`");
    }

    #[test]
    fn formats_read_as_they_are_shown() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("xml".parse::<LogFormat>(), Err(UnknownFormat));
    }
}
