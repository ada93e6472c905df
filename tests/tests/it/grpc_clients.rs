//! gRPC that is not tonic: its C core, by Python, on both ends of the tunnel.

use std::time::Duration;

use serde_json::{Value, json};
use tests::foreign::{HOSTNAME, Place, python, succeed};
use tests::program::Program;

/// What `visit.py` looks at; each of them is a function there.
const CHECKS: usize = 8;
const LIMIT: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python with tests/real/grpc/requirements.txt in target/real/grpc"]
async fn calls_of_the_c_core_arrive_and_end_as_they_should() {
    let mut origin = python("grpc").into_std();
    origin.args(["-B", "origin.py"]);
    let place = Place::before(Program::announced(origin), "h2c");
    let mut visit = python("grpc");
    let port = place.relay.https.port().to_string();
    visit.args(["-B", "visit.py", HOSTNAME, "127.0.0.1", &port, &place.root()]);
    let said = succeed(visit, LIMIT).await;
    let said: Value = serde_json::from_slice(&said).expect("`visit.py` prints JSON");
    assert_eq!(said["failed"], json!({}), "{said:#}");
    assert_eq!(said["passed"].as_array().map(Vec::len), Some(CHECKS));
}
