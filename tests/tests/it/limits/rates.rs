//! How often an address may ask, and how much a hostname may have under way.

use std::sync::Arc;

use hyper::{Request, Version};
use tests::deploy::simple;
use tests::origin::{Origin, text};
use tests::raw::ask_plain;
use tests::visitor::{Visitor, empty, read};
use tests::wait::eventually;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{HOST, Lane, OVER, Wanted, refused};

const RATE: &str = "requests_per_second = 1\nrequests_at_once = 3\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_asks_too_often_is_told_when_to_come_again() {
    let lane = Lane::limited(RATE).await;
    // An address for each, and one connection for each request: it is the address that counts.
    for (over, from) in OVER.into_iter().zip(11..) {
        let mut passed = 0;
        let answer = loop {
            let answer = lane.ask(over, from, Wanted::default()).await;
            if answer.status != 200 {
                break answer;
            }
            passed += 1;
            assert!(passed < 100, "{over:?}");
        };
        assert!(passed >= 3, "{over:?}: {passed}");
        assert_eq!((answer.status, answer.error()), (429, "rate-limited"), "{over:?}");
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(lane.ask(over, from + 100, Wanted::default()).await.status, 200, "another address");
        eventually("it may again", async || {
            (lane.ask(over, from, Wanted::default()).await.status == 200).then_some(())
        })
        .await;
    }
    let shown = lane.relay.ask(&["metrics"]);
    assert!(!shown.contains(&format!("{} 0\n", refused("rate-limited"))), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_and_what_is_asked_on_port_80_counts_too() {
    let lane = Lane::limited(RATE).await;
    let mut sender = Visitor::of(&lane.relay).coming_from([127, 0, 0, 21]).http2(HOST).await;
    let mut ask = async |method: &str| {
        let request = Request::builder().method(method).uri(format!("https://{HOST}/"));
        read(sender.send_request(request.body(empty()).expect("a request")).await.expect("a response")).await
    };
    for _ in 0..20 {
        assert_eq!(ask("TRACE").await.status, 405);
    }
    assert_eq!(ask("GET").await.status, 429);
    let plain = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    eventually("port 80 says no more", async || {
        let response = ask_plain(lane.relay.http, plain.as_bytes()).await;
        assert!([301, 429].contains(&response.status()), "{response:?}");
        (response.status() == 429).then(|| assert_eq!(response.one("retry-after"), "1"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_asks_for_many() {
    let keys =
        format!("trusted_proxies = [\"127.0.0.31/32\"]\n[limits]\nconnections_per_address = 1\n{RATE}");
    let lane = Lane::with(&keys, "").await;
    let visitor = Visitor::of(&lane.relay).coming_from([127, 0, 0, 31]);
    let mut held = JoinSet::new();
    for _ in 0..20 {
        let mut sender = visitor.http2(HOST).await;
        let request = Request::get(format!("https://{HOST}/")).body(empty()).expect("a request");
        held.spawn(async move {
            let status = read(sender.send_request(request).await.expect("a response")).await.status;
            (sender, status)
        });
    }
    let held = held.join_all().await;
    assert_eq!(held.iter().filter(|(_, status)| *status == 200).count(), 20);
    for from in [31, 31, 31, 31, 31] {
        assert_eq!(lane.ask(Version::HTTP_3, from, Wanted::default()).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_has_so_many_under_way() {
    let go = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&go);
    let origin = Origin::http(move |request| {
        let wait = Arc::clone(&wait);
        async move {
            if request.uri().path() == "/held" {
                let _permit = wait.acquire().await;
            }
            text("done")
        }
    })
    .await;
    let config = format!(
        "{}\n[[expose]]\nhostname = \"b.example.com\"\nroutes = [{{ path = \"/*\", service = \"web\" }}]\n",
        simple(HOST, &format!("http://{}", origin.address))
    );
    let lane = Arc::new(Lane::before(origin, "[limits]\nrequests_in_flight = 2\n", &config));
    let mut held = JoinSet::new();
    for over in [Version::HTTP_11, Version::HTTP_3] {
        let lane = Arc::clone(&lane);
        let wanted = Wanted { path: "/held".into(), ..Wanted::default() };
        held.spawn(async move { lane.ask(over, 1, wanted).await.status });
    }
    lane.counts("adit_requests_in_flight", 2).await;
    for over in OVER {
        let answer = lane.ask(over, 1, Wanted::default()).await;
        assert_eq!((answer.status, answer.error()), (503, "hostname-busy"), "{over:?}");
        assert_eq!(answer.headers["retry-after"], "5");
        let other = Wanted { host: "b.example.com", ..Wanted::default() };
        assert_eq!(lane.ask(over, 1, other).await.status, 200, "{over:?}");
    }
    lane.counts(&refused("hostname-busy"), 3).await;
    go.add_permits(9);
    assert_eq!(held.join_all().await, [200, 200]);
    for over in OVER {
        eventually("there is room again", async || {
            (lane.ask(over, 1, Wanted::default()).await.status == 200).then_some(())
        })
        .await;
    }
}
