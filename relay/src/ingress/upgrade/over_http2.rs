//! WebSockets over HTTP/2 (RFC 8441): a CONNECT of one stream is translated to the upgrade that origins know, and the
//! stream carries the bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::{Buf, Bytes};
use data_encoding::BASE64;
use h2::{RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::VisitorSide;
use crate::ingress::error::IngressError;

const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
/// RFC 6455, section 1.3.
const SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Both directions of a stream that has left HTTP.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) send: SendStream<Bytes>,
    pub(crate) recv: RecvStream,
}

/// A stream that is handed over once the visitor was told of the origin's consent.
#[derive(Debug)]
pub(crate) struct Awaited {
    handed_over: oneshot::Receiver<Handover>,
    /// What the origin of a WebSocket has to answer to the key; the visitor has no key of its own to check.
    accept: Option<String>,
}

/// Makes an HTTP/1 upgrade out of an extended CONNECT.
pub(crate) fn translate(
    parts: &mut request::Parts,
    protocol: &str,
    handed_over: oneshot::Receiver<Handover>,
) -> VisitorSide {
    parts.method = Method::GET;
    // The bytes of the stream are no content: an origin that waited for some would take the next request for it.
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(protocol) = HeaderValue::from_str(protocol) {
        parts.headers.insert(UPGRADE, protocol);
    }
    let key = BASE64.encode(&process::random::bytes::<16>());
    let is_websocket = protocol.eq_ignore_ascii_case("websocket");
    if is_websocket && let Ok(key) = HeaderValue::from_str(&key) {
        parts.headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    VisitorSide::Http2(Awaited { handed_over, accept: is_websocket.then(|| accept(&key)) })
}

fn accept(key: &str) -> String {
    let salted = [key.as_bytes(), SALT].concat();
    BASE64.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &salted).as_ref())
}

impl Awaited {
    /// Checks the origin's answer, and takes out of it what has no meaning on HTTP/2.
    pub(super) fn check(&self, headers: &mut HeaderMap) -> Result<(), IngressError> {
        let answered = headers.remove(SEC_WEBSOCKET_ACCEPT);
        let is_right = |right: &String| answered.is_some_and(|answer| answer.as_bytes() == right.as_bytes());
        if self.accept.as_ref().is_none_or(is_right) { Ok(()) } else { Err(IngressError::OriginInvalid) }
    }

    /// The stream, unless the visitor left before.
    pub(super) async fn stream(self, stall: Duration) -> Option<Stream> {
        let Handover { send, recv } = self.handed_over.await.ok()?;
        Some(Stream { send, recv, unread: Bytes::new(), stall, stalled: None })
    }
}

/// One stream as a connection. Dropped before both sides have ended, it is reset.
#[derive(Debug)]
pub(super) struct Stream {
    send: SendStream<Bytes>,
    recv: RecvStream,
    unread: Bytes,
    stall: Duration,
    /// Runs while the visitor takes nothing of what waits for it.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.send.capacity() == 0 {
            ready!(self.send.poll_capacity(cx)).ok_or(io::ErrorKind::BrokenPipe)?.map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.recv.poll_data(cx)) {
                Some(data) => self.unread = data.map_err(broken)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        Poll::Ready(self.recv.flow_control().release_capacity(count).map_err(broken))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(bytes.len());
        if self.poll_room(cx)?.is_pending() {
            let stall = self.stall;
            let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
            ready!(stalled.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.stalled = None;
        let count = self.send.capacity().min(bytes.len());
        self.send.send_data(Bytes::copy_from_slice(&bytes[..count]), false).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    /// There is nothing to flush; but this is where a visitor who has gone is noticed, also one who has ended its side.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.send.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(broken))
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn only_the_right_answer_to_the_key_is_taken() {
        let (_handover, handed_over) = oneshot::channel();
        let awaited = Awaited { handed_over, accept: Some("right".into()) };
        let answer = |text| HeaderMap::from_iter([(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static(text))]);
        assert!(awaited.check(&mut answer("right")).is_ok());
        assert!(awaited.check(&mut answer("wrong")).is_err());
        assert!(awaited.check(&mut HeaderMap::new()).is_err());
    }
}
