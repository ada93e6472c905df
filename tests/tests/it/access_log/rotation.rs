//! A log file that others rotate, by renaming and by cutting, and one that is gone for a while.

use std::fs;

use tests::wait::eventually;

use super::HOST;
use super::own_output::{file_lines, parsed, served};

const SECTION: &str = "[access_log]\noutput = \"./logs/access.log\"\n";

/// The log's folder is there before the relay is.
async fn with_folder()
-> (tests::origin::Origin, tests::bed::Relay, tests::bed::Agent, tests::visitor::Visitor) {
    let (origin, mut relay, agent, visitor) = served("").await;
    fs::create_dir(relay.folder().join("logs")).expect("a folder");
    let text = fs::read_to_string(relay.config_file()).expect("the configuration");
    relay.process.kill();
    fs::write(relay.config_file(), text + SECTION).expect("it can be written");
    relay.start_again();
    drop(agent);
    let config = tests::deploy::simple(HOST, &format!("http://{}", origin.address));
    let agent = tests::bed::Agent::running(&relay, &[HOST], &config);
    (origin, relay, agent, visitor)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_file_is_left_and_a_cut_one_goes_on() {
    let (_origin, relay, _agent, visitor) = with_folder().await;
    let (path, old) = (relay.folder().join("logs/access.log"), relay.folder().join("logs/access.log.1"));
    assert_eq!(visitor.get(HOST, "/1").await.status, 200);
    assert_eq!(parsed(&file_lines(&path, 1).await[0])["path"], "/1");
    fs::rename(&path, &old).expect("a rename");
    assert_eq!(visitor.get(HOST, "/2").await.status, 200);
    assert_eq!(parsed(&file_lines(&path, 1).await[0])["path"], "/2");
    assert_eq!(file_lines(&old, 1).await.len(), 1);
    // copytruncate
    fs::File::create(&path).expect("it can be cut");
    assert_eq!(visitor.get(HOST, "/3").await.status, 200);
    let lines = file_lines(&path, 1).await;
    assert_eq!((lines.len(), &parsed(&lines[0])["path"]), (1, &"/3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_folder_costs_lines_that_are_counted_and_told_once() {
    let (_origin, relay, _agent, visitor) = with_folder().await;
    let logs = relay.folder().join("logs");
    assert_eq!(visitor.get(HOST, "/1").await.status, 200);
    assert_eq!(file_lines(&logs.join("access.log"), 1).await.len(), 1);
    fs::rename(&logs, relay.folder().join("elsewhere")).expect("a rename");
    for _ in 0..3 {
        assert_eq!(visitor.get(HOST, "/2").await.status, 200);
    }
    eventually("three lines are lost", async || {
        let metrics = relay.ask(&["metrics"]);
        metrics.contains("\nadit_access_log_lines_lost_total 3\n").then_some(())
    })
    .await;
    relay.process.wait_for_log("the access log cannot be written");
    assert_eq!(relay.process.log().matches("the access log cannot be written").count(), 1);
    fs::rename(relay.folder().join("elsewhere"), &logs).expect("a rename");
    let back = async || {
        assert_eq!(visitor.get(HOST, "/3").await.status, 200);
        let text = fs::read_to_string(logs.join("access.log")).expect("the file");
        text.contains("\"/3\"").then_some(())
    };
    eventually("it is written again", back).await;
    relay.process.wait_for_log("the access log is written again");
}
