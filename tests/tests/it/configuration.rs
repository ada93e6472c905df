//! `relay check` and `agent check`: every mistake in one run, and never a secret.

mod sealed;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tests::binaries::{binaries, workspace};
use tests::certificate::Authority;

use crate::enrollment::stderr;

/// Runs `check` on a text, in a folder of its own, without colour.
fn check(program: &Path, file: &str, text: &[u8]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(file), text).expect("a file");
    check_in(folder.path(), program, file)
}

fn check_in(folder: &Path, program: &Path, file: &str) -> Output {
    let mut command = Command::new(program);
    command.current_dir(folder).args(["check", "--config", file]).env("NO_COLOR", "1").env_remove("ADIT_LOG");
    command.output().expect("the program runs")
}

fn assert_refused(output: &Output, expected: &str) {
    assert_eq!((output.status.code(), stderr(output).as_str()), (Some(1), expected));
    assert!(output.stdout.is_empty());
}

const RELAY: &str = r#"name = "relay example"
colour = "red"

[edge]
https = "nowhere"
http = 80
trusted_proxies = ["10.0.0.0/33"]

[acme]
email = "me@example.com"

[[certificate]]
cert = "missing.pem"

[log]
token = "s3cr3t-value"
"#;

const RELAY_MISTAKES: &str = r#"8 problems in `relay.toml`

error: ` ` cannot stand in a hostname (write names with other letters in their `xn--` form)
 --> relay.toml:1:8
  |
1 | name = "relay example"
  |        ^^^^^^^^^^^^^^^

error: unknown key `colour`
 --> relay.toml:2:1
  |
2 | colour = "red"
  | ^^^^^^

error: not an address such as `[::]:443`
 --> relay.toml:5:9
  |
5 | https = "nowhere"
  |         ^^^^^^^^^

error: expected a string, found an integer
 --> relay.toml:6:8
  |
6 | http = 80
  |        ^^

error: not an address or a network such as `192.0.2.0/24`
 --> relay.toml:7:20
  |
7 | trusted_proxies = ["10.0.0.0/33"]
  |                    ^^^^^^^^^^^^^

error: a CA gives certificates only to those who agree to its terms
 --> relay.toml:9:1
  |
9 | [acme]
  | ^^^^^^
  |
  = hint: read the terms of your CA, then write `agree_to_terms = true`

error: missing key `key` in `certificate` number 1
  --> relay.toml:12:1
   |
12 | [[certificate]]
   | ^^^^^^^^^^^^^^^

error: unknown key `token` in `log`
  --> relay.toml:16:1
   |
16 | token = ***
   | ^^^^^
"#;

#[test]
fn relay_check_reports_every_mistake_in_one_run() {
    assert_refused(&check(&binaries().relay, "relay.toml", RELAY.as_bytes()), RELAY_MISTAKES);
}

const AGENT: &str = r#"relay = "relay example"
password = "hunter2-hunter2"

[service.web]
origin = "ftp://127.0.0.1:3000"

[[expose]]
hostname = "koda..example.com"
routes = [
  { path = "/../*", service = "web" },
  { path = "/*", service = "wbe" },
  { path = "/*", service = "web" },
]
max_body = "lots"
"#;

const AGENT_MISTAKES: &str = r#"8 problems in `agent.toml`

error: `relay example` is neither a hostname nor an address
 --> agent.toml:1:9
  |
1 | relay = "relay example"
  |         ^^^^^^^^^^^^^^^

error: unknown key `password`
 --> agent.toml:2:1
  |
2 | password = ***
  | ^^^^^^^^

error: an origin begins with `http://`, `https://`, `h2c://`, `tcp://`, `udp://` or `unix:/`
 --> agent.toml:5:10
  |
5 | origin = "ftp://127.0.0.1:3000"
  |          ^^^^^^^^^^^^^^^^^^^^^^

error: each part of a hostname has 1 to 63 letters, digits and inner hyphens
 --> agent.toml:8:12
  |
