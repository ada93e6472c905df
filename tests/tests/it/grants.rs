//! Grants of all kinds with the commands: what a token or an approval carries, what is given and taken later, and what is
//! said of it.

use serde_json::{Value, json};
use tests::bed::{Agent, Relay};
use tests::wait::eventually_blocking;

use crate::enrollment::{peers, stderr};

const HOSTNAME: &str = "koda.example.com";

/// The arguments of a command.
fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// A relay with an operator's `laptop`, which enrolled with a token for two services and a tag, and what its agent said.
fn with_laptop() -> (Relay, String) {
    let (relay, agent) = (Relay::start(), Agent::new());
    let grants = "--service home/dashboard --service tag:media/* --tag family";
    let token = relay.ask(&words(&format!("token create --operator {grants} --name laptop")));
    let output = agent.try_enroll(&relay, &token);
    assert!(output.status.success(), "{}", stderr(&output));
    (relay, String::from_utf8(output.stdout).expect("text"))
}

/// Role and grants of the only peer, as `relay peer list --json` has them.
fn standing(relay: &Relay) -> Value {
    let peer = &peers(relay)["peers"][0];
    json!([peer["role"], peer["hostnames"], peer["services"], peer["tags"]])
}

/// Who did what to whom, the oldest first.
fn audited(relay: &Relay) -> Vec<String> {
    let rows: Vec<Value> = serde_json::from_str(&relay.ask(&["audit", "list", "--json"])).expect("JSON");
    let line =
        |row: &Value| ["actor", "action", "subject"].map(|of| row[of].as_str().expect("text").to_owned());
    rows.iter().rev().map(|row| line(row).join(" ")).collect()
}

#[test]
fn an_operator_enrolls_with_a_token_and_is_granted_more_and_less() {
    let (relay, said) = with_laptop();
    assert_eq!(said, "enrolled as `laptop`\nmay reach home/dashboard\nmay reach tag:media/*\n");
    assert_eq!(standing(&relay), json!(["operator", [], ["home/dashboard", "tag:media/*"], ["family"]]));
    let tokens: Value = serde_json::from_str(&relay.ask(&["token", "list", "--json"])).expect("JSON");
    assert_eq!(tokens[0]["services"], json!(["home/dashboard", "tag:media/*"]));
    assert_eq!((&tokens[0]["role"], &tokens[0]["tags"]), (&json!("operator"), &json!(["family"])));

    let more = format!("peer grant laptop --service nas/* --tag phones --hostname {HOSTNAME}");
    assert_eq!(
        relay.ask(&words(&more)),
        format!(
            "`laptop` may expose {HOSTNAME}\n`laptop` may reach home/dashboard, nas/*, tag:media/*\n\
             `laptop` has the tags family, phones"
        )
    );
    let less = format!("peer ungrant laptop --hostname {HOSTNAME} --tag family --tag phones");
    assert_eq!(relay.ask(&words(&less)), "`laptop` may reach home/dashboard, nas/*, tag:media/*");
    assert_eq!(standing(&relay), json!(["operator", [], ["home/dashboard", "nas/*", "tag:media/*"], []]));
    assert_eq!(
        audited(&relay)[2..],
        [
            "token 1 enrolled laptop: home/dashboard, tag:media/*, tag family".to_owned(),
            format!("admin granted laptop: {HOSTNAME}, nas/*, tag phones"),
            format!("admin ungranted laptop: {HOSTNAME}, tag family, tag phones"),
        ]
    );
}

#[test]
fn lists_show_grants_of_all_kinds_and_survive_the_relay_s_death() {
    let (mut relay, _) = with_laptop();
    relay.ask(&words(&format!("token create --tag family --hostname {HOSTNAME}")));
    relay.ask(&["token", "create"]);
    relay.process.kill();
    relay.start_again();
    let row = |of: &str, number: usize| {
        let list = relay.ask(&[of, "list"]);
        let cells = list.lines().nth(number).expect("a row").split_whitespace();
        cells.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("peer", 0), "PEER ROLE SESSIONS GRANTS LAST SEEN FINGERPRINT");
    let grants = "home/dashboard, tag:media/*, tag family";
    assert!(row("peer", 1).starts_with(&format!("laptop operator 0 {grants} never ")), "{}", row("peer", 1));
    assert_eq!(row("token", 0), "ID STATE ROLE NAME GRANTS EXPIRES");
    let tokens = [
        format!("1 used by laptop operator laptop {grants} in"),
        format!("2 open host - {HOSTNAME}, tag family in"),
        "3 open host - - in".to_owned(),
    ];
    for (number, expected) in (1..).zip(tokens) {
        assert!(row("token", number).starts_with(&expected), "{}", row("token", number));
    }
}

