//! Real signals. One test in a process of its own, because a signal reaches everything in the process.
#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use process::shutdown::{self, Ended};
use process::watch::{Change, Watch};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

fn send_myself(signal: &str) {
    let sent = Command::new("kill").args([signal, &std::process::id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
}

#[tokio::test]
async fn signals_reload_stop_and_force() {
    // A folder that does not exist leaves SIGHUP.
    let mut watch = Watch::new(["/nowhere/adit.toml".into()]).expect("SIGHUP is left");
    send_myself("-HUP");
    let change = timeout(DEADLINE, watch.changed()).await.expect("the signal arrives");
    assert_eq!(change, Change::Hangup);

    for signal in ["-TERM", "-INT"] {
        let ended = shutdown::run(async |stop| {
            send_myself(signal);
            stop.cancelled().await;
            signal
        });
        let ended = timeout(DEADLINE, ended).await.expect("the signal arrives");
        assert_eq!(ended.expect("signals are told"), Ended::Finished(signal));
    }

    let forced = shutdown::run(async |stop| {
        send_myself("-TERM");
        stop.cancelled().await;
        send_myself("-INT");
        std::future::pending::<()>().await
    });
    let forced = timeout(DEADLINE, forced).await.expect("the signals arrive");
    assert_eq!(forced.expect("signals are told"), Ended::Forced);
}
