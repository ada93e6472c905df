//! HTTP/1 by hand: what a strict reader makes of bytes, and a visitor that sends whatever it likes.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::visitor::Visitor;
use crate::wait::PATIENCE;

/// A request or a response in plain form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// As they came, in order; bytes beyond ASCII as Latin-1.
    pub fields: Vec<(String, String)>,
    /// Without its chunks.
    pub body: Vec<u8>,
    /// What came behind the last chunk.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// All values of a field, whatever the case of its name.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let wanted = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
        self.fields.iter().filter(wanted).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a field; empty where there is none.
    ///
    /// # Panics
    ///
    /// Where there are several.
    #[must_use]
    pub fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert!(all.len() < 2, "{name}: {all:?}");
        all.first().copied().unwrap_or_default()
    }

    /// The second word of the first line: a target or a status.
    #[must_use]
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Of a response; 0 where there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.target().parse().unwrap_or_default()
    }
}

/// What the front of some bytes is.
#[derive(Debug)]
pub enum Front {
    /// A whole message, and its length.
    Whole(Message, usize),
    /// It goes on.
    Part,
    /// No two programs would read it alike.
    Unclear(String),
}

/// Whether a body without a length follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    /// To HEAD, or any other that has no body whatever its fields say.
    Bodyless,
}

/// Reads one message, as strictly as RFC 9112 allows.
#[must_use]
pub fn read_message(bytes: &[u8], kind: Kind) -> Front {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Front::Part };
    let message = match read_head(&bytes[..end]) {
        Ok(message) => message,
        Err(reason) => return Front::Unclear(reason),
    };
    read_body(message, &bytes[end + 4..], end + 4, kind)
}

fn read_body(mut message: Message, rest: &[u8], head: usize, kind: Kind) -> Front {
    let bodyless = kind == Kind::Bodyless || matches!(message.status(), 101..200 | 204 | 304);
    let lengths: Vec<String> = message.all("content-length").iter().map(ToString::to_string).collect();
    let codings: Vec<String> = message.all("transfer-encoding").iter().map(ToString::to_string).collect();
    match (lengths.as_slice(), codings.as_slice()) {
        _ if bodyless => Front::Whole(message, head),
        ([], []) => Front::Whole(message, head),
        ([length], []) => match length.parse::<usize>() {
            Ok(length) if length > rest.len() => Front::Part,
            Ok(length) => {
                message.body = rest[..length].to_vec();
                Front::Whole(message, head + length)
            }
            Err(error) => Front::Unclear(format!("content-length {length:?}: {error}")),
        },
        ([], [coding]) if coding == "chunked" => match read_chunks(rest) {
            Ok(Some((body, trailers, length))) => {
                message.body = body;
                message.trailers = trailers;
                Front::Whole(message, head + length)
            }
            Ok(None) => Front::Part,
            Err(reason) => Front::Unclear(reason),
        },
        (lengths, codings) => Front::Unclear(format!("framed by {lengths:?} and {codings:?}")),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn read_head(head: &[u8]) -> Result<Message, String> {
    let text: String = head.iter().copied().map(char::from).collect();
    let (start, lines) = text.split_once("\r\n").unwrap_or((&text, ""));
    if start.contains(char::is_control) {
        return Err(format!("an odd first line: {start:?}"));
    }
    let (body, trailers) = (Vec::new(), Vec::new());
    Ok(Message { start: start.to_owned(), fields: read_fields(lines)?, body, trailers })
}

/// Field lines without the last one's CRLF.
fn read_fields(lines: &str) -> Result<Vec<(String, String)>, String> {
    let mut fields = Vec::new();
    for line in lines.split("\r\n").take_while(|_| !lines.is_empty()) {
        let Some((name, value)) = line.split_once(':') else { return Err(format!("no field: {line:?}")) };
        let odd = |c: char| !c.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || name.contains(odd) || value.contains(|c: char| c != '\t' && c.is_control()) {
            return Err(format!("an odd field: {line:?}"));
        }
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(fields)
}

type Chunked = (Vec<u8>, Vec<(String, String)>, usize);

/// The body, its trailers and how many bytes it took; no chunk has an extension.
fn read_chunks(bytes: &[u8]) -> Result<Option<Chunked>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = String::from_utf8_lossy(&bytes[at..at + end]).into_owned();
        let canonical = |length: &usize| format!("{length:x}") == size.to_ascii_lowercase();
        let length = usize::from_str_radix(&size, 16).ok().filter(canonical);
        let length = length.ok_or_else(|| format!("a chunk of {size:?} bytes"))?;
        if length == 0 {
            return read_trailers(&bytes[at..], body, at);
        }
        at += end + 2;
        let Some(chunk) = bytes.get(at..at + length + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err(format!("a chunk ends with {chunk:?}"));
        }
        body.extend_from_slice(&chunk[..length]);
        at += length + 2;
    }
}

/// From the last chunk's `0` on.
fn read_trailers(bytes: &[u8], body: Vec<u8>, at: usize) -> Result<Option<Chunked>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text: String = bytes[..end].iter().copied().map(char::from).collect();
    let (_, lines) = text.split_once("\r\n").unwrap_or((&text, ""));
    Ok(Some((body, read_fields(lines)?, at + end + 4)))
}

