//! An HTTP/3 visitor that is not quinn: aioquic, driven by `tests/real/http3/visit.py`.

use std::time::Duration;

use serde_json::{Value, json};
use tests::foreign::{HOSTNAME, Place, python, succeed};

/// What `visit.py` looks at; each of them is a function there.
const CHECKS: usize = 21;
const LIMIT: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node (tests/real), and Python with tests/real/http3/requirements.txt in target/real/http3"]
async fn aioquic_finds_nothing_amiss() {
    let place = Place::of("echo.mjs");
    let mut visit = python("http3");
    let port = place.relay.https.port().to_string();
    visit.args(["-B", "visit.py", HOSTNAME, "127.0.0.1", &port, &place.root()]);
    let said = succeed(visit, LIMIT).await;
    let said: Value = serde_json::from_slice(&said).expect("`visit.py` prints JSON");
    assert_eq!(said["failed"], json!({}), "{said:#}");
    assert_eq!(said["passed"].as_array().map(Vec::len), Some(CHECKS));
}
