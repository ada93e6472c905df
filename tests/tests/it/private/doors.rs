//! Doors to other peers' services: where they are, which of them stay shut and what is said of it, and who else they lead to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tests::bed::Relay;
use tests::operator::Operator;
use tests::origin::Origin;
use tests::wait::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Bed, Both, Held, get, hear, home, is_refused, pass, private, refusal, say};

/// That this is no wait of the agent's for something, which all take 5 s or more.
const NO_WAIT: Duration = Duration::from_secs(4);

fn to(service: &str, listen: &str) -> String {
    format!("[[connect]]\nservice = \"{service}\"\nlisten = \"{listen}\"\n")
}

async fn closes(door: SocketAddr) {
    eventually("the door closes", async || TcpStream::connect(door).await.is_err().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doors_of_the_file_open_and_close_with_it_and_who_is_in_stays() {
    let (relay, mut web, api) = (Relay::start(), Held::start().await, Origin::named("api").await);
    let config = private("web", &web.url(), "role:operator")
        + &private("api", &format!("http://{}", api.address), "role:operator");
    let _home = home(&relay, &config);
    let mut laptop = Operator::enrolled(&relay, "laptop", &["home/*"]);
    laptop.agent.write_config(&to("home/web", "127.0.0.1:0"));
    laptop.agent.run();
    let first = laptop.door("home/web");
    let client = TcpStream::connect(first).await.expect("the door is open");
    let mut both = Both { client, origin: web.next().await };
    both.is_alive().await;
    laptop.agent.write_config(&(to("home/web", "127.0.0.1:0") + &to("home/api", "127.0.0.1:0")));
    assert_eq!(get(laptop.door("home/api")).await["origin"], "api");
    both.is_alive().await;
    assert!(TcpStream::connect(first).await.is_ok(), "a door that is named as before stays where it is");
    drop(web.next().await);
    laptop.agent.write_config(&to("home/api", "127.0.0.1:0"));
    closes(first).await;
    both.is_alive().await;
    let Both { mut client, mut origin } = both;
    say(&mut client, b"the end").await;
    assert_eq!(hear(&mut origin).await, b"the end");
    say(&mut origin, b"indeed").await;
    assert_eq!(hear(&mut client).await, b"indeed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_address_a_door_has_the_port_of_the_origin() {
    let (origin, port) = loop {
        let origin = TcpListener::bind("127.0.0.2:0").await.expect("a port");
        let port = origin.local_addr().expect("an address").port();
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            break (origin, port);
        }
    };
    let relay = Relay::start();
    let _home = home(&relay, &private("ssh", &format!("tcp://127.0.0.2:{port}"), "role:operator"));
    let mut laptop = Operator::enrolled(&relay, "laptop", &["home/ssh"]);
    laptop.connect(&["home/ssh"]);
    let door = laptop.door("home/ssh");
    assert_eq!(door, SocketAddr::from(([127, 0, 0, 1], port)));
    let mut client = TcpStream::connect(door).await.expect("the door is open");
    let (mut served, _) = origin.accept().await.expect("it comes");
    pass(&mut client, &mut served, b'?').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_told_and_other_doors_open() {
    let (relay, web, api) = (Relay::start(), Origin::named("web").await, Origin::named("api").await);
    let config = private("web", &format!("http://{}", web.address), "role:operator")
        + &private("api", &format!("http://{}", api.address), "role:operator");
    let _home = home(&relay, &config);
    let mut laptop = Operator::enrolled(&relay, "laptop", &["home/*"]);
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("an address");
    let said = refusal(&laptop, &["home/web", "--listen", &taken.1]);
    assert!(said.contains(&format!("error: cannot listen on `{}`", taken.1)), "{said}");
    assert!(said.contains("hint: another program listens there; choose another"), "{said}");
    laptop.connect(&["home/web", "home/api", "--listen", &taken.1, "--listen", "127.0.0.1:0"]);
    assert_eq!(get(laptop.door("home/api")).await["origin"], "api");
    laptop.agent.process().wait_for_log(&format!("home/web: cannot listen on `{}`", taken.1));
    assert!(!laptop.agent.process().has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_has_is_an_error_that_suggests_the_one_that_was_meant() {
    let (relay, web) = (Relay::start(), Held::start().await);
    let _home = home(&relay, &private("dashboard", &web.url(), "role:operator"));
    let laptop = Operator::enrolled(&relay, "laptop", &["home/*"]);
    for (asked, error, hint) in [
        ("hme/dashboard", "no peer `hme` is known here", "did you mean `home/dashboard`?"),
        ("home/dashbord", "`home` offers no service `dashbord`", "did you mean `home/dashboard`?"),
        ("elsewhere/x", "no peer `elsewhere` is known here", "relay peer grant"),
        ("home/something-else", "`home` offers no service `something-else`", "agent services"),
    ] {
        for way in [&["--listen", "0"][..], &["--stdio"], &["--listen", "0", "--wait"]] {
            let begun = Instant::now();
            let said = refusal(&laptop, &[&[asked], way].concat());
            assert!(said.contains(error) && said.contains("\nhint: ") && said.contains(hint), "{said}");
            assert!(begun.elapsed() < NO_WAIT, "{:?}: {said}", begun.elapsed());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_offline_is_told_at_once_or_waited_for() {
    let (relay, web) = (Relay::start(), Origin::named("web").await);
    let config = private("web", &format!("http://{}", web.address), "role:operator");
    let mut home = home(&relay, &config);
    let mut laptop = Operator::enrolled(&relay, "laptop", &["home/web"]);
    home.process().signal("TERM");
    assert_eq!(home.process().wait(), Some(0));
    eventually("the relay has heard that it is gone", async || {
        refusal(&laptop, &["home/web", "--stdio"]).contains("`home` is offline").then_some(())
    })
    .await;
    for way in [&["--listen", "0"][..], &["--stdio"]] {
        let begun = Instant::now();
        let said = refusal(&laptop, &[&["home/web"], way].concat());
        assert!(said.contains("error: `home` is offline") && said.contains("--wait"), "{said}");
        assert!(begun.elapsed() < NO_WAIT, "{:?}", begun.elapsed());
    }
    laptop.connect(&["home/web", "--listen", "127.0.0.1:0", "--wait"]);
    let mut pipe = laptop.piped(&["home/web", "--stdio", "--wait"]);
    laptop.agent.process().wait_for_log("waiting for `home/web`: `home` is offline");
    home.run();
    assert_eq!(get(laptop.door("home/web")).await["origin"], "web");
    pipe.say(b"GET /waited HTTP/1.0\r\n\r\n").await;
    drop(pipe.stdin.take());
    let (code, answer, said) = pipe.end().await;
    assert!(String::from_utf8_lossy(&answer).contains("/waited"), "{said}");
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_outlives_the_session_and_the_home() {
    let mut bed = Bed::new().await;
    bed.connect().await.is_alive().await;
    bed.home.process().kill();
    let _output = bed.relay.ask(&["status"]);
    bed.relay.process.kill();
    is_refused(bed.door).await;
    bed.relay.start_again();
    bed.home.run();
    let door = bed.door;
    eventually("the same door leads there again", async || {
        let mut client = TcpStream::connect(door).await.ok()?;
        client.write_u8(b'?').await.ok()?;
        let mut origin =
            tokio::time::timeout(Duration::from_secs(1), bed.web.accepted.recv()).await.ok()??;
        (origin.read_u8().await.ok()? == b'?').then_some(())
    })
    .await;
}

/// Asks a SOCKS5 proxy for a connection; the code of its reply (RFC 1928, section 6).
async fn ask_socks(stream: &mut TcpStream, target: &[u8]) -> u8 {
    stream.write_all(&[5, 1, 0]).await.expect("a greeting");
    let mut method = [0; 2];
    stream.read_exact(&mut method).await.expect("a method");
    assert_eq!(method, [5, 0]);
    stream.write_all(&[&[5, 1, 0], target].concat()).await.expect("a request");
    let mut reply = [0; 10];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut reply)).await;
    read.expect("a reply comes").expect("a reply");
    assert_eq!((reply[0], &reply[2..]), (5, &[0, 1, 0, 0, 0, 0, 0, 0][..]), "it says nothing of addresses");
    reply[1]
}

fn by_name(name: &str) -> Vec<u8> {
    [&[3, u8::try_from(name.len()).expect("a short name")], name.as_bytes(), &[0, 80]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socks_proxy_leads_to_services_by_name_and_nowhere_else() {
    let (relay, mut web, local) = (Relay::start(), Held::start().await, Origin::named("local").await);
    let _home = home(&relay, &private("web", &web.url(), "role:operator"));
    let mut laptop = Operator::enrolled(&relay, "laptop", &["home/web"]);
    laptop.connect(&["--socks5", "127.0.0.1:0"]);
    let door = laptop.door("socks5");
    for name in ["home.web", "HOME.web.", "home.web"] {
        let mut client = TcpStream::connect(door).await.expect("the door is open");
        assert_eq!(ask_socks(&mut client, &by_name(name)).await, 0, "{name}");
        let mut both = Both { client, origin: web.next().await };
        both.is_alive().await;
    }
    let [a, b, c, d] = [127, 0, 0, 1];
    let [high, low] = local.port().to_be_bytes();
    let unreachable =
        ["home.wbe", "nas.web", "example.com", "localhost", "a.b.c", "home", "127.0.0.1"].map(by_name);
    let mut refused = 0;
    for target in unreachable {
        let mut client = TcpStream::connect(door).await.expect("the door is open");
        assert_eq!(ask_socks(&mut client, &target).await, 4, "{}", String::from_utf8_lossy(&target));
        refused += 1;
    }
    let v6 = [&[4][..], &std::net::Ipv6Addr::LOCALHOST.octets(), &[high, low]].concat();
    for target in [vec![1, a, b, c, d, high, low], v6] {
        let mut client = TcpStream::connect(door).await.expect("the door is open");
        assert_eq!(ask_socks(&mut client, &target).await, 2, "{target:?}");
        refused += 1;
    }
    assert_eq!(refused, 9);
    assert!(web.is_left_alone());
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_keys_are_listed() {
    let (relay, web) = (Relay::start(), Held::start().await);
    let config =
        private("web", &web.url(), "role:operator") + &private("dns", "udp://127.0.0.1:9", "role:operator");
    let mut home = home(&relay, &config);
    let laptop = Operator::enrolled(&relay, "laptop", &["home/web", "home/dns", "nas/photos"]);
    let services = || -> serde_json::Value {
        let output = laptop.agent.command(&["services", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let said = services();
    let rows: Vec<_> =
        said.as_array().expect("rows").iter().map(|row| (&row["service"], &row["carries"])).collect();
    assert_eq!(rows, [(&"home/dns".into(), &"udp".into()), (&"home/web".into(), &"tcp".into())]);
    assert!(said[0]["online"] == true && said[0]["rtt_ms"].as_f64().is_some_and(|rtt| rtt > 0.0), "{said}");
    let text = laptop.agent.command(&["services"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("home/web"), "{text:?}");
    let words = |device: &tests::bed::Agent, other: &str| {
        let output = device.command(&["peer", "verify", other]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("fingerprints: this device "), "{said}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    assert_eq!(words(&laptop.agent, "home"), words(&home, "laptop"));
    let listed: serde_json::Value =
        serde_json::from_slice(&laptop.agent.command(&["peer", "list", "--json"]).stdout).expect("JSON");
    assert_eq!((&listed[0]["name"], &listed[0]["changed_to"]), (&"home".into(), &serde_json::Value::Null));
    let nothing = laptop.agent.command(&["peer", "accept", "home", "a-fingerprint"]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("no key of `home` has changed"));
    assert_eq!(nothing.status.code(), Some(1));
    home.process().signal("TERM");
    assert_eq!(home.process().wait(), Some(0));
    eventually("all of it is known to be offline", async || {
        services().as_array()?.iter().all(|row| row["online"] == false).then_some(())
    })
    .await;
}
