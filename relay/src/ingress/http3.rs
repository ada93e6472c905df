//! A visitor who speaks HTTP/3, on the port of the sessions. Each request is answered by a task of its own.

pub(super) mod body;
mod errors;
mod frames;
mod head;
mod quic;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use h3::error::{Code, StreamError};
use h3::proto::frame::Frame;
use h3::quic::SendStream as _;
use h3::server::{Connection, RequestResolver, RequestStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response};
use process::terminal;
use protocol::hostname::Hostname;
use quinn::VarInt;
use tokio_util::task::TaskTracker;

use self::body::Http3Body;
use self::quic::{Arrival, Quic, Receiving, Sending, Stopped, Stream};
use super::Ingress;
use super::exchange::{self, Cancels, Gone, Respond};
use super::forward::{self, Asked};
use super::inbound::Inbound;
use super::interim::Interim;
use super::visitor::Visitor;
use crate::config::limits::Limits;
use crate::edge::admission::{Slot, TooMany};
use crate::metrics::{Cut, Outcome, Refusal};
use crate::tunnel::listener::Visitors;

/// Streams of a connection at once.
const STREAMS: u32 = 256;
/// Bytes that a connection may have in flight, each way.
const RECEIVE_WINDOW: u32 = 2 << 20;
const SEND_WINDOW: u64 = 1 << 20;
/// Bytes of a body that are handed over at once: a slow visitor takes them within the time for a stall.
const PIECE: usize = 16 << 10;
const LOOK: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_secs(5);
const FAREWELL_ARRIVES: Duration = Duration::from_millis(500);
/// The farewell names the first request that is not answered; `h3` counts from the last that is.
const ONE_MORE: usize = 1;

/// Why a request was not understood.
#[derive(Debug, thiserror::Error)]
enum HeadError {
    #[error("the stream failed")]
    Stream(#[from] StreamError),
    #[error("the head is malformed")]
    Malformed,
    #[error("the head did not come in time")]
    Deadline,
    #[error("the body is malformed")]
    Body(#[source] crate::tunnel::pool::BodyError),
}

/// Takes visitors from the port of the sessions.
#[derive(Debug)]
pub(crate) struct QuicVisitors {
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) tasks: TaskTracker,
}

impl Visitors for QuicVisitors {
    fn bound(&self, connection: &quinn::Connection) {
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(STREAMS));
        connection.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW));
        connection.set_send_window(SEND_WINDOW);
    }

    fn crowded(&self) {
        self.ingress.metrics.connection_refused(Refusal::HandshakeLimit);
    }

    fn serve(&self, connection: quinn::Connection, hostname: Hostname) {
        self.ingress.metrics.tls(Outcome::Done);
        let address = connection.remote_address().ip();
        if self.ingress.expects_proxy_header(address) {
            // Over QUIC there is no such header: nobody could say who this is.
            self.ingress.metrics.connection_refused(Refusal::NoProxyHeader);
            return connection.close(code(Code::H3_EXCESSIVE_LOAD), b"no visitors over QUIC from here");
        }
        let of_all = self.ingress.admission.place_now();
        let is_proxy = self.ingress.trusts(address);
        match of_all.and_then(|of_all| self.ingress.admission.admit(of_all, address, is_proxy, None)) {
            Ok(slot) => {
                self.tasks.spawn(serve(Arc::clone(&self.ingress), connection, hostname, slot));
            }
            Err(TooMany) => connection.close(code(Code::H3_EXCESSIVE_LOAD), b"too many connections"),
        }
    }
}

fn code(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX)
}

/// What the streams of one connection have in common.
#[derive(Debug, Clone)]
struct Streams {
    ingress: Arc<Ingress>,
    visitor: Arc<Visitor>,
    cancels: Arc<Cancels>,
    tasks: TaskTracker,
}

