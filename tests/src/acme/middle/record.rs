//! What was asked of the authority, with its signed parts readable.

use data_encoding::BASE64URL_NOPAD;
use hyper::http::request::Parts;
use serde_json::Value;

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// Who signed it: `kid`, or `jwk` where it is about an account to be. Null where it was not signed.
    pub protected: Value,
    /// What was signed. Null where that was nothing.
    pub payload: Value,
    /// Status and JSON, once Pebble or a test has answered; that the relay heard of it is not said.
    pub answer: Option<(u16, Value)>,
}

impl Asked {
    pub(super) fn new(parts: &Parts, body: &[u8]) -> Self {
        let signed: Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            protected: decoded(&signed["protected"]),
            payload: decoded(&signed["payload"]),
            answer: None,
        }
    }

    /// The status of the answer; 0 while there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.answer.as_ref().map_or(0, |(status, _)| *status)
    }

    pub(super) fn is_of(&self, path: &str) -> bool {
        is_of(&self.path, path)
    }
}

/// Whether a path is this one, or below it where it ends with `/`.
pub(super) fn is_of(path: &str, of: &str) -> bool {
    path == of || (of.ends_with('/') && path.starts_with(of))
}

fn decoded(part: &Value) -> Value {
    let bytes = part.as_str().and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}
