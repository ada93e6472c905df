//! What a process tells while it runs: structured events on standard error, filtered by `ADIT_LOG`.

use std::env::{self, VarError};
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, fmt as log};

/// The variable that says what is logged, such as `debug` or `info,relay::edge=trace`.
pub const VARIABLE: &str = "ADIT_LOG";

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
    #[error("logging was set up before")]
    Twice(#[source] TryInitError),
}

/// Keeps the writer of log lines at work; dropped, what is left of them is written out.
#[derive(Debug)]
#[must_use = "log lines are lost where this is dropped before the process ends"]
pub struct Logging {
    _writer: WorkerGuard,
}

/// Lines that wait for a slow standard error before others are dropped (and counted).
const WAITING: usize = 16_384;

/// Sets up logging for the whole process, once. `default_filter` counts where `ADIT_LOG` is not set or empty.
///
/// Lines are written by a thread of their own, many at a time under load: whoever logs never waits for a terminal or a
/// disk.
pub fn init(format: LogFormat, default_filter: &str) -> Result<Logging, LoggingError> {
    let filter = filter(env::var(VARIABLE), default_filter)?;
    let dropped = Arc::new(OnceLock::new());
    let output = Output { to: BufWriter::new(io::stderr()), dropped: Arc::clone(&dropped), told: 0 };
    let builder = NonBlockingBuilder::default().buffered_lines_limit(WAITING).lossy(true).thread_name("log");
    let (writer, guard) = builder.finish(output);
    let _first_and_only = dropped.set(writer.error_counter());
    let output = log::layer().with_writer(writer).log_internal_errors(false);
    let output = match format {
        LogFormat::Text => output.with_ansi(crate::terminal::stderr_has_colour()).boxed(),
        LogFormat::Json => output.json().flatten_event(true).boxed(),
    };
    let registry = tracing_subscriber::registry().with(filter).with(output);
    registry.try_init().map_err(LoggingError::Twice)?;
    Ok(Logging { _writer: guard })
}

fn filter(variable: Result<String, VarError>, default: &str) -> Result<EnvFilter, LoggingError> {
    match variable {
        Ok(value) if !value.trim().is_empty() => {
            EnvFilter::builder().parse(&value).map_err(|source| LoggingError::Variable { value, source })
        }
        Err(VarError::NotUnicode(_)) => Err(LoggingError::NotUnicode),
        Ok(_) | Err(VarError::NotPresent) => EnvFilter::builder()
            .parse(default)
            .map_err(|source| LoggingError::Filter { filter: default.to_owned(), source }),
    }
}

/// Where lines go. An output that was closed, or whose disk is full, must not end a process that forwards traffic; and
/// when it was too slow, that is said.
struct Output<W: Write> {
    to: BufWriter<W>,
    dropped: Arc<OnceLock<ErrorCounter>>,
    told: usize,
}

impl<W: Write> Output<W> {
    fn tell_of_dropped_lines(&mut self) {
        let dropped = self.dropped.get().map_or(0, ErrorCounter::dropped_lines);
        if dropped > self.told {
            let _ =
                writeln!(self.to, "{} log lines were lost: standard error is too slow", dropped - self.told);
            self.told = dropped;
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.to.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tell_of_dropped_lines();
        let _ = self.to.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_counts_before_the_default() {
        let shown = |variable| filter(variable, "info").unwrap().to_string();
        assert_eq!(shown(Ok("debug".to_owned())), "debug");
        assert_eq!(shown(Ok(" ".to_owned())), "info");
        assert_eq!(shown(Err(VarError::NotPresent)), "info");
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

    #[test]
    fn a_closed_output_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut output = Output { to: BufWriter::with_capacity(0, Closed), dropped: Arc::default(), told: 0 };
        assert_eq!(output.write(b"event").unwrap(), 5);
        output.flush().unwrap();
    }
}