#[test]
fn a_device_that_waits_says_how_it_is_admitted_as_an_operator() {
    let (relay, mut agent) = (Relay::start(), Agent::new());
    let address = relay.https.to_string();
    agent.launch(&["enroll", "--relay", &address, "--trust-relay", &relay.fingerprint, "--name", "laptop"]);
    let code = eventually_blocking("the device waits at the relay", || {
        peers(&relay)["pending"][0]["code"].as_str().map(str::to_owned)
    });
    agent.process().wait_for_log(&format!("    relay peer approve {code} --hostname HOSTNAME\n"));
    agent
        .process()
        .wait_for_log(&format!("    relay peer approve {code} --operator --service PEER/SERVICE\n"));
    let approve = format!("peer approve {code} --operator --service home/dashboard");
    assert_eq!(relay.ask(&words(&approve)), "`laptop` may reach home/dashboard");
    assert_eq!(agent.process().wait(), Some(0));
    let log = agent.process().log();
    assert!(log.ends_with("enrolled as `laptop`\nmay reach home/dashboard\n"), "{log}");
    assert_eq!(standing(&relay), json!(["operator", [], ["home/dashboard"], []]));
}

#[test]
fn a_home_without_hostnames_is_a_peer_too() {
    let (relay, agent) = (Relay::start(), Agent::new());
    agent.enroll(&relay, &relay.ask(&["token", "create", "--name", "home"]));
    assert_eq!(standing(&relay), json!(["host", [], [], []]));
    assert_eq!(
        relay.ask(&words("peer ungrant home --tag family")),
        "`home` may expose no hostname and reach no service"
    );
}

#[test]
fn a_misspelt_peer_is_told_from_an_unknown_one() {
    let (relay, _) = with_laptop();
    let shows = "`relay peer list` shows";
    for command in ["peer grant laptpo --tag a", "peer ungrant laptpo --tag a", "peer revoke laptpo"] {
        let output = relay.command(&words(command));
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let expected =
            format!("error: there is no peer `laptpo`\nhint: did you mean `laptop`? {shows} all\n");
        assert_eq!(stderr(&output), expected, "{command:?}");
    }
    let unknown = relay.command(&words("peer grant nas --service nowhere/nothing"));
    assert_eq!(stderr(&unknown), format!("error: there is no peer `nas`\nhint: {shows} them\n"));
    relay.ask(&words("peer grant laptop --service nowhere/nothing"));
}

#[test]
fn what_grants_nothing_or_nonsense_is_refused_before_the_relay_hears_of_it() {
    let relay = Relay::start();
    let any_grant = "<--hostname <HOSTNAME>|--service <PEER/SERVICE>|--tag <TAG>>";
    for (command, because) in [
        ("token create --operator", "--service <PEER/SERVICE>"),
        ("peer approve abcd --operator --tag family", "--service <PEER/SERVICE>"),
        ("peer grant home", any_grant),
        ("peer ungrant home", any_grant),
        ("token create --service dashboard", "expected `PEER/SERVICE`, such as `home/dashboard`"),
        ("token create --service home/*x", "`*x` is not a name"),
        ("token create --tag tag:family", "`tag:family` is not a name"),
    ] {
        let output = relay.command(&words(command));
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(stderr(&output).contains(because), "{command}: {}", stderr(&output));
    }
    assert_eq!(relay.ask(&["token", "list", "--json"]), "[]");
}

#[test]
fn nobody_is_granted_without_bound() {
    let (relay, _) = with_laptop();
    let tags: Vec<String> = (0..256).map(|number| format!("--tag=t{number}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let expected = "error: a peer or a token has 256 tags at most\n\
                    hint: one pattern covers many: `*.example.com`, `home/*`\n";
    let granted = relay.command(&[&["peer", "grant", "laptop"], &tags[..]].concat());
    assert_eq!((granted.status.code(), stderr(&granted).as_str()), (Some(1), expected));
    assert_eq!(standing(&relay)[3], json!(["family"]));
    let created = relay.command(&[&["token", "create", "--tag", "one-more"], &tags[..]].concat());
    assert_eq!((created.status.code(), stderr(&created).as_str()), (Some(1), expected));
    relay.ask(&[&["peer", "grant", "laptop"], &tags[1..]].concat());
    assert!(!relay.process.log().contains("a command failed at the store"), "it is no fault of the store");
}
