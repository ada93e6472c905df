//! What the relay answers by itself: a small page for browsers, JSON for programs.

use http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{Response, StatusCode};
use protocol::id::RequestId;

use super::body::ResponseBody;
use super::error::IngressError;

pub(crate) const ERROR_CODE: HeaderName = HeaderName::from_static("adit-error");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An agent that lost its connection is back within seconds.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("5");
/// Rates are in seconds.
const NEXT_SECOND: HeaderValue = HeaderValue::from_static("1");

/// Which of the two a visitor wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Html,
    Json,
}

impl Format {
    /// Browsers name `text/html` when they want a page.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let html = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("text/html"));
        if headers.get_all(ACCEPT).iter().any(html) { Self::Html } else { Self::Json }
    }
}

/// The response for an error.
pub(crate) fn respond(error: IngressError, id: RequestId, format: Format) -> Response<ResponseBody> {
    let answer = error.answer();
    let (status, code, sentence) = (answer.status, answer.code, answer.sentence);
    let (kind, body) = match format {
        Format::Html => ("text/html; charset=utf-8", html(status, code, sentence, id)),
        Format::Json => ("application/json", json(status, code, sentence, id)),
    };
    let mut response = Response::new(ResponseBody::local(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ERROR_CODE, HeaderValue::from_static(code));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    match status {
        StatusCode::SERVICE_UNAVAILABLE => drop(headers.insert(RETRY_AFTER, RETRY_AFTER_S)),
        StatusCode::TOO_MANY_REQUESTS => drop(headers.insert(RETRY_AFTER, NEXT_SECOND)),
        _ => {}
    }
    if error.ends_connection() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn html(status: StatusCode, code: &str, sentence: &str, id: RequestId) -> String {
    let reason = status.canonical_reason().unwrap_or("Error");
    let number = status.as_u16();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{number} {reason}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"></head>\
         <body style=\"font:1rem/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32rem;padding:0 1rem\">\
         <h1>{number} {reason}</h1><p>{sentence}</p>\
         <p style=\"color:#666\">Error <code>{code}</code>, request <code>{id}</code></p></body></html>\n"
    )
}

fn json(status: StatusCode, code: &str, sentence: &str, id: RequestId) -> String {
    let body = serde_json::json!({
        "error": code,
        "status": status.as_u16(),
        "message": sentence,
        "request_id": id.to_string(),
    });
    format!("{body}\n")
}
