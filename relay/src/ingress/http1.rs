//! A visitor who speaks HTTP/1: hyper's server behind the framing guard, one request after the other.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use http::header::UPGRADE;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::Ingress;
use super::body::ResponseBody;
use super::connection::{is_stall, log_end, stalling};
use super::forward::{self, Asked};
use super::inbound::Inbound;
use super::interim::Interim;
use super::upgrade::VisitorSide;
use super::visitor::Visitor;
use crate::config::limits::Limits;
use crate::edge::admission::Slot;
use crate::edge::framing::GuardLimits;
use crate::edge::guarded::{GuardHandle, Guarded};
use crate::edge::tls::Visit;
use crate::metrics::Cut;

const FIELDS_OF_HYPER: usize = 100;
/// Bytes of an answer that hyper collects before it waits for the visitor.
const LEAST_BUFFER: usize = 64 << 10;
const SLACK: usize = 8 << 10;

/// Serves a connection to its end.
pub(super) async fn serve(ingress: Arc<Ingress>, visit: Visit, address: SocketAddr, slot: Slot) {
    let limits = **ingress.limits.load();
    let (guarded, handle) = Guarded::new(stalling(visit.stream, limits.stall_time), guard(&limits));
    let visitor = Visitor::new(address, (Some(visit.sni), visit.proof), Some(handle.clone()), slot);
    let (stop, closing) = (ingress.stop.clone(), Arc::clone(&visitor));
    let metrics = Arc::clone(&ingress.metrics);
    let answer = move |request| {
        let (ingress, visitor, guard) = (Arc::clone(&ingress), Arc::clone(&visitor), handle.clone());
        // Boxed where it is made: hyper moves what a service gives it, and this is kilobytes.
        async move { Box::pin(answer(ingress, visitor, guard, request)).await }
    };
    let ended = run(guarded, answer, stop, (limits.header_bytes, limits.header_count)).await;
    if ended.as_ref().is_err_and(|error| is_stall(error)) {
        metrics.connection_cut(Cut::WriteStall);
    }
    log_end(ended, address);
    closing.close_refused().await;
}

async fn answer(
    ingress: Arc<Ingress>,
    visitor: Arc<Visitor>,
    guard: GuardHandle,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    let interim = Interim::default();
    // Whatever asks for an upgrade, hyper leaves the farewell to its owner.
    let asks = request.headers().contains_key(UPGRADE) || request.method() == Method::CONNECT;
    let upgrade = asks.then(|| VisitorSide::Http1(hyper::upgrade::on(&mut request)));
    // HTTP/1.0 knows no interim responses.
    let hears = request.version() == Version::HTTP_11;
    let asked = Asked { request: request.map(Inbound::Http1), upgrade, interim: interim.clone() };
    let mut serving = pin!(forward::serve(&ingress, &visitor, asked));
    let pass_on = || {
        while let Some(response) = interim.take() {
            if hears {
                guard.interim(&response);
            }
        }
    };
    let response = poll_fn(|cx| {
        interim.register(cx.waker());
        pass_on();
        serving.as_mut().poll(cx)
    });
    let response = response.await;
    pass_on();
    response
}

/// How much of everything the guard lets through.
pub(super) fn guard(limits: &Limits) -> GuardLimits {
    GuardLimits {
        max_head: limits.header_bytes,
        max_headers: limits.header_count,
        max_target: limits.uri_bytes,
        head_deadline: limits.head_time,
        ..GuardLimits::default()
    }
}

/// Serves HTTP/1.1 on guarded bytes to the end of the connection.
pub(super) async fn run<IO, F, Fut>(
    io: Guarded<IO>,
    answer: F,
    stop: CancellationToken,
    (head, fields): (usize, usize),
) -> hyper::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> Fut,
    Fut: Future<Output = Response<ResponseBody>>,
{
    let service = service_fn(|request| {
        let response = answer(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut builder = http1::Builder::new();
    // hyper's own limits are no lower than the guard's, which answers with a page.
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(head.max(LEAST_BUFFER) + SLACK);
    // Told of any number of fields, hyper allocates room for all of them with each request.
    if fields > FIELDS_OF_HYPER {
        builder.max_headers(fields);
    }
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}
