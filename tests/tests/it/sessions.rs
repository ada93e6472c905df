//! Sessions when processes die, sleep, stop and come back: the right error at once, and service again within seconds.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::origin::{Origin, text};
use tests::visitor::{Visitor, empty, request};
use tests::wait::{eventually, eventually_blocking};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::enrollment::stderr;

const HOSTNAME: &str = "koda.example.com";

/// A relay, an agent that leads everything to one origin, and the origin.
async fn bed() -> (Relay, Agent, Origin) {
    let origin = Origin::named("origin").await;
    let relay = Relay::start();
    let agent = Agent::running(&relay, &[HOSTNAME], &to(&origin));
    (relay, agent, origin)
}

fn to(origin: &Origin) -> String {
    simple(HOSTNAME, &format!("http://{}", origin.address))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_before_its_relay_waits_for_it() {
    let (origin, mut relay, mut agent) = (Origin::named("origin").await, Relay::start(), Agent::new());
    agent.enroll(&relay, &relay.token(&[HOSTNAME]));
    relay.process.kill();
    agent.write_config(&to(&origin));
    agent.run();
    agent.process().wait_for_log("cannot connect");
    assert_eq!(agent.command(&["status"]).status.code(), Some(1));
    relay.start_again();
    agent.wait_until_up();
    assert_eq!(Visitor::of(&relay).get(HOSTNAME, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_relay_s_death_service_is_back_within_seconds() {
    let (mut relay, mut agent, _origin) = bed().await;
    let killed = Instant::now();
    relay.process.kill();
    relay.start_again();
    let again = Instant::now();
    let visitor = Visitor::of(&relay);
    let mut early = visitor.get(HOSTNAME, "/").await;
    while early.status != 200 {
        assert_eq!((early.status, early.error()), (503, "agent-offline"));
        early = eventually("an answer", async || Some(visitor.get(HOSTNAME, "/").await)).await;
        assert!(again.elapsed() < Duration::from_secs(15), "not back after {:?}", again.elapsed());
    }
    // The new relay said that it knows nothing of the connection; nobody had to wait for 30 s of silence.
    agent.process().wait_for_log("connection lost");
    let log = agent.process().log();
    assert!(log.contains("reset by peer"), "{log}");
    assert!(killed.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_agent_s_death_a_visitor_gets_an_error_and_never_hangs() {
    let (relay, mut agent, _origin) = bed().await;
    let visitor = Visitor::of(&relay);
    assert_eq!(visitor.get(HOSTNAME, "/").await.status, 200);
    agent.process().kill();
    let killed = Instant::now();
    let answer = visitor.get(HOSTNAME, "/").await;
    assert!(matches!(answer.status, 502..=504) && !answer.error().is_empty(), "{answer:?}");
    assert!(killed.elapsed() < Duration::from_secs(35), "{:?}", killed.elapsed());
    agent.run();
    agent.wait_until_up();
    assert_eq!(visitor.get(HOSTNAME, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_died_and_is_back_serves_the_very_first_request() {
    let (relay, mut agent, _origin) = bed().await;
    let visitor = Visitor::of(&relay);
    for _ in 0..3 {
        assert_eq!(visitor.get(HOSTNAME, "/").await.status, 200);
        agent.process().kill();
        agent.run();
        agent.wait_until_up();
        let answer = tokio::time::timeout(Duration::from_secs(5), visitor.get(HOSTNAME, "/")).await;
        assert_eq!(answer.expect("at once").status, 200);
    }
    let status: Value = serde_json::from_str(&relay.ask(&["status", "--json"])).expect("JSON");
    assert_eq!(status["sessions"].as_array().map(Vec::len), Some(1), "the dead one took its leave");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_death_of_an_agent_left_hanging_ends_when_the_agent_is_back() {
    let (relay, mut agent, _origin) = bed().await;
    let visitor = Visitor::of(&relay);
    agent.process().kill();
    let hanging = async {
        let answer = visitor.get(HOSTNAME, "/").await;
        (answer.status, Instant::now())
    };
    let back = async {
        agent.run();
        tokio::task::block_in_place(|| agent.wait_until_up());
        Instant::now()
    };
    let ((status, ended), back) = tokio::join!(hanging, back);
    assert!(matches!(status, 200 | 502 | 503), "{status}");
    assert!(ended.saturating_duration_since(back) < Duration::from_secs(2), "{:?}", ended - back);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_told_to_stop_ends_what_it_began_and_takes_nothing_new() {
    let (arrived, go) = (std::sync::Arc::new(Notify::new()), std::sync::Arc::new(Notify::new()));
    let (told, awaited) = (arrived.clone(), go.clone());
    let origin = Origin::http(move |request| {
        let (told, awaited) = (told.clone(), awaited.clone());
        async move {
            if request.uri().path() == "/slow" {
                told.notify_one();
                awaited.notified().await;
            }
            text("done")
        }
    })
    .await;
    let relay = Relay::start();
    let mut agent = Agent::running(&relay, &[HOSTNAME], &to(&origin));
    let visitor = Visitor::of(&relay);
    let mut sender = visitor.http1(HOSTNAME).await;
    let asked = sender.send_request(request("GET", HOSTNAME, "/slow").body(empty()).expect("a request"));
    let steps = async {
        arrived.notified().await;
        agent.process().signal("TERM");
        let told = Instant::now();
        let refused = async || {
            let answer = visitor.get(HOSTNAME, "/").await;
            (answer.status == 503).then_some(answer)
        };
        let refused = tokio::time::timeout(Duration::from_secs(1), eventually("503", refused)).await;
        let refused = refused.expect("at once");
        assert_eq!((refused.error(), refused.headers.contains_key("retry-after")), ("agent-offline", true));
        go.notify_one();
        told
    };
    let (answer, told) = tokio::join!(asked, steps);
    assert_eq!(tests::visitor::read(answer.expect("a response")).await.text(), "done");
    assert_eq!(agent.process().wait(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    assert_eq!(agent.command(&["status"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_asleep_goes_on_with_its_session() {
    let (relay, mut agent, _origin) = bed().await;
    let visitor = Visitor::of(&relay);
    agent.process().signal("STOP");
    let mut asked = std::pin::pin!(visitor.get(HOSTNAME, "/"));
    let asleep = tokio::time::timeout(Duration::from_secs(3), asked.as_mut()).await;
    assert!(asleep.is_err(), "a stopped agent answered: {asleep:?}");
    agent.process().signal("CONT");
    assert_eq!(asked.await.status, 200);
    assert!(!agent.process().log().contains("connection lost"), "{}", agent.process().log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_in_one_folder_is_refused_and_harms_nothing() {
    let (relay, agent, _origin) = bed().await;
    let output = agent.command(&["run"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.starts_with("error: another agent runs here"), "{said}");
    assert!(said.contains("\nhint: stop it first, or give this one another `--data-dir`\n"), "{said}");
    assert_eq!(Visitor::of(&relay).get(HOSTNAME, "/").await.status, 200);
    assert_eq!(agent.command(&["status"]).status.code(), Some(0), "its socket is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_of_one_identity_do_not_fight() {
    let (relay, mut first, origin) = bed().await;
    let mut copy = Agent::new();
    fs::create_dir(copy.data_folder()).expect("a folder");
    fs::copy(first.data_folder().join("identity.json"), copy.data_folder().join("identity.json"))
        .expect("a copy");
    fs::set_permissions(copy.data_folder(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("a mode");
    copy.write_config(&to(&origin));
    copy.run();
    copy.wait_until_up();
    first.process().wait_for_log("another agent with this identity took over");
    let status = eventually_blocking("the first says when it tries again", || {
        first.status().filter(|status| status["retry_in_ms"].is_u64())
    });
    assert!(status["retry_in_ms"].as_u64() > Some(20_000), "{status}");
    assert!(first.process().log().contains("enroll this machine anew with its own `--data-dir`"));
    assert_eq!(Visitor::of(&relay).get(HOSTNAME, "/").await.status, 200);
    assert!(!first.process().has_ended() && !copy.process().has_ended());
    assert!(!copy.process().log().contains("took over"), "the first came back at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_told_to_stop_ends_an_upload_and_itself() {
    let (mut relay, _agent, _origin) = bed().await;
    let mut upload = Visitor::of(&relay).connect(HOSTNAME, &["http/1.1"]).await.expect("TLS");
    let head = format!("POST / HTTP/1.1\r\nHost: {HOSTNAME}\r\nContent-Length: 100000000\r\n\r\n");
    upload.write_all(head.as_bytes()).await.expect("a head");
    upload.write_all(&[7; 100_000]).await.expect("a piece");
    upload.flush().await.expect("a piece");
    relay.process.signal("TERM");
    let told = Instant::now();
    let code = tokio::task::block_in_place(|| relay.process.wait());
    assert_eq!(code, Some(0), "{}", relay.process.log());
    assert!(told.elapsed() < Duration::from_secs(15), "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_list_the_session() {
    let (relay, mut agent, _origin) = bed().await;
    let status: Value = serde_json::from_str(&relay.ask(&["status", "--json"])).expect("JSON");
    let session = &status["sessions"][0];
    assert_eq!((&status["peers"], &session["instance"]), (&1.into(), &"run".into()));
    let name = session["peer"].as_str().expect("a name");
    assert!(relay.ask(&["status"]).contains(name) && relay.ask(&["peer", "list"]).contains(name));
    let own = agent.status().expect("it runs");
    assert_eq!((&own["session"], &own["peer"]), (&"up".into(), &name.into()));
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), Some(0));
    eventually_blocking("the session is gone from the list", || {
        let status: Value = serde_json::from_str(&relay.ask(&["status", "--json"])).expect("JSON");
        status["sessions"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
}
