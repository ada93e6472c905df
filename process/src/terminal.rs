//! What a command prints: data on standard output, talk on standard error.

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::{self, ErrorKind, Write};

use anstream::{AutoStream, ColorChoice};

const ERROR: &str = "\u{1b}[1;91m";
const HINT: &str = "\u{1b}[1;96m";
const RESET: &str = "\u{1b}[0m";

/// Whether standard error is a terminal that shows colours, and `NO_COLOR` is not set.
pub fn stderr_has_colour() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// Whether standard output is a terminal that shows colours, and `NO_COLOR` is not set.
pub fn stdout_has_colour() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Prints one line of data; see [`Output`].
pub fn stdout_line(line: impl Display) -> io::Result<()> {
    Output::stdout().line(line)
}

/// Prints one line of talk, without colour where there is none. That it cannot be printed is no error: nobody listens.
pub fn stderr_line(line: impl Display) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Lines of data. A reader that stops reading (`agent status | head -1`) is no error: what it does not want is dropped.
#[derive(Debug)]
pub struct Output<W> {
    writer: W,
    unwanted: bool,
}

impl Output<anstream::Stdout> {
    /// Standard output; colours are removed where it is no terminal.
    pub fn stdout() -> Self {
        Self::new(anstream::stdout())
    }
}

impl<W: Write> Output<W> {
    pub fn new(writer: W) -> Self {
        Self { writer, unwanted: false }
    }

    /// Whether the reader went away, so that a command that prints for ever can end.
    pub fn is_unwanted(&self) -> bool {
        self.unwanted
    }

    /// One line, visible at once.
    pub fn line(&mut self, line: impl Display) -> io::Result<()> {
        if self.unwanted {
            return Ok(());
        }
        match writeln!(self.writer, "{line}").and_then(|()| self.writer.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.unwanted = true;
                Ok(())
            }
            written => written,
        }
    }
}

/// An error and its causes, each once and on a line of its own, with the way out; for standard error, so with colour
/// where that has any.
pub fn report(error: &(dyn Error + 'static), hint: Option<&str>) -> String {
    render(error, hint, stderr_has_colour())
}

fn render(error: &(dyn Error + 'static), hint: Option<&str>, colour: bool) -> String {
    let styled = |style: &str, word: &str| match colour {
        true => format!("{style}{word}{RESET}"),
        false => word.to_owned(),
    };
    let mut last = printable(error);
    let mut text = format!("{} {last}", styled(ERROR, "error:"));
    let mut next = error.source();
    while let Some(cause) = next {
        next = cause.source();
        let cause = printable(cause);
        // Some libraries print their source themselves; it is not repeated.
        if !last.ends_with(&cause) {
            let _ = write!(text, "\n  caused by: {cause}");
            last = cause;
        }
    }
    if let Some(hint) = hint {
        let _ = write!(text, "\n{} {hint}", styled(HINT, "hint:"));
    }
    text
}

/// An error and its causes in one line, for a log: `what: because: because`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = printable(error);
    let mut next = error.source();
    while let Some(cause) = next {
        next = cause.source();
        let cause = printable(cause);
        if !text.ends_with(&cause) {
            let _ = write!(text, ": {cause}");
        }
    }
    text
}

/// Errors repeat what strangers sent; their escape sequences must not reach the terminal.
fn printable(error: &dyn Error) -> String {
    let mut text = String::new();
    for c in error.to_string().chars() {
        match c {
            '\n' | '\t' => text.push(c),
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn chain(texts: &[&'static str]) -> Layer {
        let (text, rest) = texts.split_first().unwrap();
        Layer { text, source: if rest.is_empty() { None } else { Some(Box::new(chain(rest))) } }
    }

    #[test]
    fn a_chain_is_printed_once() {
        let error = chain(&["cannot start", "cannot open `a`: no such file", "no such file"]);
        assert_eq!(
            render(&error, Some("make it"), false),
            "error: cannot start\n  caused by: cannot open `a`: no such file\nhint: make it"
        );
        assert_eq!(render(&chain(&["one"]), None, true), "\u{1b}[1;91merror:\u{1b}[0m one");
    }

    #[test]
    fn escape_sequences_are_shown_not_obeyed() {
        assert_eq!(render(&chain(&["a\u{1b}[2Jb\r"]), None, false), "error: a\\u{1b}[2Jb\\r");
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error() {
        struct Pipe(ErrorKind);
        impl Write for Pipe {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut output = Output::new(Pipe(ErrorKind::BrokenPipe));
        output.line("a").unwrap();
        assert!(output.is_unwanted());
        output.line("b").unwrap();
        let mut full = Output::new(Pipe(ErrorKind::StorageFull));
        assert_eq!(full.line("a").unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
