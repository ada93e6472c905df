//! A visitor who speaks HTTP/2. `h2` frames and bounds what it sends; each stream is answered by a task of its own.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response};

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::Ingress;
use super::connection::{Stalling, is_stall, log_end, stalling};
use super::exchange::{self, Cancels, Gone, Respond};
use super::forward::{self, Asked};
use super::inbound::{Http2Body, Inbound, Unread};
use super::interim::Interim;
use super::upgrade::{self, Handover, Switched};
use super::visitor::Visitor;
use crate::edge::admission::Slot;
use crate::edge::tls::Visit;
use crate::metrics::Cut;

/// Streams of a connection at once.
const STREAMS: u32 = 256;
/// Streams that were reset before they were looked at.
const RESET_UNSEEN: usize = 64;
/// Bytes that one stream, and all of them, may send ahead.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// Bytes of a response that wait for the visitor in its stream.
const WAITING: usize = 64 << 10;
/// From the end of TLS to the end of HTTP/2's own preface.
const PREFACE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_secs(5);
/// A stream whose body was not read to its end is reset so long after its answer.
const NEWS_OF_AN_ANSWER: Duration = Duration::from_millis(100);

type Served = Connection<Stalling<TlsStream<TcpStream>>, Bytes>;

/// What the streams of one connection have in common.
#[derive(Debug, Clone)]
struct Streams {
    ingress: Arc<Ingress>,
    visitor: Arc<Visitor>,
    cancels: Arc<Cancels>,
    tasks: TaskTracker,
}

/// Serves a connection to its end.
pub(super) async fn serve(ingress: Arc<Ingress>, visit: Visit, address: SocketAddr, slot: Slot) {
    let limits = **ingress.limits.load();
    let visitor = Visitor::new(address, (Some(visit.sni), visit.proof), None, slot);
    let preface = builder(limits.field_section()).handshake(stalling(visit.stream, limits.stall_time));
    let connection = match tokio::time::timeout(PREFACE, preface).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return log_end(Err(error), address),
        Err(_) => return tracing::debug!(%address, "a visitor sent no HTTP/2 preface in time"),
    };
    let (cancels, tasks) = (Arc::default(), TaskTracker::new());
    let streams = Streams { ingress, visitor, cancels, tasks };
    let ended = run(connection, &streams).await;
    if let Some(why) = ended.as_ref().err().and_then(cut) {
        streams.ingress.metrics.connection_cut(why);
    }
    log_end(ended, address);
    streams.tasks.close();
    streams.tasks.wait().await;
}

/// Why `h2` or the socket broke a connection off, where it was not the visitor.
fn cut(error: &h2::Error) -> Option<Cut> {
    if is_stall(error) {
        return Some(Cut::WriteStall);
    }
    let reason = error.reason().filter(|_| error.is_library())?;
    Some(if reason == Reason::ENHANCE_YOUR_CALM { Cut::Flood } else { Cut::Protocol })
}

fn builder(largest_head: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_header_list_size(u32::try_from(largest_head).unwrap_or(u32::MAX))
        .max_send_buffer_size(WAITING)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_connect_protocol();
    builder
}

async fn run(mut connection: Served, streams: &Streams) -> Result<(), h2::Error> {
    let mut look = tokio::time::interval(LOOK);
    let mut leaving: Option<Instant> = None;
    let stop = &streams.ingress.stop;
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(accepted) => {
                    let (request, respond) = accepted?;
                    streams.start(request, respond);
                }
                None => return Ok(()),
            },
            _ = look.tick() => if streams.visitor.is_stale() {
                // One that is still in its preface, or takes no GOAWAY, is not asked twice.
                if leaving.is_some_and(|asked| asked.elapsed() > FAREWELL) {
                    return Ok(());
                }
                leaving.get_or_insert_with(|| {
                    streams.ingress.metrics.connection_cut(Cut::Idle);
                    Instant::now()
                });
                connection.graceful_shutdown();
            },
            () = stop.cancelled(), if leaving.is_none() => {
                leaving = Some(Instant::now());
                connection.graceful_shutdown();
            }
            () = streams.cancels.too_many.cancelled() => {
                streams.ingress.metrics.connection_cut(Cut::Flood);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                return poll_fn(|cx| connection.poll_closed(cx)).await;
            }
        }
    }
}

impl Streams {
    fn start(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let mut respond = Http2Respond { head: respond, body: None };
        let streams = self.clone();
        self.tasks.spawn(async move {
            if streams.answer(request, &mut respond).await.is_none() {
                streams.cancels.note();
            }
        });
    }

