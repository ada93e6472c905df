//! The head of a request: its request line, its fields, and what they say about the bytes that follow.

use memchr::{memchr, memrchr};

use super::GuardLimits;
use super::field::{FieldName, LineCursor, LineFault, is_token, parse_field};
use super::target::is_target;
use super::violation::Violation;

/// The method of the request that stands in for a refused head; no visitor may send it.
pub(crate) const REFUSE_METHOD: &str = "ADIT-REFUSE";

/// A complete head with one reading.
#[derive(Debug)]
pub(super) struct Head {
    /// Its length in bytes, the empty lines before and after included.
    pub(super) len: usize,
    pub(super) then: Then,
}

/// What comes after a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    NextHead,
    Length(u64),
    Chunked,
    /// The visitor asked to leave HTTP: whose bytes come next is for the origin to say.
    Verdict,
}

/// A head that is being read, line by line: each line is judged when its LF is there, in order, so that the first
/// bad line decides however the bytes arrive.
#[derive(Debug)]
pub(super) struct HeadScan {
    lines: LineCursor,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    RequestLine { blank_seen: bool },
    Fields(Fields),
}

impl HeadScan {
    pub(super) fn new() -> Self {
        Self { lines: LineCursor::default(), stage: Stage::RequestLine { blank_seen: false } }
    }

    pub(super) fn advance(&mut self, window: &[u8], limits: &GuardLimits) -> Result<Option<Head>, Violation> {
        loop {
            let Some(line) = self.lines.next(window, limits.max_head).map_err(|fault| self.blame(&fault))?
            else {
                return Ok(None);
            };
            if let Some(then) = self.on_line(line, limits)? {
                return Ok(Some(Head { len: self.lines.consumed(), then }));
            }
        }
    }

    fn on_line(&mut self, line: &[u8], limits: &GuardLimits) -> Result<Option<Then>, Violation> {
        match &mut self.stage {
            // RFC 9112 section 2.2: old clients send one CRLF too many after a body.
            Stage::RequestLine { blank_seen } if line.is_empty() && !*blank_seen => *blank_seen = true,
            Stage::RequestLine { .. } => {
                self.stage = Stage::Fields(Fields::of(request_line(line, limits.max_target)?));
            }
            Stage::Fields(fields) if line.is_empty() => return fields.conclude().map(Some),
            Stage::Fields(fields) => fields.add(line, limits.max_headers)?,
        }
        Ok(None)
    }

    fn blame(&self, fault: &LineFault) -> Violation {
        match (&self.stage, fault) {
            (Stage::RequestLine { .. }, LineFault::TooLong) => Violation::UriTooLong,
            (Stage::RequestLine { .. }, LineFault::BareLf) => Violation::BadRequestLine,
            (Stage::Fields(_), LineFault::TooLong) => Violation::HeadTooLarge,
            (Stage::Fields(_), LineFault::BareLf) => Violation::BadHeader,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// `token SP target SP HTTP/1.x`, RFC 9112 section 3.
fn request_line(line: &[u8], max_target: usize) -> Result<Version, Violation> {
    let (Some(first), Some(last)) = (memchr(b' ', line), memrchr(b' ', line)) else {
        return Err(Violation::BadRequestLine);
    };
    let method = &line[..first];
    // With a single space there is no target between two of them.
    let target = line.get(first + 1..last).unwrap_or_default();
    if !is_token(method) || target.is_empty() {
        return Err(Violation::BadRequestLine);
    }
    if method.eq_ignore_ascii_case(REFUSE_METHOD.as_bytes()) {
        return Err(Violation::BadMethod);
    }
    let version = version(&line[last + 1..])?;
    if target.len() > max_target {
        return Err(Violation::UriTooLong);
    }
    if is_target(method, target) { Ok(version) } else { Err(Violation::BadTarget) }
}

fn version(bytes: &[u8]) -> Result<Version, Violation> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        // HTTP/2's preface (`PRI * HTTP/2.0`) ends here too.
        _ if bytes.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP/")) => {
            Err(Violation::BadVersion)
        }
        _ => Err(Violation::BadRequestLine),
    }
}

/// What the fields seen so far amount to.
#[derive(Debug)]
struct Fields {
    version: Version,
    count: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    expect: bool,
}

impl Fields {
    fn of(version: Version) -> Self {
        Self { version, count: 0, hosts: 0, length: None, chunked: false, upgrade: false, expect: false }
    }

    fn add(&mut self, line: &[u8], max_headers: usize) -> Result<(), Violation> {
        self.count += 1;
        if self.count > max_headers {
            return Err(Violation::HeadTooLarge);
        }
        let (name, value) = parse_field(line).ok_or(Violation::BadHeader)?;
        match name {
            FieldName::Host => self.hosts += 1,
            FieldName::ContentLength => {
                let length = content_length(value).ok_or(Violation::BadFraming)?;
                if self.length.replace(length).is_some() {
                    return Err(Violation::BadFraming);
                }
            }
            FieldName::TransferEncoding => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::BadFraming);
                }
                self.chunked = true;
            }
            FieldName::FramingAlias => return Err(Violation::BadHeader),
            FieldName::Upgrade => self.upgrade = true,
            FieldName::Expect => {
                if self.expect || !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Violation::BadExpect);
                }
                self.expect = true;
            }
            FieldName::Other => {}
        }
        Ok(())
    }

    /// Judges what only the whole head shows.
    fn conclude(&self) -> Result<Then, Violation> {
        if self.chunked && (self.length.is_some() || self.version == Version::Http10) {
            return Err(Violation::BadFraming);
        }
        let host_is_clear = match self.version {
            Version::Http10 => self.hosts <= 1,
            Version::Http11 => self.hosts == 1,
        };
        if !host_is_clear {
            return Err(Violation::BadHost);
        }
        Ok(match self.length {
            _ if self.chunked => Then::Chunked,
            Some(length @ 1..) => Then::Length(length),
            // RFC 9110 section 7.8: a server ignores `Upgrade` in an HTTP/1.0 request, and so does hyper.
            Some(0) | None if self.upgrade && self.version == Version::Http11 => Then::Verdict,
            Some(0) | None => Then::NextHead,
        })
    }
}

/// 1 to 19 digits: no sign, no list, nothing that overflows.
fn content_length(value: &[u8]) -> Option<u64> {
    let is_number = matches!(value.len(), 1..=19) && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
