//! curl, nghttp and h2load: programs that nobody wrote with Adit in mind.

use std::fs;
use std::time::Duration;

use tests::foreign::{Place, everything, finish, succeed};
use tests::program::text;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_mins(2);
const VERSIONS: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];

/// Neither a multiple of a buffer's size nor compressible in an obvious way.
fn three_megabytes() -> Vec<u8> {
    (0..3_000_001u32).map(|index| index.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

async fn curl(place: &Place, arguments: &[&str]) -> Vec<u8> {
    let resolve = format!("{}:127.0.0.1", place.authority());
    let mut command = Command::new("curl");
    command.args(["-sS", "--cacert", &place.root(), "--resolve", &resolve]).args(arguments);
    succeed(command, LIMIT).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl and node (tests/real)"]
async fn curl_gets_back_what_it_uploads() {
    let place = Place::of("echo.mjs");
    let body = three_megabytes();
    let file = place.relay.folder().join("upload");
    fs::write(&file, &body).expect("a file");
    let (file, url) = (text(&file), place.url("/echo"));
    let mut ran = 0;
    for (flag, version) in VERSIONS {
        let said = curl(&place, &[flag, "-w", "%{http_version} %{http_code}", &place.url("/hello")]).await;
        assert_eq!(String::from_utf8_lossy(&said), format!("hello{version} 200"));
        // With a length and `Expect: 100-continue`, with neither, and without waiting.
        for further in [&[][..], &["-H", "transfer-encoding: chunked"], &["-H", "expect:"]] {
            if version == "2" && further.iter().any(|field| field.starts_with("transfer-encoding")) {
                continue;
            }
            let upload = [&[flag, "-X", "POST", "-T", &file][..], further, &[&url]].concat();
            assert!(curl(&place, &upload).await == body, "{flag} {further:?}: other bytes came back");
            ran += 1;
        }
    }
    assert_eq!(ran, 5);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl and node (tests/real)"]
async fn curl_hears_hints_trailers_and_heads() {
    let place = Place::of("echo.mjs");
    for (flag, version) in VERSIONS {
        let said = async |arguments: &[&str]| {
            String::from_utf8(curl(&place, &[&[flag, "-i"], arguments].concat()).await).expect("text")
        };
        let hinted = said(&[&place.url("/hinted")]).await;
        let (hints, rest) = hinted.split_once("\r\n\r\n").expect("two heads");
        assert!(hints.starts_with(&format!("HTTP/{version} 103")), "{hinted}");
        assert!(hints.contains("link: </a.css>; rel=preload"), "{hinted}");
        assert!(rest.starts_with(&format!("HTTP/{version} 200")) && rest.ends_with("hello"), "{hinted}");
        let trailed = said(&["-H", "te: trailers", &place.url("/trailed")]).await;
        assert!(trailed.contains("hello") && trailed.trim_end().ends_with("x-sum: 5"), "{trailed}");
        let head = said(&["-I", &place.url("/hello")]).await;
        assert!(head.contains("content-length: 5") && head.ends_with("\r\n\r\n"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nghttp2-client and node (tests/real)"]
async fn the_trailers_of_nghttp_come_back_to_it() {
    let place = Place::of("echo.mjs");
    let file = place.relay.folder().join("upload");
    fs::write(&file, three_megabytes()).expect("a file");
    let mut command = Command::new("nghttp");
    // No length: what has one ends without trailers on its way over HTTP/1.1.
    command.args(["-nv", "--no-content-length", "--trailer=x-sum: 31", "-H", "te: trailers", "-d"]).arg(file);
    command.arg(format!("-H:authority: {}", place.authority()));
    command.arg(format!("https://{}/echo", place.relay.https));
    let said = String::from_utf8_lossy(&succeed(command, LIMIT).await).into_owned();
    let received: Vec<_> = said.lines().filter(|line| line.contains("recv (stream_id")).collect();
    assert!(received.iter().any(|line| line.ends_with(":status: 200")), "{said}");
    assert!(received.iter().any(|line| line.ends_with(" x-sum: 31")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nghttp2-client and node (tests/real)"]
async fn every_answer_to_h2load_is_a_good_one() {
    let place = Place::of("echo.mjs");
    let file = place.relay.folder().join("upload");
    fs::write(&file, &three_megabytes()[..200_000]).expect("a file");
    let file = text(&file);
    let mut ran = 0;
    for (count, path, further) in [
        (5000, "/hello", &["-c", "8", "-m", "100"][..]),
        (5000, "/hello", &["-c", "1", "-m", "1000"]),
        (500, "/large?100000", &["-c", "4", "-m", "50"]),
        (500, "/echo", &["-c", "4", "-m", "50", "-d", &file]),
        (2000, "/hello", &["-c", "8", "--h1"]),
    ] {
        let mut command = Command::new("h2load");
        command.args(["-n", &count.to_string(), &format!("--connect-to={}", place.relay.https)]);
        command.args(further).arg(place.url(path));
        let said = everything(&finish(command, LIMIT).await);
        let done = format!(
            "requests: {count} total, {count} started, {count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout"
        );
        let good = format!("status codes: {count} 2xx, 0 3xx, 0 4xx, 0 5xx");
        assert!(said.contains(&done) && said.contains(&good), "{path} {further:?}: {said}");
        ran += 1;
    }
    assert_eq!(ran, 5);
}