    /// Nothing where the visitor gave the request up.
    async fn answer(&self, request: Request<RecvStream>, respond: &mut Http2Respond) -> Option<()> {
        let is_head = request.method() == Method::HEAD;
        let interim = Interim::default();
        let unread = Unread::default();
        let (mut asked, tunnel) = asked(request, interim.clone(), unread.clone());
        let limits = **self.ingress.limits.load();
        if let Inbound::Http2(body) = asked.request.body_mut()
            && body.announces_nothing()
        {
            tokio::time::timeout(limits.head_time, body.end_of_nothing()).await.ok()?.ok()?;
        }
        let serving = Box::pin(forward::serve(&self.ingress, &self.visitor, asked));
        let stall = limits.stall_time;
        let mut response = exchange::answer(respond, (&interim, stall), serving).await?;
        if let Some(tunnel) = tunnel
            && response.extensions_mut().remove::<Switched>().is_some()
        {
            tunnel.hand_over(respond, response).await?;
        } else {
            exchange::send(respond, response, is_head, stall).await;
            if let Some(rest) = unread.take() {
                // The answer arrives before the news that the rest is not wanted.
                tokio::time::sleep(NEWS_OF_AN_ANSWER).await;
                drop(rest);
            }
        }
        Some(())
    }
}

/// A stream that asks to become a connection of another protocol.
#[derive(Debug)]
struct Tunnel {
    recv: RecvStream,
    handover: oneshot::Sender<Handover>,
}

impl Tunnel {
    async fn hand_over<B>(self, respond: &mut Http2Respond, response: Response<B>) -> Option<()> {
        respond.head(response.map(|_| ()), false).await.ok()?;
        let send = respond.body.take()?;
        let _nobody_waits = self.handover.send(Handover { send, recv: self.recv });
        Some(())
    }
}

fn asked(request: Request<RecvStream>, interim: Interim, unread: Unread) -> (Asked, Option<Tunnel>) {
    let (mut parts, recv) = request.into_parts();
    let protocol = parts.extensions.remove::<Protocol>();
    if parts.method == Method::CONNECT
        && let Some(protocol) = protocol
    {
        let (handover, handed_over) = oneshot::channel();
        let side = upgrade::translate(&mut parts, protocol.as_str(), handed_over);
        let request = Request::from_parts(parts, Inbound::Empty);
        return (Asked { request, upgrade: Some(side), interim }, Some(Tunnel { recv, handover }));
    }
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let body = match recv.is_end_stream() {
        true => Inbound::Empty,
        false => Inbound::Http2(Http2Body::new(recv, announced, unread)),
    };
    (Asked { request: Request::from_parts(parts, body), upgrade: None, interim }, None)
}

/// The answering side of one stream.
struct Http2Respond {
    head: SendResponse<Bytes>,
    body: Option<SendStream<Bytes>>,
}

impl Http2Respond {
    fn body(&mut self) -> Result<&mut SendStream<Bytes>, Gone> {
        self.body.as_mut().ok_or(Gone::Away)
    }

    /// Waits for room for some of so many bytes.
    async fn capacity(&mut self, wanted: usize) -> Result<usize, Gone> {
        let body = self.body()?;
        body.reserve_capacity(wanted);
        while body.capacity() == 0 {
            poll_fn(|cx| body.poll_capacity(cx)).await.ok_or(Gone::Away)?.map_err(|_| Gone::Away)?;
        }
        Ok(body.capacity())
    }
}

impl Respond for Http2Respond {
    async fn interim(&mut self, response: Response<()>) -> Result<(), Gone> {
        self.head.send_informational(response).map_err(|_| Gone::Away)
    }

    async fn head(&mut self, response: Response<()>, end: bool) -> Result<(), Gone> {
        self.body = Some(self.head.send_response(response, end).map_err(|_| Gone::Away)?);
        Ok(())
    }

    async fn data(&mut self, data: &mut Bytes, last: bool) -> Result<(), Gone> {
        let room = self.capacity(data.len()).await?;
        let piece = data.split_to(room.min(data.len()));
        self.body()?.send_data(piece, last && data.is_empty()).map_err(|_| Gone::Away)
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Gone> {
        let body = self.body()?;
        match trailers {
            Some(trailers) => body.send_trailers(trailers),
            None => body.send_data(Bytes::new(), true),
        }
        .map_err(|_| Gone::Away)
    }

    fn abort(&mut self) {
        match &mut self.body {
            Some(body) => body.send_reset(Reason::INTERNAL_ERROR),
            None => self.head.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    async fn gone(&mut self) {
        let (head, body) = (&mut self.head, &mut self.body);
        let _reason = poll_fn(|cx| match body {
            Some(body) => body.poll_reset(cx),
            None => head.poll_reset(cx),
        })
        .await;
    }
}
