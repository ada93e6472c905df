//! What the commands print and how they exit, and `agent expose`, `verify` and `doctor` against real relays.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tests::bed::{Agent, Relay};
use tests::binaries::binaries;
use tests::deploy::simple;
use tests::koda;
use tests::origin::{Origin, text};
use tests::visitor::Visitor;
use tests::wait::eventually;

use crate::enrollment::stderr;

const HOSTNAME: &str = "koda.example.com";

fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("NO_COLOR", "1").env_remove("ADIT_LOG").stdin(Stdio::null());
    command.output().expect("the program runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn help_and_version_succeed_and_mistakes_exit_with_2() {
    for (program, name) in [(&binaries().relay, "relay"), (&binaries().agent, "agent")] {
        let version = run(program, &["--version"]);
        assert_eq!((version.status.code(), stdout(&version)), (Some(0), format!("{name} 0.1.0\n")));
        let help = run(program, &["--help"]);
        assert!(help.status.success() && stdout(&help).contains(&format!("Usage: {name} ")), "{help:?}");
        for mistake in [&["frobnicate"][..], &["check", "--frobnicate"], &[]] {
            let output = run(program, mistake);
            assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()), "{mistake:?}");
            assert!(stderr(&output).contains("Usage: "), "{mistake:?}");
        }
    }
}

