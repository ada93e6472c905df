//! Who may reach what: the relay's grants, the home's own list, both again while connections run.

use tests::bed::Relay;
use tests::deploy::simple;
use tests::operator::Operator;
use tests::visitor::Visitor;
use tests::wait::eventually;
use tokio::net::TcpStream;

use super::{Bed, Both, Held, home, is_refused, named, private, refusal};

const HOSTNAME: &str = "koda.example.com";

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_nothing_is_reached_and_with_one_it_is_while_all_run() {
    let (relay, mut web) = (Relay::start(), Held::start().await);
    let _home = home(&relay, &private("web", &web.url(), "role:operator"));
    let mut laptop = Operator::enrolled(&relay, "laptop", &["home/ssh"]);
    let said = refusal(&laptop, &["home/web", "--listen", "0"]);
    assert!(said.contains("no peer `home` is known here that this device may reach"), "{said}");
    laptop.agent.write_config("[[connect]]\nservice = \"home/web\"\nlisten = \"127.0.0.1:0\"\n");
    laptop.agent.run();
    laptop.agent.process().wait_for_log("no peer `home` is known here that this device may reach");
    assert!(laptop.agent.process().log().contains("relay peer grant NAME --service"), "the way out");
    let _said = relay.ask(&["peer", "grant", "laptop", "--service", "home/web"]);
    let client = TcpStream::connect(laptop.door("home/web")).await.expect("the door is open");
    let mut both = Both { client, origin: web.next().await };
    both.is_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_taken_cuts_what_runs_and_refuses_what_comes() {
    let mut bed = Bed::new().await;
    let mut both = bed.connect().await;
    both.is_alive().await;
    let _said = bed.relay.ask(&["peer", "ungrant", "laptop", "--service", "home/web"]);
    both.breaks_at_once().await;
    is_refused(bed.door).await;
    assert!(bed.web.is_left_alone());
    bed.laptop.agent.process().wait_for_log("a connection was refused");
    let _said = bed.relay.ask(&["peer", "grant", "laptop", "--service", "home/*"]);
    let (door, web) = (bed.door, &mut bed.web);
    eventually("the same door leads there again", async || {
        let client = TcpStream::connect(door).await.expect("the door is open");
        let origin = tokio::time::timeout(super::AT_ONCE, web.accepted.recv()).await.ok()??;
        Both { client, origin }.is_alive().await;
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_revoked_is_cut() {
    let mut bed = Bed::new().await;
    let mut both = bed.connect().await;
    both.is_alive().await;
    let _said = bed.relay.ask(&["peer", "revoke", "laptop"]);
    both.breaks_at_once().await;
    is_refused(bed.door).await;
    assert!(bed.web.is_left_alone());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_revoked_is_cut() {
    let mut bed = Bed::new().await;
    let mut both = bed.connect().await;
    both.is_alive().await;
    let _said = bed.relay.ask(&["peer", "revoke", "home"]);
    both.breaks_at_once().await;
    is_refused(bed.door).await;
    assert!(bed.web.is_left_alone());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_operator_loses_is_nobody_elses_loss() {
    let mut bed = Bed::new().await;
    let mut phone = Operator::connected(&bed.relay, "phone", &["home/web"]);
    let mut both = bed.connect().await;
    let client = TcpStream::connect(phone.door("home/web")).await.expect("the door is open");
    let mut other = Both { client, origin: bed.web.next().await };
    other.is_alive().await;
    let _said = bed.relay.ask(&["peer", "revoke", "phone"]);
    other.breaks_at_once().await;
    both.is_alive().await;
    bed.connect().await.is_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_the_home_refuses_whom_the_relay_lets_through() {
    let (relay, mut web) = (Relay::start(), Held::start().await);
    let mut home = home(&relay, &private("web", &web.url(), "peer:phone"));
    let laptop = Operator::enrolled(&relay, "laptop", &["home/web"]);
    for way in [&["--listen", "0"][..], &["--stdio"]] {
        let said = refusal(&laptop, &[&["home/web"], way].concat());
        assert!(said.contains("the other agent's own list does not allow this peer"), "{said}");
        assert!(said.contains("hint: its own `[[private]]` has to allow this device"), "{said}");
    }
    home.process().wait_for_log("`[[private]]` does not allow `laptop`");
    assert!(web.is_left_alone());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_takes_a_peer_off_the_list_cuts_what_runs() {
    let mut bed = Bed::new().await;
    let mut both = bed.connect().await;
    both.is_alive().await;
    bed.home.write_config(&private("web", &bed.web.url(), "peer:phone"));
    bed.home.process().wait_for_log("the configuration was read anew");
    both.breaks_at_once().await;
    is_refused(bed.door).await;
    assert!(bed.web.is_left_alone());
    bed.home.write_config(&private("web", &bed.web.url(), "peer:laptop"));
    let (door, web) = (bed.door, &mut bed.web);
    eventually("it is let in again", async || {
        let _client = TcpStream::connect(door).await.expect("the door is open");
        tokio::time::timeout(super::AT_ONCE, web.accepted.recv()).await.ok()?
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_taken_out_of_the_file_is_cut() {
    let mut bed = Bed::new().await;
    let mut both = bed.connect().await;
    both.is_alive().await;
    bed.home.write_config(&format!("[service.web]\norigin = \"{}\"\n", bed.web.url()));
    bed.home.process().wait_for_log("the configuration was read anew");
    both.breaks_at_once().await;
    is_refused(bed.door).await;
    assert!(bed.web.is_left_alone());
}

/// Whether a device reaches the `web` of `home`.
async fn reaches(device: &Operator, web: &mut Held) -> bool {
    let mut pipe = device.piped(&["home/web", "--stdio"]);
    drop(pipe.stdin.take());
    let ended = pipe.end();
    tokio::pin!(ended);
    tokio::select! {
        origin = web.accepted.recv() => {
            super::say(&mut origin.expect("the origin listens"), b"welcome").await;
            assert_eq!(ended.await, (Some(0), b"welcome".to_vec(), String::new()));
            true
        }
        (code, heard, said) = &mut ended => {
            assert_eq!((code, heard.as_slice()), (Some(1), &b""[..]), "{said}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_tags_and_roles_are_what_the_list_is_of() {
    let (relay, mut web) = (Relay::start(), Held::start().await);
    let mut home = home(&relay, &private("web", &web.url(), "role:operator"));
    let laptop = Operator::enrolled(&relay, "laptop", &["home/web"]);
    let phone = Operator::enrolled(&relay, "phone", &["home/*"]);
    // A host may be granted services as well, and is no operator for that.
    let nas = Operator::default();
    nas.agent.enroll(&relay, &relay.ask(&["token", "create", "--name", "nas", "--service", "*/web"]));
    let _said = relay.ask(&["peer", "grant", "phone", "--tag", "family"]);
    let mut asked = 0;
    for (allow, expected) in [
        ("role:operator", [true, true, false]),
        ("peer:laptop", [true, false, false]),
        ("tag:family", [false, true, false]),
        ("peer:nas", [false, false, true]),
        ("tag:friends", [false, false, false]),
    ] {
        home.write_config(&private("web", &web.url(), allow));
        home.process().signal("TERM");
        assert_eq!(home.process().wait(), Some(0));
        home.run();
        home.wait_until_up();
        for (device, expected) in [&laptop, &phone, &nas].into_iter().zip(expected) {
            assert_eq!(reaches(device, &mut web).await, expected, "{allow}");
            asked += 1;
        }
    }
    assert_eq!(asked, 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_taken_is_cut_like_a_grant() {
    let (relay, mut web) = (Relay::start(), Held::start().await);
    let _home = home(&relay, &private("web", &web.url(), "tag:family"));
    let mut laptop = Operator::enrolled(&relay, "laptop", &["home/web"]);
    let _said = relay.ask(&["peer", "grant", "laptop", "--tag", "family"]);
    laptop.connect(&["home/web", "--listen", "127.0.0.1:0"]);
    let client = TcpStream::connect(laptop.door("home/web")).await.expect("the door is open");
    let mut both = Both { client, origin: web.next().await };
    both.is_alive().await;
    let _said = relay.ask(&["peer", "ungrant", "laptop", "--tag", "family"]);
    both.breaks_at_once().await;
    is_refused(laptop.door("home/web")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_by_tag_reaches_the_hosts_that_have_it() {
    let (relay, mut web) = (Relay::start(), Held::start().await);
    let config = private("web", &web.url(), "role:operator");
    let _home = named(&relay, &["--name", "home", "--tag", "media"], &config);
    let mut laptop = Operator::enrolled(&relay, "laptop", &["tag:media/web"]);
    assert!(reaches(&laptop, &mut web).await);
    laptop.connect(&["home/web", "--listen", "127.0.0.1:0"]);
    let client = TcpStream::connect(laptop.door("home/web")).await.expect("the door is open");
    let mut both = Both { client, origin: web.next().await };
    both.is_alive().await;
    let _said = relay.ask(&["peer", "ungrant", "home", "--tag", "media"]);
    both.breaks_at_once().await;
    assert!(!reaches(&laptop, &mut web).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exposed_to_all_is_not_private_for_that_and_the_other_way_round() {
    let relay = Relay::start();
    let (web, mut ssh) = (tests::origin::Origin::named("web").await, Held::start().await);
    let config =
        simple(HOSTNAME, &format!("http://{}", web.address)) + &private("ssh", &ssh.url(), "role:operator");
    let _home = named(&relay, &["--name", "home", "--hostname", HOSTNAME], &config);
    let laptop = Operator::enrolled(&relay, "laptop", &["home/*"]);
    assert_eq!(Visitor::of(&relay).get(HOSTNAME, "/").await.json()["origin"], "web");
    let said = refusal(&laptop, &["home/web", "--stdio"]);
    assert!(said.contains("`home` offers no service `web` that this device may reach"), "{said}");
    assert!(ssh.is_left_alone());
    let _pipe = laptop.piped(&["home/ssh", "--stdio"]);
    let _origin = ssh.next().await;
}
