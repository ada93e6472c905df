//! Who is not led on gets an alert of TLS, which any visitor understands, and never a certificate or a page of the relay.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use rustls::AlertDescription;
use tests::bed::{Agent, Relay};
use tests::certificate::Authority;
use tests::h3_visitor::Http3;
use tests::held::Holder;
use tests::origin::Origin;
use tests::tape::Tape;
use tests::tls::{Tls, alert};
use tests::tls_origin::Certified;
use tests::visitor::{Visitor, empty, read, request};
use tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::told::greeting;
use super::{BOTH, HOST, open, passed, running, visitor};
use crate::downgrade::Dealt;
use crate::hostile_http3;

const OPEN: &str = "open.example.com";

/// A relay that could show a certificate of its own for everything, and an agent that seals one hostname.
struct Bed {
    certified: Certified,
    origin: Origin,
    relay: Relay,
    agent: Agent,
}

impl Bed {
    async fn new(sections: &str, expose: &str) -> Self {
        let (certified, relay) = (Certified::new(&[HOST]), Relay::with(sections));
        let origin = certified.named("vault").await;
        let agent = running(&relay, &[HOST, OPEN], &passed(&format!("tcp://{}", origin.address), "", expose));
        Self { certified, origin, relay, agent }
    }

    fn visitor(&self) -> Visitor {
        visitor(&self.relay, &self.certified)
    }

    /// Which alert a visitor gets, whomever it believes.
    async fn refused(&self) -> AlertDescription {
        let mut alerts = Vec::new();
        for visitor in [self.visitor(), Visitor::of(&self.relay)] {
            for alpn in ["h2", "http/1.1"] {
                let error = visitor.connect(HOST, &[alpn]).await.expect_err("nobody is led on");
                alerts.push(alert(&error).unwrap_or_else(|| panic!("no alert: {error:?}")));
            }
        }
        assert!(alerts.iter().all(|other| *other == alerts[0]), "{alerts:?}");
        alerts[0]
    }

