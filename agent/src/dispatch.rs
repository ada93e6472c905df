//! Takes the streams that the relay opens to the services they name, where this agent offers them.

use std::sync::Arc;
use std::time::Duration;

use protocol::close::StreamReset;
use protocol::control::TlsEnd;
use protocol::id::{RequestId, ServiceName};
use protocol::stream::{self, Header, HeaderError, StreamHeader};
use quinn::{ConnectionError, RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use crate::offer::Offers;
use crate::origin::{Origin, OriginError};
use crate::private::flow::Carrier;
use crate::private::host::{Host, Way};
use crate::splice::{Ends, FromRelay, SpliceError, splice};
use crate::terminate::Terminator;

/// From the opening of a stream to the end of its header.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// Why a stream led nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the stream's header did not come in time")]
    HeaderTimedOut,
    #[error("the stream broke inside its header")]
    HeaderBroke(#[source] quinn::ReadExactError),
    #[error("the stream's header cannot be read")]
    Header(#[source] HeaderError),
    #[error("this agent offers no such service")]
    UnknownService { request: RequestId, service: ServiceName },
    #[error("no hostname of this agent leads such a stream to this service")]
    Astray { request: RequestId, service: ServiceName, sealed: Option<TlsEnd> },
    #[error("the relay is too old for `proxy_protocol`: it does not keep the visitors of a stream apart")]
    Shared { request: RequestId, service: ServiceName },
    #[error("the origin cannot be reached")]
    Origin { request: RequestId, service: ServiceName, source: OriginError },
}

impl StreamError {
    fn reset(&self) -> StreamReset {
        match self {
            Self::HeaderTimedOut | Self::HeaderBroke(_) | Self::Header(_) => StreamReset::Header,
            // The service is there, but not for such a stream.
            Self::UnknownService { .. } | Self::Astray { .. } | Self::Shared { .. } => {
                StreamReset::UnknownService
            }
            Self::Origin { source, .. } => source.reset(),
        }
    }
}

/// What streams lead to.
#[derive(Debug, Clone)]
pub struct Behind {
    pub offers: Offers,
    /// Ends the TLS of visitors.
    pub terminator: Arc<Terminator>,
    /// Lets other peers in.
    pub host: Arc<Host>,
}

/// Accepts the streams of one session and owns their tasks: none outlives [`Dispatch::run`].
#[derive(Debug)]
pub struct Dispatch {
    carrier: Carrier,
    behind: Behind,
    places: Arc<Semaphore>,
}

impl Dispatch {
    /// `places` bounds how many streams are open at once.
    #[must_use]
    pub fn new(carrier: Carrier, behind: Behind, places: Arc<Semaphore>) -> Self {
        Self { carrier, behind, places }
    }

    /// Serves streams until the connection ends.
    pub async fn run(self) -> ConnectionError {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.carrier.connection.accept_bi() => match accepted {
                    Ok((send, recv)) => self.on_stream(send, recv, &mut running),
                    Err(error) => return error,
                },
                error = self.carrier.run() => return error,
                Some(ended) = running.join_next() => on_end(ended),
            }
        }
    }

    fn on_stream(&self, send: SendStream, recv: RecvStream, running: &mut JoinSet<()>) {
        let mut ends = Ends::new(send, recv, Arc::clone(&self.carrier.shares));
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                running.spawn(serve(ends, self.behind.clone(), self.carrier.clone(), place));
            }
            Err(_) => ends.reset(StreamReset::Busy),
        }
    }
}

/// Tasks end by themselves; a panic is our mistake and costs one stream only.
fn on_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a stream ended by a mistake in this program");
    }
}

async fn serve(mut ends: Ends, behind: Behind, carrier: Carrier, _place: OwnedSemaphorePermit) {
    let header = tokio::time::timeout(HEADER_DEADLINE, read_header(&mut ends.from_relay)).await;
    match header.unwrap_or(Err(StreamError::HeaderTimedOut)) {
        Err(error) => refuse(&error, |code| ends.reset(code)),
        Ok(Header::Visitor(header)) => serve_visitor(ends, &header, &behind).await,
        // Apart, as it is large, and other streams would keep the room for it as well.
        Ok(Header::Private(header)) => {
            Box::pin(behind.host.serve(ends, header, &carrier, Way::Relayed)).await;
        }
    }
}

async fn serve_visitor(mut ends: Ends, header: &StreamHeader, behind: &Behind) {
    match admit(header, &behind.offers) {
        Err(error) => refuse(&error, |code| ends.reset(code)),
        Ok(origin) => match header.sealed {
            None | Some(TlsEnd::Origin) => pass_on(ends, header, &origin).await,
            Some(TlsEnd::Agent) => Box::pin(end_tls(ends, header, &origin, &behind.terminator)).await,
        },
    }
}

