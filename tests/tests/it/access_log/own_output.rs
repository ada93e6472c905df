//! The access log with an output of its own: a file, standard output, or none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::bed::{Agent, Relay};
use tests::binaries::binaries;
use tests::deploy::simple;
use tests::origin::Origin;
use tests::raw::RawVisitor;
use tests::visitor::{Visitor, empty, full, read, request};
use tests::wait::eventually;

use super::HOST;

pub(crate) async fn file_lines(path: &Path, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines in {}", path.display()), async || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
    .await
}

pub(crate) fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// A relay, an origin that answers and an agent in front of it.
pub(super) async fn served(section: &str) -> (Origin, Relay, Agent, Visitor) {
    let origin = Origin::named("web").await;
    let relay = Relay::with(section);
    let agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
    let visitor = Visitor::of(&relay);
    (origin, relay, agent, visitor)
}

/// A request that tries to write into the log whatever can be written into a field.
fn hostile() -> hyper::http::request::Builder {
    let agent = hyper::header::HeaderValue::from_bytes(b"x\" 200 1 \"y\t\\\xc2\x9b31m\xff");
    request("GET", HOST, "/p/%1b%5b31m%0a\"?token=s3cret-query")
        .header("cookie", "session=s3cret-cookie")
        .header("authorization", "Bearer s3cret-bearer")
        .header("referer", "https://a.example.com/from?s3cret-referer")
        .header("user-agent", agent.expect("a value"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_gets_a_json_object_a_line() {
    let (_origin, relay, _agent, visitor) = served("[access_log]\noutput = \"./access.log\"\n").await;
    let path = relay.folder().join("access.log");
    let sent = visitor.send(hostile().method("POST").body(full("hello")).expect("a request")).await;
    assert_eq!(sent.status, 200);
    let mut http2 = visitor.http2(HOST).await;
    let get = hyper::Request::get(format!("https://{HOST}/c")).body(empty()).expect("a request");
    assert_eq!(read(http2.send_request(get).await.expect("a response")).await.status, 200);
    let mut raw = RawVisitor::connect(&visitor, HOST).await;
    raw.send(b"GET /s3cret HTTP/1.1\r\nbroken\r\n\r\n").await;
    assert_eq!(raw.response().await.map(|response| response.status()), Some(400));
    let text = file_lines(&path, 3).await;
    assert_eq!(text.len(), 3, "{text:?}");
    assert!(text.iter().all(|line| line.bytes().all(|byte| (b' '..=b'~').contains(&byte))), "{text:?}");
    assert!(!text.concat().contains("s3cret"), "{text:?}");
    let lines: Vec<Value> = text.iter().map(|line| parsed(line)).collect();
    for (key, value) in [
        ("visitor", Value::from("127.0.0.1")),
        ("protocol", "HTTP/1.1".into()),
        ("method", "POST".into()),
        ("host", HOST.into()),
        ("path", "/p/%1b%5b31m%0a\"".into()),
        ("status", 200.into()),
        ("received_bytes", 5.into()),
        ("sent_bytes", sent.body.len().into()),
        ("service", "web".into()),
        ("referer", "https://a.example.com/from".into()),
        ("user_agent", "x\" 200 1 \"y\t\\\u{9b}31m\u{fffd}".into()),
    ] {
        assert_eq!(lines[0][key], value, "{key}: {}", text[0]);
    }
    for key in ["time", "request", "peer", "first_byte_ms", "duration_ms"] {
        assert!(!lines[0][key].is_null(), "{key}: {}", text[0]);
    }
    assert_eq!((&lines[1]["protocol"], &lines[1]["method"]), (&"HTTP/2.0".into(), &"GET".into()));
    assert_eq!((&lines[2]["status"], &lines[2]["error"]), (&400.into(), &"bad-header".into()));
    assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o7777, 0o640);
    assert!(!relay.process.log().contains("duration_ms"), "the lines are in the file alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn combined_is_what_programs_for_apache_and_nginx_read() {
    let section = "[access_log]\noutput = \"./access.log\"\nformat = \"combined\"\n";
    let (_origin, relay, _agent, visitor) = served(section).await;
    let sent = visitor.send(hostile().body(empty()).expect("a request")).await.body.len();
    let mut raw = RawVisitor::connect(&visitor, HOST).await;
    raw.send(b"GET /s3cret HTTP/1.1\r\nbroken\r\n\r\n").await;
    let refused = raw.response().await.expect("a response").body.len();
    let lines = file_lines(&relay.folder().join("access.log"), 2).await;
    assert!(!lines.concat().contains("s3cret"), "{lines:?}");
    let (head, tail) = lines[0].split_once("] ").expect("a time");
    assert!(head.starts_with("127.0.0.1 - - [") && head.ends_with(" +0000"), "{head}");
    let agent = r"x\x22 200 1 \x22y\x09\x5C\xC2\x9B31m\xEF\xBF\xBD";
    assert_eq!(
        tail,
        format!(
            "\"GET /p/%1b%5b31m%0a\\x22 HTTP/1.1\" 200 {sent} \"https://a.example.com/from\" \"{agent}\""
        )
    );
    assert!(lines[1].ends_with(&format!("] \"-\" 400 {refused} \"-\" \"-\"")), "{}", lines[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_visitors_at_once_leave_whole_lines() {
    const VISITORS: usize = 16;
    const REQUESTS: usize = 25;
    let (_origin, relay, _agent, visitor) = served("[access_log]\noutput = \"./access.log\"\n").await;
    let mut visits = tokio::task::JoinSet::new();
    for _ in 0..VISITORS {
        let visitor = visitor.clone();
        visits.spawn(async move {
            let mut sender = visitor.http1(HOST).await;
            for _ in 0..REQUESTS {
                let get = request("GET", HOST, "/").body(empty()).expect("a request");
                assert_eq!(read(sender.send_request(get).await.expect("a response")).await.status, 200);
                sender.ready().await.expect("the connection stays");
            }
        });
    }
    while let Some(ended) = visits.join_next().await {
        ended.expect("a visit");
    }
    let lines = file_lines(&relay.folder().join("access.log"), VISITORS * REQUESTS).await;
    assert_eq!(lines.len(), VISITORS * REQUESTS);
    let ids: std::collections::HashSet<_> =
        lines.iter().map(|line| parsed(line)["request"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(ids.len(), lines.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_changes_while_everything_runs() {
    let (_origin, relay, _agent, visitor) = served("[access_log]\noutput = \"off\"\n").await;
    let path = relay.folder().join("access.log");
    assert_eq!(visitor.get(HOST, "/off").await.status, 200);
    change(&relay, "output = \"off\"", "output = \"./access.log\"").await;
    assert_eq!(visitor.get(HOST, "/file").await.status, 200);
    assert_eq!(parsed(&file_lines(&path, 1).await[0])["path"], "/file");
    let stdout = "output = \"stdout\"\nformat = \"combined\"";
    change(&relay, "output = \"./access.log\"", stdout).await;
    assert_eq!(visitor.get(HOST, "/stdout").await.status, 200);
    relay.process.wait_for_log("\"GET /stdout HTTP/1.1\" 200 ");
    change(&relay, stdout, "output = \"log\"").await;
    assert_eq!(visitor.get(HOST, "/log").await.status, 200);
    relay.process.wait_for_log("path=\"/log\"");
    // What cannot be opened changes nothing.
    write(&relay, "output = \"log\"", "output = \"./none/access.log\"");
    relay.process.wait_for_log("the old one stays in force");
    assert_eq!(visitor.get(HOST, "/still").await.status, 200);
    relay.process.wait_for_log("path=\"/still\"");
    assert_eq!(file_lines(&path, 1).await.len(), 1);
    assert!(!relay.process.log().contains("/off"), "{}", relay.process.log());
}

async fn change(relay: &Relay, from: &str, to: &str) {
    let read_again = || relay.process.log().matches("configuration read again").count();
    let before = read_again();
    write(relay, from, to);
    eventually("it is read again", async || (read_again() > before).then_some(())).await;
}

fn write(relay: &Relay, from: &str, to: &str) {
    let text = fs::read_to_string(relay.config_file()).expect("the configuration");
    assert!(text.contains(from), "{text}");
    fs::write(relay.config_file(), text.replace(from, to)).expect("it can be written");
}

#[test]
fn what_cannot_be_written_keeps_the_relay_from_starting() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display();
    let text = format!(
        "name = \"relay.example.com\"\ndata_dir = \"{path}/data\"\nadmin_socket = \"{path}/data/relay.sock\"\n\
         [edge]\nhttp = \"off\"\nhttps = \"127.0.0.1:0\"\n[access_log]\noutput = \"{path}/none/access.log\"\n"
    );
    let file = folder.path().join("relay.toml");
    fs::write(&file, text).expect("a configuration");
    let mut command = Command::new(&binaries().relay);
    let output = command.arg("serve").arg("--config").arg(&file).stdin(Stdio::null()).output();
    let output = output.expect("the relay runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected = format!("`{path}/none/access.log` cannot be opened for appending");
    assert!(said.contains(&expected) && said.contains("hint: make the folder"), "{said}");
}
