//! Everything passes as it was sent, both ways: how much it is, however it is cut, whichever side ends first.

use std::time::{Duration, Instant};

use socket2::SockRef;
use tests::bed::{Agent, Relay};
use tests::origin::Origin;
use tests::raw::RawVisitor;
use tests::tls::{Tls, is_alert};
use tests::tls_origin::{Certified, Connections, serve};
use tests::visitor::{background, empty, full, read, request};
use tests::wait::PATIENCE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio_rustls::{client, server};

use super::{BOTH, HOST, passed, running, visitor};
use crate::proxied::{TRUSTED, V1, V2, begin};
use crate::proxy_protocol::introduced;

/// More than everything on the way takes without being read.
const MUCH: usize = 8 << 20;

/// So many bytes that no two places in them are alike.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// A visitor's connection and the origin's end of it.
struct Both {
    visitor: client::TlsStream<TcpStream>,
    origin: server::TlsStream<TcpStream>,
}

struct Bed {
    certified: Certified,
    vault: Connections,
    relay: Relay,
    _agent: Agent,
}

impl Bed {
    async fn new(expose: &str) -> Self {
        let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
        let vault = certified.held(&[]).await;
        let config = passed(&format!("tcp://{}", vault.origin.address), "", expose);
        let agent = running(&relay, &[HOST], &config);
        Self { certified, vault, relay, _agent: agent }
    }

    async fn connect(&mut self) -> Both {
        let visitor = visitor(&self.relay, &self.certified).connect(HOST, &[]).await.expect("TLS");
        Both { visitor, origin: self.vault.next().await }
    }
}

/// Says everything, and that nothing follows.
async fn say(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    stream.write_all(bytes).await.expect("it takes everything");
    stream.shutdown().await.expect("it takes the end");
}

/// Everything up to the end, which has to be a proper one.
async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut heard = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    end.expect("the end comes").expect("it is a proper end");
    heard
}

