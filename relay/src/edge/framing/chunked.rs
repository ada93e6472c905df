//! Chunked bodies (RFC 9112 section 7.1): where each one ends, and that everybody would agree on it.
//!
//! Narrower than hyper's decoder in each respect: no white space before a size line's CRLF, extensions that keep
//! to their grammar (an open quotation mark hides the CRLF from some readers), trailers that do not speak of framing.

use super::field::{FieldName, LineCursor, is_tchar, is_text, parse_field};
use super::violation::BodyFault;

/// Bytes of one size line. Generous: an honest one has fewer than ten, an extension rarely more than a hundred.
const MAX_CHUNK_LINE: usize = 4 * 1024;
/// Bytes of all extensions of a body; hyper gives up at 16 KiB.
const MAX_EXTENSIONS: usize = 16 * 1024 - 1;
/// Bytes of all trailer lines; hyper gives up at 16 KiB.
const MAX_TRAILERS: usize = 8 * 1024;
/// Digits of a chunk size: as many as fit `u64`, leading zeros counted.
const MAX_SIZE_DIGITS: usize = 16;

/// A chunked body that is being read.
#[derive(Debug)]
pub(super) struct ChunkScan {
    part: Part,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailers: usize,
}

#[derive(Debug)]
enum Part {
    Size(LineCursor),
    Data(u64),
    DataEnd,
    Trailers(LineCursor),
}

/// Bytes at the front of the window that have one reading.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) len: usize,
    pub(super) ends_body: bool,
}

impl ChunkScan {
    pub(super) fn new() -> Self {
        Self { part: Part::Size(LineCursor::default()), extension_bytes: 0, trailer_bytes: 0, trailers: 0 }
    }

    pub(super) fn advance(&mut self, window: &[u8], max_trailers: usize) -> Result<Option<Piece>, BodyFault> {
        match &mut self.part {
            Part::Size(lines) => {
                let line = lines.next(window, MAX_CHUNK_LINE).map_err(|_| BodyFault::ChunkLine)?;
                let Some(line) = line else { return Ok(None) };
                let len = lines.consumed();
                self.on_size_line(line)?;
                Ok(piece(len))
            }
            Part::Data(left) => {
                let len = usize::try_from(*left).map_or(window.len(), |left| left.min(window.len()));
                *left -= len as u64;
                if *left == 0 {
                    self.part = Part::DataEnd;
                }
                Ok(piece(len))
            }
            Part::DataEnd => self.on_data_end(window),
            Part::Trailers(lines) => {
                let line = lines.next(window, MAX_TRAILERS - self.trailer_bytes);
                let Some(line) = line.map_err(|_| BodyFault::Trailer)? else { return Ok(None) };
                let len = lines.consumed();
                if line.is_empty() {
                    return Ok(Some(Piece { len, ends_body: true }));
                }
                self.on_trailer_line(line, max_trailers)?;
                Ok(piece(len))
            }
        }
    }

    fn on_size_line(&mut self, line: &[u8]) -> Result<(), BodyFault> {
        let (size, extensions) = split_size(line).ok_or(BodyFault::ChunkLine)?;
        self.extension_bytes += extensions.len();
        if self.extension_bytes > MAX_EXTENSIONS || !are_extensions(extensions) {
            return Err(BodyFault::ChunkLine);
        }
        self.part = if size == 0 { Part::Trailers(LineCursor::default()) } else { Part::Data(size) };
        Ok(())
    }

    fn on_data_end(&mut self, window: &[u8]) -> Result<Option<Piece>, BodyFault> {
        match window {
            [] | [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => {
                self.part = Part::Size(LineCursor::default());
                Ok(piece(2))
            }
            _ => Err(BodyFault::ChunkEnd),
        }
    }

    fn on_trailer_line(&mut self, line: &[u8], max_trailers: usize) -> Result<(), BodyFault> {
        self.trailers += 1;
        // The cursor keeps a line within what is left, so this never exceeds the maximum.
        self.trailer_bytes += line.len() + 2;
        if self.trailers > max_trailers || !is_trailer(line) {
            return Err(BodyFault::Trailer);
        }
        self.part = Part::Trailers(LineCursor::default());
        Ok(())
    }
}

/// Nothing to release is nothing to say: an empty window leaves the scan where it is.
fn piece(len: usize) -> Option<Piece> {
    (len > 0).then_some(Piece { len, ends_body: false })
}

/// A trailer that an origin may merge into the head must not change what the head meant.
fn is_trailer(line: &[u8]) -> bool {
    match parse_field(line) {
        Some((FieldName::Upgrade | FieldName::Expect | FieldName::Other, _)) => true,
        Some((
            FieldName::Host
            | FieldName::ContentLength
            | FieldName::TransferEncoding
            | FieldName::FramingAlias,
            _,
        ))
        | None => false,
    }
}

fn split_size(line: &[u8]) -> Option<(u64, &[u8])> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if !matches!(digits, 1..=MAX_SIZE_DIGITS) {
        return None;
    }
    let (digits, rest) = line.split_at(digits);
    let size = digits.iter().fold(0u64, |size, &digit| (size << 4) | u64::from(hex_value(digit)));
    Some((size, rest))
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        // Upper and lower case differ in one bit, and `a` is 0x61.
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = after_extension(rest) else { return false };
        rest = after;
    }
    true
}

fn after_extension(rest: &[u8]) -> Option<&[u8]> {
    let name = skip_blanks(rest).strip_prefix(b";")?;
    let after_name = after_token(skip_blanks(name))?;
    let Some(value) = skip_blanks(after_name).strip_prefix(b"=") else { return Some(after_name) };
    let value = skip_blanks(value);
    match value.strip_prefix(b"\"") {
        Some(quoted) => after_quoted(quoted),
        None => after_token(value),
    }
}

fn skip_blanks(rest: &[u8]) -> &[u8] {
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &rest[blanks..]
}

fn after_token(rest: &[u8]) -> Option<&[u8]> {
    let len = rest.iter().take_while(|&&byte| is_tchar(byte)).count();
    (len > 0).then(|| &rest[len..])
}

/// What follows the closing quotation mark of a quoted string whose opening one is gone already.
fn after_quoted(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', escaped, after @ ..] if is_text(*escaped) => after,
            [byte, after @ ..] if *byte != b'\\' && is_text(*byte) => after,
            _ => return None,
        };
    }
}
