//! The frames of a request (RFC 9114, section 7.1), before `h3` sees them. It takes an empty DATA frame for the end of a
//! body, and a stream that ends within a frame for one that ends after it: the former are left out, the latter is found
//! here.

use bytes::{BufMut, Bytes, BytesMut};

/// The longest type and length.
const LONGEST_HEAD: usize = 16;
const DATA: u64 = 0;

/// Where in its frames a stream is.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a frame, as long as it is not whole.
    head: BytesMut,
    /// Bytes of a frame's payload that have not come yet.
    left: u64,
}

impl Frames {
    /// Takes what came, and gives what is to be passed on.
    pub(super) fn pass(&mut self, mut came: &[u8]) -> Bytes {
        let mut passed = BytesMut::with_capacity(came.len() + self.head.len());
        while !came.is_empty() {
            if self.left > 0 {
                let count = usize::try_from(self.left).map_or(came.len(), |left| left.min(came.len()));
                let (payload, rest) = came.split_at(count);
                passed.put_slice(payload);
                (self.left, came) = (self.left - count as u64, rest);
            } else {
                self.head.put_u8(came[0]);
                came = &came[1..];
                self.on_head(&mut passed);
            }
        }
        passed.freeze()
    }

    fn on_head(&mut self, passed: &mut BytesMut) {
        let Some((kind, length)) = head(&self.head) else { return };
        debug_assert!(self.head.len() <= LONGEST_HEAD);
        if kind != DATA || length > 0 {
            passed.put_slice(&self.head);
        }
        self.head.clear();
        self.left = length;
    }

    /// Whether the stream may end here.
    pub(super) fn is_between(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }
}

/// Type and length, once both are there.
fn head(bytes: &[u8]) -> Option<(u64, u64)> {
    let (kind, rest) = integer(bytes)?;
    let (length, _) = integer(rest)?;
    Some((kind, length))
}

/// RFC 9000, section 16.
fn integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = number[1..].iter().fold(u64::from(first & 0x3f), |sum, byte| sum << 8 | u64::from(*byte));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut frames = Frames::default();
        let passed = pieces.iter().flat_map(|piece| frames.pass(piece)).collect();
        (passed, frames.is_between())
    }

    #[test]
    fn empty_data_frames_are_left_out_and_everything_else_stays() {
        let whole = b"\x01\x02hh\x00\x00\x00\x03abc\x40\x00\x00\x21\x00\x00\x01d";
        assert_eq!(passed(&[whole]), (b"\x01\x02hh\x00\x03abc\x21\x00\x00\x01d".to_vec(), true));
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_is_found() {
        for broken in [&b"\x00"[..], b"\x00\x05abc", b"\x40", b"\x00\x80\x00"] {
            assert!(!passed(&[broken]).1, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn how_it_comes_makes_no_difference(bytes: Vec<u8>, at: usize) {
            let at = at % (bytes.len() + 1);
            prop_assert_eq!(passed(&[&bytes[..at], &bytes[at..]]), passed(&[&bytes]));
        }
    }
}
