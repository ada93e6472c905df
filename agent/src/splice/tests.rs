//! A stream over real QUIC on one side, a TCP connection on the other: how each end is heard on the far side.

use std::sync::Arc;

use quinn::{Connection, ReadError, ReadToEndError, RecvStream, SendStream};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::config;
use crate::dial::Tunnel;
use crate::origin::Origins;
use crate::testing::FakeRelay;

/// The far ends of a running splice.
struct Bed {
    origin: TcpStream,
    send: SendStream,
    recv: RecvStream,
    splice: JoinSet<Result<(), SpliceError>>,
    _tunnel: (FakeRelay, Tunnel, Connection),
}

async fn bed() -> Bed {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let routes = vec![("/*".parse().unwrap(), target)];
    let trust = config::OriginTrust::Platform;
    let config = config::of_command_line("a.example".parse().unwrap(), routes, &trust);
    let origins = Origins::prepare(&config).unwrap();
    let service = config.services().keys().next().unwrap();
    let connected = origins.find(service).unwrap().connect(Some(([192, 0, 2, 7], 1).into())).await.unwrap();
    let (origin, _) = listener.accept().await.unwrap();
    let relay = FakeRelay::start();
    let (tunnel, connection) = relay.tunnel().await;
    let (mut send, recv) = connection.open_bi().await.unwrap();
    // A stream exists for the other side with its first byte.
    send.write_all(b">").await.unwrap();
    let (to_relay, from_relay) = tunnel.connection().accept_bi().await.unwrap();
    let mut splices = JoinSet::new();
    splices.spawn(splice(connected, Ends::new(to_relay, from_relay, Arc::default())));
    let mut bed = Bed { origin, send, recv, splice: splices, _tunnel: (relay, tunnel, connection) };
    assert_eq!(bed.origin.read_u8().await.unwrap(), b'>');
    bed
}

fn reset(code: StreamReset) -> ReadToEndError {
    ReadToEndError::Read(ReadError::Reset(code.number().into()))
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let mut bed = bed().await;
    bed.send.write_all(b"question").await.unwrap();
    bed.send.finish().unwrap();
    let mut question = Vec::new();
    bed.origin.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    bed.origin.write_all(b"answer").await.unwrap();
    bed.origin.shutdown().await.unwrap();
    assert_eq!(bed.recv.read_to_end(100).await.unwrap(), b"answer");
    bed.splice.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_origin_that_hangs_up_is_heard_at_once_and_the_other_direction_goes_on() {
    let mut bed = bed().await;
    bed.origin.shutdown().await.unwrap();
    assert_eq!(bed.recv.read_to_end(100).await.unwrap(), b"");
    bed.send.write_all(b"still here").await.unwrap();
    bed.send.finish().unwrap();
    let mut heard = Vec::new();
    bed.origin.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"still here");
}

#[tokio::test]
async fn an_origin_that_breaks_off_is_a_reset_behind_its_last_words() {
    let mut bed = bed().await;
    bed.origin.write_all(b"half").await.unwrap();
    socket2::SockRef::from(&bed.origin).set_linger(Some(Duration::ZERO)).unwrap();
    drop(bed.origin);
    let mut half = [0; 4];
    bed.recv.read_exact(&mut half).await.unwrap();
    assert_eq!(&half, b"half");
    assert_eq!(bed.recv.read_to_end(100).await.unwrap_err(), reset(StreamReset::OriginBroke));
    let ended = bed.splice.join_next().await.unwrap().unwrap();
    assert!(matches!(ended, Err(SpliceError::Origin(_))));
}

#[tokio::test]
async fn a_reset_of_the_relay_resets_the_origin() {
    let mut bed = bed().await;
    bed.send.reset(StreamReset::Cancelled.number().into()).unwrap();
    let error = bed.origin.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(bed.recv.read_to_end(100).await.unwrap_err(), reset(StreamReset::Cancelled));
}

#[tokio::test]
async fn a_relay_that_stops_listening_resets_the_origin() {
    let mut bed = bed().await;
    bed.recv.stop(0u32.into()).unwrap();
    let error = bed.origin.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(bed.send.stopped().await.unwrap(), Some(StreamReset::Cancelled.number().into()));
}

#[tokio::test]
async fn a_splice_that_is_dropped_resets_both_sides() {
    let mut bed = bed().await;
    bed.splice.abort_all();
    assert!(bed.splice.join_next().await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(bed.recv.read_to_end(100).await.unwrap_err(), reset(StreamReset::Cancelled));
    assert_eq!(bed.origin.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_session_that_ends_resets_the_origin() {
    let mut bed = bed().await;
    bed._tunnel.2.close(0u32.into(), b"");
    assert_eq!(bed.origin.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 251 + at) as u8).collect()
}

#[tokio::test]
async fn much_goes_both_ways_at_once_and_arrives_whole() {
    const MUCH: usize = 5_000_003;
    let bed = bed().await;
    let (mut from_splice, mut to_splice) = bed.origin.into_split();
    let (mut send, mut recv) = (bed.send, bed.recv);
    let upload = async {
        send.write_all(&pattern(MUCH)).await.unwrap();
        send.finish().unwrap();
    };
    let download = async {
        to_splice.write_all(&pattern(MUCH)).await.unwrap();
        to_splice.shutdown().await.unwrap();
    };
    let mut uploaded = Vec::new();
    let uploads = async { from_splice.read_to_end(&mut uploaded).await.unwrap() };
    let downloads = async { recv.read_to_end(MUCH).await.unwrap() };
    let ((), (), _, downloaded) = tokio::join!(upload, download, uploads, downloads);
    assert!(uploaded == pattern(MUCH) && downloaded == pattern(MUCH));
}

#[test]
fn reads_grow_and_shrink_within_bounds() {
    assert_eq!(next_size(SMALLEST_READ, SMALLEST_READ), 2 * SMALLEST_READ);
    assert_eq!(next_size(LARGEST_READ, LARGEST_READ), LARGEST_READ);
    assert_eq!(next_size(LARGEST_READ, 10), LARGEST_READ / 2);
    assert_eq!(next_size(SMALLEST_READ, 10), SMALLEST_READ);
}