/// Serves a connection to its end.
async fn serve(ingress: Arc<Ingress>, connection: quinn::Connection, sni: Hostname, slot: Slot) {
    let remote = connection.remote_address();
    let address = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    let visitor = Visitor::new(address, (Some(sni), None), None, slot);
    let largest_head = ingress.limits.load().field_section();
    let (quic, arrivals) = Quic::new(connection.clone(), largest_head);
    let mut builder = h3::server::builder();
    builder.max_field_section_size(largest_head as u64);
    let http = match builder.build::<Quic, Bytes>(quic).await {
        Ok(http) => http,
        Err(error) => return tracing::debug!(%address, %error, "no HTTP/3 with a visitor"),
    };
    let (cancels, tasks) = (Arc::default(), TaskTracker::new());
    let streams = Streams { ingress, visitor, cancels, tasks };
    if let Err(error) = run(http, &connection, arrivals, &streams).await {
        tracing::debug!(%address, %error, "a visitor's connection broke");
    }
    streams.tasks.close();
    streams.tasks.wait().await;
}

async fn run(
    mut http: Connection<Quic, Bytes>,
    connection: &quinn::Connection,
    arrivals: quic::Arrivals,
    streams: &Streams,
) -> Result<(), h3::error::ConnectionError> {
    let mut look = tokio::time::interval(LOOK);
    let (mut leaving, mut stopping): (Option<Instant>, bool) = (None, false);
    let mut last = None;
    let stop = &streams.ingress.stop;
    loop {
        tokio::select! {
            biased;
            accepted = http.accept() => match (accepted?, arrivals.take()) {
                (Some(resolver), Some(_)) if leaving.is_some() && last < Some(resolver.frame_stream.id()) => {
                    reject(resolver);
                }
                (Some(resolver), Some(arrival)) => {
                    last = last.max(Some(resolver.frame_stream.id()));
                    streams.start(resolver, arrival);
                }
                _ => return Ok(()),
            },
            // Nothing here is sent in datagrams; what comes in them is not kept.
            Ok(_) = connection.read_datagram() => {}
            _ = look.tick() => if streams.visitor.is_stale() {
                if leaving.is_some_and(|asked| asked.elapsed() > FAREWELL) {
                    return Ok(());
                }
                leaving.get_or_insert_with(|| {
                    streams.ingress.metrics.connection_cut(Cut::Idle);
                    Instant::now()
                });
                http.shutdown(ONE_MORE).await?;
            },
            () = stop.cancelled(), if !stopping => {
                (leaving, stopping) = (Some(Instant::now()), true);
                streams.tasks.close();
                http.shutdown(ONE_MORE).await?;
            }
            // Whoever is asked to leave does so with what is under way, and hears of it.
            () = streams.tasks.wait(), if stopping => {
                tokio::time::sleep((connection.rtt() * 2).min(FAREWELL_ARRIVES)).await;
                return Ok(());
            }
            () = streams.cancels.too_many.cancelled() => {
                streams.ingress.metrics.connection_cut(Cut::Flood);
                connection.close(code(Code::H3_EXCESSIVE_LOAD), b"too many requests taken back");
                return Ok(());
            }
        }
    }
}

/// What was asked after the farewell may be asked again elsewhere (RFC 9114, section 5.2).
fn reject(mut resolver: RequestResolver<Quic, Bytes>) {
    resolver.frame_stream.reset(Code::H3_REQUEST_REJECTED.value());
}

impl Streams {
    fn start(&self, resolver: RequestResolver<Quic, Bytes>, arrival: Arrival) {
        let streams = self.clone();
        self.tasks.spawn(async move {
            match streams.answer(resolver, arrival).await {
                Ok(Some(())) => {}
                Ok(None) => streams.cancels.note(),
                Err(error) => {
                    streams.cancels.note_malformed();
                    let (address, error) = (streams.visitor.address, terminal::chain(&error));
                    tracing::debug!(%address, error, "a request was not understood");
                }
            }
        });
    }