8 | hostname = "koda..example.com"
  |            ^^^^^^^^^^^^^^^^^^^

error: `/..` cannot stand in a path here: write the path decoded, without `//`, `.` and `..`
  --> agent.toml:10:12
   |
10 |   { path = "/../*", service = "web" },
   |            ^^^^^^^

error: there is no service `wbe`
  --> agent.toml:11:28
   |
11 |   { path = "/*", service = "wbe" },
   |                            ^^^^^
   |
   = hint: did you mean `web`?

error: path `/*` is there twice
  --> agent.toml:12:12
   |
12 |   { path = "/*", service = "web" },
   |            ^^^^
   |
   = hint: first on line 11

error: expected a size such as `512k`, `50m`, `50MiB` or `2g`
  --> agent.toml:14:12
   |
14 | max_body = "lots"
   |            ^^^^^^
"#;

#[test]
fn agent_check_reports_every_mistake_in_one_run() {
    assert_refused(&check(&binaries().agent, "agent.toml", AGENT.as_bytes()), AGENT_MISTAKES);
}

const EXPOSED: &str = r#"[service.web]
origin = "http://127.0.0.1:3000"
proxy_protocol = "v3"

[[expose]]
hostname = "koda.example.com"
routes = [{ path = "/*", service = "web" }]
upgrades = ["websocket", "h2c", "x thing"]
hsts = { max_age = "30d", preload = true }
response_headers = { set = { "Strict-Transport-Security" = "max-age=5" } }
"#;

const EXPOSED_MISTAKES: &str = r#"5 problems in `agent.toml`

error: expected `v1` or `v2`
 --> agent.toml:3:18
  |
3 | proxy_protocol = "v3"
  |                  ^^^^

error: `h2c` cannot be upgraded to: its requests would pass unseen by the relay
 --> agent.toml:8:26
  |
8 | upgrades = ["websocket", "h2c", "x thing"]
  |                          ^^^^^

error: `x thing` is not the name of a protocol such as `websocket`
 --> agent.toml:8:33
  |
8 | upgrades = ["websocket", "h2c", "x thing"]
  |                                 ^^^^^^^^^

error: `preload` needs a `max_age` of at least `365d` and `include_subdomains = true`
 --> agent.toml:9:8
  |
9 | hsts = { max_age = "30d", preload = true }
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

error: `Strict-Transport-Security` is set among the response headers as well
 --> agent.toml:9:8
  |
9 | hsts = { max_age = "30d", preload = true }
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = hint: keep `hsts`, which the relay's own pages carry too
"#;

