//! Lines and header fields: the grammar that heads and trailers share (RFC 9112 section 5, RFC 9110 section 5).

use memchr::memchr;

/// Walks over CRLF lines in a window that grows between calls, without looking at any byte twice.
#[derive(Debug, Default)]
pub(super) struct LineCursor {
    /// Where the current line begins.
    start: usize,
    /// Everything before this was searched for the current line's LF.
    searched: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineFault {
    BareLf,
    TooLong,
}

impl LineCursor {
    /// The next line without its CRLF, or `None` until its LF is there. A line has to end within the window's
    /// first `limit` bytes; as only that is compared, a verdict never depends on how the bytes were cut up.
    pub(super) fn next<'w>(&mut self, window: &'w [u8], limit: usize) -> Result<Option<&'w [u8]>, LineFault> {
        let Some(at) = memchr(b'\n', &window[self.searched..]) else {
            self.searched = window.len();
            return if window.len() > limit { Err(LineFault::TooLong) } else { Ok(None) };
        };
        let end = self.searched + at + 1;
        if end > limit {
            return Err(LineFault::TooLong);
        }
        let line = window[self.start..end].strip_suffix(b"\r\n").ok_or(LineFault::BareLf)?;
        self.start = end;
        self.searched = end;
        Ok(Some(line))
    }

    /// How many bytes of the window are behind the lines handed out so far.
    pub(super) fn consumed(&self) -> usize {
        self.start
    }
}

/// The field names that decide how a message is framed or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldName {
    Host,
    ContentLength,
    TransferEncoding,
    /// Spelled so that an origin that folds names (CGI, WSGI, PHP) would take it for one of the two above.
    FramingAlias,
    Upgrade,
    Expect,
    Other,
}

impl FieldName {
    fn of(name: &[u8]) -> Self {
        // The length picks the one candidate, so that the usual name costs a single comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => Self::Host,
            6 if name.eq_ignore_ascii_case(b"expect") => Self::Expect,
            7 if name.eq_ignore_ascii_case(b"upgrade") => Self::Upgrade,
            14 => Self::framing(name, b"content-length", Self::ContentLength),
            17 => Self::framing(name, b"transfer-encoding", Self::TransferEncoding),
            _ => Self::Other,
        }
    }

    fn framing(name: &[u8], canonical: &[u8], exact: Self) -> Self {
        if name.eq_ignore_ascii_case(canonical) {
            exact
        } else if folds_to(name, canonical) {
            Self::FramingAlias
        } else {
            Self::Other
        }
    }
}

/// Whether `name` becomes `canonical` once an origin writes every separator alike. `_` and `.` are what is known
/// to be folded; no honest client puts any other sign there either.
fn folds_to(name: &[u8], canonical: &[u8]) -> bool {
    name.iter().zip(canonical).all(|(&byte, &want)| match want {
        b'-' => !byte.is_ascii_alphanumeric(),
        _ => byte.eq_ignore_ascii_case(&want),
    })
}

/// A field line taken apart: what its name means and its value without the white space around it. `None` for
/// everything that is not `token ":" OWS value OWS`, obs-fold included (its 'name' begins with white space).
pub(super) fn parse_field(line: &[u8]) -> Option<(FieldName, &[u8])> {
    let colon = memchr(b':', line)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    (is_token(name) && is_field_value(value)).then(|| (FieldName::of(name), value.trim_ascii()))
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

pub(super) fn is_tchar(byte: u8) -> bool {
    TCHAR[usize::from(byte)]
}

/// No control byte but HTAB. Bytes from 0x80 on are obs-text, which is opaque and harmless to framing.
pub(super) fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn is_field_value(value: &[u8]) -> bool {
    // A fold without an early exit is what the compiler turns into vector instructions.
    value.iter().fold(true, |ok, &byte| ok & is_text(byte))
}

const TCHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};
