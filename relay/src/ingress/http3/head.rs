//! Whether the pseudo-fields of an encoded head stand where they may, each once: `h3` takes the last of several, wherever
//! it stands (RFC 9114, section 4.3). Reads the structure of QPACK (RFC 9204, section 4.5) and no contents; whatever else
//! is wrong with it, the decoder finds.

/// A head that nobody should try to understand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What a line of the head is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Authority,
    Path,
    Method,
    Scheme,
    /// Of a response, or one that this relay does not know.
    Foreign,
    Field,
}

/// Checks an encoded field section of a request.
pub(super) fn check(section: &[u8]) -> Result<(), Malformed> {
    let mut rest = Rest(section);
    // Nobody was allowed a dynamic table: the two numbers in front mean nothing.
    rest.number(8).and_then(|_| rest.number(7)).ok_or(Malformed)?;
    let (mut seen, mut fields_began) = (Vec::with_capacity(4), false);
    while !rest.0.is_empty() {
        match rest.line().ok_or(Malformed)? {
            Line::Field => fields_began = true,
            Line::Foreign => return Err(Malformed),
            pseudo @ (Line::Authority | Line::Path | Line::Method | Line::Scheme) => {
                if fields_began || seen.contains(&pseudo) {
                    return Err(Malformed);
                }
                seen.push(pseudo);
            }
        }
    }
    Ok(())
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn line(&mut self) -> Option<Line> {
        let first = *self.0.first()?;
        match first {
            0x80.. => {
                let index = self.number(6)?;
                Some(if first & 0x40 != 0 { in_static_table(index) } else { Line::Field })
            }
            0x40.. => {
                let index = self.number(4)?;
                self.skip_text(7)?;
                Some(if first & 0x10 != 0 { in_static_table(index) } else { Line::Field })
            }
            0x20.. => {
                let is_encoded = first & 0x08 != 0;
                let length = usize::try_from(self.number(3)?).ok()?;
                let name = self.take(length)?;
                // A colon is 1011100 in Huffman's code. Encoders find the pseudo-fields of a request in the static table.
                let is_pseudo = match name.first()? {
                    byte if is_encoded => byte >> 1 == 0b101_1100,
                    byte => *byte == b':',
                };
                self.skip_text(7)?;
                Some(if is_pseudo { Line::Foreign } else { Line::Field })
            }
            // These mean the dynamic table, which is empty.
            _ => None,
        }
    }

    /// An integer with a prefix of so many bits (RFC 7541, section 5.1).
    fn number(&mut self, bits: u32) -> Option<u64> {
        let mask = u8::MAX >> (8 - bits);
        let mut value = u64::from(self.take(1)?[0] & mask);
        if value < u64::from(mask) {
            return Some(value);
        }
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn skip_text(&mut self, bits: u32) -> Option<()> {
        let length = usize::try_from(self.number(bits)?).ok()?;
        self.take(length).map(drop)
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

/// RFC 9204, appendix A.
fn in_static_table(index: u64) -> Line {
    match index {
        0 => Line::Authority,
        1 => Line::Path,
        15..=21 => Line::Method,
        22 | 23 => Line::Scheme,
        24..=28 | 63..=71 => Line::Foreign,
        _ => Line::Field,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PREFIX: [u8; 2] = [0, 0];
    const GET: &[u8] = &[0xd1];
    const HTTPS: &[u8] = &[0xd7];
    const ROOT: &[u8] = &[0xc1];
    const AUTHORITY: &[u8] = b"\x50\x01a";
    const FIELD: &[u8] = b"\x23abc\x01v";

    fn checked(lines: &[&[u8]]) -> Result<(), Malformed> {
        check(&[&PREFIX[..], &lines.concat()].concat())
    }

    #[test]
    fn a_request_as_it_should_be() {
        assert_eq!(checked(&[GET, HTTPS, AUTHORITY, ROOT, FIELD, FIELD]), Ok(()));
    }

    #[test]
    fn pseudo_fields_stand_in_front_and_once() {
        let cases: [&[&[u8]]; 6] = [
            &[GET, HTTPS, AUTHORITY, FIELD, ROOT],
            &[GET, GET, HTTPS, AUTHORITY, ROOT],
            &[GET, HTTPS, AUTHORITY, AUTHORITY, ROOT],
            &[GET, HTTPS, AUTHORITY, ROOT, b"\x51\x02/x"],
            &[GET, HTTPS, AUTHORITY, ROOT, b"\xd9"],
            &[GET, HTTPS, AUTHORITY, ROOT, b"\x25:path\x02/x"],
        ];
        for (case, lines) in cases.iter().enumerate() {
            assert_eq!(checked(lines), Err(Malformed), "{case}");
        }
    }

    #[test]
    fn what_breaks_off_is_malformed() {
        for broken in [&b""[..], b"\0", b"\0\0\x50\x09a", b"\0\0\x2fabc", b"\0\0\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert_eq!(check(broken), Err(Malformed), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(section: Vec<u8>) {
            let _ = check(&section);
        }
    }
}
