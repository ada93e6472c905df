//! Where lines go. A request leaves its line in memory and goes on; files and standard output have a thread of their own.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use process::logging::file::{LineFile, Lost, OpenError};
use process::logging::lines::{Lines, Sink};
use time::OffsetDateTime;

use super::record::Record;
use super::{combined, json};
use crate::config::access_log::{self as config, Format};
use crate::metrics::Metrics;

/// Why there is no access log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessLogError {
    #[error("the access log cannot be written")]
    File(#[from] OpenError),
    #[error("the thread that writes the access log cannot be started")]
    Thread(#[source] io::Error),
}

impl AccessLogError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Thread(_) => None,
        }
    }
}

/// The access log and the metrics, in both of which each request ends.
#[derive(Debug)]
pub(crate) struct AccessLog {
    pub(super) metrics: Arc<Metrics>,
    config: config::AccessLog,
    /// Where the log has an output of its own.
    lines: Option<Lines>,
}

impl AccessLog {
    pub(crate) fn open(config: &config::AccessLog, metrics: Arc<Metrics>) -> Result<Self, AccessLogError> {
        let destination = match &config.output {
            config::Output::Log | config::Output::Off => None,
            config::Output::Stdout => Some(Destination::Stdout),
            config::Output::File(path) => Some(Destination::File(LineFile::open(path)?)),
        };
        let start = |destination| {
            let writer = Writer { destination, metrics: Arc::clone(&metrics), failing: None };
            Lines::start("access-log", writer).map_err(AccessLogError::Thread)
        };
        let lines = destination.map(start).transpose()?;
        Ok(Self { metrics, config: config.clone(), lines })
    }

    /// This log with another configuration. What stays as it was goes on being used.
    pub(crate) fn changed(&self, config: &config::AccessLog) -> Result<Self, AccessLogError> {
        let metrics = Arc::clone(&self.metrics);
        if config.output != self.config.output {
            return Self::open(config, metrics);
        }
        Ok(Self { metrics, config: config.clone(), lines: self.lines.clone() })
    }

    /// Waits a moment for lines that are on their way; none follow.
    pub(crate) fn finish(&self) {
        if let Some(lines) = &self.lines {
            lines.finish();
        }
    }

    /// Whether lines say where a visitor came from, and with which program.
    pub(super) fn wants_origin_of_visitor(&self) -> bool {
        self.lines.is_some()
    }

    pub(super) fn write(&self, record: &Record<'_>) {
        match (&self.config.output, &self.lines) {
            (_, Some(lines)) => put(lines, self.config.format, record, SystemTime::now().into()),
            (config::Output::Log, None) => record.trace(),
            (config::Output::Off | config::Output::Stdout | config::Output::File(_), None) => {}
        }
    }
}

fn put(lines: &Lines, format: Format, record: &Record<'_>, at: OffsetDateTime) {
    thread_local! {
        static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    // A thread that is ending has no place for lines any more.
    let _ending = LINE.try_with(|line| {
        let line = &mut *line.borrow_mut();
        line.clear();
        let written = match format {
            Format::Json => json::write(line, record, at),
            Format::Combined => combined::write(line, record, at),
        };
        // Writing to memory does not fail.
        if written.is_ok() {
            lines.put(line);
        }
    });
}

#[derive(Debug)]
enum Destination {
    Stdout,
    File(LineFile),
}

impl Destination {
    fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        match self {
            Self::File(file) => file.write(lines),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout
                    .write_all(lines)
                    .and_then(|()| stdout.flush())
                    .map_err(|error| Lost { lines: memchr::memchr_iter(b'\n', lines).count() as u64, error })
            }
        }
    }
}

/// Runs on the thread. Of what is lost, the relay's own log tells once when it begins and once when it is over.
struct Writer {
    destination: Destination,
    metrics: Arc<Metrics>,
    /// Lines lost since writing began to fail.
    failing: Option<u64>,
}

impl Sink for Writer {
    fn write(&mut self, lines: &[u8]) {
        match self.destination.write(lines) {
            Ok(()) => {
                if let Some(lost) = self.failing.take() {
                    tracing::warn!(lost, "the access log is written again; lines were lost");
                }
            }
            Err(Lost { lines, error }) => {
                self.metrics.access_lines_lost(lines);
                if self.failing.is_none() {
                    tracing::error!(%error, "the access log cannot be written; its lines are lost until it can be");
                }
                *self.failing.get_or_insert(0) += lines;
            }
        }
    }

    fn dropped(&mut self, count: u64) {
        self.metrics.access_lines_lost(count);
        match &mut self.failing {
            Some(lost) => *lost += count,
            None => tracing::warn!(lost = count, "lines of the access log were lost: its output is too slow"),
        }
    }
}
