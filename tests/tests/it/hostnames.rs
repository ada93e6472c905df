//! Hostnames: who serves them, who may, and that TLS and HTTP agree on which one is meant.

use std::time::{Duration, Instant};

use tests::bed::{Agent, Relay};
use tests::deploy::{simple, with};
use tests::origin::Origin;
use tests::tape::Tape;
use tests::visitor::{Answer, Visitor, empty, read, request};
use tests::wait::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_and_no_name_end_in_an_alert_and_reach_no_agent() {
    let (tape, relay) = (Tape::start().await, Relay::start());
    let config = simple("a.example.com", &format!("http://{}", tape.origin.address));
    let _agent = Agent::running(&relay, &["a.example.com"], &config);
    let visitor = Visitor::of(&relay);
    // An address is not sent as a name.
    for name in ["nobody.example.com", "b.a.example.com", "127.0.0.1"] {
        let error = visitor.connect(name, &["http/1.1"]).await.expect_err(name);
        let tls = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
        assert!(matches!(tls, Some(rustls::Error::AlertReceived(_))), "{name}: {error:?}");
    }
    assert_eq!((tape.bytes(), tape.connections()), (0, 0));
    assert_eq!(visitor.get("a.example.com", "/").await.status, 200);
}

/// (name in TLS, host in HTTP, status)
const PAIRS: [(&str, &str, u16); 15] = [
    ("a.example.com", "a.example.com", 200),
    ("a.example.com", "A.Example.COM", 200),
    ("a.example.com", "a.example.com.", 200),
    ("a.example.com", "a.example.com:443", 200),
    ("a.example.com", "a.example.com:8443", 200),
    ("x.w.example.com", "x.w.example.com", 200),
    ("x.w.example.com", "y.w.example.com", 200),
    ("a.example.com", "b.example.com", 421),
    ("a.example.com", "B.example.com.:443", 421),
    ("a.example.com", "x.w.example.com", 421),
    ("a.example.com", "nobody.example.com", 421),
    ("x.w.example.com", "a.example.com", 421),
    ("x.w.example.com", "w.example.com", 421),
    ("x.w.example.com", "z.y.w.example.com", 421),
    // Granted by itself, so no longer the wildcard's.
    ("x.w.example.com", "own.w.example.com", 421),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_name_of_another_owner_is_misdirected() {
    let (tape, relay) = (Tape::start().await, Relay::start());
    let names = ["a.example.com", "b.example.com", "*.w.example.com", "own.w.example.com"];
    let mut config = format!("[service.web]\norigin = \"http://{}\"\n", tape.origin.address);
    for name in names {
        config +=
            &format!("[[expose]]\nhostname = \"{name}\"\nroutes = [{{path = \"/*\", service = \"web\"}}]\n");
    }
    let _agent = Agent::running(&relay, &names, &config);
    let visitor = Visitor::of(&relay);
    for (sni, host, status) in PAIRS {
        for over_2 in [false, true] {
            let answer = ask(&visitor, sni, host, over_2).await;
            let code = if status == 421 { "misdirected" } else { "" };
            assert_eq!((answer.status, answer.error()), (status, code), "{sni} {host}");
            let arrived: Vec<_> = tape.take().iter().map(|request| request.one("host").to_owned()).collect();
            assert_eq!(arrived, if status == 200 { vec![host.to_owned()] } else { vec![] }, "{sni} {host}");
        }
    }
}

async fn ask(visitor: &Visitor, sni: &str, host: &str, over_2: bool) -> Answer {
    if over_2 {
        let request = hyper::Request::get(format!("https://{host}/")).body(empty()).expect("a request");
        return read(visitor.http2(sni).await.send_request(request).await.expect("a response")).await;
    }
    let request = request("GET", host, "/").body(empty()).expect("a request");
    read(visitor.http1(sni).await.send_request(request).await.expect("a response")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_peers_share_a_hostname_and_one_of_them_can_die() {
    let (one, two, relay) = (Origin::named("one").await, Origin::named("two").await, Relay::start());
    let config = |origin: &Origin| simple("a.example.com", &format!("http://{}", origin.address));
    let mut first = Agent::running(&relay, &["a.example.com"], &config(&one));
    let _second = Agent::running(&relay, &["a.example.com"], &config(&two));
    let visitor = Visitor::of(&relay);
    let mut served = std::collections::BTreeSet::new();
    for _ in 0..8 {
        served.insert(visitor.get("a.example.com", "/").await.json()["origin"].to_string());
    }
    assert_eq!(served.len(), 2, "{served:?}");
    first.process().kill();
    for _ in 0..20 {
        let answer = visitor.get("a.example.com", "/").await;
        assert_eq!((answer.status, &answer.json()["origin"]), (200, &"two".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_takes_effect_and_is_taken_away_while_the_agent_runs() {
    let (origin, relay) = (Origin::named("web").await, Relay::start());
    let token = relay.ask(&["token", "create", "--name", "home", "--hostname", "a.example.com"]);
    let mut agent = Agent::new();
    agent.enroll(&relay, &token);
    agent.write_config(&simple("b.example.com", &format!("http://{}", origin.address)));
    agent.run();
    agent.wait_until_up();
    // Lines are written a moment after they were made.
    agent.process().wait_for_log("relay peer grant");
    assert!(agent.process().log().contains("b.example.com"));
    let visitor = Visitor::of(&relay);
    assert!(visitor.connect("b.example.com", &["http/1.1"]).await.is_err());
    let begun = Instant::now();
    let _said = relay.ask(&["peer", "grant", "home", "--hostname", "b.example.com"]);
    assert_eq!(visitor.get("b.example.com", "/").await.status, 200);
    let mut open = visitor.http1("b.example.com").await;
    let _said = relay.ask(&["peer", "ungrant", "home", "--hostname", "b.example.com"]);
    let again = request("GET", "b.example.com", "/").body(empty()).expect("a request");
    let answer = read(open.send_request(again).await.expect("a response")).await;
    assert_eq!((answer.status, answer.error()), (404, "unknown-hostname"));
    assert!(visitor.connect("b.example.com", &["http/1.1"]).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_from_elsewhere_are_denied() {
    let (tape, relay) = (Tape::start().await, Relay::start());
    let origin = format!("http://{}", tape.origin.address);
    let config = with("a.example.com", &origin, "", "allow_from = [\"203.0.113.0/24\"]");
    let agent = Agent::running(&relay, &["a.example.com"], &config);
    let visitor = Visitor::of(&relay);
    let claim = request("GET", "a.example.com", "/").header("x-forwarded-for", "203.0.113.7");
    let answer = visitor.send(claim.body(empty()).expect("a request")).await;
    assert_eq!((answer.status, answer.error(), tape.bytes()), (403, "denied", 0));
    agent.write_config(&with(
        "a.example.com",
        &origin,
        "",
        "allow_from = [\"203.0.113.0/24\", \"127.0.0.1\"]",
    ));
    let admitted = async || (visitor.get("a.example.com", "/").await.status == 200).then_some(());
    eventually("the changed file lets the visitor in", admitted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relays_own_answers_are_marked_and_the_origins_are_not() {
    let (origin, relay) = (Origin::named("web").await, Relay::start());
    let config = format!(
        "[service.web]\norigin = \"http://{}\"\n[[expose]]\nhostname = \"a.example.com\"\n\
         routes = [{{ path = \"/app/*\", service = \"web\" }}]\n",
        origin.address
    );
    let mut agent = Agent::running(&relay, &["a.example.com"], &config);
    let visitor = Visitor::of(&relay);
    let passed = visitor.get("a.example.com", "/app/").await;
    assert_eq!((passed.status, passed.error()), (200, ""));
    assert!(!passed.headers.contains_key("x-request-id") && !passed.headers.contains_key("server"));
    check_own(&relay, &visitor.get("a.example.com", "/other").await, 404, "no-route");
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), Some(0));
    let offline = visitor.get("a.example.com", "/app/").await;
    check_own(&relay, &offline, 503, "agent-offline");
    assert_eq!(offline.headers["retry-after"], "5");
    let page = request("GET", "a.example.com", "/app/").header("accept", "text/html,*/*;q=0.8");
    let page = visitor.send(page.body(empty()).expect("a request")).await;
    assert_eq!(
        (page.status, &page.headers["content-type"]),
        (503, &"text/html; charset=utf-8".parse().expect("text"))
    );
    assert!(page.text().contains("<h1>503") && page.text().contains("agent-offline"), "{}", page.text());
    assert_eq!(page.headers["retry-after"], "5");
}

/// JSON, a code, and a request id that the relay's log has as well.
fn check_own(relay: &Relay, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.error()), (status, code));
    let said = answer.json();
    assert_eq!((&said["error"], &said["status"]), (&code.into(), &status.into()));
    let id = answer.headers["x-request-id"].to_str().expect("text");
    assert_eq!(said["request_id"], id);
    relay.process.wait_for_log(id);
}
