//! How a device becomes a peer with a token, and everything that must not make one.

use std::fs;
use std::process::{Output, Stdio};
use std::thread;

use serde_json::Value;
use tests::bed::{Agent, Relay};
use tests::wait::eventually_blocking;

const HOSTNAME: &str = "koda.example.com";

pub(super) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `relay peer list --json`.
pub(super) fn peers(relay: &Relay) -> Value {
    serde_json::from_str(&relay.ask(&["peer", "list", "--json"])).expect("JSON")
}

pub(super) fn peer_count(relay: &Relay) -> usize {
    peers(relay)["peers"].as_array().expect("a list").len()
}

/// The state of each token, the oldest first.
fn token_states(relay: &Relay) -> Vec<String> {
    let tokens: Vec<Value> = serde_json::from_str(&relay.ask(&["token", "list", "--json"])).expect("JSON");
    tokens.iter().map(|token| token["state"].as_str().expect("a state").to_owned()).collect()
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    stderr(output)
}

#[test]
fn a_token_from_a_file_makes_a_peer_with_its_grants_and_name() {
    let (relay, agent) = (Relay::start(), Agent::new());
    let token = relay.ask(&["token", "create", "--hostname", HOSTNAME, "--name", "home"]);
    let output = agent.try_enroll(&relay, &format!("\n {token} \n"));
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, format!("enrolled as `home`\nmay expose {HOSTNAME}\n"));
    let peers = peers(&relay);
    assert_eq!(
        (&peers["peers"][0]["name"], &peers["peers"][0]["hostnames"][0]),
        (&"home".into(), &HOSTNAME.into())
    );
    assert_eq!(token_states(&relay), ["used by home"]);
}

#[test]
fn a_token_from_standard_input_makes_a_peer() {
    let (relay, agent) = (Relay::start(), Agent::new());
    fs::write(agent.folder().join("piped"), relay.token(&[HOSTNAME])).expect("a file");
    let piped = fs::File::open(agent.folder().join("piped")).expect("a file");
    let mut command = agent.program(&["enroll", "--relay", &relay.https.to_string(), "--token-file", "-"]);
    let output = command.stdin(Stdio::from(piped)).output().expect("the agent runs");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(peer_count(&relay), 1);
}

#[test]
fn a_token_on_the_command_line_does_not_stay_there() {
    let (relay, mut agent) = (Relay::start(), Agent::new());
    let token = relay.token(&[HOSTNAME]);
    relay.process.signal("STOP");
    agent.launch(&["enroll", "--relay", &relay.https.to_string(), "--token", &token]);
    let file = format!("/proc/{}/cmdline", agent.process().id());
    eventually_blocking("the arguments are those without the token", || {
        let arguments = fs::read_to_string(&file).unwrap_or_default();
        (arguments.contains("--relay") && !arguments.contains("adit-")).then_some(())
    });
    relay.process.signal("CONT");
    assert_eq!(agent.process().wait(), Some(0), "{}", agent.process().log());
    assert_eq!(peer_count(&relay), 1);
    assert!(!agent.process().log().contains(&token));
}

