//! Autobahn's fuzzing client against a WebSocket server, directly and through the tunnel: the same verdicts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::foreign::{HOSTNAME, Place, python, succeed};
use tests::program::text;

/// Of the compression cases (12 and 13) those with small messages: the others send 1,000 messages of up to 128 KiB
/// each, which takes ten minutes a run and exercises the codec of the origin, not what lies between.
const COMPRESSION: [(u8, u8); 2] = [(12, 5), (13, 7)];
const MESSAGE_SIZES: [u8; 2] = [1, 2];
/// Groups 1 to 7, 9 and 10, and those.
const CASES: usize = 301 + (5 + 7) * 2;
/// One run takes about a minute.
const LIMIT: Duration = Duration::from_mins(10);

/// What Autobahn says of a case: of the messages, of the closing, and the close code that it got.
type Verdicts = BTreeMap<String, [Value; 3]>;

fn specification(folder: &Path, server: &Value) -> Value {
    let mut cases: Vec<String> =
        ["1", "2", "3", "4", "5", "6", "7", "9", "10"].iter().map(|group| format!("{group}.*")).collect();
    for (group, settings) in COMPRESSION {
        for setting in 1..=settings {
            cases.extend(MESSAGE_SIZES.iter().map(|size| format!("{group}.{setting}.{size}")));
        }
    }
    json!({
        "outdir": text(&folder.join("report")),
        "options": {},
        "servers": [server],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    })
}

async fn verdicts(server: Value, root: &str) -> Verdicts {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("spec.json");
    fs::write(&file, specification(folder.path(), &server).to_string()).expect("a file");
    let mut fuzz = python("autobahn");
    fuzz.arg("fuzz.py").arg(&file).env("SSL_CERT_FILE", root).env("PYTHONDONTWRITEBYTECODE", "1");
    let said = succeed(fuzz, LIMIT).await;
    let index = fs::read(folder.path().join("report/index.json"))
        .unwrap_or_else(|error| panic!("no report: {error}: {}", String::from_utf8_lossy(&said)));
    let index: Value = serde_json::from_slice(&index).expect("the report is JSON");
    let cases = index["it"].as_object().expect("an object of cases");
    let keys = ["behavior", "behaviorClose", "remoteCloseCode"];
    cases.iter().map(|(case, found)| (case.clone(), keys.map(|key| found[key].clone()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node (tests/real), and CPython 2.7 with tests/real/autobahn/requirements.txt in target/real/autobahn"]
async fn the_fuzzing_client_gives_the_same_verdicts_through_the_tunnel() {
    let place = Place::of("ws-echo.mjs");
    let root = place.root();
    let direct = json!({ "agent": "it", "url": format!("ws://{HOSTNAME}:{}/", place.origin.port) });
    let tunnel =
        json!({ "agent": "it", "url": format!("wss://{}/", place.authority()), "hostname": HOSTNAME });
    let (direct, tunnel) = tokio::join!(verdicts(direct, &root), verdicts(tunnel, &root));
    let differing: Vec<_> = direct
        .iter()
        .filter(|(case, verdict)| tunnel.get(*case) != Some(verdict))
        .map(|(case, verdict)| (case, verdict, tunnel.get(case)))
        .collect();
    assert!(differing.is_empty(), "case, without and with the tunnel: {differing:?}");
    assert_eq!((direct.len(), tunnel.len()), (CASES, CASES));
    let fine = |[messages, _, _]: &[Value; 3]| messages != "FAILED" && messages != "UNIMPLEMENTED";
    let failed: Vec<_> = direct.iter().filter(|(_, verdict)| !fine(verdict)).collect();
    assert!(failed.is_empty(), "the origin itself fails, so these show nothing: {failed:?}");
}
