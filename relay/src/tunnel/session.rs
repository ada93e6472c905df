//! The authenticated life of one agent's connection: its control stream, and requests sent through it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use protocol::close::SessionClose;
use protocol::control::{Registered, ServiceProtocol};
use protocol::id::{PeerName, RequestId, ServiceName};
use protocol::key::PublicKey;
use protocol::limits;
use protocol::roster::TooLarge;
use protocol::stream::StreamHeader;
use quinn::{Connection, VarInt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use transport::urgency::Shares;

use super::crowd::{Crowd, Intake, Place};
use super::datagrams::Flows;
use super::pool::{Http1Stream, Http2Stream, Pool, RequestBody, Reuse};
use super::stream::{FailureCell, StreamFailure, TunnelStream};
use crate::lock::lock;
use crate::policy::Permit;
use crate::route::exposure::Target;

/// The agent has to let another stream in within this time.
const OPENING: Duration = Duration::from_secs(10);

/// What one h2c response may have in flight, and all of a stream together, in bytes.
const H2C_STREAM_WINDOW: u32 = 1 << 20;
const H2C_WINDOW: u32 = 64 << 20;

/// Largest head of an origin's response, in bytes.
const RESPONSE_HEAD: usize = 256 * 1024;
/// And its fields.
const RESPONSE_FIELDS: usize = 512;

/// What the visitor's side of a request is called in the stream's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) visitor: SocketAddr,
    pub(crate) request: RequestId,
}

/// Why a request got no response.
#[derive(Debug)]
pub(crate) struct SendFailure {
    pub(crate) reason: FailureReason,
    /// The request, where not one byte of it has left.
    pub(crate) unsent: Option<Box<Request<RequestBody>>>,
    /// The stream had served an earlier request, and may have been closing.
    pub(crate) reused: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FailureReason {
    #[error("the stream to the service broke")]
    Stream(#[source] StreamFailure),
    #[error("the agent let no further stream in for {} s", OPENING.as_secs())]
    Busy,
    #[error("the exchange with the origin failed")]
    Http(#[source] hyper::Error),
}

/// A response, and the stream that carries it back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
}

/// Gives a stream back to its pool once the response was read to its end; dropped before that, the stream is closed.
#[derive(Debug)]
pub(crate) struct Lease {
    carrier: Carrier,
    failure: FailureCell,
    /// The request that opened the stream: what the agent's log calls it.
    pub(crate) opener: RequestId,
}

/// What a response comes over.
#[derive(Debug)]
enum Carrier {
    Alone(Http1Stream, Arc<Pool>, Place),
    /// Counts among those under way.
    Shared {
        _stream: Http2Stream,
    },
    /// Not to be used again.
    Last {
        _stream: Http1Stream,
        _ends: AbortOnDrop,
        place: Place,
    },
    Returned,
}

/// Ends a stream whose request would wait for ever.
#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lease {
    pub(crate) fn finished(&mut self) {
        match std::mem::replace(&mut self.carrier, Carrier::Returned) {
            Carrier::Alone(stream, pool, _) => pool.put(stream),
            Carrier::Last { .. } | Carrier::Returned => {}
            shared @ Carrier::Shared { .. } => self.carrier = shared,
        }
    }

    /// The request is not whole, and never will be: the stream ends with the response.
    pub(crate) fn end_with_response(&mut self) {
        if let Carrier::Alone(stream, _, place) = std::mem::replace(&mut self.carrier, Carrier::Returned) {
            let ends = AbortOnDrop(stream.task.clone());
            self.carrier = Carrier::Last { _stream: stream, _ends: ends, place };
        }
    }

    /// How the visitor takes the response, where it comes over a stream of its own.
    pub(crate) fn intake(&self) -> Option<&Arc<Intake>> {
        match &self.carrier {
            Carrier::Alone(_, _, place) | Carrier::Last { place, .. } => Some(&place.intake),
            Carrier::Shared { .. } | Carrier::Returned => None,
        }
    }

    /// Whether others use the stream too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.carrier, Carrier::Shared { .. })
    }

    /// What broke the stream while the response came in.
    pub(crate) fn failure(&self) -> Option<StreamFailure> {
        self.failure.failure()
    }
}