#[test]
fn agent_check_knows_what_connections_and_browsers_can_be_told() {
    assert_refused(&check(&binaries().agent, "agent.toml", EXPOSED.as_bytes()), EXPOSED_MISTAKES);
    let right = EXPOSED.replace("v3", "v2").replace(r#", "h2c", "x thing""#, r#", "SPDY/3.1""#);
    let right = right.replace(r#""30d""#, r#""365d", include_subdomains = true"#).replace("Strict-T", "X-T");
    let output = check(&binaries().agent, "agent.toml", right.as_bytes());
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_a_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = check_in(folder.path(), &binaries().relay, "relay.toml");
    assert_refused(
        &relay,
        "error: `relay.toml` cannot be read\n  caused by: No such file or directory (os error 2)\n\
         hint: name the relay's file with `--config FILE`; `deploy/relay.toml` is an example\n",
    );
    let agent = check_in(folder.path(), &binaries().agent, "agent.toml");
    assert_refused(
        &agent,
        "error: there is no configuration file `agent.toml`\n\
         hint: name another with `--config FILE`, or start with `agent expose HOSTNAME --to 3000`\n",
    );
    let binary = check(&binaries().agent, "agent.toml", b"\xff\xfe\0");
    assert_refused(
        &binary,
        "error: cannot read `agent.toml`\n  caused by: stream did not contain valid UTF-8\n",
    );
}

#[test]
fn every_certificate_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    authority.write(folder.path(), "a", &["a.example.com"]);
    authority.write(folder.path(), "b", &["b.example.com"]);
    let pair = |cert: &str, key: &str| format!("[[certificate]]\ncert = \"{cert}\"\nkey = \"{key}\"\n");
    let good = format!("name = \"relay.example.com\"\n{}", pair("a.pem", "a.key"));
    let file = folder.path().join("relay.toml");
    fs::write(&file, format!("{good}{}{}", pair("missing.pem", "a.key"), pair("a.pem", "b.key")))
        .expect("a file");
    // From another folder: what a file names lies beside it.
    let output = check_in(Path::new("/"), &binaries().relay, &file.display().to_string());
    let (said, beside) = (stderr(&output), folder.path().display());
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("error: a certificate cannot be used").count(), 2, "{said}");
    assert!(said.contains(&format!("`{beside}/missing.pem` cannot be read")), "{said}");
    let mixed = format!("the key in `{beside}/b.key` does not belong to the certificate in `{beside}/a.pem`");
    assert!(said.contains(&mixed), "{said}");
    fs::write(&file, good).expect("a file");
    let output = check_in(Path::new("/"), &binaries().relay, &file.display().to_string());
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn the_examples_of_deploy_are_right() {
    let deploy = workspace().join("deploy");
    for name in ["koda-agent.toml", "kryton-agent.toml", "operator-agent.toml"] {
        let output = check_in(&deploy, &binaries().agent, name);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{name}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(" is right: "));
    }
    let output = check_in(&deploy, &binaries().relay, "relay.toml");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("others from https://acme-v02.api.letsencrypt.org")
    );
    let folder = tempfile::tempdir().expect("a folder");
    let text = fs::read_to_string(deploy.join("relay.toml")).expect("the example");
    let optional = uncommented(&text, "# [[certificate]]", 3);
    Authority::new().write(folder.path(), "koda", &["koda.example.com"]);
    let named = |file: &str| format!("/etc/adit/certs/koda.example.com/{file}");
    assert!(optional.contains(&named("fullchain.pem")) && optional.contains(&named("privkey.pem")));
    let replaced =
        optional.replace(&named("fullchain.pem"), "koda.pem").replace(&named("privkey.pem"), "koda.key");
    fs::write(folder.path().join("relay.toml"), replaced).expect("a file");
    let output = check_in(folder.path(), &binaries().relay, "relay.toml");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

/// The example with some lines of it in force that stand there as comments.
fn uncommented(text: &str, first: &str, count: usize) -> String {
    assert!(text.lines().any(|line| line == first), "{first}");
    let mut left = 0;
    let lines = text.lines().map(|line| {
        if line == first {
            left = count;
        }
        if left == 0 {
            return line.to_owned();
        }
        left -= 1;
        line.trim_start_matches("# ").to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What `[acme]` names has to be there: without it the first order would say so, in the night.
#[test]
fn what_acme_names_has_to_be_readable() {
    let text = "name = \"relay.example.com\"\n[acme]\nagree_to_terms = true\nca_file = \"/nowhere/root.pem\"\n\
                [acme.dns]\nprovider = \"cloudflare\"\ntoken_file = \"/nowhere/token\"\n";
    let output = check(&binaries().relay, "relay.toml", text.as_bytes());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`/nowhere/root.pem`") && said.contains("`/nowhere/token`"), "{said}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let secret = "adit-AQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD";
    let texts = [
        format!("name = \"relay.example.com\"\napi_key = \"{secret}\"\n"),
        format!("name = \"{secret} x\"\n"),
        format!("name = \"relay.example.com\"\n[edge]\nhttps = {{ password = \"{secret}\" }}\n"),
    ];
    for text in texts {
        let output = check(&binaries().relay, "relay.toml", text.as_bytes());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(!said.contains(&secret[8..]), "{said}");
    }
}
