//! `[access_log]`: where the line of each request goes, and what it looks like there.

use std::path::PathBuf;
use std::str::FromStr;

use process::document::Table;

/// The access log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessLog {
    pub(crate) output: Output,
    pub(crate) format: Format,
}

/// Where lines go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Output {
    /// With the relay's own log, and in its format.
    #[default]
    Log,
    Stdout,
    Off,
    File(PathBuf),
}

impl FromStr for Output {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "log" => Ok(Self::Log),
            "stdout" => Ok(Self::Stdout),
            "off" => Ok(Self::Off),
            // A name without a folder is rather one of the words above, mistyped.
            path if path.contains('/') && !path.ends_with('/') => Ok(Self::File(path.into())),
            _ => Err("not `log`, `stdout`, `off` or a file such as `/var/log/adit/access.log`"),
        }
    }
}

/// How lines are written to a file or to standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON object a line.
    #[default]
    Json,
    /// The `combined` format of Apache and nginx.
    Combined,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "combined" => Ok(Self::Combined),
            _ => Err("expected `json` or `combined`"),
        }
    }
}

pub(super) fn read(table: Option<Table<'_>>) -> AccessLog {
    let Some(mut table) = table else { return AccessLog::default() };
    let output = table.parsed::<Output>("output");
    let format = table.parsed::<Format>("format");
    let with_the_log = if table.contains("output") {
        output.as_ref().is_some_and(|output| output.value == Output::Log)
    } else {
        true
    };
    if let Some(format) = format.as_ref().filter(|_| with_the_log) {
        table.problems().add_with_hint(
            format,
            "lines that go to the relay's own log have the format of that log",
            "set `format` in `[log]`, or name a file or `stdout` as `output`",
        );
    }
    AccessLog {
        output: output.map_or(Output::default(), |output| output.value),
        format: format.map_or(Format::default(), |format| format.value),
    }
}

#[cfg(test)]
mod tests {
    use process::document;

    use super::*;

    fn parsed(text: &str) -> Result<AccessLog, Vec<usize>> {
        let read = document::read("relay.toml", text, |root| Some(read(root.table("access_log"))));
        read.map_err(|rejected| rejected.mistakes().iter().filter_map(document::Mistake::line).collect())
    }

    #[test]
    fn lines_go_to_the_log_unless_told() {
        let log = AccessLog { output: Output::Log, format: Format::Json };
        assert_eq!((parsed(""), parsed("[access_log]")), (Ok(log.clone()), Ok(log)));
    }

    #[test]
    fn outputs_and_formats() {
        let read =
            |output: &str| parsed(&format!("[access_log]\noutput = \"{output}\"\n")).map(|log| log.output);
        assert_eq!(
            (read("stdout"), read("off"), read("log")),
            (Ok(Output::Stdout), Ok(Output::Off), Ok(Output::Log))
        );
        assert_eq!(read("logs/access.log"), Ok(Output::File("logs/access.log".into())));
        for bad in ["stderr", "access.log", "", "/var/log/"] {
            assert_eq!(read(bad), Err(vec![2]), "{bad}");
        }
        let text = "[access_log]\noutput = \"/a/b\"\nformat = \"combined\"\n";
        assert_eq!(parsed(text).map(|log| log.format), Ok(Format::Combined));
        assert_eq!(parsed("[access_log]\noutput = \"/a/b\"\nformat = \"xml\"\n"), Err(vec![3]));
    }

    #[test]
    fn a_format_for_lines_of_the_log_is_a_mistake() {
        assert_eq!(parsed("[access_log]\nformat = \"json\"\n"), Err(vec![2]));
        assert_eq!(parsed("[access_log]\noutput = \"log\"\nformat = \"combined\"\n"), Err(vec![3]));
        // The output is wrong: what the format would be is not known.
        assert_eq!(parsed("[access_log]\noutput = \"x\"\nformat = \"combined\"\n"), Err(vec![2]));
    }
}
