//! Origins that are told their visitors by the PROXY protocol: each connection is one visitor's, and stays it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy_header::{ParseConfig, ProxyHeader};
use tests::bed::{Agent, Relay};
use tests::deploy::{simple, with};
use tests::origin::{Body, Origin, text};
use tests::program::Program;
use tests::raw::{Front, Kind, RawVisitor, read_message};
use tests::visitor::{self, Visitor, background, empty, read};
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOST: &str = "a.example.com";

/// Reads what a connection begins with: the visitor and the address that it was sent to, none where a request comes at
/// once. What follows stays in the buffer.
async fn introduction(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(SocketAddr, SocketAddr)> {
    loop {
        if buffer.starts_with(b"GET ") {
            return None;
        }
        if let Ok((header, length)) = ProxyHeader::parse(buffer, ParseConfig::default()) {
            let told = header.proxied_address().map(|told| (told.source, told.destination));
            let told = told.expect("a connection for somebody");
            buffer.drain(..length);
            return Some(told);
        }
        assert!(stream.read_buf(buffer).await.expect("bytes") > 0, "the connection ends in its header");
    }
}

/// Answers `CONNECTION VISITOR`.
async fn serve(mut stream: TcpStream, connections: Arc<AtomicUsize>) {
    let mut buffer = Vec::new();
    let number = connections.fetch_add(1, Ordering::SeqCst);
    let here = stream.local_addr().expect("an address");
    let told = introduction(&mut stream, &mut buffer).await;
    let visitor = told.map_or("nobody".to_owned(), |(visitor, there)| {
        assert_eq!(there, here);
        visitor.to_string()
    });
    loop {
        while let Front::Whole(_, length) = read_message(&buffer, Kind::Request) {
            buffer.drain(..length);
            let body = format!("{number} {visitor}");
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(response.as_bytes()).await.expect("the answer is wanted");
        }
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

async fn origin() -> Origin {
    let connections = Arc::new(AtomicUsize::new(0));
    Origin::tcp(move |stream| serve(stream, Arc::clone(&connections))).await
}

/// One request on a kept connection: the number of the origin's connection, and whom it took the visitor for.
async fn ask(raw: &mut RawVisitor) -> Option<(String, String)> {
    raw.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    let response = raw.response().await.expect("a response");
    let body = String::from_utf8(response.body.clone()).expect("text");
    let (number, visitor) = body.split_once(' ')?;
    (response.status() == 200).then(|| (number.to_owned(), visitor.to_owned()))
}

fn address(raw: &RawVisitor) -> String {
    raw.stream.get_ref().0.local_addr().expect("an address").to_string()
}

/// Visitors by turns: each is told as itself every time, over one connection of its own.
async fn take_turns(visitor: &Visitor) {
    let mut visitors = Vec::new();
    for _ in 0..3 {
        visitors.push((RawVisitor::connect(visitor, HOST).await, None));
    }
    let mut asked = 0;
    for _ in 0..5 {
        for (raw, connection) in &mut visitors {
            let (number, told) = ask(raw).await.expect("200");
            assert_eq!(told, address(raw));
            assert_eq!(connection.get_or_insert(number.clone()), &number);
            asked += 1;
        }
    }
    let mut connections: Vec<_> = visitors.into_iter().map(|(_, connection)| connection).collect();
    connections.sort();
    connections.dedup();
    assert_eq!((asked, connections.len()), (15, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_told_each_visitor_and_no_two_share_a_connection() {
    let relay = Relay::start();
    for version in ["v1", "v2"] {
        let origin = origin().await;
        let service = format!("proxy_protocol = \"{version}\"");
        let config = with(HOST, &format!("http://{}", origin.address), &service, "");
        let mut agent = Agent::running(&relay, &[HOST], &config);
        take_turns(&Visitor::of(&relay)).await;
        agent.process().signal("TERM");
        assert_eq!(agent.process().wait(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_it_visitors_share_what_is_idle() {
    let (relay, origin) = (Relay::start(), origin().await);
    let _agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
    for _ in 0..3 {
        let mut raw = RawVisitor::connect(&Visitor::of(&relay), HOST).await;
        assert_eq!(ask(&mut raw).await, Some(("0".into(), "nobody".into())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_turns_it_on_leaves_nobody_in_anothers_name() {
    let (relay, origin) = (Relay::start(), origin().await);
    let address = format!("http://{}", origin.address);
    let agent = Agent::running(&relay, &[HOST], &simple(HOST, &address));
    let visitor = Visitor::of(&relay);
    let mut raw = RawVisitor::connect(&visitor, HOST).await;
    assert_eq!(ask(&mut raw).await, Some(("0".into(), "nobody".into())));
    agent.write_config(&with(HOST, &address, "proxy_protocol = \"v2\"", ""));
    let told = eventually("the relay knows", async || {
        let (_, told) = ask(&mut raw).await?;
        (told != "nobody").then_some(told)
    });
    assert_eq!(told.await, self::address(&raw));
    take_turns(&visitor).await;
}

/// The visitor that a connection begins with, and not one byte more: what follows belongs to another protocol.
pub(crate) async fn introduced(stream: &mut TcpStream) -> SocketAddr {
    let mut buffer = Vec::new();
    while ProxyHeader::parse(&buffer, ParseConfig::default()).is_err() {
        buffer.push(stream.read_u8().await.expect("a header"));
    }
    let (header, _) = ProxyHeader::parse(&buffer, ParseConfig::default()).expect("a header");
    header.proxied_address().expect("a connection for somebody").source
}

async fn h2c(mut stream: TcpStream) {
    let told = introduced(&mut stream).await.to_string();
    let service = service_fn(move |_| {
        let told = told.clone();
        async { Ok::<Response<Body>, std::convert::Infallible>(text(told)) }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_h2c_stay_with_their_visitor() {
    let (relay, origin) = (Relay::start(), Origin::tcp(h2c).await);
    let config = with(HOST, &format!("h2c://{}", origin.address), "proxy_protocol = \"v1\"", "");
    let _agent = Agent::running(&relay, &[HOST], &config);
    let mut visitors = Vec::new();
    for _ in 0..2 {
        let stream = Visitor::of(&relay).connect(HOST, &["h2"]).await.expect("TLS");
        let address = stream.get_ref().0.local_addr().expect("an address").to_string();
        let opened =
            http2::handshake::<_, _, visitor::Body>(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = opened.expect("HTTP/2");
        background(async move { drop(connection.await) });
        visitors.push((sender, address));
    }
    let mut asked = 0;
    for _ in 0..3 {
        for (sender, address) in &mut visitors {
            let request = Request::get(format!("https://{HOST}/")).body(empty()).expect("a request");
            let answer = read(sender.send_request(request).await.expect("a response")).await;
            assert_eq!((answer.status, &answer.text()), (200, &*address));
            asked += 1;
        }
    }
    assert_eq!(asked, 6);
}

const NGINX: &str = "listen 127.0.0.1:{port} proxy_protocol{ssl}; set_real_ip_from 127.0.0.1; \
                     real_ip_header proxy_protocol; default_type text/plain; \
                     return 200 \"$remote_addr:$remote_port $proxy_protocol_server_addr:$proxy_protocol_server_port\";";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx"]
async fn nginx_understands_both_versions_with_and_without_tls() {
    let relay = Relay::start();
    let authority = tests::certificate::Authority::new();
    authority.write(relay.folder(), "origin", &["localhost"]);
    let beside = relay.folder().display();
    let tls =
        format!("{NGINX} ssl_certificate {beside}/origin.pem; ssl_certificate_key {beside}/origin.key;");
    let servers = [("http", NGINX.replace("{ssl}", "")), ("https", tls.replace("{ssl}", " ssl"))];
    let mut understood = 0;
    for (scheme, server) in &servers {
        let nginx = Program::nginx_server(server, &[]);
        for version in ["v1", "v2"] {
            let service = format!("proxy_protocol = \"{version}\"");
            let trust = if *scheme == "https" { "dangerous_accept_any_certificate = true" } else { "" };
            let address = format!("{scheme}://127.0.0.1:{}", nginx.port);
            let config = with(HOST, &address, &format!("{service}\n{trust}"), "");
            let mut agent = Agent::running(&relay, &[HOST], &config);
            let mut raw = RawVisitor::connect(&Visitor::of(&relay), HOST).await;
            for _ in 0..2 {
                let (visitor, there) = ask(&mut raw).await.expect("200");
                assert_eq!(visitor, self::address(&raw), "{scheme} {version}");
                assert_eq!(there, format!("127.0.0.1:{}", nginx.port));
            }
            agent.process().signal("TERM");
            assert_eq!(agent.process().wait(), Some(0));
            understood += 1;
        }
    }
    assert_eq!(understood, 4);
}
