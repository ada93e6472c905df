//! What the cases with hostile bytes share: a relay and an agent before a recording origin, and what one unambiguous
//! request is there.

use crate::bed::{Agent, Relay};
use crate::deploy::simple;
use crate::raw::{Front, Kind, Message, read_message};
use crate::tape::Tape;
use crate::visitor::Visitor;

/// A relay, an agent and an origin that keeps every byte.
#[derive(Debug)]
pub struct Lane {
    pub tape: Tape,
    pub relay: Relay,
    pub visitor: Visitor,
    /// What the relay adds to each request.
    pub own: Vec<(String, String)>,
    _agent: Agent,
}

impl Lane {
    /// Serves one hostname.
    pub async fn new(hostname: &str) -> Self {
        let (tape, relay) = (Tape::start().await, Relay::start());
        let config = simple(hostname, &format!("http://{}", tape.origin.address));
        let agent = Agent::running(&relay, &[hostname], &config);
        let visitor = Visitor::of(&relay);
        assert_eq!(visitor.get(hostname, "/plain").await.status, 200);
        let own = tape.only().fields;
        assert!(own.iter().any(|(name, value)| (&**name, &**value) == ("x-forwarded-for", "127.0.0.1")));
        let _plain = tape.take_bytes();
        Self { tape, relay, visitor, own, _agent: agent }
    }
}

/// One request, as the origin has to get it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub start: &'static str,
    pub host: &'static str,
    /// Beyond those that the relay adds to each request.
    pub fields: &'static [(&'static str, &'static str)],
    pub body: &'static str,
    pub trailers: &'static [(&'static str, &'static str)],
}

impl Arrival {
    /// Whether a request is this one, beside what the relay adds under the hostname of `Host` in `own`.
    ///
    /// # Errors
    ///
    /// What is different.
    pub fn is(&self, request: &Message, own: &[(String, String)]) -> Result<(), String> {
        let owned = |fields: &[(&str, &str)]| -> Vec<(String, String)> {
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let mut wanted = self.with_own(own);
        wanted.extend(owned(self.fields));
        let mut got = request.fields.clone();
        wanted.sort();
        got.sort();
        let (body, trailers) = (bytes_of(self.body), owned(self.trailers));
        if (self.start, &wanted, &body, &trailers)
            == (&*request.start, &got, &request.body, &request.trailers)
        {
            return Ok(());
        }
        Err(format!("wanted {:?} {wanted:?} {:?} {trailers:?}, got {request:?}", self.start, self.body))
    }

    /// What the relay adds, for this host.
    fn with_own(&self, own: &[(String, String)]) -> Vec<(String, String)> {
        let learnt = own.iter().find(|(name, _)| name == "host").map_or("", |(_, host)| host);
        let told = |(name, value): &(String, String)| (name.clone(), value.replace(learnt, self.host));
        let mut all: Vec<_> = own.iter().map(told).collect();
        if let Some((_, port)) = self.host.split_once(':') {
            let told = all.iter_mut().find(|(name, _)| name == "x-forwarded-port");
            port.clone_into(&mut told.expect("the relay tells the port").1);
        }
        all
    }
}

/// Whether all of some bytes are requests in the one form that leaves nothing to interpret.
///
/// # Errors
///
/// The bytes, where they are not.
pub fn is_plain(bytes: &[u8]) -> Result<(), String> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let Front::Whole(message, length) = read_message(rest, Kind::Request) else {
            return Err(format!("not whole: {:?}", String::from_utf8_lossy(bytes)));
        };
        let lines = message.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = bytes_of(&format!("{}\r\n{}\r\n", message.start, lines.collect::<String>()));
        if !rest.starts_with(&head) {
            return Err(format!("not in plain form: {:?}", String::from_utf8_lossy(bytes)));
        }
        rest = &rest[length..];
    }
    Ok(())
}

/// Bytes that are written as a character each, up to U+00FF.
///
/// # Panics
///
/// Where a character is beyond.
#[must_use]
pub fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect()
}
