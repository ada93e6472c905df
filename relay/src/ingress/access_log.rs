//! One line for each request, written when its response has ended, and its part in the metrics. The query and everything
//! that could be a credential stay out of both.
//!
//! [`asked`] is what of the visitor's request is kept, [`output`] is where lines go, [`record`] what they say, and
//! [`json`] and [`combined`] how they say it where the relay's own log does not.

mod asked;
mod combined;
mod json;
pub(crate) mod output;
mod record;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use protocol::id::{PeerName, RequestId, ServiceName};

use self::asked::Asked;
use self::output::AccessLog;
use self::record::Record;
use super::body::Upload;
use super::error::VISITOR_GONE;
use crate::metrics::{Ended, OpenGuard, Protocol};
use crate::route::table::Serving;
use crate::tunnel::session::Session;

/// What is known of a request so far. Dropping it writes the line.
#[derive(Debug)]
pub(crate) struct AccessLine {
    pub(crate) id: RequestId,
    pub(crate) started: Instant,
    visitor: IpAddr,
    protocol: Protocol,
    /// Nothing where the visitor's bytes are no request.
    asked: Option<Asked>,
    pub(crate) host: Option<String>,
    pub(crate) status: u16,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) upload: Arc<Upload>,
    pub(crate) sent: u64,
    /// What the agent's log calls the stream: the request that opened it.
    pub(crate) stream: Option<RequestId>,
    /// The last session that was tried.
    serving: Option<Arc<Serving<Arc<Session>>>>,
    service: Option<ServiceName>,
    pub(crate) error: Option<&'static str>,
    upgraded: Option<(Arc<Carried>, OpenGuard)>,
    log: Arc<AccessLog>,
}

/// The bytes of an upgraded connection, counted by whoever carries them.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Carried {
    /// Bytes came from the visitor.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes went to the visitor.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl AccessLine {
    pub(crate) fn begin<B>(
        request: &Request<B>,
        id: RequestId,
        visitor: IpAddr,
        log: Arc<AccessLog>,
    ) -> Self {
        let asked = Asked::of(request, log.wants_origin_of_visitor());
        Self::of((request.version().into(), asked), id, visitor, log)
    }

    /// For a whole connection of a sealed hostname, which is one request as far as anybody here can tell.
    pub(crate) fn begin_sealed(id: RequestId, visitor: IpAddr, log: Arc<AccessLog>) -> Self {
        Self::of((Protocol::Tls, None), id, visitor, log)
    }

    fn of(
        (protocol, asked): (Protocol, Option<Asked>),
        id: RequestId,
        visitor: IpAddr,
        log: Arc<AccessLog>,
    ) -> Self {
        log.metrics.request_began();
        Self {
            id,
            started: Instant::now(),
            visitor,
            protocol,
            asked,
            host: None,
            status: 0,
            first_byte: None,
            upload: Arc::new(Upload::default()),
            sent: 0,
            stream: None,
            serving: None,
            service: None,
            error: None,
            upgraded: None,
            log,
        }
    }

    /// The request is sent, or sent again, to this service.
    pub(crate) fn goes_to(&mut self, serving: &Arc<Serving<Arc<Session>>>, service: &ServiceName) {
        self.serving = Some(Arc::clone(serving));
        self.service = Some(service.clone());
    }

    /// The request becomes a connection: whoever carries its bytes counts them here, and keeps this line until the end.
    pub(crate) fn upgraded(&mut self) -> Arc<Carried> {
        let carried = Arc::new(Carried::default());
        self.upgraded = Some((Arc::clone(&carried), self.log.metrics.websocket_open()));
        carried
    }

    fn record(&self) -> Record<'_> {
        let carried = |of: fn(&Carried) -> &AtomicU64| {
            self.upgraded.as_ref().map_or(0, |(carried, _)| of(carried).load(Ordering::Relaxed))
        };
        let gone = self.status == 0 && self.error.is_none() && self.protocol != Protocol::Tls;
        Record {
            request: self.id,
            visitor: self.visitor,
            protocol: self.protocol,
            asked: self.asked.as_ref(),
            host: self.host.as_deref(),
            status: self.status,
            received: self.upload.received() + carried(|carried| &carried.received),
            sent: self.sent + carried(|carried| &carried.sent),
            first_byte: self.first_byte,
            duration: self.started.elapsed(),
            peer: self.serving.as_ref().map(|serving| PeerName::as_str(&serving.session.peer)),
            service: self.service.as_ref().map(ServiceName::as_str),
            stream: self.stream.filter(|stream| *stream != self.id),
            error: if gone { Some(VISITOR_GONE) } else { self.error },
        }
    }

    fn count(&self, record: &Record<'_>) {
        let ended = Ended {
            protocol: self.protocol,
            status: self.status,
            code: record.error,
            hostname: self.serving.as_ref().map(|serving| serving.exposure.hostname.as_str()),
            first_byte: self.first_byte,
            duration: self.upgraded.is_none().then_some(record.duration),
            received: record.received,
            sent: record.sent,
        };
        self.log.metrics.request_ended(&ended);
        if self.stream == Some(self.id) {
            self.log.metrics.stream_opened();
        }
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let record = self.record();
        self.count(&record);
        self.log.write(&record);
    }
}