#[test]
fn relay_commands_without_a_relay_say_how_to_start_one() {
    let mut relay = Relay::start();
    relay.process.kill();
    let commands: [&[&str]; 6] = [
        &["status"],
        &["token", "create", "--hostname", HOSTNAME],
        &["token", "list"],
        &["peer", "list"],
        &["route", "list"],
        &["audit", "list"],
    ];
    let socket = relay.data_folder().join("relay.sock");
    for command in commands {
        let output = relay.command(command);
        let expected = format!(
            "error: the running relay cannot be asked\n  caused by: nothing is running that answers at `{}`\n\
             hint: start it with `relay serve`, and give both commands the same `--config`\n",
            socket.display()
        );
        assert_eq!((output.status.code(), stderr(&output)), (Some(1), expected), "{command:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_mistake() {
    let relay = Relay::start();
    let file = relay.config_file().display().to_string();
    let token = ["token", "create", "--hostname", HOSTNAME, "--config", &file];
    let list = ["peer", "list", "--json", "--config", &file];
    for arguments in [&token[..], &list, &["completions", "bash"], &["--help"]] {
        let mut command = Command::new(&binaries().relay);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut child =
            command.args(arguments).stdout(writer).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut said = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        let status = child.wait().expect("it ends");
        assert_eq!((status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn agent_status_exits_with_2_when_no_agent_runs() {
    let output = Agent::new().command(&["status"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: nothing is running that answers at `"), "{said}");
    assert!(said.contains("\nhint: start it with `agent run`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_status_exits_with_0_and_1_as_the_session_is_up_or_down() {
    let mut relay = Relay::start();
    let mut agent = Agent::running(&relay, &[HOSTNAME], &simple(HOSTNAME, "http://127.0.0.1:9"));
    let up = agent.command(&["status"]);
    assert_eq!(up.status.code(), Some(0));
    assert!(stdout(&up).contains(&format!("hostname {HOSTNAME}: serving")), "{}", stdout(&up));
    relay.process.signal("TERM");
    assert_eq!(relay.process.wait(), Some(0));
    agent.process().wait_for_log("connection lost");
    let down = agent.command(&["status"]);
    assert_eq!(down.status.code(), Some(1));
    let said = stdout(&down);
    assert!(said.starts_with("no session with ") && said.contains("the other side has shut down"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn expose_serves_two_ports_until_it_is_interrupted() {
    let (page, api) = (Origin::named("page").await, Origin::named("api").await);
    let (relay, mut agent) = (Relay::start(), Agent::new());
    agent.enroll(&relay, &relay.token(&[HOSTNAME]));
    let (to, route) = (page.port().to_string(), format!("/api/*={}", api.port()));
    agent.launch(&["expose", HOSTNAME, "--to", &to, "--route", &route]);
    agent.process().wait_for_log(&format!("https://{HOSTNAME}/api/ -> http://127.0.0.1:{}", api.port()));
    let visitor = Visitor::of(&relay);
    assert_eq!(visitor.get(HOSTNAME, "/a").await.json()["origin"], "page");
    assert_eq!(visitor.get(HOSTNAME, "/api/a").await.json()["origin"], "api");
    agent.process().signal("INT");
    assert_eq!(agent.process().wait(), Some(0));
    assert_eq!(visitor.get(HOSTNAME, "/a").await.error(), "agent-offline");
}

#[test]
fn expose_of_a_hostname_that_is_not_granted_ends_with_the_reason() {
    let (relay, mut agent) = (Relay::start(), Agent::new());
    agent.enroll(&relay, &relay.ask(&["token", "create", "--hostname", HOSTNAME, "--name", "home"]));
    agent.launch(&["expose", "other.example.com", "--to", "3000"]);
    assert_eq!(agent.process().wait(), Some(1));
    let log = agent.process().log();
    let way_out = "relay peer grant home --hostname other.example.com";
    assert!(log.contains("error: the relay refuses `other.example.com`:") && log.contains(way_out), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_says_which_hostname_is_refused_and_serves_it_once_it_is_granted() {
    let (origin, relay, mut agent) = (Origin::named("origin").await, Relay::start(), Agent::new());
    agent.enroll(&relay, &relay.ask(&["token", "create", "--hostname", HOSTNAME, "--name", "home"]));
    agent.write_config(&simple("other.example.com", &format!("http://{}", origin.address)));
    agent.run();
    agent.wait_until_up();
    agent.process().wait_for_log("relay peer grant home --hostname other.example.com");
    relay.ask(&["peer", "grant", "home", "--hostname", "other.example.com"]);
    let visitor = Visitor::of(&relay);
    eventually("it is served", async || {
        visitor.connect("other.example.com", &["http/1.1"]).await.ok()?;
        (visitor.get("other.example.com", "/").await.status == 200).then_some(())
    })
    .await;
}

/// `agent verify` of Koda at a relay.
fn verify(relay: &Relay, agent: &Agent) -> Output {
    let (ca, https, http) = (relay.ca_file(), relay.https.to_string(), relay.http.to_string());
    let url = format!("https://{HOSTNAME}/");
    let ca = ca.display().to_string();
    agent.command(&["verify", &url, "--ca-file", &ca, "--connect-to", &https, "--http-connect-to", &http])
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_nothing_wrong_with_koda() {
    let (dashboard, api, relay) = (koda::dashboard().await, koda::control_plane().await, Relay::start());
    let ports =
        [("127.0.0.1:3000", dashboard.address.to_string()), ("127.0.0.1:8090", api.address.to_string())];
    let config = tests::deploy::example("koda-agent.toml", &relay, &ports);
    let agent = Agent::running(&relay, &[HOSTNAME], &config);
    let output = verify(&relay, &agent);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("ok    cookie koda_operator_session"), "{}", stdout(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_what_is_wrong_with_a_careless_site() {
    let origin = Origin::http(|_| async {
        let mut response = text("<h1>hi</h1>");
        for (name, value) in
            [("content-type", "text/html"), ("set-cookie", "sid=1; Path=/"), ("server", "old/1")]
        {
            response.headers_mut().insert(name, value.parse().expect("a value"));
        }
        response
    })
    .await;
    let relay = Relay::start();
    let agent = Agent::running(&relay, &[HOSTNAME], &simple(HOSTNAME, &format!("http://{}", origin.address)));
    let output = verify(&relay, &agent);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stdout(&output);
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    let names = |wrong: &str| failed.iter().any(|line| line.contains(wrong));
    for wrong in [
        "without Secure, HttpOnly, SameSite",
        "no `Content-Security-Policy`",
        "`no-store`",
        "not JSON",
        "old/1",
    ] {
        assert!(names(wrong), "{wrong} is not in:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_a_healthy_way_from_a_blocked_one() {
    let mut relay = Relay::start();
    let agent = Agent::running(&relay, &[HOSTNAME], &simple(HOSTNAME, "http://127.0.0.1:9"));
    let healthy = agent.command(&["doctor"]);
    assert_eq!(healthy.status.code(), Some(0), "{}{}", stdout(&healthy), stderr(&healthy));
    let udp = format!("ok    UDP {} answers as a relay", relay.https);
    assert!(stdout(&healthy).contains(&udp), "{}", stdout(&healthy));
    relay.process.kill();
    let down = agent.command(&["doctor"]);
    let said = stdout(&down);
    assert_eq!(down.status.code(), Some(1), "{said}");
    assert!(said.contains("FAIL  no address of the relay can be reached"), "{said}");
    assert!(said.contains("hint: neither UDP nor TCP port"), "{said}");
}
