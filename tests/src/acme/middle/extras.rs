//! What authorities know and Pebble 2.4 does not: renewal windows (ARI, RFC 9773) and profiles
//! (draft-aaron-acme-profiles). Of an order Pebble ignores `replaces` and `profile`, and does not say them back.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use rcgen::CertificateParams;
use serde_json::{Map, Value, json};

use super::{Asked, DIRECTORY, FINALIZE, NEW_ORDER, ORDER, RENEWAL_INFO};

/// When a certificate should be renewed, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub start: u64,
    pub end: u64,
}

impl Window {
    /// One that has been over for a day.
    #[must_use]
    pub fn gone() -> Self {
        let now = now();
        Self { start: now - 2 * 86400, end: now - 86400 }
    }

    /// One of an hour that opens after so many days.
    #[must_use]
    pub fn after_days(days: u64) -> Self {
        let start = now() + days * 86400;
        Self { start, end: start + 3600 }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

/// RFC 3339. rcgen is at hand and brings a calendar along.
fn rfc_3339(seconds: u64) -> String {
    let mut calendar = CertificateParams::default();
    calendar.not_after = (UNIX_EPOCH + Duration::from_secs(seconds)).into();
    let at = calendar.not_after;
    let (month, day) = (u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    format!("{}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", at.year())
}

/// What is known beyond Pebble.
#[derive(Debug, Default)]
pub(super) struct Extras {
    renewal: Option<Renewal>,
    profiles: Map<String, Value>,
    /// What orders said of both, by the end of their URL.
    orders: HashMap<String, Map<String, Value>>,
}

#[derive(Debug)]
struct Renewal {
    windows: Vec<Window>,
    retry_after_s: u64,
    /// The certificates, in the order in which they were asked for.
    known: Vec<String>,
}

impl Extras {
    pub(super) fn suggest_renewal(&mut self, windows: &[Window], retry_after_s: u64) {
        self.renewal = Some(Renewal { windows: windows.to_vec(), retry_after_s, known: Vec::new() });
    }

    pub(super) fn offer_profiles(&mut self, profiles: &[&str]) {
        self.profiles = profiles
            .iter()
            .map(|name| ((*name).to_owned(), format!("https://ca.test/{name}").into()))
            .collect();
    }

    /// The answer to a question for one certificate.
    pub(super) fn renewal_info(&mut self, id: &str) -> Response<Bytes> {
        let Some((window, retry_after_s)) = self.renewal.as_mut().map(|renewal| renewal.of(id)) else {
            return Response::builder().status(404).body(Bytes::new()).expect("a response");
        };
        let (start, end) = (rfc_3339(window.start), rfc_3339(window.end));
        let body = json!({ "suggestedWindow": { "start": start, "end": end } }).to_string();
        let head =
            Response::builder().header(CONTENT_TYPE, "application/json").header(RETRY_AFTER, retry_after_s);
        head.body(body.into()).expect("a response")
    }

    /// Adds to Pebble's answer what it does not know.
    pub(super) fn complete(
        &mut self,
        asked: &Asked,
        host: &str,
        response: Response<Bytes>,
    ) -> Response<Bytes> {
        let (head, body) = response.into_parts();
        let Ok(Value::Object(mut said)) = serde_json::from_slice(&body) else {
            return Response::from_parts(head, body);
        };
        if asked.path == DIRECTORY {
            self.complete_directory(&mut said, host);
        } else if asked.path == NEW_ORDER && head.status == 201 {
            let place = head.headers.get(LOCATION).and_then(|place| place.to_str().ok());
            self.remember(place.unwrap_or_default(), &asked.payload);
            said.extend(self.of_order(place.unwrap_or_default()));
        } else if head.status == 200 && (asked.is_of(ORDER) || asked.is_of(FINALIZE)) {
            said.extend(self.of_order(&asked.path));
        }
        Response::from_parts(head, Value::Object(said).to_string().into())
    }

    fn complete_directory(&self, directory: &mut Map<String, Value>, host: &str) {
        if self.renewal.is_some() {
            let url = format!("https://{host}{}", RENEWAL_INFO.trim_end_matches('/'));
            directory.insert("renewalInfo".into(), url.into());
        }
        if !self.profiles.is_empty() {
            directory["meta"]["profiles"] = self.profiles.clone().into();
        }
    }

    fn remember(&mut self, url: &str, payload: &Value) {
        let extra = ["replaces", "profile"].into_iter();
        let said = extra.filter_map(|key| Some((key.to_owned(), payload.get(key)?.clone()))).collect();
        self.orders.insert(last_part(url).to_owned(), said);
    }

    fn of_order(&self, url: &str) -> Map<String, Value> {
        self.orders.get(last_part(url)).cloned().unwrap_or_default()
    }
}

impl Renewal {
    fn of(&mut self, id: &str) -> (Window, u64) {
        let known = self.known.iter().position(|known| known == id);
        let number = known.unwrap_or_else(|| {
            self.known.push(id.to_owned());
            self.known.len() - 1
        });
        (self.windows[number.min(self.windows.len() - 1)], self.retry_after_s)
    }
}

fn last_part(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}