    /// Waits until there is nobody who serves the hostname.
    async fn is_not_served(&self) {
        eventually("it is served by nobody", async || {
            let said = self.relay.ask(&["route", "explain", &format!("https://{HOST}/")]);
            said.contains("agent-offline").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_from_elsewhere_are_denied() {
    let bed = Bed::new("", "allow_from = [\"127.0.0.7\", \"192.0.2.0/24\"]").await;
    let admitted = bed.visitor().coming_from([127, 0, 0, 7]);
    assert_eq!(admitted.get(HOST, "/").await.status, 200);
    assert_eq!(bed.refused().await, AlertDescription::AccessDenied);
    assert_eq!(admitted.get(HOST, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stops_leaves_no_door_open_until_it_is_back() {
    let mut bed = Bed::new("", "").await;
    for _ in 0..2 {
        assert_eq!(bed.visitor().get(HOST, "/").await.status, 200);
        bed.agent.process().signal("TERM");
        assert_eq!(bed.agent.process().wait(), Some(0));
        bed.is_not_served().await;
        assert_eq!(bed.refused().await, AlertDescription::InternalError);
        bed.agent.run();
        bed.agent.wait_until_up();
    }
    assert_eq!(bed.visitor().get(HOST, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_leaves_no_door_open_either() {
    let mut bed = Bed::new("", "").await;
    assert_eq!(bed.visitor().get(HOST, "/").await.status, 200);
    bed.agent.process().kill();
    // Who comes before the relay has noticed, which takes 30 s, is led nowhere, and not left hanging then.
    let visitor = bed.visitor();
    let early = tokio::time::timeout(Duration::from_secs(40), visitor.connect(HOST, &["http/1.1"])).await;
    let error = early.expect("it ends").expect_err("nobody is there");
    assert!(!super::is_stranger(&error), "{error:?}");
    bed.is_not_served().await;
    assert_eq!(bed.refused().await, AlertDescription::InternalError);
    bed.agent.run();
    bed.agent.wait_until_up();
    assert_eq!(bed.visitor().get(HOST, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_that_is_withdrawn_lets_nobody_in_and_what_runs_goes_on() {
    let bed = Bed::new("", "").await;
    let served = fs::read_to_string(bed.agent.config_file()).expect("the configuration");
    let mut kept = bed.visitor().http1(HOST).await;
    let mut ask = async || {
        let get = request("GET", HOST, "/").body(empty()).expect("a request");
        read(kept.send_request(get).await.expect("the connection stays")).await.status
    };
    assert_eq!(ask().await, 200);
    bed.agent.write_config(&open(OPEN, &format!("http://{}", bed.origin.address)));
    bed.is_not_served().await;
    assert_eq!(bed.refused().await, AlertDescription::InternalError);
    assert_eq!(ask().await, 200);
    bed.agent.write_config(&served);
    eventually("it is served again", async || {
        let stream = bed.visitor().connect(HOST, &["http/1.1"]).await;
        stream.is_ok().then_some(())
    })
    .await;
    // What was withdrawn is ended where the right to it is taken.
    let mut stream = bed.visitor().connect(HOST, &["http/1.1"]).await.expect("TLS");
    bed.agent.write_config(&open(OPEN, &format!("http://{}", bed.origin.address)));
    bed.is_not_served().await;
    let _said = bed.relay.ask(&["peer", "ungrant", "home", "--hostname", HOST]);
    let ended = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut Vec::new())).await;
    let _error = ended.expect("at once").expect_err("it was cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_that_its_owner_opens_ends_at_the_relay_from_then_on() {
    let (bed, plain) = (Bed::new("", "").await, Origin::named("open").await);
    let relays = Visitor::of(&bed.relay);
    assert!(super::is_stranger(&relays.connect(HOST, &["http/1.1"]).await.expect_err("it is sealed")));
    bed.agent.write_config(&open(HOST, &format!("http://{}", plain.address)));
    eventually("it is open", async || relays.connect(HOST, &["http/1.1"]).await.ok()).await;
    assert_eq!(relays.get(HOST, "/").await.json()["origin"], "open");
    bed.agent.write_config(&open(OPEN, &format!("http://{}", plain.address)));
    bed.is_not_served().await;
    assert_eq!(relays.get(HOST, "/").await.error(), "agent-offline", "it was open last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_taken_ends_what_runs_and_lets_nobody_in() {
    let bed = Bed::new("", "").await;
    let mut stream = bed.visitor().connect(HOST, &["http/1.1"]).await.expect("TLS");
    let begun = Instant::now();
    let _said = bed.relay.ask(&["peer", "ungrant", "home", "--hostname", HOST]);
    let _broken = stream.read_to_end(&mut Vec::new()).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(bed.refused().await, AlertDescription::UnrecognisedName);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_at_once_are_led_on() {
    let bed = Bed::new("[limits]\nrequests_in_flight = 1\n", "").await;
    let first = bed.visitor().connect(HOST, &["http/1.1"]).await.expect("TLS");
    assert_eq!(bed.refused().await, AlertDescription::InternalError);
    drop(first);
    eventually("there is room again", async || bed.visitor().connect(HOST, &["http/1.1"]).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_down_keeps_nobody_waiting() {
    let Bed { certified, origin, relay, agent: _agent } = Bed::new("", "").await;
    origin.stop().await;
    let visitor = visitor(&relay, &certified);
    let refused = tokio::time::timeout(Duration::from_secs(5), visitor.connect(HOST, &["http/1.1"])).await;
    let _error = refused.expect("at once").expect_err("nobody is there");
    relay.process.wait_for_log("origin-refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_visitors_have_to_show_a_certificate_nobody_is_led_on_who_was_not_asked() {
    let (files, family) = (tempfile::tempdir().expect("a folder"), Authority::new());
    family.write_root(&files.path().join("family.pem"));
    family.write(files.path(), "laptop", &["laptop.family.example"]);
    let rule = format!(
        "[[visitor_certificate]]\nhostnames = [\"{HOST}\"]\nca_file = \"{}\"\n",
        files.path().join("family.pem").display()
    );
    let bed = Bed::new(&rule, "").await;
    assert_eq!(bed.refused().await, AlertDescription::UnrecognisedName);
    for version in BOTH {
        for tls in [
            Tls::believing(&bed.relay, &[version], &bed.certified.root_file()),
            Tls::showing(&bed.relay, &[version], (files.path(), "laptop")),
        ] {
            for error in [
                tls.visit(HOST).await.expect_err("nobody is led on"),
                tls.visit_in_shreds(HOST).await.expect_err("nobody is led on"),
            ] {
                assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{error:?}");
            }
        }
    }
    let text = fs::read_to_string(bed.relay.config_file()).expect("the configuration");
    fs::write(bed.relay.config_file(), text.replace(&rule, "")).expect("the configuration can be written");
    eventually("the rule is gone", async || bed.visitor().connect(HOST, &["http/1.1"]).await.ok()).await;
    fs::write(bed.relay.config_file(), text).expect("the configuration can be written");
    eventually("the rule is back", async || bed.visitor().connect(HOST, &["http/1.1"]).await.err()).await;
    assert_eq!(bed.refused().await, AlertDescription::UnrecognisedName);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_connection_for_another_hostname_it_cannot_be_reached() {
    // One owner, so that what keeps them apart is that one is sealed.
    let (certified, relay, tape) = (Certified::new(&[HOST]), Relay::start(), Tape::start().await);
    let mut vault = certified.held(&[]).await;
    let config = passed(&format!("tcp://{}", vault.origin.address), "", "")
        + &open("*.example.com", &format!("http://{}", tape.origin.address));
    let _agent = running(&relay, &["*.example.com"], &config);
    let visitor = Visitor::of(&relay);
    for host in [HOST, "VAULT.example.com", "vault.example.com.", "vault.example.com:443"] {
        let get = request("GET", host, "/").body(empty()).expect("a request");
        let over_1 = read(visitor.http1(OPEN).await.send_request(get).await.expect("a response")).await;
        assert_eq!((over_1.status, over_1.error()), (421, "misdirected"), "{host}");
        let get = hyper::Request::get(format!("https://{host}/")).body(empty()).expect("a request");
        let over_2 = read(visitor.http2(OPEN).await.send_request(get).await.expect("a response")).await;
        assert_eq!((over_2.status, over_2.error()), (421, "misdirected"), "{host}");
        assert_eq!(hostile_http3::get(&relay, OPEN, host).await, Dealt::Answered(421), "{host}");
    }
    assert_eq!(visitor.get(OPEN, "/").await.status, 200);
    assert_eq!(tape.only().one("host"), OPEN);
    assert!(vault.is_left_alone());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_from_before_it_was_sealed_is_good_for_nothing() {
    let (certified, relay, tape) = (Certified::new(&[HOST]), Relay::start(), Tape::start().await);
    let vault = certified.named("vault").await;
    let agent = running(&relay, &[HOST], &open(HOST, &format!("http://{}", tape.origin.address)));
    let visitor = Visitor::of(&relay);
    let (mut http1, mut http2) = (visitor.http1(HOST).await, visitor.http2(HOST).await);
    let mut http3 = Http3::connect(&relay, HOST).await;
    let mut ask = async || {
        let get = request("GET", HOST, "/").body(empty()).expect("a request");
        let over_1 = read(http1.send_request(get).await.expect("a response")).await;
        let url = format!("https://{HOST}/");
        let get = hyper::Request::get(&url).body(empty()).expect("a request");
        let over_2 = read(http2.send_request(get).await.expect("a response")).await;
        let get = hyper::Request::get(&url).body(Bytes::new()).expect("a request");
        let over_3 = http3.send(get).await.expect("a response");
        [over_1, over_2, over_3].map(|answer| (answer.status, answer.error().to_owned()))
    };
    assert_eq!(ask().await, [(); 3].map(|()| (200, String::new())));
    agent.write_config(&passed(&format!("tcp://{}", vault.address), "", ""));
    let sealed = super::visitor(&relay, &certified);
    eventually("it is sealed", async || sealed.connect(HOST, &["http/1.1"]).await.ok()).await;
    assert_eq!(tape.take().len(), 3);
    assert_eq!(ask().await, [(); 3].map(|()| (421, "misdirected".to_owned())));
    assert_eq!(sealed.get(HOST, "/").await.json()["origin"], "vault");
    assert!(tape.take().is_empty());
}

/// How far visitors come that then stand still: not to the end of their greeting.
fn beginnings(relay: &Relay) -> Vec<Vec<u8>> {
    let whole = greeting(relay, HOST);
    let mut all = vec![Vec::new(), whole[..1].to_vec(), whole[..whole.len() - 1].to_vec()];
    all.push(whole[..whole.len() / 2].to_vec());
    all
}

/// How long it takes until the relay has had enough.
async fn stand_still(address: SocketAddr, beginning: Vec<u8>) -> Duration {
    let (begun, mut stream) = (Instant::now(), TcpStream::connect(address).await.expect("TCP"));
    stream.write_all(&beginning).await.expect("bytes can be sent");
    let _reset_counts_too = stream.read_to_end(&mut Vec::new()).await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_greets_and_says_no_more_is_gone_as_well() {
    let (relay, mut holder) = (Relay::start(), Holder::start().await);
    let _agent = running(&relay, &[HOST], &passed(&format!("tcp://{}", holder.origin.address), "", ""));
    let greeting = greeting(&relay, HOST);
    let lasted = tokio::time::timeout(Duration::from_secs(40), stand_still(relay.https, greeting)).await;
    let lasted = lasted.expect("it is gone");
    assert!((28..36).contains(&lasted.as_secs()), "{lasted:?}");
    holder.next().await.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_the_greeting_is_gone_after_the_deadline() {
    let bed = Bed::new("", "").await;
    let beginnings = beginnings(&bed.relay);
    let gone = join_all(beginnings.iter().map(|bytes| stand_still(bed.relay.https, bytes.clone()))).await;
    assert_eq!(gone.len(), 4);
    assert!(gone.iter().all(|lasted| (9..13).contains(&lasted.as_secs())), "{gone:?}");
    let shown = bed.relay.ask(&["metrics"]);
    assert!(shown.contains("\nadit_tls_handshakes_total{outcome=\"deadline\"} 4\n"), "{shown}");
    assert!(shown.contains("\nadit_tls_handshakes_total{outcome=\"sealed\"} 0\n"), "{shown}");
    assert_eq!(bed.visitor().get(HOST, "/").await.status, 200);
}
