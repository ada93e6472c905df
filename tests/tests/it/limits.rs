//! Every bound of `[limits]`: what is over it gets a clear answer over every protocol and is counted, what is within it
//! passes, and the numbers in the file are the ones that count.

mod connections;
mod rates;
mod taken_into_use;
mod times;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{HeaderMap, Request, Version};
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::h3_visitor::{Http3, Manner};
use tests::origin::Origin;
use tests::visitor::{Answer, Body, Visitor, empty, full, http2_over, read};
use tests::wait::{PATIENCE, eventually};

const HOST: &str = "a.example.com";
const OVER: [Version; 3] = [Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];

/// A relay with these keys of `[edge]`, `[limits]` after them, and an agent in front of an origin.
struct Lane {
    relay: Relay,
    _agent: Agent,
    _origin: Origin,
}

impl Lane {
    async fn with(keys: &str, expose: &str) -> Self {
        let origin = Origin::named("web").await;
        let config = simple(HOST, &format!("http://{}", origin.address));
        Self::before(origin, keys, &format!("{config}{expose}"))
    }

    async fn limited(limits: &str) -> Self {
        Self::with(&format!("[limits]\n{limits}"), "").await
    }

    fn before(origin: Origin, keys: &str, config: &str) -> Self {
        let relay = Relay::with_edge(keys);
        let agent = Agent::running(&relay, &[HOST, "b.example.com"], config);
        Self { relay, _agent: agent, _origin: origin }
    }

    /// One request on a connection of its own.
    async fn ask(&self, over: Version, from: u8, wanted: Wanted<'_>) -> Answer {
        let asking = self.ask_unhurried(over, from, wanted);
        tokio::time::timeout(PATIENCE, asking).await.expect("an answer in time")
    }

    async fn ask_unhurried(&self, over: Version, from: u8, wanted: Wanted<'_>) -> Answer {
        let local = [127, 0, 0, from];
        let visitor = Visitor::of(&self.relay).coming_from(local);
        let host = wanted.host;
        match over {
            Version::HTTP_3 => {
                let manner = Manner { local, ..Manner::default() };
                let mut http3 = Http3::try_connect(&self.relay, host, manner).await.expect("QUIC");
                http3.send(wanted.over(over).map(|body| body.1)).await.expect("a response")
            }
            Version::HTTP_2 => {
                let mut sender = http2_over(visitor.connect(host, &["h2"]).await.expect("TLS")).await;
                read(sender.send_request(wanted.over(over).map(streamed)).await.expect("a response")).await
            }
            _ => {
                let mut sender = visitor.http1(host).await;
                read(sender.send_request(wanted.over(over).map(streamed)).await.expect("a response")).await
            }
        }
    }

    /// Waits until a series of `relay metrics` has a value.
    async fn counts(&self, series: &str, value: u64) {
        let line = format!("\n{series} {value}\n");
        eventually(&line, async || {
            let shown = self.relay.ask(&["metrics"]);
            assert!(shown.contains(&format!("\n{series} ")), "no {series} in {shown}");
            shown.contains(&line).then_some(())
        })
        .await;
    }
}

fn refused(code: &str) -> String {
    format!("adit_refused_requests_total{{code=\"{code}\"}}")
}

/// What is asked for.
#[derive(Debug, Clone)]
struct Wanted<'a> {
    host: &'a str,
    path: String,
    fields: HeaderMap,
    body: usize,
    /// Whether its length is said beforehand.
    announced: bool,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { host: HOST, path: "/".into(), fields: HeaderMap::new(), body: 0, announced: true }
    }
}

impl Wanted<'_> {
    fn over(self, over: Version) -> Request<(bool, Bytes)> {
        let uri = match over {
            Version::HTTP_11 => self.path,
            _ => format!("https://{}{}", self.host, self.path),
        };
        let mut request = Request::new((self.announced, Bytes::from(vec![b'x'; self.body])));
        *request.uri_mut() = uri.parse().expect("a URI");
        *request.headers_mut() = self.fields;
        if self.body > 0 {
            *request.method_mut() = hyper::Method::POST;
        }
        if over == Version::HTTP_11 {
            request.headers_mut().insert("host", self.host.parse().expect("a value"));
        }
        if over == Version::HTTP_3 && self.announced && self.body > 0 {
            request.headers_mut().insert("content-length", self.body.into());
        }
        request
    }
}

