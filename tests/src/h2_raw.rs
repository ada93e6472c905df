//! HTTP/2 by hand (RFC 9113): frames of any kind with any content, field blocks of literals (RFC 7541) in which nothing is
//! checked, and just enough of a reader to see what the relay makes of them.

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::visitor::Visitor;
use crate::wait::PATIENCE;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const CANCEL: u32 = 8;

/// A name and a value, each any bytes.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// One frame in bytes.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A field block of literals that are never indexed.
#[must_use]
pub fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            number(&mut block, 7, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// RFC 7541, section 5.1, with the bits before the number zero.
pub fn number(out: &mut Vec<u8>, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    let byte = |value: usize| u8::try_from(value).expect("less than a byte");
    if value < most {
        out.push(byte(value));
        return;
    }
    out.push(byte(most));
    let mut left = value - most;
    while left >= 128 {
        out.push(byte(left % 128) | 0x80);
        left /= 128;
    }
    out.push(byte(left));
}

/// HEADERS with all of a field block.
#[must_use]
pub fn headers(stream: u32, flags: u8, fields: &[Field<'_>]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// RST_STREAM.
#[must_use]
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// WINDOW_UPDATE.
#[must_use]
pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Of a HEADERS frame: the status that its block begins with.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let block = &self.payload[..];
        // The table's size may be said first.
        let block = if block.first()? & 0xe0 == 0x20 { &block[1..] } else { block };
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match block {
            [first @ 0x88..=0x8e, ..] => INDEXED.get(usize::from(first - 0x88)).copied(),
            // A literal with the name of the table's entry 8, in each of the three forms.
            [0x48 | 0x08 | 0x18, 0x03, digits @ ..] => {
                std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok()
            }
            [0x48 | 0x08 | 0x18, length, rest @ ..] => digits(rest.get(..usize::from(length & 0x7f))?),
            _ => None,
        }
    }

    /// Of RST_STREAM and GOAWAY: the error code.
    #[must_use]
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let code = self.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        code.map_or(u32::MAX, u32::from_be_bytes)
    }

    #[must_use]
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// Three digits in RFC 7541's Huffman code: `0` to `2` are five bits, the others six.
#[must_use]
pub fn digits(coded: &[u8]) -> Option<u16> {
    let bits: String = coded.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut number) = (&bits[..], 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(rest.get(..5)?, 2).ok()?;
        let (digit, length) = match five {
            0..=2 => (five, 5),
            _ => (u16::from_str_radix(rest.get(..6)?, 2).ok()?.checked_sub(0x19)? + 3, 6),
        };
        number = number * 10 + digit;
        rest = &rest[length..];
    }
    Some(number)
}

/// What reading came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Frame(Frame),
    /// The connection is over.
    Closed,
}

/// The half that frames come from.
#[derive(Debug)]
pub struct Incoming {
    stream: ReadHalf<TlsStream<TcpStream>>,
    buffer: Vec<u8>,
}

impl Incoming {
    /// The next frame. Keeps what it has read where its caller stops waiting.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(frame) = self.take() {
                return Event::Frame(frame);
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return Event::Closed;
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let (head, rest) = self.buffer.split_at_checked(9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = rest.get(..length)?.to_vec();
        let stream = u32::from_be_bytes(head[5..9].try_into().ok()?) & 0x7fff_ffff;
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        self.buffer.drain(..9 + length);
        Some(frame)
    }
}

/// An HTTP/2 connection to the relay.
#[derive(Debug)]
pub struct RawHttp2 {
    pub incoming: Incoming,
    pub outgoing: WriteHalf<TlsStream<TcpStream>>,
}

impl RawHttp2 {
    /// Connects under a hostname, and says the preface with settings beside the one that forbids the relay a dynamic
    /// table.
    pub async fn connect(visitor: &Visitor, hostname: &str, settings: &[(u16, u32)]) -> Self {
        let stream = visitor.connect(hostname, &["h2"]).await.expect("TLS");
        let _slower_then = stream.get_ref().0.set_nodelay(true);
        let (read, outgoing) = tokio::io::split(stream);
        let mut new = Self { incoming: Incoming { stream: read, buffer: Vec::new() }, outgoing };
        let all = [&[(1, 0)], settings].concat();
        let payload: Vec<u8> = all
            .iter()
            .flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        new.send(&[PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()).await;
        new
    }

    /// Sends bytes. Says whether the relay was still there.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.outgoing.write_all(bytes).await.is_ok() && self.outgoing.flush().await.is_ok()
    }

    /// The next frame that is not about the connection itself: settings are acknowledged, pings answered, windows left as
    /// they are.
    pub async fn next(&mut self) -> Event {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.incoming.next()).await.expect("a frame in time");
            let Event::Frame(frame) = &event else { return event };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.answer(SETTINGS, &[]).await,
                PING if frame.flags & ACK == 0 => self.answer(PING, &frame.payload).await,
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return event,
            }
        }
    }

    async fn answer(&mut self, kind: u8, payload: &[u8]) {
        let _or_it_is_gone = self.send(&frame(kind, ACK, 0, payload)).await;
    }
}