/// One agent's session. Closing its connection ends everything in it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) peer: PeerName,
    pub(crate) key: PublicKey,
    /// Which of the peer's processes this is.
    pub(crate) instance: String,
    pub(crate) software: String,
    pub(crate) since: Instant,
    pub(crate) connection: Connection,
    /// Answers for the agent that nobody asked for, after grants changed.
    pub(crate) news: mpsc::Sender<Registered>,
    /// For the agent: its datagrams that did not fit.
    pub(crate) too_large: mpsc::Sender<TooLarge>,
    /// Where its datagrams lead.
    pub(crate) flows: Flows,
    pools: Mutex<HashMap<ServiceName, Arc<Pool>>>,
    /// What its streams have written, urgent and not.
    shares: Arc<Shares>,
    crowd: Arc<Crowd>,
    tasks: TaskTracker,
}

/// Who a session belongs to.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) peer: PeerName,
    pub(crate) key: PublicKey,
    pub(crate) instance: String,
    pub(crate) software: String,
}

impl Session {
    pub(crate) fn new(
        id: u64,
        who: Identity,
        connection: Connection,
        (news, too_large): (mpsc::Sender<Registered>, mpsc::Sender<TooLarge>),
    ) -> Self {
        let Identity { peer, key, instance, software } = who;
        let since = Instant::now();
        let (pools, crowd, tasks) = (Mutex::default(), Arc::default(), TaskTracker::new());
        let (shares, flows) = (Arc::default(), Flows::default());
        Self {
            id,
            peer,
            key,
            instance,
            software,
            since,
            connection,
            news,
            too_large,
            flows,
            pools,
            shares,
            crowd,
            tasks,
        }
    }

    pub(crate) fn close(&self, code: SessionClose) {
        self.connection.close(VarInt::from_u32(code.number()), code.to_string().as_bytes());
    }

    /// From now on the agent may open streams to other peers.
    pub(crate) fn let_streams_in(&self) {
        // Beside the control stream.
        self.connection.set_max_concurrent_bi_streams(VarInt::from_u32(1 + limits::PRIVATE_STREAMS));
    }

