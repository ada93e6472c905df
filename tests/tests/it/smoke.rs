//! The main job in one go.

use tests::bed::{Agent, Relay};
use tests::origin::Origin;
use tests::visitor::Visitor;

#[tokio::test(flavor = "multi_thread")]
async fn koda_is_served_by_hostname_and_path() {
    let (dashboard, api) = (Origin::named("dashboard").await, Origin::named("api").await);
    let relay = Relay::start();
    let config = format!(
        r#"
[service.dashboard]
origin = "http://{}"
[service.control-plane]
origin = "http://{}"
[[expose]]
hostname = "koda.example.com"
routes = [
  {{ path = "/*", service = "dashboard" }},
  {{ path = "/api/control-plane/*", service = "control-plane" }},
]
"#,
        dashboard.address, api.address
    );
    let _agent = Agent::running(&relay, &["koda.example.com"], &config);
    let visitor = Visitor::of(&relay);
    let answer = visitor.get("koda.example.com", "/a?b=c").await;
    assert_eq!(
        (answer.status, &answer.json()["origin"], &answer.json()["path"]),
        (200, &"dashboard".into(), &"/a?b=c".into())
    );
    let answer = visitor.get("koda.example.com", "/api/control-plane/health").await;
    assert_eq!(answer.json()["origin"], "api");
}
