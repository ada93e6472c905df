//! Which hostname and path leads where: the examples of `deploy/`, and every way to be led astray.

use tests::bed::{Agent, Relay};
use tests::deploy::example;
use tests::raw::{Message, RawVisitor};
use tests::tape::Tape;
use tests::visitor::{Visitor, empty, full, read, request};

const KODA: &str = "koda.example.com";

/// Koda's two services, the relay and the agent of `deploy/koda-agent.toml`.
struct Koda {
    dashboard: Tape,
    api: Tape,
    relay: Relay,
    _agent: Agent,
}

async fn koda() -> Koda {
    let (dashboard, api) = (Tape::start().await, Tape::start().await);
    let relay = Relay::start();
    let address = |tape: &Tape| format!("127.0.0.1:{}", tape.origin.port());
    let ports = [("127.0.0.1:3000", address(&dashboard)), ("127.0.0.1:8090", address(&api))];
    let agent = Agent::running(&relay, &[KODA], &example("koda-agent.toml", &relay, &ports));
    Koda { dashboard, api, relay, _agent: agent }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_five_paths_of_koda_lead_to_their_services() {
    let koda = koda().await;
    let visitor = Visitor::of(&koda.relay);
    let cases = [
        ("/", &koda.dashboard),
        ("/control-plane/a", &koda.dashboard),
        ("/api/control-plane/a", &koda.api),
        ("/api/runtime/a?b=/..", &koda.api),
        ("/openapi/v1.json", &koda.api),
        // Not what is below them, so not theirs.
        ("/api/control-plane", &koda.dashboard),
        ("/openapi", &koda.dashboard),
        ("/API/runtime/a", &koda.dashboard),
    ];
    for (path, origin) in cases {
        let answer = visitor.get(KODA, path).await;
        assert_eq!((answer.status, origin.only().target()), (200, path));
    }
    assert_eq!((koda.api.take().len(), koda.dashboard.take().len()), (0, 0));
}

/// Ways to spell a path under 8090 that is not published.
const ESCAPES: [&str; 42] = [
    "/anything-else",
    "//anything-else",
    "/./anything-else",
    "/openapi/../anything-else",
    "/openapi/..//anything-else",
    "/openapi/./../anything-else",
    "/openapi//../../anything-else",
    "/openapi/..",
    "/openapi/%2e%2e/anything-else",
    "/openapi/%2E%2E/anything-else",
    "/openapi/.%2e/anything-else",
    "/openapi/%2e./anything-else",
    "/openapi/..%2fanything-else",
    "/openapi/..%2Fanything-else",
    "/openapi%2f..%2fanything-else",
    "/openapi/%2e%2e%2fanything-else",
    "/openapi/%252e%252e/anything-else",
    "/openapi/..%252fanything-else",
    "/openapi/%252e%252e%252fanything-else",
    "/openapi/%25252e%25252e%25252fanything-else",
    "/openapi/%25%32%65%25%32%65/anything-else",
    "/openapi/..\\anything-else",
    "/openapi\\..\\anything-else",
    "/openapi/..%5canything-else",
    "/openapi/..%255canything-else",
    "/openapi/..\\..\\/anything-else",
    "/openapi/..;/anything-else",
    "/openapi/..;a=b/anything-else",
    "/openapi/%2e%2e;/anything-else",
    "/openapi/..%3b/anything-else",
    "/openapi/..%253b/anything-else",
    "/openapi/.;/..;/anything-else",
    "/openapi;x/../anything-else",
    "/api/runtime/../../anything-else",
    "/api/runtime/..%2f../anything-else",
    "/api/runtime/x/../../../anything-else",
    "/api/runtime/..%2f..%5canything-else",
    "/api/control-plane/..;/..%2fanything-else",
    "/x/../openapi/../anything-else",
    "/openapi/..%00/anything-else",
    "/openapi/..%2500/anything-else",
    "/%2e%2e/openapi/%2e%2e/anything-else",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_of_the_api_can_be_reached_however_it_is_spelled() {
    let koda = koda().await;
    let visitor = Visitor::of(&koda.relay);
    let mut refused = 0;
    for path in ESCAPES {
        let mut raw = RawVisitor::connect(&visitor, KODA).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: {KODA}\r\n\r\n").as_bytes()).await;
        let response = raw.response().await.expect("a response");
        match (response.status(), response.one("adit-error")) {
            (400 | 404, code) if !code.is_empty() => refused += 1,
            (200, "") => assert_eq!(koda.dashboard.only().target(), path),
            other => panic!("{path}: {other:?}"),
        }
        assert_eq!(koda.api.bytes(), 0, "{path} reached the API");
    }
    assert!(refused >= 36, "only {refused} were refused");
    // The API was there all the time.
    assert_eq!(visitor.get(KODA, "/openapi/x").await.status, 200);
    assert_eq!(koda.api.only().target(), "/openapi/x");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_no_way_around_either() {
    let koda = koda().await;
    let mut sender = Visitor::of(&koda.relay).http2(KODA).await;
    let (mut sent, mut refused) = (0, 0);
    for path in ESCAPES {
        let Ok(uri) = format!("https://{KODA}{path}").parse::<hyper::Uri>() else { continue };
        let request = hyper::Request::get(uri).body(empty()).expect("a request");
        let answer = read(sender.send_request(request).await.expect("a response")).await;
        assert!(matches!(answer.status, 200 | 400 | 404), "{path}: {}", answer.status);
        assert_eq!(koda.api.bytes(), 0, "{path} reached the API");
        sent += 1;
        refused += u32::from(answer.status != 200);
    }
    assert!(sent >= 35 && refused >= 33, "{sent} could be sent, {refused} were refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn krytons_example_serves_everything_up_to_50_mb() {
    let kryton = "kryton.example.com";
    let origin = Tape::start().await;
    let relay = Relay::start();
    let ports = [("127.0.0.1:3001", format!("127.0.0.1:{}", origin.origin.port()))];
    let _agent = Agent::running(&relay, &[kryton], &example("kryton-agent.toml", &relay, &ports));
    let visitor = Visitor::of(&relay);
    for path in ["/", "/api/auth/session", "/ws/yjs/doc?x=1"] {
        assert_eq!(visitor.get(kryton, path).await.status, 200);
        assert_eq!(origin.only().target(), path);
    }
    let mut raw = RawVisitor::connect(&visitor, kryton).await;
    let head = |length: u64| format!("PUT /f HTTP/1.1\r\nhost: {kryton}\r\ncontent-length: {length}\r\n\r\n");
    raw.send(head((50 << 20) + 1).as_bytes()).await;
    let refused = raw.head().await;
    assert_eq!((refused.status(), refused.one("adit-error")), (413, "body-too-large"));
    let put = request("PUT", kryton, "/f").body(full(vec![7; 1 << 20])).expect("a request");
    assert_eq!(visitor.send(put).await.status, 200);
    assert_eq!(origin.only().body.len(), 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_route_explain_says_what_would_answer() {
    let koda = koda().await;
    let explain = |url: &str| koda.relay.ask(&["route", "explain", url]);
    for (url, expected) in [
        ("https://koda.example.com/openapi/x?y", "route `/openapi/*` -> service `control-plane`"),
        ("https://KODA.example.com:8443/", "route `/*` -> service `dashboard`"),
        ("https://koda.example.com/openapi/../x", "400 ambiguous-path"),
        ("https://nobody.example.com/", "404 unknown-hostname"),
    ] {
        let said = explain(url);
        assert!(said.contains(expected), "{url}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn port_80_sends_known_hostnames_to_https_and_nowhere_else() {
    let koda = koda().await;
    let (http, port) = (koda.relay.http, koda.relay.https.port());
    let ask = async |method: &str, target: &str, host: &str| -> Message {
        let head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        tests::raw::ask_plain(http, head.as_bytes()).await
    };
    let base = format!("https://{KODA}:{port}");
    let cases = [
        ("GET", "/a/b?c=d", 301, "/a/b?c=d"),
        ("HEAD", "/", 301, "/"),
        ("POST", "/a", 308, "/a"),
        ("GET", "//evil.example/x", 301, "//evil.example/x"),
        ("GET", "/\\evil.example", 301, "/\\evil.example"),
        ("GET", "/%0d%0aset-cookie:x", 301, "/%0d%0aset-cookie:x"),
    ];
    for (method, target, status, location) in cases {
        let answer = ask(method, target, KODA).await;
        assert_eq!((answer.status(), answer.one("location")), (status, &*format!("{base}{location}")));
    }
    assert_eq!(ask("GET", "/", "KODA.example.com.:80").await.one("location"), format!("{base}/"));
    for (target, host, status) in [
        ("/", "nobody.example.com", 404),
        ("http://evil.example/", KODA, 400),
        ("@evil.example/", KODA, 400),
        ("/", "koda.example.com@evil.example", 400),
        ("/", "evil.example/koda.example.com", 400),
    ] {
        let answer = ask("GET", target, host).await;
        assert_eq!((answer.status(), answer.one("location")), (status, ""), "{target} {host}");
        assert!(!answer.one("adit-error").is_empty() && !answer.body.is_empty(), "{target} {host}");
    }
    assert_eq!(koda.dashboard.bytes() + koda.api.bytes(), 0);
}
