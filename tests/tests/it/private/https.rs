//! A door with TLS of the device's own: the way in which a browser keeps what it keeps to `https`.

use std::fs;

use rustls::AlertDescription;
use tests::bed::Relay;
use tests::koda;
use tests::operator::Operator;
use tests::tls::alert;
use tests::visitor::Visitor;

use super::{home, private, refusal};

const NAME: &str = "koda.localhost";

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_works_at_a_name_that_the_device_trusts_and_at_no_other() {
    let (relay, koda) = (Relay::start(), koda::dashboard().await);
    let _home = home(&relay, &private("dashboard", &format!("http://{}", koda.address), "role:operator"));
    let mut laptop = Operator::enrolled(&relay, "laptop", &["home/dashboard"]);
    let door = ["home/dashboard", "--https", NAME, "--listen", "127.0.0.1:0"];
    let said = refusal(&laptop, &door);
    assert!(said.contains("cannot serve `https`") && said.contains("`agent trust koda.localhost`"), "{said}");
    let printed = laptop.agent.command(&["trust", NAME, "--print"]);
    assert!(printed.status.success(), "{printed:?}");
    let root = laptop.agent.folder().join("root.pem");
    fs::write(&root, &printed.stdout).expect("a file");
    laptop.connect(&door);
    let browser = Visitor::new(laptop.door("home/dashboard"), &root);
    let answer = browser.get(NAME, "/login").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["set-cookie"], koda::SESSION_COOKIE);
    assert_eq!(answer.headers["content-security-policy"], koda::STRICT_POLICY);
    let error = browser.connect("other.localhost", &["http/1.1"]).await.expect_err("another name");
    assert_eq!(alert(&error), Some(AlertDescription::AccessDenied), "{error:?}");
}
