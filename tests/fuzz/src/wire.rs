//! What must hold of all bytes that one side of a session gets from the other. Used by the fuzz targets, and by the tests
//! that play the corpus again.

use protocol::control::{EnrollAnswer, Message, Register, Registered};
use protocol::frame::{self, Frame};
use protocol::limits;
use protocol::roster::{Roster, TooLarge};
use protocol::stream::{self, Header};

/// A header that is read can be written, and is the same when it is read again.
pub fn stream_header(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk() else { return };
    let Ok((kind, length)) = stream::decode_head(*head) else { return };
    assert!(stream::HEAD + length <= limits::STREAM_HEADER, "{length} bytes of fields are too many");
    let Some(Ok(header)) = rest.get(..length).map(|fields| Header::decode_fields(kind, fields)) else {
        return;
    };
    let written = header.encode();
    let (head, fields) = written.split_first_chunk().expect("a head");
    assert_eq!(stream::decode_head(*head), Ok((kind, fields.len())));
    assert_eq!(Header::decode_fields(kind, fields), Ok(header));
}

/// Frames, one behind the other, each read as every message that there is.
pub fn control(bytes: &[u8]) {
    for frame in frames(bytes) {
        assert!(frame.body.len() <= limits::CONTROL_BODY);
        assert_eq!(frames(&frame.encode()), std::slice::from_ref(&frame));
        message::<Register>(&frame);
        message::<Registered>(&frame);
        message::<EnrollAnswer>(&frame);
        message::<Roster>(&frame);
        message::<TooLarge>(&frame);
    }
}

/// The frames at the front of some bytes.
pub fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk() {
        let Ok((number, length)) = frame::decode_head(*head, limits::CONTROL_BODY) else { break };
        let Some((body, after)) = rest.split_at_checked(length) else { break };
        frames.push(Frame { number, body: body.to_vec() });
        bytes = after;
    }
    frames
}

/// A message that is read can be written, and is the same when it is read again.
fn message<M: Message + PartialEq + std::fmt::Debug>(frame: &Frame) {
    let Ok(Some(message)) = M::from_frame(frame) else { return };
    let written = message.to_frame().expect("plain JSON");
    assert_eq!(M::from_frame(&written).expect("what was written"), Some(message));
}
