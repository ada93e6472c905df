//! HTTP/1 bytes from somebody who means harm, cut up in three ways: each case is refused, or what reaches the origin is one
//! request that nobody can read in two ways. The tables of cases are in the modules below.

mod chunks;
mod fields;
mod framed;
mod hosts;
mod lines;
mod upgrades;

use tests::hostile::{Arrival, Lane, bytes_of, is_plain};
use tests::raw::{A_WHILE, Cut, End, Kind, Message, RawVisitor};

const HOST: &str = "a.example.com";
/// Sent right behind each case. Behind one that is refused it must never reach the origin.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n";

/// What has to become of some bytes.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// The relay answers with this status and closes; the origin gets no byte.
    Refused(u16),
    /// The same, but the head was in order: the origin may have got a part of the request, never all of it.
    Aborted(u16),
    /// This arrives, then what comes next.
    One(Arrival),
    /// This arrives, and then the relay closes.
    Last(Arrival),
}

/// Bytes, each written as a character up to U+00FF; `$` is the line `Host: a.example.com`.
#[derive(Debug, Clone)]
struct Case {
    wire: String,
    verdict: Verdict,
}

fn case(wire: impl AsRef<str>, verdict: Verdict) -> Case {
    Case { wire: wire.as_ref().replace('$', &format!("Host: {HOST}\r\n")), verdict }
}

/// `POST` with these field lines.
fn refused_fields(lines: &str, status: u16) -> Case {
    case(format!("POST /case HTTP/1.1\r\n{lines}\r\n"), Verdict::Refused(status))
}

const fn arrival(
    start: &'static str,
    fields: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> Arrival {
    Arrival { start, host: HOST, fields, body, trailers: &[] }
}

/// A plain `GET /case` at the origin.
const GET: Arrival = arrival("GET /case HTTP/1.1", &[], "");
/// With three bytes of a known length.
const POST: Arrival = arrival("POST /case HTTP/1.1", &[("content-length", "3")], "abc");
/// With three bytes in chunks.
const CHUNKED: Arrival = arrival("POST /case HTTP/1.1", &[("transfer-encoding", "chunked")], "abc");

impl Case {
    fn bytes(&self) -> Vec<u8> {
        [bytes_of(&self.wire), bytes_of(NEXT)].concat()
    }

    /// How it is shown when it fails.
    fn shown(&self, cut: Cut) -> String {
        let front: String = self.wire.chars().take(300).collect();
        format!("{front:?} in {cut:?}")
    }
}

/// A lane that raw bytes are sent along.
struct Http1(Lane);

impl Http1 {
    async fn new() -> Self {
        Self(Lane::new(HOST).await)
    }

    /// Every case in every cut. Says how many there were.
    async fn run(&self, cases: &[Case]) -> usize {
        let mut wrong = Vec::new();
        for case in cases {
            for cut in Cut::ALL {
                if let Err(problem) = self.check(case, cut).await {
                    wrong.push(format!("{}: {problem}", case.shown(cut)));
                }
            }
        }
        // Whatever would still have been on its way.
        tokio::time::sleep(A_WHILE).await;
        self.0.tape.settled().await;
        assert_eq!(self.0.tape.take_checked(), Ok(vec![]), "after the last case");
        let last_is_aborted = cases.last().is_some_and(|case| matches!(case.verdict, Verdict::Aborted(_)));
        assert!(last_is_aborted || self.0.tape.take_bytes().is_empty(), "after the last case");
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        cases.len()
    }

    async fn check(&self, case: &Case, cut: Cut) -> Result<(), String> {
        let mut raw = RawVisitor::connect(&self.0.visitor, HOST).await;
        raw.send_cut(&case.bytes(), cut).await;
        let mut statuses = Vec::new();
        while let Some(response) = raw.response_of(kind(case, statuses.len())).await {
            let own = !response.one("adit-error").is_empty();
            if own != (400..600).contains(&response.status()) {
                return Err(format!("an answer of nobody: {response:?}"));
            }
            statuses.push(response.status());
        }
        let rest = String::from_utf8_lossy(&raw.buffer).into_owned();
        let end = raw.end().await;
        self.0.tape.settled().await;
        let bytes = self.0.tape.take_bytes();
        let outcome = Outcome { statuses, bytes, requests: self.0.tape.take_checked() };
        let closed = rest.is_empty() && end == End::Clean;
        outcome.judge(case.verdict, &self.0.own)?;
        closed.then_some(()).ok_or_else(|| format!("{end:?} after {rest:?}"))
    }
}

/// The first response to a `HEAD` has no body.
fn kind(case: &Case, number: usize) -> Kind {
    if number == 0 && case.wire.starts_with("HEAD ") { Kind::Bodyless } else { Kind::Response }
}

/// What became of a case.
#[derive(Debug)]
struct Outcome {
    statuses: Vec<u16>,
    bytes: Vec<(usize, Vec<u8>)>,
    requests: Result<Vec<Message>, Vec<String>>,
}

impl Outcome {
    fn judge(&self, verdict: Verdict, own: &[(String, String)]) -> Result<(), String> {
        let requests = self.requests.as_ref().map_err(|unclear| format!("unclear: {unclear:?}"))?;
        let targets: Vec<_> = requests.iter().map(Message::target).collect();
        let (statuses, next): (&[u16], &[&str]) = match verdict {
            Verdict::Refused(status) | Verdict::Aborted(status) => (&[status], &[]),
            Verdict::Last(_) => (&[200], &[]),
            Verdict::One(_) => (&[200, 200], &["/next"]),
        };
        if self.statuses != statuses {
            return Err(format!("answered with {:?}, at the origin {targets:?}", self.statuses));
        }
        match verdict {
            Verdict::Refused(_) if self.bytes.is_empty() => Ok(()),
            Verdict::Aborted(_) if requests.is_empty() => Ok(()),
            Verdict::Refused(_) | Verdict::Aborted(_) => Err(format!("at the origin: {}", self.shown())),
            Verdict::One(arrival) | Verdict::Last(arrival) => {
                let Some((first, rest)) = requests.split_first() else {
                    return Err("nothing arrived".into());
                };
                if rest.iter().map(Message::target).collect::<Vec<_>>() != next {
                    return Err(format!("at the origin: {}", self.shown()));
                }
                arrival.is(first, own)?;
                self.bytes.iter().try_for_each(|(_, bytes)| is_plain(bytes))
            }
        }
    }

    fn shown(&self) -> String {
        let connection =
            |(number, bytes): &(usize, Vec<u8>)| format!("{number}: {:?}", String::from_utf8_lossy(bytes));
        self.bytes.iter().map(connection).collect::<Vec<_>>().join(", ")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_and_codings() {
    assert_eq!(Http1::new().await.run(&framed::cases()).await, framed::COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_beside_codings() {
    assert_eq!(Http1::new().await.run(&framed::both()).await, framed::BOTH);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks() {
    assert_eq!(Http1::new().await.run(&chunks::cases()).await, chunks::COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_and_targets() {
    assert_eq!(Http1::new().await.run(&lines::cases()).await, lines::COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts() {
    assert_eq!(Http1::new().await.run(&hosts::cases()).await, hosts::COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields() {
    assert_eq!(Http1::new().await.run(&fields::cases()).await, fields::COUNT);
}
