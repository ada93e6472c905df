//! A line as a JSON object, in ASCII: what a terminal could take for a command is written `\u001b`.

use std::fmt::{self, Display};
use std::io::{self, Write};

use serde::ser::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};
use time::OffsetDateTime;

use super::record::{Record, millis};

/// In the order and with the names of the relay's own log.
#[derive(Debug, serde::Serialize)]
struct Line<'a> {
    time: Shown<Rfc3339>,
    request: Shown<protocol::id::RequestId>,
    visitor: Shown<std::net::IpAddr>,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    status: u16,
    received_bytes: u64,
    sent_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<f64>,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Shown<protocol::id::RequestId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

/// Appends the line, with its end.
pub(super) fn write(line: &mut Vec<u8>, record: &Record<'_>, at: OffsetDateTime) -> io::Result<()> {
    let asked = record.asked;
    let shown = Line {
        time: Shown(Rfc3339(at)),
        request: Shown(record.request),
        visitor: Shown(record.visitor),
        protocol: record.protocol(),
        method: asked.map(|asked| asked.method.as_str()),
        host: record.host,
        path: asked.map(|asked| asked.path()),
        status: record.status,
        received_bytes: record.received,
        sent_bytes: record.sent,
        first_byte_ms: record.first_byte.map(millis),
        duration_ms: millis(record.duration),
        peer: record.peer,
        service: record.service,
        stream: record.stream.map(Shown),
        error: record.error,
        referer: asked.and_then(|asked| asked.referer()),
        user_agent: asked.and_then(|asked| asked.agent()),
    };
    let mut serializer = serde_json::Serializer::with_formatter(&mut *line, Ascii);
    shown.serialize(&mut serializer)?;
    line.push(b'\n');
    Ok(())
}

/// Written as it is displayed, without a string in between.
#[derive(Debug)]
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// `2026-11-02T03:04:05.006Z`.
#[derive(Debug)]
struct Rfc3339(OffsetDateTime);

impl Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = (self.0.date(), self.0.time());
        write!(f, "{:04}-{:02}-{:02}T", date.year(), u8::from(date.month()), date.day())?;
        write!(f, "{:02}:{:02}:{:02}.{:03}Z", time.hour(), time.minute(), time.second(), time.millisecond())
    }
}

/// Escapes everything beyond printable ASCII, in pairs of UTF-16 where need be (RFC 8259, section 7).
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let plain = |byte: &u8| (b' '..=b'~').contains(byte);
        if fragment.as_bytes().iter().all(plain) {
            return CompactFormatter.write_string_fragment(writer, fragment);
        }
        for c in fragment.chars() {
            if c.is_ascii() && plain(&(c as u8)) {
                writer.write_all(&[c as u8])?;
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::record::tests::{asked, at, record};
    use super::*;

    fn written(record: &Record<'_>) -> String {
        let mut line = Vec::new();
        write(&mut line, record, at()).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn every_field_has_its_name() {
        let asked = asked("/a?b=c", "https://a.example/x?y", "curl/8 \u{e9}\u{1f600}".as_bytes());
        let line = written(&record(Some(&asked)));
        let read: Value = serde_json::from_str(&line).unwrap();
        let (request, stream) = ("07".repeat(16), "08".repeat(16));
        let expected = json!({
            "time": "2026-11-02T03:04:05.006Z", "request": request, "visitor": "2001:db8::1",
            "protocol": "HTTP/2.0", "method": "GET", "host": "a.example.com", "path": "/a", "status": 200,
            "received_bytes": 1, "sent_bytes": 2, "first_byte_ms": 1.3, "duration_ms": 20.0, "peer": "home",
            "service": "web", "stream": stream, "referer": "https://a.example/x",
            "user_agent": "curl/8 \u{e9}\u{1f600}",
        });
        assert_eq!(read, expected);
        assert!(
            line.ends_with("}\n") && line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{line}"
        );
    }

    #[test]
    fn nothing_opens_a_field_or_moves_a_cursor() {
        let odd = "\"},{\\\"\t\u{9b}31m\u{202e}\u{7f}";
        let asked = asked("/\"%0a\u{9b}", "https://a/\"\u{9b}", &odd.replace('\u{7f}', "").into_bytes());
        let line = written(&record(Some(&asked)));
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["path"], "/\"%0a%C2%9B");
        assert_eq!(read["user_agent"], odd.replace('\u{7f}', ""));
        assert!(line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let line = written(&Record { error: Some("bad-header"), status: 400, ..record(None) });
        let read: Value = serde_json::from_str(&line).unwrap();
        assert!(read.get("path").is_none() && read.get("referer").is_none() && read["error"] == "bad-header");
    }
}
