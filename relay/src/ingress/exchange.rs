//! One request among many of a connection, over HTTP/2 or HTTP/3: interim responses, the head, the body piece by piece as
//! the visitor has room, trailers; and its end as soon as the visitor no longer wants it.

use std::cell::RefCell;
use std::num::NonZero;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;

use super::body::ResponseBody;
use super::headers;
use super::interim::Interim;

/// Why the visitor gets no more of an answer.
#[derive(Debug)]
pub(super) enum Gone {
    /// It left, or the answer broke.
    Away,
    /// It has taken nothing for too long.
    Stalled,
}

/// What a protocol does with an answer. Every wait in it ends when the visitor's connection does.
pub(super) trait Respond: Send {
    /// Sends an interim response.
    fn interim(&mut self, response: Response<()>) -> impl Future<Output = Result<(), Gone>> + Send;
    /// Sends the head, and with `end` nothing after it.
    fn head(&mut self, response: Response<()>, end: bool) -> impl Future<Output = Result<(), Gone>> + Send;
    /// Waits until the visitor has room for some of it, and hands that over; what is left stays in `data`. The answer ends with it
    /// where it is the `last`.
    fn data(&mut self, data: &mut Bytes, last: bool) -> impl Future<Output = Result<(), Gone>> + Send;
    fn end(&mut self, trailers: Option<HeaderMap>) -> impl Future<Output = Result<(), Gone>> + Send;
    /// Breaks the answer off, so that it never looks whole.
    fn abort(&mut self);
    /// Ends when the visitor no longer wants the answer.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
}

/// Answers one request; the answer is given up when the visitor gives it up, or takes nothing for `stall`.
pub(super) async fn answer<R: Respond>(
    respond: &mut R,
    (interim, stall): (&Interim, Duration),
    serving: impl Future<Output = Response<ResponseBody>>,
) -> Option<Response<ResponseBody>> {
    let mut serving = pin!(serving);
    let response = loop {
        tokio::select! {
            biased;
            said = interim.next() => within(stall, respond.interim(said)).await.ok()?,
            response = serving.as_mut() => break response,
            () = respond.gone() => return None,
        }
    };
    while let Some(said) = interim.take() {
        within(stall, respond.interim(said)).await.ok()?;
    }
    Some(response)
}

/// Sends a response to its end.
///
/// The visitor is given up after taking nothing for `stall`. Says whether all of it was handed over.
pub(super) async fn send<R: Respond>(
    respond: &mut R,
    response: Response<ResponseBody>,
    is_head: bool,
    stall: Duration,
) -> bool {
    let (mut parts, body) = response.into_parts();
    complete(&mut parts.headers, parts.status, &body, is_head);
    let bodiless = is_head || body.is_end_stream();
    let mut body = pin!(body);
    let sending = async {
        within(stall, respond.head(Response::from_parts(parts, ()), bodiless)).await?;
        if bodiless { Ok(()) } else { pump(respond, body.as_mut(), stall).await }
    };
    let sent = sending.await;
    if let Err(gone) = &sent {
        if let Gone::Stalled = gone {
            body.visitor_is_too_slow();
        }
        respond.abort();
    }
    sent.is_ok()
}

/// What hyper adds on HTTP/1 by itself, and what has a meaning only there (RFC 9113, section 8.2.2).
fn complete(headers: &mut HeaderMap, status: StatusCode, body: &ResponseBody, is_head: bool) {
    headers.remove(CONNECTION);
    let has_length = status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED && !is_head;
    if has_length
        && !headers.contains_key(CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact()
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if !headers.contains_key(DATE)
        && let Some(now) = date()
    {
        headers.insert(DATE, now);
    }
}

thread_local! {
    static DATED: RefCell<Option<(Instant, HeaderValue)>> = const { RefCell::new(None) };
}

/// The time, made anew twice a second.
fn date() -> Option<HeaderValue> {
    DATED.with_borrow_mut(|dated| {
        if dated.as_ref().is_none_or(|(made, _)| made.elapsed() > Duration::from_millis(500)) {
            let text = httpdate::fmt_http_date(SystemTime::now());
            *dated = HeaderValue::from_str(&text).ok().map(|value| (Instant::now(), value));
        }
        dated.as_ref().map(|(_, value)| value.clone())
    })
}

async fn pump<R: Respond>(
    respond: &mut R,
    mut body: Pin<&mut ResponseBody>,
    stall: Duration,
) -> Result<(), Gone> {
    let mut cut = pin!(body.cut());
    loop {
        // Asked for before there is room: the end needs none.
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = respond.gone() => return Err(Gone::Away),
        };
        let Some(frame) = frame else { return within(stall, respond.end(None)).await };
        match frame.map_err(|_| Gone::Away)?.into_data() {
            Ok(mut data) => {
                let last = body.is_end_stream();
                while !data.is_empty() {
                    tokio::select! {
                        biased;
                        taken = within(stall, respond.data(&mut data, last)) => taken?,
                        () = cut.as_mut() => return Err(Gone::Stalled),
                    }
                }
                if last {
                    return Ok(());
                }
            }
            Err(frame) => {
                let mut trailers = frame.into_trailers().ok();
                trailers.iter_mut().for_each(headers::rewrite_response);
                return within(stall, respond.end(trailers)).await;
            }
        }
    }
}

async fn within(limit: Duration, waiting: impl Future<Output = Result<(), Gone>>) -> Result<(), Gone> {
    tokio::time::timeout(limit, waiting).await.unwrap_or(Err(Gone::Stalled))
}

/// Requests of one connection that were not understood.
const MOST_MALFORMED: u32 = 1000;

/// Counts the requests that a visitor takes back. A browser does that at times; who does nothing else is attacking
/// (CVE-2023-44487).
#[derive(Debug)]
pub(super) struct Cancels {
    rate: DefaultDirectRateLimiter,
    malformed: AtomicU32,
    /// Cancelled when it was too many.
    pub(super) too_many: CancellationToken,
}

impl Default for Cancels {
    fn default() -> Self {
        const A_SECOND: NonZero<u32> = NonZero::new(50).unwrap();
        const AT_ONCE: NonZero<u32> = NonZero::new(1000).unwrap();
        let quota = Quota::per_second(A_SECOND).allow_burst(AT_ONCE);
        let malformed = AtomicU32::new(0);
        Self { rate: RateLimiter::direct(quota), malformed, too_many: CancellationToken::new() }
    }
}

impl Cancels {
    pub(super) fn note(&self) {
        if self.rate.check().is_err() {
            self.too_many.cancel();
        }
    }

    /// A request that could not be understood. Nobody honest sends many, and some libraries remember each.
    pub(super) fn note_malformed(&self) {
        if self.malformed.fetch_add(1, Ordering::Relaxed) >= MOST_MALFORMED {
            self.too_many.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_changes_its_mind_is_no_attack() {
        let cancels = Cancels::default();
        (0..1000).for_each(|_| cancels.note());
        assert!(!cancels.too_many.is_cancelled());
        (0..1000).for_each(|_| cancels.note());
        assert!(cancels.too_many.is_cancelled());
    }
}