    /// What its streams have written.
    pub(crate) fn shares(&self) -> Arc<Shares> {
        Arc::clone(&self.shares)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Waits for the tasks of all streams; they end soon after the connection.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn prune(&self, now: Instant) {
        lock(&self.pools).values().for_each(|pool| pool.prune(now));
    }

    /// Cuts visitors who stand still where they leave no room for the others, for as long as this is polled.
    pub(crate) async fn watch_crowd(&self) -> Infallible {
        self.crowd.watch(&self.peer).await
    }

    /// Closes all idle streams; those in use are not used again.
    pub(crate) fn forget_pools(&self) {
        lock(&self.pools).clear();
    }

    fn pool(&self, service: &ServiceName) -> Arc<Pool> {
        let mut pools = lock(&self.pools);
        if let Some(pool) = pools.get(service) {
            return Arc::clone(pool);
        }
        Arc::clone(pools.entry(service.clone()).or_default())
    }

    /// Sends one request to the service of the permit, over an idle stream where `reuse` allows it.
    pub(crate) async fn send(
        &self,
        permit: Permit,
        asker: Asker,
        request: Request<RequestBody>,
        reuse: Reuse,
    ) -> Result<Answer, SendFailure> {
        let target = permit.redeem();
        match target.protocol {
            ServiceProtocol::Http1 => self.send_http1(&target, asker, request, reuse).await,
            // Boxed, as opening is: every request would carry room for what few need.
            ServiceProtocol::H2c => Box::pin(self.send_http2(&target, asker, request)).await,
        }
    }

    async fn send_http1(
        &self,
        target: &Target,
        asker: Asker,
        request: Request<RequestBody>,
        reuse: Reuse,
    ) -> Result<Answer, SendFailure> {
        let pool = self.pool(&target.service);
        let idle = pool.take(reuse, target.per_visitor.then_some(asker.visitor));
        let reused = idle.is_some();
        let mut stream = match idle {
            Some(stream) => stream,
            None => match Box::pin(self.open_http1(target, asker)).await {
                Ok(stream) => stream,
                Err(reason) => return Err(SendFailure { reason, unsent: Some(Box::new(request)), reused }),
            },
        };
        match stream.sender.try_send_request(request).await {
            Ok(response) => {
                let (failure, opener) = (stream.failure.clone(), stream.opener);
                let place = self.crowd.join(Some(stream.task.clone()), asker.visitor);
                let carrier = Carrier::Alone(stream, pool, place);
                Ok(Answer { response, lease: Lease { carrier, failure, opener } })
            }
            Err(mut error) => {
                let unsent = error.take_message().map(Box::new);
                Err(SendFailure { reason: reason(&stream.failure, error.into_error()), unsent, reused })
            }
        }
    }

    async fn send_http2(
        &self,
        target: &Target,
        asker: Asker,
        request: Request<RequestBody>,
    ) -> Result<Answer, SendFailure> {
        let pool = self.pool(&target.service);
        let mut stream = match pool.shared(target.per_visitor.then_some(asker.visitor)) {
            Some(stream) => stream,
            None => match self.open_http2(target, asker).await {
                Ok(stream) => {
                    pool.share(stream.clone());
                    stream
                }
                Err(reason) => {
                    return Err(SendFailure { reason, unsent: Some(Box::new(request)), reused: false });
                }
            },
        };
        match stream.sender.try_send_request(request).await {
            Ok(response) => {
                let (failure, opener) = (stream.failure.clone(), stream.opener);
                Ok(Answer {
                    response,
                    lease: Lease { carrier: Carrier::Shared { _stream: stream }, failure, opener },
                })
            }
            // What fails here is this request; that others have used the stream says nothing.
            Err(mut error) => {
                let unsent = error.take_message().map(Box::new);
                let reason = reason(&stream.failure, error.into_error());
                Err(SendFailure { reason, unsent, reused: false })
            }
        }
    }

    /// Opens a stream for one visitor's connection, whose bytes nobody here understands.
    pub(crate) async fn open_sealed(
        &self,
        permit: Permit,
        asker: Asker,
    ) -> Result<TunnelStream, FailureReason> {
        self.open(&permit.redeem(), asker).await
    }

    /// A visitor whose stream is read by whoever keeps the place.
    pub(crate) fn join_crowd(&self, visitor: SocketAddr) -> Place {
        self.crowd.join(None, visitor)
    }

    async fn open(&self, target: &Target, asker: Asker) -> Result<TunnelStream, FailureReason> {
        let (service, alone) = (target.service.clone(), target.per_visitor);
        let header = StreamHeader {
            service,
            visitor: asker.visitor,
            request: asker.request,
            alone,
            sealed: target.sealed,
        };
        let opening = async {
            let (mut send, recv) = self.connection.open_bi().await.ok()?;
            send.write_all(&header.encode()).await.ok()?;
            Some(TunnelStream::new(send, recv, Arc::clone(&self.shares)))
        };
        let opened = tokio::time::timeout(OPENING, opening).await.map_err(|_| FailureReason::Busy)?;
        opened.ok_or(FailureReason::Stream(StreamFailure::SessionLost))
    }

    async fn open_http1(&self, target: &Target, asker: Asker) -> Result<Http1Stream, FailureReason> {
        let stream = self.open(target, asker).await?;
        let failure = stream.failure_cell();
        let mut builder = http1::Builder::new();
        builder.max_header_size(RESPONSE_HEAD).max_buf_size(RESPONSE_HEAD).max_headers(RESPONSE_FIELDS);
        let opened = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|error| reason(&failure, error))?;
        // Its error reaches whoever waits for the response; an idle stream's end is nobody's loss.
        let task = self.tasks.spawn(async move { drop(connection.with_upgrades().await) }).abort_handle();
        let Asker { visitor, request: opener } = asker;
        Ok(Http1Stream { sender, failure, opener, visitor, task })
    }

    async fn open_http2(&self, target: &Target, asker: Asker) -> Result<Http2Stream, FailureReason> {
        let stream = self.open(target, asker).await?;
        let failure = stream.failure_cell();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_header_list_size(64 * 1024);
        // One response that stands still must leave room for the others.
        builder.initial_stream_window_size(H2C_STREAM_WINDOW).initial_connection_window_size(H2C_WINDOW);
        let opened = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|error| reason(&failure, error))?;
        self.tasks.spawn(async move { drop(connection.await) });
        Ok(Http2Stream::new(sender, failure, asker.request, asker.visitor))
    }
}

fn reason(failure: &FailureCell, error: hyper::Error) -> FailureReason {
    failure.failure().map_or(FailureReason::Http(error), FailureReason::Stream)
}
