//! TLS with visitors: versions, groups, protocols, resumption, and whoever never comes to its end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, NamedGroup, ProtocolVersion, SupportedProtocolVersion};
use tests::bed::{Agent, Relay};
use tests::tape::Tape;
use tests::tls::{Tls, alert, is_alert};
use tests::visitor::Visitor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
const NAMES: [&str; 2] = ["a.example.com", "*.w.example.com"];

/// One origin under all of these hostnames.
pub(crate) fn expose(tape: &Tape, hostnames: &[&str]) -> String {
    let mut config = format!("[service.web]\norigin = \"http://{}\"\n", tape.origin.address);
    for hostname in hostnames {
        config += &format!(
            "[[expose]]\nhostname = \"{hostname}\"\nroutes = [{{path = \"/*\", service = \"web\"}}]\n"
        );
    }
    config
}

async fn bed() -> (Tape, Relay, Agent) {
    let (tape, relay) = (Tape::start().await, Relay::start());
    let agent = Agent::running(&relay, &NAMES, &expose(&tape, &NAMES));
    (tape, relay, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_are_spoken_and_the_newer_with_a_group_that_outlasts_quantum_computers() {
    let (_tape, relay, _agent) = bed().await;
    let newer = Tls::of(&relay, &BOTH).visit("a.example.com").await.expect("TLS 1.3");
    assert_eq!((newer.version, newer.status()), (ProtocolVersion::TLSv1_3, 200));
    assert_eq!(newer.group, Some(NamedGroup::X25519MLKEM768));
    let older = Tls::of(&relay, &[&TLS12]).visit("a.example.com").await.expect("TLS 1.2");
    assert_eq!((older.version, older.status()), (ProtocolVersion::TLSv1_2, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_prefers_http2_and_speaks_http1_with_who_offers_nothing() {
    let (_tape, relay, _agent) = bed().await;
    let negotiated = async |alpn: &[&str]| {
        let tls = Tls::of(&relay, &BOTH).offering(alpn).connect("a.example.com").await?;
        let alpn = tls.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        Ok::<_, std::io::Error>(alpn.unwrap_or_default())
    };
    assert_eq!(negotiated(&["http/1.1", "h2"]).await.expect("TLS"), "h2");
    assert_eq!(negotiated(&["spdy/3", "http/1.1"]).await.expect("TLS"), "http/1.1");
    assert!(is_alert(&negotiated(&["h3"]).await.expect_err("h3 is not for TCP")));
    assert!(is_alert(&negotiated(&["adit/1"]).await.expect_err("not on TCP yet")));
    let silent = Tls::of(&relay, &BOTH).visit("a.example.com").await.expect("TLS");
    assert_eq!((silent.alpn, silent.response.get(..12)), (None, Some("HTTP/1.1 200")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_resumes_its_own_hostname_and_no_other() {
    let (tape, relay, _agent) = bed().await;
    let (mut own, mut other) = (0, 0);
    for version in BOTH {
        for (first, second) in [("a.example.com", "x.w.example.com"), ("x.w.example.com", "y.w.example.com")]
        {
            let tls = Tls::of(&relay, &[version]);
            let resumed = async |hostname| {
                let visit = tls.visit(hostname).await.expect(hostname);
                assert_eq!(visit.status(), 200);
                visit.resumed
            };
            assert!(!resumed(first).await);
            assert!(resumed(first).await, "{version:?}: {first} is not resumed");
            assert!(!tls.may_send_early(first), "{version:?}: early data is asked for");
            own += 1;
            // The ticket of the first goes out under the second name, and the second's own under the first.
            assert!(!resumed(second).await, "{version:?}: {second} by a ticket of {first}");
            assert!(resumed(second).await);
            assert!(!resumed(first).await, "{version:?}: {first} by a ticket of {second}");
            other += 2;
        }
    }
    assert_eq!((own, other, tape.take().len()), (4, 8, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_in_pieces_of_one_byte_is_the_same_hello() {
    let (tape, relay, _agent) = bed().await;
    for version in BOTH {
        let tls = Tls::of(&relay, &[version]);
        for hostname in ["a.example.com", "x.w.example.com"] {
            let visit = tls.visit_in_shreds(hostname).await.expect(hostname);
            assert_eq!((visit.status(), tape.only().one("host")), (200, hostname));
        }
        for nobody in ["nobody.example.com", "127.0.0.1"] {
            let whole = tls.visit(nobody).await.expect_err("unknown");
            let shreds = tls.visit_in_shreds(nobody).await.expect_err("unknown");
            assert_eq!(alert(&whole), Some(AlertDescription::UnrecognisedName), "{whole:?}");
            assert_eq!(alert(&shreds), Some(AlertDescription::UnrecognisedName), "{shreds:?}");
        }
    }
    assert!(tape.take().is_empty());
}

/// How far a visitor comes that then stands still.
fn half_open(number: usize) -> &'static [u8] {
    let beginnings: [&[u8]; 4] =
        [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x16\x03\x01\x00\x01\x01"];
    beginnings[number % beginnings.len()]
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_who_never_finish_are_gone_after_the_deadline_and_hold_up_nobody() {
    let (_tape, relay, _agent) = bed().await;
    let visitor = Visitor::of(&relay);
    let stand_still = async |number: usize| {
        let (begun, mut stream) = (Instant::now(), TcpStream::connect(relay.https).await.expect("TCP"));
        stream.write_all(half_open(number)).await.expect("bytes can be sent");
        let _reset_counts_too = stream.read_to_end(&mut Vec::new()).await;
        begun.elapsed()
    };
    let mut gone = std::pin::pin!(join_all((0..200).map(stand_still)));
    let mut slowest = Duration::ZERO;
    let mut served = 0;
    let gone = loop {
        let begun = Instant::now();
        tokio::select! {
            gone = gone.as_mut() => break gone,
            answer = visitor.get("a.example.com", "/") => {
                assert_eq!(answer.status, 200);
                slowest = slowest.max(begun.elapsed());
                served += 1;
            }
        }
    };
    assert!(gone.iter().all(|lasted| (8..13).contains(&lasted.as_secs())), "{gone:?}");
    assert!(
        served > 50 && slowest < Duration::from_secs(2),
        "{served} were served, the slowest in {slowest:?}"
    );
}

/// What a program makes of the relay.
fn openssl(relay: &Relay, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &relay.https.to_string(), "-servername", "a.example.com"]);
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("openssl runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl"]
async fn older_versions_and_weak_ciphers_end_in_an_alert() {
    let (_tape, relay, _agent) = bed().await;
    for (version, spoken) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let said = openssl(&relay, &[version]);
        assert!(said.contains(&format!("New, {spoken}, Cipher is ")), "{said}");
    }
    for older in ["-tls1_1", "-tls1"] {
        let said = openssl(&relay, &[older, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(said.contains("SSL alert number") && said.contains("Cipher is (NONE)"), "{said}");
    }
    for weak in ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "NULL", "aNULL"] {
        let said = openssl(&relay, &["-tls1_2", "-cipher", &format!("{weak}:@SECLEVEL=0")]);
        let refused = said.contains("SSL alert number") || said.contains("no cipher match");
        assert!(refused && !said.contains("New, TLS"), "{said}");
    }
}
