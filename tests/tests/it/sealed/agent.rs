//! TLS that ends at the agent (`tls = "agent"`), with a certificate that it has kept from before: the origin speaks in the
//! clear, and the relay carries what it cannot read. How certificates are ordered is in [`crate::certificates`].

use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::time::{Duration, Instant};

use rustls::AlertDescription;
use serde_json::json;
use tests::bed::{Agent, Relay};
use tests::held::Holder;
use tests::origin::{Origin, text};
use tests::tape::Tape;
use tests::tls::{Tls, alert, is_alert};
use tests::tls_origin::Certified;
use tests::visitor::{Visitor, empty, full, read, request};
use tests::wait::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::told::greeting;
use super::{BOTH, HOST, enrolled, is_stranger, shown, visitor};
use crate::access_log::own_output::{file_lines, parsed};
use crate::proxy_protocol::introduced;

/// Nobody is there, and nobody is asked while the certificate is young.
const NOWHERE: &str = "https://127.0.0.1:9/dir";
/// It has no certificate, and the authority that it could get one from is not there.
const BARE: &str = "bare.example.com";

fn config(origin: &str, service: &str, hostnames: &[&str]) -> String {
    let acme =
        format!("[acme]\nagree_to_terms = true\ndirectory = \"{NOWHERE}\"\nresolver = \"127.0.0.1:9\"\n");
    let mut config = format!("{acme}[service.vault]\norigin = \"{origin}\"\n{service}\n");
    for hostname in hostnames {
        config += &format!("[[expose]]\nhostname = \"{hostname}\"\ntls = \"agent\"\nservice = \"vault\"\n");
    }
    config
}