    /// Nothing where the visitor gave the request up.
    async fn answer(
        &self,
        resolver: RequestResolver<Quic, Bytes>,
        arrival: Arrival,
    ) -> Result<Option<()>, HeadError> {
        let Limits { head_time, stall_time: stall, .. } = **self.ingress.limits.load();
        // For the head, and for the word on whether a body follows.
        let (request, stream) =
            tokio::time::timeout(head_time, resolve(resolver)).await.map_err(|_| HeadError::Deadline)??;
        let (send, recv) = stream.split();
        let mut respond = Http3Respond { stream: send, fate: Fate::new(arrival.stopped) };
        let is_head = request.method() == Method::HEAD;
        let interim = Interim::default();
        let body = tokio::time::timeout(head_time, body(&request, recv, arrival.allowance));
        let body = body.await.map_err(|_| HeadError::Deadline)??;
        let asked = Asked { request: request.map(|()| body), upgrade: None, interim: interim.clone() };
        let serving = Box::pin(forward::serve(&self.ingress, &self.visitor, asked));
        let answered = exchange::answer(&mut respond, (&interim, stall), serving).await;
        let Some(response) = answered else { return Ok(None) };
        if exchange::send(&mut respond, response, is_head, stall).await {
            // The connection is not closed over what the visitor has not got yet.
            let _got_or_gone = tokio::time::timeout(stall, respond.fate.sealed()).await;
        }
        Ok(Some(()))
    }
}

/// Reads the head of a request.
async fn resolve(
    mut resolver: RequestResolver<Quic, Bytes>,
) -> Result<(Request<()>, RequestStream<Stream, Bytes>), HeadError> {
    let frame = poll_fn(|cx| resolver.frame_stream.poll_next(cx)).await;
    if let Ok(Some(Frame::Headers(section))) = &frame
        && head::check(section).is_err()
    {
        resolver.frame_stream.reset(Code::H3_MESSAGE_ERROR.value());
        return Err(HeadError::Malformed);
    }
    Ok(resolver.accept_with_frame(frame)?.resolve().await?)
}

async fn body(
    request: &Request<()>,
    stream: RequestStream<Receiving, Bytes>,
    allowance: quic::Allowance,
) -> Result<Inbound, HeadError> {
    let announced = match request.headers().get(CONTENT_LENGTH) {
        Some(length) => {
            let digits = length.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            Some(digits.and_then(|digits| digits.parse().ok()).ok_or(HeadError::Malformed)?)
        }
        None => None,
    };
    let mut body = Http3Body::new(stream, allowance, announced);
    let is_unlikely =
        matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE);
    if announced.is_none() && is_unlikely || announced == Some(0) {
        body.begin().await.map_err(HeadError::Body)?;
    } else if let Some(begun) = body.begin().now_or_never() {
        begun.map_err(HeadError::Body)?;
    }
    Ok(if body.is_end_stream() { Inbound::Empty } else { Inbound::Http3(Box::new(body)) })
}

/// What becomes of an answer on the visitor's side.
struct Fate {
    undecided: Option<Stopped>,
    arrived: bool,
}

impl Fate {
    fn new(stopped: Stopped) -> Self {
        Self { undecided: Some(stopped), arrived: false }
    }

    /// Ends when the visitor has got all of it, or stopped it.
    async fn sealed(&mut self) {
        if let Some(undecided) = &mut self.undecided {
            self.arrived = matches!(undecided.await, Ok(None));
            self.undecided = None;
        }
    }
}

/// The answering side of one stream.
struct Http3Respond {
    stream: RequestStream<Sending, Bytes>,
    fate: Fate,
}

impl Respond for Http3Respond {
    async fn interim(&mut self, response: Response<()>) -> Result<(), Gone> {
        self.stream.send_response(response).await.map_err(|_| Gone::Away)
    }

    async fn head(&mut self, response: Response<()>, end: bool) -> Result<(), Gone> {
        self.stream.send_response(response).await.map_err(|_| Gone::Away)?;
        if end { self.stream.finish().await.map_err(|_| Gone::Away) } else { Ok(()) }
    }

    async fn data(&mut self, data: &mut Bytes, last: bool) -> Result<(), Gone> {
        let piece = data.split_to(PIECE.min(data.len()));
        self.stream.send_data(piece).await.map_err(|_| Gone::Away)?;
        if last && data.is_empty() { self.end(None).await } else { Ok(()) }
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Gone> {
        if let Some(trailers) = trailers {
            self.stream.send_trailers(trailers).await.map_err(|_| Gone::Away)?;
        }
        self.stream.finish().await.map_err(|_| Gone::Away)
    }

    fn abort(&mut self) {
        self.stream.stop_stream(Code::H3_INTERNAL_ERROR);
    }

    async fn gone(&mut self) {
        self.fate.sealed().await;
        if self.fate.arrived {
            std::future::pending::<()>().await;
        }
    }
}
