//! Requests as HTTP/2 and HTTP/3 know them, a list of fields and pieces of a body, that HTTP/1 could not say or would say
//! differently: each is refused, or one unambiguous request reaches the origin. How they are sent is for the two suites.

mod bodies;
mod fields;
mod pseudo;

use tests::hostile::{Arrival, Lane, bytes_of, is_plain};
use tests::raw::Message;

pub(crate) const HOST: &str = "a.example.com";

/// A name and a value, each written as a character a byte.
pub(crate) type Field = (&'static str, &'static str);

/// What has to become of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    /// A stream or connection error, or a 4xx of the relay's own. No whole request reaches the origin.
    Refused,
    /// This arrives.
    One(Arrival),
    /// Refused, or this arrives.
    Either(Arrival),
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) fields: Vec<Field>,
    /// Each in a DATA frame of its own.
    pub(crate) body: &'static [&'static str],
    pub(crate) trailers: Option<&'static [Field]>,
    verdict: Verdict,
}

/// What a library below the relay makes of a case, without harm.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Leeway {
    /// Of what is malformed, it drops what is wrong and lets the rest arrive.
    pub(crate) rest: bool,
    /// Without a length, whether there is a body is known too late to say that there is none.
    pub(crate) empty_chunks: bool,
}

/// How the relay dealt with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dealt {
    Answered(u16),
    /// The stream was reset, with this code.
    Reset(u64),
    /// The connection was ended.
    Ended,
}

const METHOD: Field = (":method", "GET");
const SCHEME: Field = (":scheme", "https");
const AUTHORITY: Field = (":authority", HOST);
const PATH: Field = (":path", "/case");

/// A plain `GET /case` at the origin.
const GET: Arrival =
    Arrival { start: "GET /case HTTP/1.1", host: HOST, fields: &[], body: "", trailers: &[] };

/// What is asked for between cases, to see that all is well.
pub(crate) const NEXT: [Field; 4] = [METHOD, SCHEME, AUTHORITY, (":path", "/next")];

/// `GET /case` with these fields beside the pseudo-fields.
fn get(fields: &[Field], verdict: Verdict) -> Case {
    let fields = [&[METHOD, SCHEME, AUTHORITY, PATH], fields].concat();
    Case { fields, body: &[], trailers: None, verdict }
}

/// All cases; those that may leave a part of a request at the origin come last.
pub(crate) fn cases() -> Vec<Case> {
    let all = [pseudo::cases(), fields::cases(), bodies::cases()].concat();
    assert_eq!(all.len(), pseudo::COUNT + fields::COUNT + bodies::COUNT);
    all
}

impl Case {
    /// How it is shown when it fails.
    pub(crate) fn shown(&self) -> String {
        format!("{:?} {:?} {:?}", self.fields, self.body, self.trailers)
    }

    /// Judges what became of it, when [`NEXT`] has been answered.
    pub(crate) async fn judge(&self, dealt: Dealt, leeway: Leeway, lane: &Lane) -> Result<(), String> {
        lane.tape.settled().await;
        let bytes = lane.tape.take_bytes();
        let requests = lane.tape.take_checked().map_err(|unclear| format!("unclear: {unclear:?}"))?;
        let Some((next, requests)) = requests.split_last() else { return Err("nothing arrived".into()) };
        if next.target() != "/next" {
            return Err(format!("{next:?} came last"));
        }
        match (self.verdict, dealt, requests) {
            (
                Verdict::Refused | Verdict::Either(_),
                Dealt::Reset(_) | Dealt::Ended | Dealt::Answered(400..500),
                [],
            ) => Ok(()),
            (Verdict::One(arrival), Dealt::Answered(200), [one]) => {
                let in_chunks = |field: &(String, String)| field.0 == "transfer-encoding";
                let mut one = one.clone();
                one.fields.retain(|field| !(leeway.empty_chunks && self.body.is_empty() && in_chunks(field)));
                arrival.is(&one, &lane.own)?;
                bytes.iter().try_for_each(|(_, bytes)| is_plain(bytes))
            }
            (Verdict::Either(arrival), Dealt::Answered(200), [one]) => arrival.is(one, &lane.own),
            (Verdict::Refused, Dealt::Answered(200), [one]) if leeway.rest => {
                self.is_rest(one, lane)?;
                bytes.iter().try_for_each(|(_, bytes)| is_plain(bytes))
            }
            _ => Err(format!("{dealt:?}, at the origin: {}", said(requests))),
        }
    }

    /// Whether a request holds nothing but what was said in order, at its place and once.
    fn is_rest(&self, request: &Message, lane: &Lane) -> Result<(), String> {
        let first = |name: &str| self.fields.iter().find(|field| field.0 == name).map_or("", |field| field.1);
        let chunked = ("transfer-encoding".to_owned(), "chunked".to_owned());
        let known = |(name, value): &(String, String)| {
            lane.own.iter().any(|own| (&own.0, &own.1) == (name, value))
                || (name, value) == (&chunked.0, &chunked.1) && !self.body.is_empty()
                || self.fields.contains(&(name.as_str(), value.as_str())) && name != &chunked.0
        };
        let start = format!("{} {} HTTP/1.1", first(":method"), first(":path"));
        let trailers_are_empty = request.trailers.is_empty();
        if request.start == start && request.fields.iter().all(known) && trailers_are_empty {
            return Ok(());
        }
        Err(format!("not the rest: {request:?}"))
    }
}

fn said(requests: &[Message]) -> String {
    requests.iter().map(|request| format!("{request:?}")).collect::<Vec<_>>().join(", ")
}

/// The bytes of some fields.
pub(crate) fn in_bytes(fields: &[Field]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (bytes_of(name), bytes_of(value))).collect()
}
