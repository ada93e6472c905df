//! Upgraded connections: after the origin's 101, bytes pass both ways until one side ends or nothing moves for a day. On
//! HTTP/1 the visitor's connection becomes one, on HTTP/2 a stream does ([`over_http2`]).

mod over_http2;

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use process::terminal;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::Ingress;
use super::access_log::AccessLine;
use super::carry::{Carry, CarryError};
use super::error::IngressError;
use super::inbound::Inbound;
use super::visitor::{Underway, Visitor};
use crate::tunnel::session::Lease;

pub(super) use over_http2::{Awaited, Handover, translate};

/// The visitor's side of an upgrade that it asks for.
#[derive(Debug)]
pub(crate) enum VisitorSide {
    Http1(OnUpgrade),
    Http2(Awaited),
}

/// Marks a response with which the visitor's stream leaves HTTP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Switched;

/// The one protocol that a request asks for, if it does so properly.
pub(crate) fn wanted(request: &Request<Inbound>, side: Option<&VisitorSide>) -> Option<HeaderValue> {
    let headers = request.headers();
    let carried = matches!(side, Some(VisitorSide::Http2(_))) || request.version() == Version::HTTP_11;
    let asks = carried && request.body().is_end_stream() && lists(headers, &CONNECTION, "upgrade");
    if asks { only_protocol(headers).cloned() } else { None }
}

/// The one value of `Upgrade`; lists are not passed on, as nobody could say which of them was allowed.
fn only_protocol(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(UPGRADE).iter();
    let one = values.next().filter(|value| !value.is_empty() && !value.as_bytes().contains(&b','));
    one.filter(|_| values.next().is_none())
}

fn lists(headers: &HeaderMap, name: &http::HeaderName, token: &str) -> bool {
    let has = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
    };
    headers.get_all(name).iter().any(has)
}

/// Puts the two fields back that the rewriting took out.
pub(crate) fn announce(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// The origin's side of an upgrade that it has accepted.
pub(crate) fn accepted(
    response: &mut Response<Incoming>,
    wanted: &HeaderValue,
) -> Result<OnUpgrade, IngressError> {
    let names = |protocol: &HeaderValue| protocol.as_bytes().eq_ignore_ascii_case(wanted.as_bytes());
    if only_protocol(response.headers()).is_some_and(names) {
        Ok(hyper::upgrade::on(response))
    } else {
        Err(IngressError::OriginInvalid)
    }
}

/// What the visitor is told of a switch: on HTTP/2 there is no 101.
pub(crate) fn conclude(
    side: &VisitorSide,
    protocol: HeaderValue,
    parts: &mut http::response::Parts,
) -> Result<(), IngressError> {
    match side {
        VisitorSide::Http1(_) => announce(&mut parts.headers, protocol),
        VisitorSide::Http2(awaited) => {
            awaited.check(&mut parts.headers)?;
            parts.status = StatusCode::OK;
        }
    }
    parts.extensions.insert(Switched);
    Ok(())
}

/// Both sides of an upgraded connection, to be joined once the visitor has been told.
#[derive(Debug)]
pub(crate) struct Junction {
    pub(crate) visitor: VisitorSide,
    pub(crate) origin: OnUpgrade,
    pub(crate) idle: Duration,
    /// Cancelled when the hostname is taken from its peer.
    pub(crate) withdrawn: CancellationToken,
    /// Keeps the stream's HTTP side from being given to another request.
    pub(crate) lease: Lease,
    /// Keeps counting as a connection.
    pub(crate) connection: Arc<Visitor>,
}

/// Joins the two sides in a task of the relay's. The line is written at their end.
pub(crate) fn join(ingress: &Arc<Ingress>, junction: Junction, mut line: AccessLine, underway: Underway) {
    let (stop, stall) = (ingress.stop.clone(), ingress.limits.load().stall_time);
    ingress.upgraded.spawn(async move {
        let Junction { visitor, origin, idle, withdrawn, lease, connection } = junction;
        let intake = lease.intake().map(Arc::clone);
        let carry = Carry { carried: line.upgraded(), idle, opening: None, intake };
        tokio::select! {
            ended = run(visitor, origin, carry, stall) => if let Err(error) = ended {
                tracing::debug!(error = terminal::chain(&error), "an upgraded connection broke");
            },
            () = withdrawn.cancelled() => {}
            () = stop.cancelled() => {}
        }
        drop((line, underway, lease, connection));
    });
}

/// Why an upgraded connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum JunctionError {
    #[error("one side did not follow the upgrade")]
    Upgrade(#[source] hyper::Error),
    #[error("the visitor left before the upgrade")]
    Gone,
    #[error(transparent)]
    Carry(CarryError),
}

async fn run(
    visitor: VisitorSide,
    origin: OnUpgrade,
    carry: Carry,
    stall: Duration,
) -> Result<(), JunctionError> {
    let visitor = match visitor {
        VisitorSide::Http1(upgrade) => {
            Either::Left(TokioIo::new(upgrade.await.map_err(JunctionError::Upgrade)?))
        }
        VisitorSide::Http2(awaited) => Either::Right(awaited.stream(stall).await.ok_or(JunctionError::Gone)?),
    };
    let origin = TokioIo::new(origin.await.map_err(JunctionError::Upgrade)?);
    carry.run(visitor, origin).await.map_err(JunctionError::Carry)
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
    fn exactly_one_protocol_can_be_asked_for() {
        let one = headers(&[("upgrade", "WebSocket")]);
        assert_eq!(only_protocol(&one).unwrap(), "WebSocket");
        for bad in ["websocket, h2c", ""] {
            assert_eq!(only_protocol(&headers(&[("upgrade", bad)])), None, "{bad}");
        }
        let mut twice = one;
        twice.append("upgrade", HeaderValue::from_static("h2c"));
        assert_eq!(only_protocol(&twice), None);
    }

    #[test]
    fn connection_is_a_list_of_tokens() {
        assert!(lists(&headers(&[("connection", "keep-alive, Upgrade")]), &CONNECTION, "upgrade"));
        assert!(!lists(&headers(&[("connection", "keep-alive, upgraded")]), &CONNECTION, "upgrade"));
    }
}
