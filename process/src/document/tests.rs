//! The reader as a whole: what a person sees who wrote a file with mistakes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Rejected, Table, read};

/// Reads one key of every sort.
fn everything(root: &mut Table<'_>) -> Option<()> {
    let relay = root.required_string("relay");
    root.secret_string("token");
    root.bool("verify");
    root.integer::<u16>("port", 1..=65535);
    root.duration("idle");
    root.byte_size("max_body");
    root.parsed_list::<SocketAddr>("listen");
    if let Some(mut edge) = root.table("edge") {
        edge.parsed::<SocketAddr>("http");
        edge.string_map("set");
    }
    let services = root.named_tables("service");
    let names: Vec<String> = services.iter().map(|(name, _)| name.value.clone()).collect();
    for (_, mut service) in services {
        service.required_parsed::<SocketAddr>("origin");
    }
    for mut expose in root.tables("expose") {
        expose.required_string("hostname");
        for mut route in expose.tables("routes") {
            route.required_string("path");
            let Some(service) = route.string("service") else { continue };
            if !names.contains(&service.value) {
                let hint = format!("defined are: {}", names.join(", "));
                root.problems().add_with_hint(&service, format!("service `{service}` is not defined"), hint);
            }
        }
    }
    relay.map(|_| ())
}

fn rejected(text: &str) -> Rejected {
    read("agent.toml", text, everything).expect_err("the file has mistakes")
}

fn found(text: &str) -> Vec<(Option<usize>, String)> {
    let rejected = rejected(text);
    rejected.mistakes().iter().map(|mistake| (mistake.line(), mistake.message().to_owned())).collect()
}

const TEN_MISTAKES: &str = r#"relay = 12
verify = "yes"
port = 70_000
idle = "soon"
max_body = "5 apples"
lisen = ["127.0.0.1:1"]

[edge]
http = nowhere
set = { "X-One" = 1 }

[service.dashboard]
orign = "127.0.0.1:3000"

[[expose]]
hostname = "koda.example.com"
routes = [
  { path = "/*", service = "dashbord" },
]
"#;

const TEN_REPORTED: &str = r#"11 problems in `agent.toml`

error: expected a string, found an integer
 --> agent.toml:1:9
  |
1 | relay = 12
  |         ^^

error: expected `true` or `false`, found a string
 --> agent.toml:2:10
  |
2 | verify = "yes"
  |          ^^^^^

error: must be between 1 and 65535
 --> agent.toml:3:8
  |
3 | port = 70_000
  |        ^^^^^^

error: expected a duration such as `250ms`, `30s`, `5m`, `1h30m` or `7d`
 --> agent.toml:4:8
  |
4 | idle = "soon"
  |        ^^^^^^

error: expected a size such as `512k`, `50m`, `50MiB` or `2g`
 --> agent.toml:5:12
  |
5 | max_body = "5 apples"
  |            ^^^^^^^^^^

error: unknown key `lisen`
 --> agent.toml:6:1
  |
6 | lisen = ["127.0.0.1:1"]
  | ^^^^^
  |
  = hint: did you mean `listen`?

error: a string must be quoted
 --> agent.toml:9:8
  |
9 | http = nowhere
  |        ^^^^^^^

error: expected a string, found an integer
  --> agent.toml:10:19
   |
10 | set = { "X-One" = 1 }
   |                   ^

error: missing key `origin` in `service.dashboard`
  --> agent.toml:12:1
   |
12 | [service.dashboard]
   | ^^^^^^^^^^^^^^^^^^^

error: unknown key `orign` in `service.dashboard`
  --> agent.toml:13:1
   |
13 | orign = "127.0.0.1:3000"
   | ^^^^^
   |
   = hint: did you mean `origin`?

error: service `dashbord` is not defined
  --> agent.toml:18:28
   |
18 |   { path = "/*", service = "dashbord" },
   |                            ^^^^^^^^^^
   |
   = hint: defined are: dashboard"#;

#[test]
fn every_mistake_is_reported_in_one_run() {
    assert_eq!(rejected(TEN_MISTAKES).to_string(), TEN_REPORTED);
}

#[test]
fn lines_are_right_with_crlf_and_wide_characters() {
    let expected = found(TEN_MISTAKES);
    assert_eq!(found(&TEN_MISTAKES.replace('\n', "\r\n")), expected);

    let text = "# Grüße 🦀\r\nrelay = \"ü\" # ♥\r\nport = \"größer\"\r\n";
    let report = rejected(text).to_string();
    assert!(report.contains("agent.toml:3:8"), "{report}");
    assert!(report.contains("3 | port = \"größer\"\n  |        ^^^^^^^^"), "{report}");
}

