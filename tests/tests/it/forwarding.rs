//! What a request and a response carry across: byte for byte, but for what belongs to one connection and what says who the
//! visitor is.

use tests::bed::{Agent, Relay};
use tests::deploy::{example, simple};
use tests::raw::{Kind, Message, RawVisitor};
use tests::tape::Tape;
use tests::visitor::{Visitor, empty, full, read};

const HOST: &str = "a.example.com";

struct Lane {
    tape: Tape,
    relay: Relay,
    _agent: Agent,
    visitor: Visitor,
}

/// An origin that answers every request with these bytes.
async fn lane(response: &'static str) -> Lane {
    lane_of(Relay::start(), response).await
}

async fn lane_of(relay: Relay, response: &'static str) -> Lane {
    let tape = Tape::answering(move |_| response.as_bytes().to_vec()).await;
    let config = simple(HOST, &format!("http://{}", tape.origin.address));
    let agent = Agent::running(&relay, &[HOST], &config);
    let visitor = Visitor::of(&relay);
    Lane { tape, relay, _agent: agent, visitor }
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

impl Lane {
    /// Sends one request by hand and tells what arrived.
    async fn arrived(&self, host: &str, fields: &str) -> Message {
        let mut raw = RawVisitor::connect(&self.visitor, HOST).await;
        raw.send(format!("GET /p HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").as_bytes()).await;
        assert_eq!(raw.response().await.map(|response| response.status()), Some(200));
        self.tape.only()
    }

    /// Asks by hand and tells the response.
    async fn answered(&self, method: &str, kind: Kind) -> Message {
        let mut raw = RawVisitor::connect(&self.visitor, HOST).await;
        raw.send(format!("{method} /p HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
        raw.response_of(kind).await.expect("a response")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_claim_to_be_another_visitor_in_any_spelling() {
    let lane = lane(EMPTY).await;
    let names = [
        "X-Forwarded-For",
        "x-forwarded-for",
        "X_Forwarded_For",
        "X.Forwarded.For",
        "X-Forwarded_For",
        "X-Forwarded-Proto",
        "X_FORWARDED_PROTO",
        "X-Forwarded-Host",
        "X_Forwarded_Host",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded-Prefix",
        "X-Forwarded",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-By",
        "Forwarded",
        "X-Real-IP",
        "X_Real_IP",
        "X.Real-IP",
        "Proxy",
        "True-Client-IP",
        "X-Client-IP",
    ];
    for name in names {
        let message = lane.arrived(HOST, &format!("{name}: 6.6.6.6\r\n{name}: 6.6.6.7\r\n")).await;
        assert!(!format!("{message:?}").contains("6.6.6"), "{name}: {message:?}");
        assert_eq!((message.one("x-forwarded-for"), message.one("x-real-ip")), ("127.0.0.1", "127.0.0.1"));
        assert_eq!((message.one("x-forwarded-proto"), message.one("x-forwarded-host")), ("https", HOST));
        assert_eq!(message.one("x-forwarded-port"), lane.relay.https.port().to_string());
        assert_eq!(message.one("forwarded"), format!("for=127.0.0.1;host=\"{HOST}\";proto=https"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_arrives_as_it_was_written_and_its_port_with_it() {
    let lane = lane(EMPTY).await;
    for host in ["a.example.com:8443", "A.Example.Com", "a.example.com.", "a.example.com:443"] {
        let message = lane.arrived(host, "").await;
        assert_eq!((message.one("host"), message.one("x-forwarded-host")), (host, host));
    }
    assert_eq!(lane.arrived("a.example.com:8443", "").await.one("x-forwarded-port"), "8443");
    let mut sender = lane.visitor.http2(HOST).await;
    let request = hyper::Request::get("https://a.example.com:8443/p").body(empty()).expect("a request");
    assert_eq!(read(sender.send_request(request).await.expect("a response")).await.status, 200);
    let message = lane.tape.only();
    assert_eq!(
        (message.start.as_str(), message.one("host"), message.one("x-forwarded-host")),
        ("GET /p HTTP/1.1", "a.example.com:8443", "a.example.com:8443")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_is_believed_and_appended_to() {
    let lane = lane_of(Relay::trusting("127.0.0.0/8"), EMPTY).await;
    let fields = "X-Forwarded-For: 198.51.100.1, 198.51.100.2\r\nX-Forwarded-Proto: http\r\n\
                  X-Real-IP: 198.51.100.1\r\nForwarded: for=198.51.100.1\r\nX_Forwarded_For: 6.6.6.6\r\n";
    let message = lane.arrived(HOST, fields).await;
    assert_eq!(message.one("x-forwarded-for"), "198.51.100.1, 198.51.100.2, 127.0.0.1");
    assert_eq!((message.one("x-forwarded-proto"), message.one("x-real-ip")), ("http", "198.51.100.1"));
    let own = format!("for=198.51.100.1, for=127.0.0.1;host=\"{HOST}\";proto=https");
    assert_eq!((message.one("forwarded"), message.all("x_forwarded_for").len()), (own.as_str(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_one_connection_end_here_and_name_no_others_away() {
    let lane = lane(EMPTY).await;
    let fields = "Connection: keep-alive, X-Forwarded-For, host, cookie, authorization, content-length, X-Mine\r\n\
                  Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\n\
                  TE: gzip;q=0.5\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Mine: 1\r\nX-Stays: 2\r\n\
                  Cookie: a=1; b=\"2\"\r\nAuthorization: Bearer t\r\nTrailer: x\r\n";
    let message = lane.arrived(HOST, fields).await;
    for gone in
        ["connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade", "x-mine"]
    {
        assert_eq!(message.all(gone), [""; 0], "{gone}");
    }
    assert_eq!((message.one("host"), message.one("x-forwarded-for")), (HOST, "127.0.0.1"));
    assert_eq!((message.one("cookie"), message.one("authorization")), ("a=1; b=\"2\"", "Bearer t"));
    assert_eq!(message.one("x-stays"), "2");
    assert_eq!(lane.arrived(HOST, "TE: gzip, trailers\r\nConnection: te\r\n").await.one("te"), "trailers");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origins_connection_fields_end_here_too() {
    let lane = lane(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nX-Stays: 2\r\n\
         Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let response = lane.answered("GET", Kind::Response).await;
    for gone in ["connection", "keep-alive", "x-hop", "proxy-authenticate", "upgrade"] {
        assert_eq!(response.all(gone), [""; 0], "{gone}");
    }
    assert_eq!((response.one("x-stays"), &response.body[..]), ("2", &b"ok"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_and_policies_pass_byte_for_byte_and_the_server_field_does_not() {
    let csp = "default-src 'self'; script-src 'self' 'nonce-r4nd0m'; frame-ancestors 'none'";
    let named = [
        "koda_operator_session=s3ss10n; Path=/; Secure; HttpOnly; SameSite=Strict",
        "theme=dark; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Max-Age=3600",
        "odd=\"a,b;c\"; Partitioned",
    ];
    // Far more fields than most servers send.
    let many = (0..400).map(|n| format!("c{n}={n}"));
    let cookies: Vec<String> = named.iter().map(|&cookie| cookie.to_owned()).chain(many).collect();
    let set: String = cookies.iter().map(|cookie| format!("Set-Cookie: {cookie}\r\n")).collect();
    let response = format!(
        "HTTP/1.1 200 OK\r\n{set}Content-Security-Policy: {csp}\r\nServer: nginx/1\r\nX-Request-Id: mine\r\n\
         Cache-Control: private\r\nContent-Length: 0\r\n\r\n"
    );
    let tape = Tape::answering(move |_| response.clone().into_bytes()).await;
    let (relay, koda) = (Relay::start(), "koda.example.com");
    let address = format!("127.0.0.1:{}", tape.origin.port());
    let ports = [("127.0.0.1:3000", address.clone()), ("127.0.0.1:8090", address)];
    let _agent = Agent::running(&relay, &[koda], &example("koda-agent.toml", &relay, &ports));
    let visitor = Visitor::of(&relay);
    for (path, cached) in [
        ("/login", "no-store, no-cache, must-revalidate"),
        ("/login?next=/", "no-store, no-cache, must-revalidate"),
        ("/", "private"),
        ("/login/x", "private"),
    ] {
        let mut raw = RawVisitor::connect(&visitor, koda).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: {koda}\r\n\r\n").as_bytes()).await;
        let response = raw.response().await.expect("a response");
        assert_eq!(response.all("set-cookie"), cookies);
        assert_eq!((response.one("content-security-policy"), response.one("server")), (csp, ""));
        assert_eq!((response.one("cache-control"), response.one("x-request-id")), (cached, "mine"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_arrive_byte_for_byte() {
    let lane = lane(EMPTY).await;
    let targets = [
        "/?",
        "/??",
        "/a?b=c&d=%20+e&&",
        "/%41%7e~%7E",
        "/a%2Fb/%2f",
        "/a//b",
        "/./a/",
        "/a;v=1?x;y",
        "/%E2%82%AC?%ff",
        "/{a}|\"b\"^[c]'",
        "/p?`[]{}|^'",
        "/a%20b%",
        "/%zz",
        "/a?b=/../../c\\",
        "/A/a/",
    ];
    for target in targets {
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
        assert_eq!(raw.response().await.map(|response| response.status()), Some(200), "{target}");
        assert_eq!(lane.tape.only().target(), target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_that_http2_split_are_joined() {
    let lane = lane(EMPTY).await;
    let mut sender = lane.visitor.http2(HOST).await;
    let request = hyper::Request::post(format!("https://{HOST}/p"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(full("abc"))
        .expect("a request");
    assert_eq!(read(sender.send_request(request).await.expect("a response")).await.status, 200);
    let message = lane.tape.only();
    assert_eq!(
        (message.one("cookie"), message.one("te"), &message.body[..]),
        ("a=1; b=2", "trailers", &b"abc"[..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_body_keep_their_fields() {
    let cases = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n", 200, "1234"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", 304, ""),
        ("GET", "HTTP/1.1 204 No Content\r\nETag: \"x\"\r\n\r\n", 204, ""),
    ];
    for (method, response, status, length) in cases {
        let lane = lane(response).await;
        let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
        for _ in 0..2 {
            raw.send(format!("{method} /p HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
            let got = raw.response_of(Kind::Bodyless).await.expect("a response");
            assert_eq!((got.status(), got.one("content-length"), got.one("etag")), (status, length, "\"x\""));
            assert_eq!((got.one("transfer-encoding"), raw.buffer.len()), ("", 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_passes() {
    let lane =
        lane("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab")
            .await;
    let mut raw = RawVisitor::connect(&lane.visitor, HOST).await;
    let request = format!("GET /p HTTP/1.1\r\nHost: {HOST}\r\nRange: bytes=0-1\r\nIf-Range: \"x\"\r\n\r\n");
    raw.send(request.as_bytes()).await;
    let got = raw.response().await.expect("a response");
    assert_eq!((got.status(), got.one("content-range"), &got.body[..]), (206, "bytes 0-1/9", &b"ab"[..]));
    let message = lane.tape.only();
    assert_eq!((message.one("range"), message.one("if-range")), ("bytes=0-1", "\"x\""));
}