/// How bytes are cut up on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Whole,
    Halves,
    /// One by one; by a thousand where there are very many.
    Bytes,
}

impl Cut {
    pub const ALL: [Self; 3] = [Self::Whole, Self::Halves, Self::Bytes];

    fn pieces(self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let size = match self {
            Self::Whole => bytes.len(),
            Self::Halves => bytes.len().div_ceil(2),
            Self::Bytes if bytes.len() <= 4096 => 1,
            Self::Bytes => 1021,
        };
        bytes.chunks(size.max(1))
    }

    /// Long enough for the other side to see most pieces by themselves.
    const fn pause(self) -> Duration {
        Duration::from_micros(if matches!(self, Self::Halves) { 3000 } else { 0 })
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With TLS's own farewell.
    Clean,
    /// Without.
    Broken,
}

/// A TLS connection to the relay that HTTP/1 is spoken on by hand.
#[derive(Debug)]
pub struct RawVisitor {
    pub stream: TlsStream<TcpStream>,
    /// What came and was not taken yet.
    pub buffer: Vec<u8>,
}

impl RawVisitor {
    /// Connects under a hostname.
    pub async fn connect(visitor: &Visitor, hostname: &str) -> Self {
        let stream = visitor.connect(hostname, &["http/1.1"]).await.expect("TLS");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes. A relay that has closed by then has said why before.
    pub async fn send(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).await.is_ok() {
            let _closed_by_then = self.stream.flush().await;
        }
    }

    /// The same, each piece in a TLS record and a TCP segment of its own.
    pub async fn send_cut(&mut self, bytes: &[u8], cut: Cut) {
        let _slower_then = self.stream.get_ref().0.set_nodelay(true);
        for piece in cut.pieces(bytes) {
            self.send(piece).await;
            tokio::task::yield_now().await;
            if !cut.pause().is_zero() {
                tokio::time::sleep(cut.pause()).await;
            }
        }
    }

    /// The next response, with 100s skipped; none where the connection ends before.
    pub async fn response(&mut self) -> Option<Message> {
        self.response_of(Kind::Response).await
    }

    /// The same where the kind of the response is known.
    pub async fn response_of(&mut self, kind: Kind) -> Option<Message> {
        loop {
            match read_message(&self.buffer, kind) {
                Front::Whole(message, length) => {
                    self.buffer.drain(..length);
                    if message.status() != 100 {
                        return Some(message);
                    }
                }
                Front::Part if self.fill().await.is_ok() => {}
                Front::Part => return None,
                Front::Unclear(reason) => panic!("the relay's response: {reason}"),
            }
        }
    }

    /// The head of the next response alone.
    pub async fn head(&mut self) -> Message {
        self.response_of(Kind::Bodyless).await.expect("a response")
    }

    /// Reads once more.
    ///
    /// # Errors
    ///
    /// How the connection ended.
    pub async fn fill(&mut self) -> Result<(), End> {
        fill(&mut self.stream, &mut self.buffer).await
    }

    /// Reads to the end, which has to come.
    pub async fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.fill().await {
                return end;
            }
        }
    }
}

async fn fill(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<(), End> {
    match tokio::time::timeout(PATIENCE, stream.read_buf(buffer)).await {
        Ok(Ok(0)) => Err(End::Clean),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(End::Broken),
        Err(_) => panic!("nothing came for {PATIENCE:?}, after {:?}", String::from_utf8_lossy(buffer)),
    }
}

/// Plain HTTP/1: sends bytes and reads one response.
pub async fn ask_plain(address: std::net::SocketAddr, bytes: &[u8]) -> Message {
    let mut stream = TcpStream::connect(address).await.expect("TCP");
    stream.write_all(bytes).await.expect("bytes can be sent");
    let mut buffer = Vec::new();
    loop {
        match read_message(&buffer, Kind::Response) {
            Front::Whole(message, _) => return message,
            Front::Part => fill(&mut stream, &mut buffer).await.expect("a response"),
            Front::Unclear(reason) => panic!("{reason}"),
        }
    }
}

/// Nothing can be shown to stay away for ever; this long is taken for it.
pub const A_WHILE: Duration = Duration::from_millis(300);