/// An agent that has a certificate for one hostname, as an earlier run would have left it.
fn keeping(relay: &Relay, certified: &Certified, config: &str) -> Agent {
    let mut agent = enrolled(relay, &[HOST, BARE]);
    let folder = agent.data_folder().join("certificates");
    fs::DirBuilder::new().mode(0o700).create(&folder).expect("a folder");
    let [chain, key] =
        [certified.chain_file(), certified.key_file()].map(|file| fs::read_to_string(file).expect("PEM"));
    let kept = json!({ "issued": { "directory": NOWHERE, "chain": chain, "key": key } });
    let file = folder.join(format!("{HOST}.json"));
    fs::write(&file, kept.to_string()).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a mode");
    agent.write_config(config);
    agent.run();
    agent.wait_until_up();
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_shows_its_certificate_and_the_origin_hears_the_visitor_in_the_clear() {
    let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
    let origin = Origin::named("clear").await;
    let _agent = keeping(&relay, &certified, &config(&format!("http://{}", origin.address), "", &[HOST]));
    for version in BOTH {
        let tls = Tls::believing(&relay, &[version], &certified.root_file());
        assert_eq!(shown(&tls.connect(HOST).await.expect("TLS")), certified.leaf());
        assert!(is_stranger(&Tls::of(&relay, &[version]).visit(HOST).await.expect_err("the agent's")));
        for visit in [tls.visit(HOST).await, tls.visit_in_shreds(HOST).await] {
            let visit = visit.expect("the agent");
            assert_eq!((visit.status(), visit.version), (200, version.version), "{}", visit.response);
            let heard =
                serde_json::to_string(&json!([["host", HOST], ["connection", "close"]])).expect("JSON");
            assert!(visit.response.contains(&heard), "{heard}: {}", visit.response);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_the_one_that_the_origin_speaks() {
    let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
    let h2c = Origin::tcp(|stream| async move {
        let service =
            hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
                let body = format!("{:?} {}", request.version(), request.uri().path());
                Ok::<_, std::convert::Infallible>(text(body))
            });
        let server = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        drop(server.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await);
    });
    let (h2c, tape) = (h2c.await, Tape::start().await);
    let agreed = async |alpn: &[&str]| {
        let stream = visitor(&relay, &certified).connect(HOST, alpn).await?;
        let agreed =
            stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        Ok::<_, std::io::Error>(agreed)
    };
    let agent = keeping(&relay, &certified, &config(&format!("h2c://{}", h2c.address), "", &[HOST]));
    assert_eq!(agreed(&["http/1.1", "h2"]).await.expect("TLS").as_deref(), Some("h2"));
    let error = agreed(&["http/1.1"]).await.expect_err("the origin speaks HTTP/2 alone");
    assert_eq!(alert(&error), Some(AlertDescription::NoApplicationProtocol));
    let mut http2 = visitor(&relay, &certified).http2(HOST).await;
    for path in ["/1", "/2"] {
        let get = hyper::Request::get(format!("https://{HOST}{path}")).body(empty()).expect("a request");
        let answer = read(http2.send_request(get).await.expect("a response")).await;
        assert_eq!((answer.status, answer.text()), (200, format!("HTTP/2.0 {path}")));
    }
    agent.write_config(&config(&format!("http://{}", tape.origin.address), "", &[HOST]));
    let speaks_1 = async || {
        let agreed = agreed(&["h2", "http/1.1"]).await.ok()?;
        (agreed.as_deref() == Some("http/1.1")).then_some(())
    };
    tests::wait::eventually("the other origin counts", speaks_1).await;
    // A challenge that nobody ordered is shown to nobody.
    let error = agreed(&["acme-tls/1"]).await.expect_err("no order is open");
    assert!(is_alert(&error), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_both_ways() {
    let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
    let tape = Tape::answering(|request| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len());
        [head.as_bytes(), &request.body].concat()
    })
    .await;
    let _agent =
        keeping(&relay, &certified, &config(&format!("http://{}", tape.origin.address), "", &[HOST]));
    let body: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let post = request("POST", HOST, "/").body(full(body.clone())).expect("a request");
    let answer = visitor(&relay, &certified).send(post).await;
    assert!(answer.status == 200 && answer.body == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_may_end_first_and_what_is_cut_is_no_end() {
    let (certified, relay, mut holder) = (Certified::new(&[HOST]), Relay::start(), Holder::start().await);
    let config = config(&format!("tcp://{}", holder.origin.address), "", &[HOST]);
    let _agent = keeping(&relay, &certified, &config);
    let connect = async || visitor(&relay, &certified).connect(HOST, &["whatever/1"]).await.expect("TLS");
    let mut stream = connect().await;
    stream.write_all(b"ask").await.expect("bytes");
    stream.shutdown().await.expect("a farewell");
    let mut held = holder.next().await;
    assert_eq!(held.until("ask").await, "ask");
    held.send("answer").await;
    held.ends().await;
    drop(held);
    let mut heard = String::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut heard)).await;
    end.expect("it ends").expect("as it should");
    assert_eq!(heard, "answer");

    // The relay could cut a connection; nobody can make of it what looks like the end.
    let mut stream = connect().await;
    stream.write_all(b"ask").await.expect("bytes");
    let mut held = holder.next().await;
    held.until("ask").await;
    let _said = relay.ask(&["peer", "ungrant", "home", "--hostname", HOST]);
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    let _error = end.expect("it ends").expect_err("it was cut");
    held.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_a_certificate_ends_in_an_alert_and_reaches_no_origin() {
    let (certified, relay, mut holder) = (Certified::new(&[HOST]), Relay::start(), Holder::start().await);
    let agent =
        keeping(&relay, &certified, &config(&format!("tcp://{}", holder.origin.address), "", &[HOST, BARE]));
    for visitor in [visitor(&relay, &certified), Visitor::of(&relay)] {
        let error = visitor.connect(BARE, &["http/1.1"]).await.expect_err("no certificate");
        assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{error:?}");
    }
    assert!(holder.is_left_alone());
    let status = agent.status().expect("it runs");
    let row = |name: &str| {
        let rows = status["certificates"].as_array().expect("rows");
        rows.iter().find(|row| row["hostname"] == name).cloned().expect("a row")
    };
    assert_eq!((&row(HOST)["issuer"], &row(HOST)["late"]), (&"authority of a test".into(), &false.into()));
    assert!(row(HOST)["not_after"].is_i64() && row(BARE)["not_after"].is_null(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_told_the_visitor() {
    let (certified, relay) = (Certified::new(&[HOST]), Relay::start());
    let origin = Origin::tcp(|mut stream| async move {
        let told = introduced(&mut stream).await.to_string();
        let _gone = stream.write_all(told.as_bytes()).await;
    })
    .await;
    let config = config(&format!("tcp://{}", origin.address), "proxy_protocol = \"v2\"", &[HOST]);
    let _agent = keeping(&relay, &certified, &config);
    let mut asked = 0;
    for last in [1, 7] {
        let visitor = visitor(&relay, &certified).coming_from([127, 0, 0, last]);
        let mut stream = visitor.connect(HOST, &[]).await.expect("TLS");
        let address = stream.get_ref().0.local_addr().expect("an address").to_string();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.expect("the address, and a proper end");
        assert_eq!(told, address);
        asked += 1;
    }
    assert_eq!(asked, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_greets_and_says_no_more_is_gone_after_the_deadline_and_reaches_no_origin() {
    let (certified, relay, mut holder) = (Certified::new(&[HOST]), Relay::start(), Holder::start().await);
    let _agent =
        keeping(&relay, &certified, &config(&format!("tcp://{}", holder.origin.address), "", &[HOST]));
    let (begun, mut stream) = (Instant::now(), TcpStream::connect(relay.https).await.expect("TCP"));
    stream.write_all(&greeting(&relay, HOST)).await.expect("bytes");
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    let _reset_counts_too = end.expect("it is gone");
    assert!((9..13).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(holder.is_left_alone());
    tokio::time::timeout(Duration::from_secs(5), visitor(&relay, &certified).connect(HOST, &[]))
        .await
        .expect("at once")
        .expect("TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_who_goes_without_a_farewell_is_no_failure_of_the_tunnel() {
    let relay = Relay::with("[access_log]\noutput = \"./access.log\"\n");
    let (certified, mut holder) = (Certified::new(&[HOST]), Holder::start().await);
    let _agent =
        keeping(&relay, &certified, &config(&format!("tcp://{}", holder.origin.address), "", &[HOST]));
    for farewell in [true, false] {
        let mut stream = visitor(&relay, &certified).connect(HOST, &[]).await.expect("TLS");
        stream.write_all(b"ask").await.expect("bytes");
        let mut held = holder.next().await;
        held.until("ask").await;
        // Nothing is left unread, for which the kernel would reset the connection.
        held.send("!").await;
        assert_eq!(stream.read_u8().await.expect("a byte"), b'!');
        if farewell {
            stream.shutdown().await.expect("a farewell");
        }
        drop(stream);
        held.ends().await;
    }
    let lines = file_lines(&relay.folder().join("access.log"), 2).await;
    let errors = lines.iter().filter(|line| !parsed(line)["error"].is_null()).count();
    assert_eq!((lines.len(), errors), (2, 0), "{lines:?}");
}
