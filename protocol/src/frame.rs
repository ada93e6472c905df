//! Frames of the control stream: kind (2 bytes), length of the body (4 bytes), body; numbers big-endian.

/// Bytes in front of a body.
pub const HEAD: usize = 6;

/// Every kind of frame that there is. Numbers are never used again for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum FrameKind {
    /// Agent: first message of `Noise_IK`, with a [`crate::handshake::SessionHello`] inside.
    SessionHello = 1,
    /// Relay: second message of `Noise_IK`, with a [`crate::handshake::SessionWelcome`] inside.
    SessionWelcome = 2,
    /// Agent: first message of `Noise_XX`.
    EnrollStart = 3,
    /// Relay: second message of `Noise_XX`, which proves the relay's key.
    EnrollKey = 4,
    /// Agent: third message of `Noise_XX`, with a [`crate::handshake::EnrollRequest`] inside.
    EnrollProof = 5,
    /// Relay: an [`crate::control::EnrollAnswer`].
    EnrollAnswer = 6,
    /// Agent: a [`crate::control::Register`].
    Register = 32,
    /// Relay: a [`crate::control::Registered`].
    Registered = 33,
    /// Relay: a [`crate::roster::Roster`].
    Roster = 34,
    /// Relay: a [`crate::roster::TooLarge`].
    TooLarge = 35,
}

impl FrameKind {
    /// Every kind, for tests.
    pub const ALL: [Self; 10] = [
        Self::SessionHello,
        Self::SessionWelcome,
        Self::EnrollStart,
        Self::EnrollKey,
        Self::EnrollProof,
        Self::EnrollAnswer,
        Self::Register,
        Self::Registered,
        Self::Roster,
        Self::TooLarge,
    ];

    /// The kind with this number; none where a later version added it.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// One frame. A kind that this version does not know is kept as its number, so that it can be skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The kind's number.
    pub number: u16,
    /// What it says.
    pub body: Vec<u8>,
}

/// The other side announced more than it may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {announced} bytes is over the limit of {limit}")]
pub struct FrameTooLarge {
    /// What was announced, in bytes.
    pub announced: usize,
    /// What is allowed, in bytes.
    pub limit: usize,
}

impl Frame {
    /// A frame of a kind that this version knows.
    #[must_use]
    pub fn new(kind: FrameKind, body: Vec<u8>) -> Self {
        Self { number: kind as u16, body }
    }

    /// The kind, where this version knows it.
    #[must_use]
    pub fn kind(&self) -> Option<FrameKind> {
        FrameKind::from_number(self.number)
    }

    /// The bytes for the wire. A body is always far below 4 GiB: writers keep to [`crate::limits`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEAD + self.body.len());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Reads a frame's head: the kind's number and the length of the body that follows.
///
/// # Errors
///
/// Where the announced body is over `limit`.
pub fn decode_head(head: [u8; HEAD], limit: usize) -> Result<(u16, usize), FrameTooLarge> {
    let [k0, k1, l0, l1, l2, l3] = head;
    let announced = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(FrameTooLarge { announced, limit });
    }
    Ok((u16::from_be_bytes([k0, k1]), announced))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let frame = Frame::new(FrameKind::Register, b"{}".to_vec());
        assert_eq!(frame.encode(), [0, 32, 0, 0, 0, 2, b'{', b'}']);
    }

    #[test]
    fn numbers_are_stable() {
        let numbers: Vec<u16> = FrameKind::ALL.into_iter().map(|kind| kind as u16).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 32, 33, 34, 35]);
        assert!(FrameKind::ALL.into_iter().all(|kind| FrameKind::from_number(kind as u16) == Some(kind)));
        assert_eq!(FrameKind::from_number(9999), None);
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_is_read() {
        assert_eq!(decode_head([0, 1, 0, 0, 16, 0], 4096), Ok((1, 4096)));
        assert!(decode_head([0, 1, 0, 0, 16, 1], 4096).is_err());
        assert!(decode_head([0, 1, 255, 255, 255, 255], 4096).is_err());
    }
}