/// How a connection ends that breaks.
async fn broken(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Error {
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    end.expect("the end comes").expect_err("nobody took it for the whole")
}

#[tokio::test(flavor = "multi_thread")]
async fn megabytes_pass_both_ways_at_once() {
    let mut bed = Bed::new("").await;
    let (there, back) = (bytes(7, MUCH), bytes(11, MUCH));
    let Both { visitor, origin } = bed.connect().await;
    let (mut from_origin, mut to_origin) = tokio::io::split(visitor);
    let (mut from_visitor, mut to_visitor) = tokio::io::split(origin);
    let (asked, answered, (), ()) = tokio::join!(
        hear(&mut from_visitor),
        hear(&mut from_origin),
        say(&mut to_origin, &there),
        say(&mut to_visitor, &back)
    );
    assert!(asked == there && answered == back);
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_may_end_first_and_the_other_still_speaks() {
    let mut bed = Bed::new("").await;
    let much = bytes(13, MUCH);
    for _ in 0..2 {
        let Both { mut visitor, mut origin } = bed.connect().await;
        say(&mut visitor, b"that is all").await;
        assert_eq!(hear(&mut origin).await, b"that is all");
        let ((), heard) = tokio::join!(say(&mut origin, &much), hear(&mut visitor));
        assert!(heard == much);

        let Both { mut visitor, mut origin } = bed.connect().await;
        say(&mut origin, b"welcome and goodbye").await;
        assert_eq!(hear(&mut visitor).await, b"welcome and goodbye");
        let ((), heard) = tokio::join!(say(&mut visitor, &much), hear(&mut origin));
        assert!(heard == much);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_on_one_side_never_ends_well_on_the_other() {
    let mut bed = Bed::new("").await;
    let mut broke = 0;
    for reset in [false, true] {
        let Both { visitor, mut origin } = bed.connect().await;
        if reset {
            SockRef::from(visitor.get_ref().0).set_linger(Some(Duration::ZERO)).expect("a socket");
        }
        drop(visitor);
        let _error = broken(&mut origin).await;
        let Both { mut visitor, origin } = bed.connect().await;
        if reset {
            SockRef::from(origin.get_ref().0).set_linger(Some(Duration::ZERO)).expect("a socket");
        }
        drop(origin);
        let error = broken(&mut visitor).await;
        assert!(!is_alert(&error), "{error:?}");
        broke += 2;
    }
    assert_eq!(broke, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_stands_still_is_cut_where_that_is_asked_for() {
    let mut bed = Bed::new("timeouts = { idle = \"2s\" }").await;
    let Both { mut visitor, mut origin } = bed.connect().await;
    let begun = Instant::now();
    let _error = broken(&mut visitor).await;
    assert!(begun.elapsed() > Duration::from_millis(1900), "{:?}", begun.elapsed());
    let _error = broken(&mut origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_passes_over_both_versions_with_nothing_added() {
    let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
    let vault = certified.named("vault").await;
    let _agent = running(&relay, &[HOST], &passed(&format!("tcp://{}", vault.address), "", ""));
    let visitor = visitor(&relay, &certified);
    let body = "x".repeat(100_000);
    let post = request("POST", HOST, "/a/../b?c").header("forwarded", "for=me").header("x-odd", "1");
    let answer = visitor.send(post.body(full(body.clone())).expect("a request")).await.json();
    let length = body.len().to_string();
    let sent = serde_json::json!([
        ["host", HOST],
        ["forwarded", "for=me"],
        ["x-odd", "1"],
        ["content-length", length]
    ]);
    assert_eq!((&answer["headers"], &answer["path"]), (&sent, &"/a/../b?c".into()), "{}", answer["headers"]);
    assert_eq!(answer["body"], body);
    let mut http2 = visitor.http2(HOST).await;
    for path in ["/1", "/2", "/3"] {
        let get = hyper::Request::get(format!("https://{HOST}{path}")).body(empty()).expect("a request");
        let answer = read(http2.send_request(get).await.expect("a response")).await;
        assert!(answer.error().is_empty() && !answer.headers.contains_key("alt-svc"), "{:?}", answer.headers);
        assert_eq!(
            (&answer.json()["path"], &answer.json()["headers"]),
            (&path.into(), &serde_json::json!([]))
        );
    }
}

/// Serves TLS on a socket in a folder.
fn on_unix_socket(certified: &Certified, path: &std::path::Path) {
    let (listener, acceptor) = (UnixListener::bind(path).expect("a socket"), certified.acceptor(&[]));
    background(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(acceptor.accept(stream).await.expect("TLS"), "socket").await;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_ends_tls_is_a_port_or_a_socket() {
    let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
    let (vault, path) = (certified.named("port").await, relay.folder().join("vault.sock"));
    on_unix_socket(&certified, &path);
    let mut served = Vec::new();
    for origin in [
        format!("tcp://{}", vault.address),
        // Whose certificate this is, is the visitor's business alone.
        format!("https://{}", vault.address),
        format!("unix:{}", path.display()),
    ] {
        let mut agent = running(&relay, &[HOST], &passed(&origin, "", ""));
        let answer = visitor(&relay, &certified).get(HOST, "/").await;
        served.push(answer.json()["origin"].as_str().map(str::to_owned).expect("a name"));
        agent.process().signal("TERM");
        assert_eq!(agent.process().wait(), Some(0));
        let _said = relay.ask(&["peer", "revoke", "home"]);
    }
    assert_eq!(served, ["port", "port", "socket"]);
}

/// Reads who comes before TLS begins, and answers that.
async fn told(certified: &Certified) -> Origin {
    let acceptor = certified.acceptor(&["http/1.1"]);
    Origin::tcp(move |mut stream| {
        let acceptor = acceptor.clone();
        async move {
            let told = introduced(&mut stream).await.to_string();
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = [0; 4096];
            while let Ok(1..) = stream.read(&mut request).await {
                let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len());
                let _gone = stream.write_all(response.as_bytes()).await;
            }
        }
    })
    .await
}

async fn ask(raw: &mut RawVisitor) -> String {
    raw.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    String::from_utf8(raw.response().await.expect("a response").body).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_told_the_visitor_before_the_first_byte_of_tls() {
    let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
    let origin = told(&certified).await;
    let mut asked = 0;
    for version in ["v1", "v2"] {
        let service = format!("proxy_protocol = \"{version}\"");
        let mut agent = running(&relay, &[HOST], &passed(&format!("tcp://{}", origin.address), &service, ""));
        let visitors = [[127, 0, 0, 1], [127, 0, 0, 7], [127, 0, 0, 7]]
            .map(|local| visitor(&relay, &certified).coming_from(local));
        for visitor in visitors {
            let mut raw = RawVisitor::connect(&visitor, HOST).await;
            let address = raw.stream.get_ref().0.local_addr().expect("an address").to_string();
            for _ in 0..2 {
                assert_eq!(ask(&mut raw).await, address, "{version}");
                asked += 1;
            }
        }
        agent.process().signal("TERM");
        assert_eq!(agent.process().wait(), Some(0));
        let _said = relay.ask(&["peer", "revoke", "home"]);
    }
    assert_eq!(asked, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_a_trusted_proxy_in_front_counts_for_the_origin_and_for_who_may_come_in() {
    let (certified, relay) = (Certified::new(&[HOST]), Relay::with_edge(TRUSTED));
    let origin = told(&certified).await;
    let config = passed(
        &format!("tcp://{}", origin.address),
        "proxy_protocol = \"v2\"",
        "allow_from = [\"203.0.113.0/24\"]",
    );
    let _agent = running(&relay, &[HOST], &config);
    for version in BOTH {
        let tls = Tls::believing(&relay, &[version], &certified.root_file());
        let stream = tls.over(begin(relay.https, V1, 7).await, HOST).await.expect("TLS");
        let mut raw = RawVisitor { stream, buffer: Vec::new() };
        assert_eq!(ask(&mut raw).await, "203.0.113.7:4711");
        let error = tls.over(begin(relay.https, V2, 7).await, HOST).await.expect_err("from elsewhere");
        assert_eq!(tests::tls::alert(&error), Some(rustls::AlertDescription::AccessDenied));
    }
}
