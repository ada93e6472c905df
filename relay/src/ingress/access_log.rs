//! One line for each request, written when its response has ended. The query and everything that could be a credential
//! stay out of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Request, Version};
use protocol::id::{PeerName, RequestId, ServiceName};

use super::body::Upload;
use crate::edge::framing::REFUSE_METHOD;

/// What is known of a request so far. Dropping it writes the line.
#[derive(Debug)]
pub(crate) struct AccessLine {
    pub(crate) id: RequestId,
    pub(crate) started: Instant,
    visitor: IpAddr,
    protocol: Version,
    /// What a visitor asked for; nothing where its bytes are no request.
    asked: Option<(Method, String)>,
    pub(crate) host: Option<String>,
    pub(crate) status: u16,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) upload: Arc<Upload>,
    pub(crate) sent: u64,
    /// What the agent's log calls the stream: the request that opened it.
    pub(crate) stream: Option<RequestId>,
    pub(crate) peer: Option<PeerName>,
    pub(crate) service: Option<ServiceName>,
    pub(crate) error: Option<&'static str>,
    enabled: bool,
}

impl AccessLine {
    pub(crate) fn begin<B>(request: &Request<B>, id: RequestId, visitor: IpAddr, enabled: bool) -> Self {
        Self {
            id,
            started: Instant::now(),
            visitor,
            protocol: request.version(),
            asked: asked(request),
            host: None,
            status: 0,
            first_byte: None,
            upload: Arc::new(Upload::default()),
            sent: 0,
            stream: None,
            peer: None,
            service: None,
            error: None,
            enabled,
        }
    }
}

/// Method and path, but for the stand-in that the framing guard writes.
fn asked<B>(request: &Request<B>) -> Option<(Method, String)> {
    let refused = request.version() < Version::HTTP_2 && request.method().as_str() == REFUSE_METHOD;
    (!refused).then(|| (request.method().clone(), printable(request.uri().path())))
}

/// The http crate lets no ASCII control characters into a path, but over HTTP/2 it lets in all others, and U+009B begins a
/// terminal's command.
fn printable(path: &str) -> String {
    if path.is_ascii() {
        return path.to_owned();
    }
    let mut shown = String::with_capacity(path.len() * 2);
    for byte in path.bytes() {
        if byte.is_ascii() {
            shown.push(char::from(byte));
        } else {
            shown.push_str(&format!("%{byte:02X}"));
        }
    }
    shown
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        if !self.enabled {
            return;
        }
        if self.status == 0 && self.error.is_none() {
            self.error = Some("visitor-gone");
        }
        // A method is a token, a path was made printable, and a host is a checked name.
        tracing::info!(
            target: "access",
            request = %self.id,
            visitor = %self.visitor,
            protocol = ?self.protocol,
            method = self.asked.as_ref().map(|(method, _)| method.as_str()),
            host = self.host.as_deref(),
            path = self.asked.as_ref().map(|(_, path)| path.as_str()),
            status = self.status,
            received_bytes = self.upload.received(),
            sent_bytes = self.sent,
            first_byte_ms = self.first_byte.map(millis),
            duration_ms = millis(self.started.elapsed()),
            peer = self.peer.as_ref().map(PeerName::as_str),
            service = self.service.as_ref().map(ServiceName::as_str),
            stream = self.stream.filter(|stream| *stream != self.id).map(tracing::field::display),
            error = self.error,
        );
    }
}

/// To a tenth of a millisecond.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