#[test]
fn of_sixteen_devices_with_one_token_exactly_one_wins() {
    let relay = Relay::start();
    let token = relay.token(&[HOSTNAME]);
    let devices: Vec<Agent> = (0..16).map(|_| Agent::new()).collect();
    let outputs: Vec<Output> = thread::scope(|scope| {
        let racing: Vec<_> =
            devices.iter().map(|device| scope.spawn(|| device.try_enroll(&relay, &token))).collect();
        racing.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| output.status.success());
    assert_eq!((won.len(), peer_count(&relay)), (1, 1));
    for output in lost {
        assert!(
            refusal(output).starts_with("error: the relay refused: the token is not valid"),
            "{output:?}"
        );
    }
}

#[test]
fn expired_revoked_and_used_tokens_are_answered_alike() {
    let relay = Relay::start();
    let expired = relay.ask(&["token", "create", "--hostname", HOSTNAME, "--expires", "1s"]);
    let revoked = relay.token(&[HOSTNAME]);
    let used = relay.ask(&["token", "create", "--hostname", HOSTNAME, "--name", "home"]);
    Agent::new().enroll(&relay, &used);
    relay.ask(&["token", "revoke", "2"]);
    eventually_blocking("the token expires", || {
        (token_states(&relay) == ["expired", "revoked", "used by home"]).then_some(())
    });
    let answers = [&expired, &revoked, &used].map(|token| refusal(&Agent::new().try_enroll(&relay, token)));
    assert!(answers[0].contains("the token is not valid"), "{}", answers[0]);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(peer_count(&relay), 1);
}

#[test]
fn a_token_of_another_relay_is_refused_and_never_sent() {
    let (its_own, other, agent) = (Relay::start(), Relay::start(), Agent::new());
    let token = its_own.token(&[HOSTNAME]);
    let said = refusal(&agent.try_enroll(&other, &token));
    assert!(said.contains("nothing was sent to it") && said.contains(&other.fingerprint), "{said}");
    assert!(said.contains("hint: check `--relay`"), "{said}");
    assert!(!other.process.log().contains("an enrollment was refused"), "the relay heard of it");
    assert_eq!(token_states(&its_own), ["open"]);
    agent.enroll(&its_own, &token);
}

#[test]
fn a_damaged_token_is_said_to_be_and_not_repeated() {
    let (relay, agent) = (Relay::start(), Agent::new());
    let mut token = relay.token(&[HOSTNAME]);
    let last = token.pop();
    token.push(if last == Some('A') { 'B' } else { 'A' });
    let said = refusal(&agent.try_enroll(&relay, &token));
    assert!(said.contains("checksum") && said.contains("hint:") && !said.contains(&token[5..]), "{said}");
    assert_eq!(token_states(&relay), ["open"]);
}

#[test]
fn a_retry_with_the_same_device_and_token_succeeds() {
    let (relay, agent) = (Relay::start(), Agent::new());
    let token = relay.token(&[HOSTNAME]);
    agent.enroll(&relay, &token);
    // As if the first answer had been lost: the device knows nothing of it.
    let file = agent.data_folder().join("identity.json");
    let mut identity: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    identity.as_object_mut().expect("an object").remove("enrolled").expect("it was enrolled");
    fs::write(&file, identity.to_string()).expect("a file");
    agent.enroll(&relay, &token);
    assert_eq!(peer_count(&relay), 1);
    assert!(!Agent::new().try_enroll(&relay, &token).status.success());
}

#[test]
fn a_peer_survives_the_relay_s_death_right_after_its_enrollment() {
    let (mut relay, mut agent) = (Relay::start(), Agent::new());
    let token = relay.token(&[HOSTNAME]);
    agent.enroll(&relay, &token);
    relay.process.kill();
    relay.start_again();
    assert_eq!(peer_count(&relay), 1);
    assert!(!Agent::new().try_enroll(&relay, &token).status.success(), "the token is good again");
    agent.write_config(&tests::deploy::simple(HOSTNAME, "http://127.0.0.1:9"));
    agent.run();
    agent.wait_until_up();
}

#[test]
fn the_key_and_its_folder_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let (relay, agent) = (Relay::start(), Agent::new());
    agent.enroll(&relay, &relay.token(&[HOSTNAME]));
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&agent.data_folder()), 0o700);
    assert_eq!(mode(&agent.data_folder().join("identity.json")), 0o600);
    assert_eq!(mode(&relay.data_folder()), 0o700);
    assert_eq!(mode(&relay.data_folder().join("adit.db")), 0o600);
    assert_eq!(mode(&relay.data_folder().join("relay.sock")), 0o600);
}

#[test]
fn an_agent_that_is_not_enrolled_says_what_to_do() {
    let agent = Agent::new();
    agent.write_config(&tests::deploy::simple(HOSTNAME, "http://127.0.0.1:9"));
    let said = refusal(&agent.command(&["run"]));
    assert_eq!(
        said,
        "error: this device is not enrolled at a relay\nhint: run `agent enroll --relay HOST`\n"
    );
}
