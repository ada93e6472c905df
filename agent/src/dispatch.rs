//! Takes the streams that the relay opens to the services they name, where this agent offers them.

use std::sync::Arc;
use std::time::Duration;

use protocol::close::StreamReset;
use protocol::id::{RequestId, ServiceName};
use protocol::stream::{self, HeaderError, StreamHeader};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use transport::urgency::Shares;

use crate::offer::Offers;
use crate::origin::OriginError;
use crate::splice::{FromRelay, SpliceError, ToRelay, splice};

/// From the opening of a stream to the end of its header.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// Why a stream led nowhere.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("the stream's header did not come in time")]
    HeaderTimedOut,
    #[error("the stream broke inside its header")]
    HeaderBroke(#[source] quinn::ReadExactError),
    #[error("the stream's header cannot be read")]
    Header(#[source] HeaderError),
    #[error("this agent offers no such service")]
    UnknownService { request: RequestId, service: ServiceName },
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
            Self::UnknownService { .. } | Self::Shared { .. } => StreamReset::UnknownService,
            Self::Origin { source, .. } => source.reset(),
        }
    }
}

/// Accepts the streams of one session and owns their tasks: none outlives [`Dispatch::run`].
#[derive(Debug)]
pub struct Dispatch {
    connection: Connection,
    offers: Offers,
    places: Arc<Semaphore>,
    /// What the streams have written, urgent and not.
    shares: Arc<Shares>,
}

impl Dispatch {
    /// `places` bounds how many streams are open at once.
    #[must_use]
    pub fn new(connection: Connection, offers: Offers, places: Arc<Semaphore>) -> Self {
        Self { connection, offers, places, shares: Arc::default() }
    }

    /// Serves streams until the connection ends.
    pub async fn run(self) -> ConnectionError {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.connection.accept_bi() => match accepted {
                    Ok((send, recv)) => self.on_stream(send, recv, &mut running),
                    Err(error) => return error,
                },
                Some(ended) = running.join_next() => on_end(ended),
            }
        }
    }

    fn on_stream(&self, send: SendStream, recv: RecvStream, running: &mut JoinSet<()>) {
        let (mut to_relay, mut from_relay) =
            (ToRelay::new(send, Arc::clone(&self.shares)), FromRelay::new(recv));
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                running.spawn(serve(to_relay, from_relay, self.offers.clone(), place));
            }
            Err(_) => {
                to_relay.reset(StreamReset::Busy);
                from_relay.stop(StreamReset::Busy);
            }
        }
    }
}

/// Tasks end by themselves; a panic is our mistake and costs one stream only.
fn on_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a stream ended by a mistake in this program");
    }
}

async fn serve(
    mut to_relay: ToRelay,
    mut from_relay: FromRelay,
    offers: Offers,
    _place: OwnedSemaphorePermit,
) {
    let (origin, header) = match open(&mut from_relay, &offers).await {
        Ok(opened) => opened,
        Err(error) => {
            tell(&error);
            to_relay.reset(error.reset());
            from_relay.stop(error.reset());
            return;
        }
    };
    let StreamHeader { service, visitor, request, .. } = header;
    tracing::debug!(%request, %service, %visitor, "stream opened");
    match splice(origin, to_relay, from_relay).await {
        Ok(()) => tracing::debug!(%request, %service, "stream ended"),
        Err(SpliceError::Origin(error)) => {
            tracing::warn!(%request, %service, %error, "the origin broke the connection off");
        }
        Err(error @ (SpliceError::Reset | SpliceError::Stopped | SpliceError::Session)) => {
            tracing::debug!(%request, %service, %error, "stream broken off");
        }
    }
}

async fn open(
    from_relay: &mut FromRelay,
    offers: &Offers,
) -> Result<(crate::origin::OriginStream, StreamHeader), StreamError> {
    let header = tokio::time::timeout(HEADER_DEADLINE, read_header(from_relay))
        .await
        .unwrap_or(Err(StreamError::HeaderTimedOut))?;
    let (request, service) = (header.request, header.service.clone());
    // The allow-list: what is not in the configuration in force is not there, whatever the relay asks for.
    let origin = offers.borrow().origins().find(&service);
    let Some(origin) = origin else { return Err(StreamError::UnknownService { request, service }) };
    // What others would send here as well would be taken for this visitor's. Also for a moment after a reload, until the
    // relay knows.
    if origin.is_per_visitor() && !header.alone {
        return Err(StreamError::Shared { request, service });
    }
    match origin.connect(header.visitor).await {
        Ok(connected) => Ok((connected, header)),
        Err(source) => Err(StreamError::Origin { request, service, source }),
    }
}

async fn read_header(from_relay: &mut FromRelay) -> Result<StreamHeader, StreamError> {
    let mut head = [0; stream::HEAD];
    from_relay.read_exact(&mut head).await.map_err(StreamError::HeaderBroke)?;
    let length = stream::decode_head(head).map_err(StreamError::Header)?;
    let mut fields = vec![0; length];
    from_relay.read_exact(&mut fields).await.map_err(StreamError::HeaderBroke)?;
    StreamHeader::decode_fields(&fields).map_err(StreamError::Header)
}

fn tell(error: &StreamError) {
    let chain = process::terminal::chain(error);
    match error {
        StreamError::HeaderTimedOut | StreamError::HeaderBroke(_) | StreamError::Header(_) => {
            tracing::debug!(error = chain, "stream refused");
        }
        StreamError::UnknownService { request, service }
        | StreamError::Shared { request, service }
        | StreamError::Origin { request, service, .. } => {
            tracing::warn!(%request, %service, error = chain, "stream refused");
        }
    }
}
