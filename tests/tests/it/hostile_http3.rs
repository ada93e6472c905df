//! HTTP/3 from somebody who means harm: what cannot be said in HTTP/1, what is no HTTP/3 and no QUIC, and floods of both.

mod broken;
mod floods;
mod wire;

use tests::bed::Relay;
use tests::hostile::{Lane, bytes_of};
use tests::raw::A_WHILE;

use self::wire::{DATA, HEADERS, begin, connect, dealt, frame, section};
use crate::downgrade::{Case, Dealt, HOST, Leeway, NEXT, cases};

/// All of a case on one stream.
fn frames(case: &Case) -> Vec<u8> {
    let mut all = frame(HEADERS, &section(&case.fields));
    for piece in case.body {
        all.extend(frame(DATA, &bytes_of(piece)));
    }
    if let Some(trailers) = case.trailers {
        all.extend(frame(HEADERS, &section(trailers)));
    }
    all
}

/// Asks with these bytes on a stream of its own.
async fn ask(connection: &quinn::Connection, bytes: &[u8]) -> Dealt {
    let Ok((mut send, mut recv)) = connection.open_bi().await else { return Dealt::Ended };
    let sent = send.write_all(bytes).await;
    // What was refused meanwhile was answered, or reset.
    let _refused = sent.is_ok() && send.finish().is_ok();
    dealt(&mut recv).await
}

/// One GET on a connection of its own, for a host that may be another than in TLS.
pub(crate) async fn get(relay: &Relay, hostname: &str, host: &'static str) -> Dealt {
    let (_endpoint, connection) = connect(relay, hostname).await;
    let _control = begin(&connection).await;
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", "/")];
    ask(&connection, &frame(HEADERS, &section(&fields))).await
}

/// The next request is answered: on the connection where it goes on, else on a new one.
async fn next_is_answered(lane: &Lane, connection: &quinn::Connection) {
    let next = frame(HEADERS, &section(&NEXT));
    if ask(connection, &next).await == Dealt::Ended {
        let (_endpoint, connection) = connect(&lane.relay, HOST).await;
        let _control = begin(&connection).await;
        assert_eq!(ask(&connection, &next).await, Dealt::Answered(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn downgrades() {
    let (lane, cases) = (Lane::new(HOST).await, cases());
    let mut wrong = Vec::new();
    for case in &cases {
        let (_endpoint, connection) = connect(&lane.relay, HOST).await;
        let _control = begin(&connection).await;
        let dealt = ask(&connection, &frames(case)).await;
        next_is_answered(&lane, &connection).await;
        // h3 0.0.8 leaves out of trailers what may not be there.
        let leeway = Leeway { rest: case.trailers.is_some(), empty_chunks: true };
        if let Err(problem) = case.judge(dealt, leeway, &lane).await {
            wrong.push(format!("{}: {problem}", case.shown()));
        }
    }
    tokio::time::sleep(A_WHILE).await;
    lane.tape.settled().await;
    assert_eq!(lane.tape.take_checked(), Ok(vec![]), "after the last case");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(cases.len(), 265);
}
