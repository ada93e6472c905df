//! What passes through `agent connect`: whole, in order, and with the end that it had.

use std::time::{Duration, Instant};

use tests::bed::Relay;
use tests::operator::Operator;
use tests::origin::Origin;
use tests::wait::eventually;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Bed, Both, broken, get, hear, home, pass, private, reset, say};

/// More than everything on the way takes without being read.
const MUCH: usize = 8 << 20;
/// Of the large transfer, so many of these each way.
const BLOCK: usize = 1 << 20;
const BLOCKS: u64 = 64;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_the_origin_as_it_was_sent_at_the_address_on_standard_output() {
    let (relay, web) = (Relay::start(), Origin::named("web").await);
    let _home = home(&relay, &private("web", &format!("http://{}", web.address), "role:operator"));
    let laptop = Operator::enrolled(&relay, "laptop", &["home/web"]);
    let mut connect = laptop.piped(&["home/web", "--listen", "127.0.0.1:0"]);
    let mut line = String::new();
    BufReader::new(&mut connect.stdout).read_line(&mut line).await.expect("a line");
    let url = line.trim_end().strip_prefix("home/web is at http://").unwrap_or_else(|| panic!("{line:?}"));
    let answer = get(url.parse().expect("an address and a port")).await;
    let headers = serde_json::json!([["host", "localhost"], ["connection", "close"]]);
    assert_eq!((&answer["origin"], &answer["path"]), (&"web".into(), &"/a?b".into()));
    assert_eq!(answer["headers"], headers, "nothing is added");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_services_are_reached_at_once() {
    let (web, api) = (Origin::named("web").await, Origin::named("api").await);
    let relay = Relay::start();
    let config = private("web", &format!("http://{}", web.address), "role:operator")
        + &private("api", &format!("http://{}", api.address), "role:operator");
    let _home = home(&relay, &config);
    let mut laptop = Operator::enrolled(&relay, "laptop", &["home/*"]);
    laptop.connect(&["home/web", "home/api", "--listen", "127.0.0.1:0", "--listen", "0"]);
    let doors = [laptop.door("home/web"), laptop.door("home/api")];
    let answers: Vec<_> =
        futures_util::future::join_all(doors.iter().cycle().take(20).map(|door| get(*door)))
            .await
            .iter()
            .map(|answer| answer["origin"].clone())
            .collect();
    assert_eq!(answers, ["web", "api"].repeat(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_may_end_first_and_the_other_still_speaks() {
    let mut bed = Bed::new().await;
    let much: Vec<u8> = (0..MUCH).map(|at| (at / 251 % 256) as u8).collect();
    for _ in 0..2 {
        let Both { mut client, mut origin } = bed.connect().await;
        say(&mut client, b"that is all").await;
        assert_eq!(hear(&mut origin).await, b"that is all");
        let ((), heard) = tokio::join!(say(&mut origin, &much), hear(&mut client));
        assert!(heard == much);

        let Both { mut client, mut origin } = bed.connect().await;
        say(&mut origin, b"welcome and goodbye").await;
        assert_eq!(hear(&mut client).await, b"welcome and goodbye");
        let ((), heard) = tokio::join!(say(&mut client, &much), hear(&mut origin));
        assert!(heard == much);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_on_one_side_never_ends_well_on_the_other() {
    let mut bed = Bed::new().await;
    for has_spoken in [false, true] {
        let mut both = bed.connect().await;
        if has_spoken {
            both.is_alive().await;
        }
        reset(both.origin);
        let _nothing = broken(&mut both.client).await;
        let mut both = bed.connect().await;
        if has_spoken {
            both.is_alive().await;
        }
        reset(both.client);
        let _nothing = broken(&mut both.origin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_any_of_the_three_programs_connections_break_off() {
    for gone in 0..3 {
        let mut bed = Bed::new().await;
        let mut both = bed.connect().await;
        both.is_alive().await;
        match gone {
            0 => bed.relay.process.signal("TERM"),
            1 => bed.home.process().signal("TERM"),
            _ => bed.laptop.agent.process().signal("TERM"),
        }
        let (_, _) = tokio::join!(broken(&mut both.client), broken(&mut both.origin));
    }
}

/// The same for everybody who asks for the same one.
fn block(seed: u64, number: u64, room: &mut Vec<u8>) {
    if room.is_empty() {
        let mut state = seed;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..BLOCK / 8).for_each(|_| room.extend_from_slice(&next()));
    }
    room[..8].copy_from_slice(&number.to_be_bytes());
}

async fn send_blocks(seed: u64, to: &mut (impl AsyncWrite + Unpin)) {
    let mut room = Vec::new();
    for number in 0..BLOCKS {
        block(seed, number, &mut room);
        to.write_all(&room).await.expect("it takes everything");
    }
    to.shutdown().await.expect("it takes the end");
}

async fn check_blocks(seed: u64, from: &mut (impl AsyncRead + Unpin)) {
    let (mut expected, mut came) = (Vec::new(), vec![0; BLOCK]);
    for number in 0..BLOCKS {
        block(seed, number, &mut expected);
        from.read_exact(&mut came).await.expect("a block");
        assert!(came == expected, "block {number}");
    }
    assert_eq!(hear(from).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_megabytes_pass_both_ways_at_once() {
    let mut bed = Bed::new().await;
    let Both { client, origin } = bed.connect().await;
    let (mut from_origin, mut to_origin) = client.into_split();
    let (mut from_client, mut to_client) = origin.into_split();
    let all = async {
        tokio::join!(
            send_blocks(7, &mut to_origin),
            send_blocks(11, &mut to_client),
            check_blocks(7, &mut from_client),
            check_blocks(11, &mut from_origin),
        )
    };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_not_read_does_not_hold_up_another() {
    let mut bed = Bed::new().await;
    let stuck = bed.connect().await;
    let (mut from_client, mut to_origin) = stuck.client.into_split();
    let much = vec![7; 4 * MUCH];
    let stands_still = tokio::time::timeout(Duration::from_millis(500), to_origin.write_all(&much)).await;
    assert!(stands_still.is_err(), "all of it was taken though nobody reads");
    let mut other = bed.connect().await;
    let begun = Instant::now();
    other.is_alive().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    reset(stuck.origin);
    let _nothing = broken(&mut from_client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stdio_is_the_connection() {
    let mut bed = Bed::new().await;
    // The one who speaks on standard input ends first.
    let mut pipe = bed.laptop.piped(&["home/web", "--stdio"]);
    let mut origin = bed.web.next().await;
    pipe.say(b"SSH-2.0-client\r\n").await;
    let mut came = [0; 16];
    origin.read_exact(&mut came).await.expect("it passes");
    assert_eq!(&came, b"SSH-2.0-client\r\n");
    drop(pipe.stdin.take());
    assert_eq!(hear(&mut origin).await, b"");
    say(&mut origin, &vec![b'x'; MUCH]).await;
    let (code, rest, said) = pipe.end().await;
    assert_eq!((code, rest.len(), said.as_str()), (Some(0), MUCH, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn stdio_hears_the_end_of_the_other_side_while_its_own_is_open() {
    let mut bed = Bed::new().await;
    let mut pipe = bed.laptop.piped(&["home/web", "--stdio"]);
    let mut origin = bed.web.next().await;
    say(&mut origin, b"goodbye").await;
    assert_eq!(hear(&mut pipe.stdout).await, b"goodbye");
    // More than goes at once, and the program ends behind it.
    pipe.say(&vec![b'x'; 1 << 20]).await;
    drop(pipe.stdin.take());
    assert_eq!(hear(&mut origin).await.len(), 1 << 20);
    let (code, _, said) = pipe.end().await;
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn stdio_that_breaks_off_is_a_failure() {
    let mut bed = Bed::new().await;
    let pipe = bed.laptop.piped(&["home/web", "--stdio"]);
    reset(bed.web.next().await);
    let (code, _, said) = pipe.end().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("error: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_pieces_come_in_order_and_at_once() {
    let mut bed = Bed::new().await;
    let mut both = bed.connect().await;
    let begun = Instant::now();
    for number in 0..500_u16 {
        pass(&mut both.client, &mut both.origin, number as u8).await;
        pass(&mut both.origin, &mut both.client, number as u8).await;
    }
    // Nothing waits for more to come: 1,000 waits of 40 ms would be 40 s.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_not_there_is_a_reset() {
    let mut bed = Bed::new().await;
    bed.connect().await.is_alive().await;
    bed.web.origin.stop().await;
    // While another test starts a program, that one has the port open for a moment as well.
    let door = bed.door;
    eventually("the origin refuses", async || {
        let mut client = TcpStream::connect(door).await.expect("the door is open");
        assert_eq!(broken(&mut client).await, b"");
        bed.home.process().log().contains("refused").then_some(())
    })
    .await;
}