#[test]
fn a_good_file_gives_its_value() {
    let text = "idle = '1h'\nmax_body = 5\n[b.z]\nx = 1\n[b.a]\nx = 0x7f\n";
    let value = read("a.toml", text, |root| {
        let tables = root.named_tables("b").into_iter();
        let named: Vec<_> =
            tables.map(|(name, mut table)| (name.value, table.integer("x", 0..=200_u8))).collect();
        let numbers: Vec<_> =
            named.iter().map(|(name, x)| (name.as_str(), x.as_ref().map(|x| **x))).collect();
        assert_eq!(numbers, [("z", Some(1)), ("a", Some(127))], "in the order of the file");
        Some((root.duration("idle")?.value, root.byte_size("max_body")?.value))
    });
    assert_eq!(value.expect("no mistakes"), (Duration::from_secs(3600), 5));
}

#[test]
fn an_empty_file_misses_what_is_required() {
    assert_eq!(found(""), [(None, "missing key `relay`".to_owned())]);
    let report = "1 problem in `agent.toml`\n\nerror: missing key `relay`\n--> agent.toml";
    assert_eq!(rejected("").to_string(), report);
    assert!(read("a.toml", "", |_| None::<()>).is_err(), "refused without a reason is refused too");
}

#[test]
fn a_secret_is_never_shown() {
    for text in [
        "token = ['s3cr3t']",
        "relay = { token = 's3cr3t' }",
        "tokem = 's3cr3t'\nother_token = 's3cr3t'",
        "client_secret = { value = 's3cr3t' }",
        "token = 's3cr3t",
        "token = s3cr3t",
        "token = \"\"\"\ns3cr3t\n\n",
        "other = 1, token = 's3cr3t'",
        "token 's3cr3t'",
        "[service]\ntoken = 's3cr3t'",
        "a = [\n'x'\n token = 's3cr3t'\n",
    ] {
        let rejected = rejected(text);
        let shown = format!("{rejected} {rejected:?} {}", rejected.render(true));
        // `tokem` is no name of a secret; nothing could know.
        let shown = shown.replace("tokem = 's3cr3t'", "");
        assert!(!shown.contains("s3cr3t"), "{text}:\n{shown}");
    }
    let report = rejected("token = 12 # the one of 's3cr3t'\nrelay = 'a'").to_string();
    assert!(report.contains("1 | token = *** #"), "{report}");
    assert!(report.contains("\n  | ^^^^^"), "{report}");
}

#[test]
fn a_broken_structure_does_not_invent_mistakes() {
    let text = "port = 0\n[edge\nhttp = '1.1.1.1:80'\n[service.a]\norigin = '1.1.1.1:1'\n";
    let lines: Vec<_> = found(text).into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [Some(1), Some(2)], "neither `relay` is missing nor `http` unknown");
}

#[test]
fn a_key_twice_is_reported_with_the_rest() {
    let text = "relay = 'a'\nrelay = 'b'\nport = 0\n";
    let messages =
        [(Some(2), "duplicate key".to_owned()), (Some(3), "must be between 1 and 65535".to_owned())];
    assert_eq!(found(text), messages);
}

#[test]
fn a_huge_line_and_a_thousand_mistakes_stay_readable() {
    let started = Instant::now();
    let text = format!("relay = 'a'\nport = \"{}\"\n", "ß".repeat(1 << 19));
    let report = rejected(&text).to_string();
    assert!(report.len() < 1_000, "{} bytes", report.len());

    let text = format!("relay = 'a'\n{}", "= 1\n".repeat(200_000));
    let report = rejected(&text).to_string();
    assert!(report.ends_with("and 199900 more"), "{}", &report[report.len() - 100..]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn colour_only_when_asked() {
    let rejected = rejected("port = 'x'\n");
    assert!(rejected.render(true).contains('\u{1b}'));
    assert!(!rejected.render(false).contains('\u{1b}'));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(relay|port|token|\\[|\\]|\\{|\\}|=|'|\"|,|\\.|\n|\r|ü|1|#| |expose|service){0,60}") {
        if let Err(rejected) = read("agent.toml", &text, everything) {
            let _ = rejected.render(true);
        }
    }
}
