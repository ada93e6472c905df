//! Upgraded connections: after the origin's 101, bytes pass both ways until one side ends or nothing moves for a day.

mod both_ways;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Method, Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use process::terminal;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Ingress;
use super::connection::Visitor;
use super::error::IngressError;
use crate::tunnel::crowd::Intake;
use crate::tunnel::session::Lease;

const WEBSOCKET: &str = "websocket";

/// Whether a request asks for the one protocol that is passed on. Never `h2c`: it would take the connection out of the
/// relay's sight.
pub(crate) fn is_wanted(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && request.body().is_end_stream()
        && lists(headers, &CONNECTION, "upgrade")
        && names_websocket(headers)
}

fn names_websocket(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(UPGRADE).iter();
    let one = values.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    one && values.next().is_none()
}

fn lists(headers: &HeaderMap, name: &http::HeaderName, token: &str) -> bool {
    let has = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
    };
    headers.get_all(name).iter().any(has)
}

/// Puts the two fields back that the rewriting took out.
pub(crate) fn announce(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

/// The origin's side of an upgrade that it has accepted.
pub(crate) fn accepted(response: &mut Response<Incoming>) -> Result<OnUpgrade, IngressError> {
    if names_websocket(response.headers()) {
        Ok(hyper::upgrade::on(response))
    } else {
        Err(IngressError::OriginInvalid)
    }
}

/// Both sides of an upgraded connection, to be joined once the 101 has gone out.
#[derive(Debug)]
pub(crate) struct Junction {
    pub(crate) visitor: OnUpgrade,
    pub(crate) origin: OnUpgrade,
    pub(crate) idle: Duration,
    /// Cancelled when the hostname is taken from its peer.
    pub(crate) withdrawn: CancellationToken,
    /// Keeps the stream's HTTP side from being given to another request.
    pub(crate) lease: Lease,
    /// Keeps counting as a connection.
    pub(crate) connection: Arc<Visitor>,
}

/// Joins the two sides in a task of the relay's.
pub(crate) fn join(ingress: &Arc<Ingress>, junction: Junction) {
    let stop = ingress.stop.clone();
    ingress.upgraded.spawn(async move {
        let Junction { visitor, origin, idle, withdrawn, lease, connection } = junction;
        let intake = lease.intake().map(Arc::clone);
        tokio::select! {
            ended = run(visitor, origin, idle, intake) => if let Err(error) = ended {
                tracing::debug!(error = terminal::chain(&error), "an upgraded connection broke");
            },
            () = withdrawn.cancelled() => {}
            () = stop.cancelled() => {}
        }
        drop((lease, connection));
    });
}

/// Why an upgraded connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum JunctionError {
    #[error("one side did not follow the upgrade")]
    Upgrade(#[source] hyper::Error),
    #[error("copying failed")]
    Copy(#[source] io::Error),
    #[error("nothing moved for {} s", .0.as_secs())]
    Idle(Duration),
    #[error("the visitor stopped reading while many others wanted to go on")]
    TooSlow,
}

async fn run(
    visitor: OnUpgrade,
    origin: OnUpgrade,
    idle: Duration,
    intake: Option<Arc<Intake>>,
) -> Result<(), JunctionError> {
    let visitor = visitor.await.map_err(JunctionError::Upgrade)?;
    let mut origin = TokioIo::new(origin.await.map_err(JunctionError::Upgrade)?);
    let movement = Arc::new(Movement { begun: Instant::now(), last_ms: AtomicU64::new(0) });
    let mut visitor =
        Watched { io: TokioIo::new(visitor), movement: Arc::clone(&movement), intake: intake.clone() };
    visitor.takes();
    tokio::select! {
        copied = both_ways::copy(&mut visitor, &mut origin) => copied.map_err(JunctionError::Copy),
        () = movement.stands_still_for(idle) => Err(JunctionError::Idle(idle)),
        () = cut(intake) => Err(JunctionError::TooSlow),
    }
}

async fn cut(intake: Option<Arc<Intake>>) {
    match intake {
        Some(intake) => intake.cut().await,
        None => std::future::pending().await,
    }
}

/// When bytes last moved on the visitor's side, either way.
#[derive(Debug)]
struct Movement {
    begun: Instant,
    last_ms: AtomicU64,
}

impl Movement {
    fn note(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    async fn stands_still_for(&self, idle: Duration) {
        loop {
            let due = self.begun + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + idle;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

#[derive(Debug)]
struct Watched {
    io: TokioIo<Upgraded>,
    movement: Arc<Movement>,
    /// A visitor that stops reading keeps as much of the session to itself as with a response.
    intake: Option<Arc<Intake>>,
}

impl Watched {
    /// Once it was cut, the junction ends by itself.
    fn takes(&self) {
        let _uncut = self.intake.as_ref().is_none_or(|intake| intake.asked());
    }

    fn refuses(&self) {
        if let Some(intake) = &self.intake {
            intake.refused();
        }
    }

    fn noting<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(polled, Poll::Ready(Ok(_))) {
            self.movement.note();
        }
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.noting(polled)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        match polled {
            Poll::Ready(_) => self.takes(),
            Poll::Pending => self.refuses(),
        }
        self.noting(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_websocket_is_passed_on() {
        assert!(names_websocket(&headers(&[("upgrade", "WebSocket")])));
        for bad in ["h2c", "websocket, h2c", "", "tls"] {
            assert!(!names_websocket(&headers(&[("upgrade", bad)])), "{bad}");
        }
    }

    #[test]
    fn connection_is_a_list_of_tokens() {
        assert!(lists(&headers(&[("connection", "keep-alive, Upgrade")]), &CONNECTION, "upgrade"));
        assert!(!lists(&headers(&[("connection", "keep-alive, upgraded")]), &CONNECTION, "upgrade"));
    }

    #[tokio::test(start_paused = true)]
    async fn standing_still_is_counted_from_the_last_byte() {
        let movement = Movement { begun: Instant::now(), last_ms: AtomicU64::new(0) };
        tokio::time::advance(Duration::from_secs(50)).await;
        movement.note();
        let before = Instant::now();
        movement.stands_still_for(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed().as_secs(), 60);
    }
}