/// Pieces of unknown number where the length is not said.
fn streamed((announced, bytes): (bool, Bytes)) -> Body {
    match announced {
        _ if bytes.is_empty() => empty(),
        true => full(bytes),
        false => {
            let pieces: Vec<_> = bytes.chunks(64).map(Bytes::copy_from_slice).collect();
            let frames = futures_util::stream::iter(pieces).map(|piece| Ok(Frame::data(piece)));
            BodyExt::boxed(StreamBody::new(frames))
        }
    }
}

fn field(name: &'static str, value: &str) -> HeaderMap {
    many_fields(1, name, value)
}

/// So many fields; numbered, unless the name is a whole one.
fn many_fields(count: usize, name: &'static str, value: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for number in 0..count {
        let name = if name.ends_with('-') { format!("{name}{number}") } else { name.to_owned() };
        let name: hyper::header::HeaderName = name.parse().expect("a name");
        fields.append(name, value.parse().expect("a value"));
    }
    fields
}

#[tokio::test(flavor = "multi_thread")]
async fn heads() {
    let lane = Lane::limited("header_bytes = 4096\nheader_count = 20\nuri_bytes = 1000\n").await;
    let cases = [
        (200, "", field("x-long", &"x".repeat(3500)), 1),
        (431, "head-too-large", field("x-long", &"x".repeat(4096)), 1),
        // HTTP/1 has one for the host besides.
        (200, "", many_fields(19, "x-", "y"), 1),
        (431, "head-too-large", many_fields(21, "x-", "y"), 1),
        (200, "", HeaderMap::new(), 1000),
        (414, "uri-too-long", HeaderMap::new(), 1001),
    ];
    let mut ran = 0;
    for over in OVER {
        for (status, code, fields, path) in &cases {
            let path = format!("/{}", "p".repeat(path - 1));
            let answer =
                lane.ask(over, 1, Wanted { path, fields: fields.clone(), ..Wanted::default() }).await;
            assert_eq!((answer.status, answer.error()), (*status, *code), "{over:?} {fields:?}");
            ran += 1;
        }
    }
    assert_eq!(ran, 18);
    // What is far too large is not taken in at all: the answer is h2's own, without a page.
    let fields = field("x-long", &"x".repeat(60_000));
    let answer = lane.ask(Version::HTTP_2, 1, Wanted { fields, ..Wanted::default() }).await;
    assert_eq!((answer.status, answer.error()), (431, ""));
    lane.counts(&refused("head-too-large"), 6).await;
    lane.counts(&refused("uri-too-long"), 3).await;
}

/// A browser sends each of its cookies in a field of its own (RFC 9113, section 8.2.3).
#[tokio::test(flavor = "multi_thread")]
async fn cookies_in_crumbs_are_one_field() {
    let lane = Lane::limited("header_count = 10\n").await;
    for over in [Version::HTTP_2, Version::HTTP_3] {
        let fields = many_fields(60, "cookie", "a=b");
        let answer = lane.ask(over, 1, Wanted { fields, ..Wanted::default() }).await;
        assert_eq!(answer.status, 200, "{over:?}");
        let said = answer.json();
        let fields = said["headers"].as_array().expect("fields");
        let cookies: Vec<_> = fields.iter().filter(|field| field[0] == "cookie").collect();
        assert_eq!((cookies.len(), cookies[0][1].as_str().map(str::len)), (1, Some(60 * 5 - 2)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let origin = Origin::named("web").await;
    let config = format!(
        "{}max_body = 100\n[[expose]]\nhostname = \"b.example.com\"\nmax_body = 5000\n\
         routes = [{{ path = \"/*\", service = \"web\" }}]\n",
        simple(HOST, &format!("http://{}", origin.address))
    );
    let lane = Lane::before(origin, "[limits]\nmax_body = 1000\n", &config);
    // The smaller of the two counts.
    let cases =
        [(HOST, 100, 200), (HOST, 101, 413), ("b.example.com", 1000, 200), ("b.example.com", 1001, 413)];
    let mut ran = 0;
    for over in OVER {
        for (host, body, status) in cases {
            for announced in [true, false] {
                let wanted = Wanted { host, body, announced, ..Wanted::default() };
                let answer = lane.ask(over, 1, wanted.clone()).await;
                let code = if status == 413 { "body-too-large" } else { "" };
                assert_eq!((answer.status, answer.error()), (status, code), "{over:?} {wanted:?}");
                ran += 1;
            }
        }
    }
    assert_eq!(ran, 24);
    lane.counts(&refused("body-too-large"), 12).await;
}