/// Lets a stream through where the configuration in force leads such streams to that service.
fn admit(header: &StreamHeader, offers: &Offers) -> Result<Arc<Origin>, StreamError> {
    let (request, service, sealed) = (header.request, header.service.clone(), header.sealed);
    // The allow-list: what is not in the configuration in force is not there, whatever the relay asks for.
    let origin = offers.borrow().origins().find(&service);
    let Some(origin) = origin else { return Err(StreamError::UnknownService { request, service }) };
    if !origin.reach().has(sealed) {
        return Err(StreamError::Astray { request, service, sealed });
    }
    // What others would send here as well would be taken for this visitor's. Also for a moment after a reload, until the
    // relay knows. Nobody shares what is sealed.
    if origin.is_per_visitor() && !header.alone && sealed.is_none() {
        return Err(StreamError::Shared { request, service });
    }
    Ok(origin)
}

/// The origin speaks what the relay or, where it is sealed, the visitor speaks.
async fn pass_on(mut ends: Ends, header: &StreamHeader, origin: &Origin) {
    let connected = match header.sealed {
        None => origin.connect(Some(header.visitor)).await,
        Some(_) => origin.connect_bare(Some(header.visitor)).await,
    };
    match connected {
        Ok(connected) => {
            opened(header);
            ended(header, splice(connected, ends).await);
        }
        Err(source) => refuse(&unreached(header, source), |code| ends.reset(code)),
    }
}

/// The origin is left alone until the visitor has come through the handshake.
async fn end_tls(ends: Ends, header: &StreamHeader, origin: &Origin, terminator: &Terminator) {
    let StreamHeader { service, visitor, request, .. } = header;
    let leads_here = |name: &_| origin.reach().has_name(name);
    let mut accepted = match terminator.accept(ends, origin.target().http(), leads_here).await {
        Ok(Some(accepted)) => accepted,
        Ok(None) => {
            return tracing::debug!(%request, %service, %visitor, "a challenge of an authority was answered");
        }
        Err(error) => {
            let error = process::terminal::chain(&error);
            return tracing::debug!(%request, %service, %visitor, error, "no TLS with the visitor");
        }
    };
    match origin.connect(Some(*visitor)).await {
        Ok(connected) => {
            opened(header);
            ended(header, accepted.splice(connected).await);
        }
        Err(source) => refuse(&unreached(header, source), |code| accepted.reset(code)),
    }
}

fn unreached(header: &StreamHeader, source: OriginError) -> StreamError {
    StreamError::Origin { request: header.request, service: header.service.clone(), source }
}

fn opened(header: &StreamHeader) {
    let StreamHeader { service, visitor, request, sealed, .. } = header;
    tracing::debug!(%request, %service, %visitor, tls = ends_at(*sealed), "stream opened");
}

fn ended(header: &StreamHeader, ended: Result<(), SpliceError>) {
    let StreamHeader { service, request, .. } = header;
    match ended {
        Ok(()) => tracing::debug!(%request, %service, "stream ended"),
        Err(SpliceError::Origin(error)) => {
            tracing::warn!(%request, %service, %error, "the origin broke the connection off");
        }
        Err(
            error @ (SpliceError::Reset(_)
            | SpliceError::Stopped
            | SpliceError::Session
            | SpliceError::Tls(_)
            | SpliceError::Truncated
            | SpliceError::Private(_)),
        ) => {
            let error = process::terminal::chain(&error);
            tracing::debug!(%request, %service, error, "stream broken off");
        }
    }
}

/// As `tls` has it in the configuration.
fn ends_at(sealed: Option<TlsEnd>) -> &'static str {
    match sealed {
        None => "relay",
        Some(TlsEnd::Origin) => "passthrough",
        Some(TlsEnd::Agent) => "agent",
    }
}

pub(crate) async fn read_header(from_relay: &mut FromRelay) -> Result<Header, StreamError> {
    let mut head = [0; stream::HEAD];
    from_relay.read_exact(&mut head).await.map_err(StreamError::HeaderBroke)?;
    let (kind, length) = stream::decode_head(head).map_err(StreamError::Header)?;
    let mut fields = vec![0; length];
    from_relay.read_exact(&mut fields).await.map_err(StreamError::HeaderBroke)?;
    Header::decode_fields(kind, &fields).map_err(StreamError::Header)
}

fn refuse(error: &StreamError, reset: impl FnOnce(StreamReset)) {
    let chain = process::terminal::chain(error);
    match error {
        StreamError::HeaderTimedOut | StreamError::HeaderBroke(_) | StreamError::Header(_) => {
            tracing::debug!(error = chain, "stream refused");
        }
        StreamError::Astray { request, service, sealed } => {
            tracing::warn!(%request, %service, tls = ends_at(*sealed), error = chain, "stream refused");
        }
        StreamError::UnknownService { request, service }
        | StreamError::Shared { request, service }
        | StreamError::Origin { request, service, .. } => {
            tracing::warn!(%request, %service, error = chain, "stream refused");
        }
    }
    reset(error.reset());
}

#[cfg(test)]
mod tests;
