//! A line in the `combined` format of Apache and nginx, for the programs that read it.

use std::fmt::Display;
use std::io::{self, Write};

use time::OffsetDateTime;

use super::record::Record;

/// What nginx writes where the visitor closed the connection before there was an answer.
const CLOSED: u16 = 499;

/// Appends the line, with its end: `VISITOR - - [TIME] "METHOD PATH PROTOCOL" STATUS SENT "REFERER" "USER AGENT"`.
pub(super) fn write(line: &mut Vec<u8>, record: &Record<'_>, at: OffsetDateTime) -> io::Result<()> {
    write!(line, "{} - - [{}] ", record.visitor, ClfTime(at))?;
    match record.asked {
        Some(asked) => {
            line.push(b'"');
            escape(line, asked.method.as_str());
            line.push(b' ');
            escape(line, asked.path());
            write!(line, " {}\"", record.protocol())?;
        }
        None => line.extend_from_slice(b"\"-\""),
    }
    let status = if record.status == 0 { CLOSED } else { record.status };
    write!(line, " {status} {} ", record.sent)?;
    quote(line, record.asked.and_then(|asked| asked.referer()));
    line.push(b' ');
    quote(line, record.asked.and_then(|asked| asked.agent()));
    line.push(b'\n');
    Ok(())
}

/// `02/Nov/2026:03:04:05 +0000`.
struct ClfTime(OffsetDateTime);

impl Display for ClfTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (date, time) = (self.0.date(), self.0.time());
        let month = MONTHS[usize::from(u8::from(date.month())) - 1];
        write!(f, "{:02}/{month}/{:04}", date.day(), date.year())?;
        write!(f, ":{:02}:{:02}:{:02} +0000", time.hour(), time.minute(), time.second())
    }
}

fn quote(line: &mut Vec<u8>, text: Option<&str>) {
    line.push(b'"');
    escape(line, text.unwrap_or("-"));
    line.push(b'"');
}

/// As nginx does it: `\xHH` for quotes, backslashes and everything beyond printable ASCII.
fn escape(line: &mut Vec<u8>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => {
                let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
                line.extend_from_slice(&[b'\\', b'x', high, low]);
            }
            plain => line.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{asked, at, record};
    use super::*;

    fn written(record: &Record<'_>) -> String {
        let mut line = Vec::new();
        write(&mut line, record, at()).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn the_line_is_that_of_apache_and_nginx() {
        let asked = asked("/a?b=c", "https://a.example/x?y", b"curl/8");
        assert_eq!(
            written(&record(Some(&asked))),
            "2001:db8::1 - - [02/Nov/2026:03:04:05 +0000] \"GET /a HTTP/2.0\" 200 2 \"https://a.example/x\" \"curl/8\"\n"
        );
    }

    #[test]
    fn no_quote_and_no_control_byte_gets_in() {
        let asked = asked("/\"x\\", "https://a/\"\u{9b}", b"a\" 200 1 \"\t\xff\\");
        let line = written(&record(Some(&asked)));
        assert!(line.contains("\"GET /\\x22x\\x5C HTTP/2.0\""), "{line}");
        assert!(line.contains(" \"https://a/\\x22\\xC2\\x9B\" "), "{line}");
        assert!(line.ends_with("\"a\\x22 200 1 \\x22\\x09\\xEF\\xBF\\xBD\\x5C\"\n"), "{line}");
        assert_eq!(line.matches('"').count(), 6);
    }

    #[test]
    fn what_was_no_request_and_what_got_no_answer() {
        let line = written(&Record { status: 0, sent: 0, ..record(None) });
        assert!(line.ends_with("] \"-\" 499 0 \"-\" \"-\"\n"), "{line}");
    }
}
