//! Datagrams: those of one address stay together, and come back to it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tests::bed::{Agent, Relay};
use tests::operator::Operator;
use tests::visitor::background;
use tests::wait::{PATIENCE, eventually};
use tokio::net::UdpSocket;

use super::{home, private, refusal};

/// What has not come by then is lost, where that is what we expect.
const SOON: Duration = Duration::from_millis(300);

async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.expect("a port")
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("a bound socket")
}

/// The next datagram, which has to come, and from where.
async fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut room = vec![0; 65_536];
    let received = tokio::time::timeout(PATIENCE, socket.recv_from(&mut room)).await;
    let (length, from) = received.expect("a datagram comes").expect("a socket");
    room.truncate(length);
    (room, from)
}

/// That nothing comes.
async fn is_quiet(socket: &UdpSocket) {
    let mut room = vec![0; 65_536];
    let received = tokio::time::timeout(SOON, socket.recv_from(&mut room)).await;
    assert!(received.is_err(), "it came: {received:?}");
}

/// A home whose service `dns` is a socket of the test's, and an operator's device with a door to it.
struct Bed {
    origin: UdpSocket,
    laptop: Operator,
    home: Agent,
    relay: Relay,
    door: SocketAddr,
}

impl Bed {
    async fn new() -> Self {
        let (relay, origin) = (Relay::start(), socket().await);
        let home = home(&relay, &private("dns", &format!("udp://{}", address(&origin)), "role:operator"));
        let mut laptop = Operator::connected(&relay, "laptop", &["home/dns"]);
        let door = laptop.door("home/dns");
        Self { origin, laptop, home, relay, door }
    }

    /// A local client whose flow is open, and where its datagrams come from at the origin.
    async fn client(&self) -> (UdpSocket, SocketAddr) {
        let client = socket().await;
        client.connect(self.door).await.expect("an address");
        client.send(b"hello").await.expect("it is sent");
        let (said, from) = next(&self.origin).await;
        assert_eq!(said, b"hello");
        (client, from)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_of_two_sockets_are_kept_apart_and_come_back_to_who_sent_them() {
    let bed = Bed::new().await;
    let clients = [bed.client().await, bed.client().await];
    assert_ne!(clients[0].1, clients[1].1);
    for round in 0..50 {
        for (number, (client, at_origin)) in clients.iter().enumerate() {
            let text = format!("{number}/{round}");
            client.send(text.as_bytes()).await.expect("it is sent");
            assert_eq!(next(&bed.origin).await, (text.clone().into_bytes(), *at_origin));
            bed.origin.send_to(text.as_bytes(), at_origin).await.expect("it is sent");
            assert_eq!(next(client).await, (text.into_bytes(), bed.door));
        }
    }
    // Also what nobody asked for, and nobody else hears it.
    bed.origin.send_to(b"news", clients[1].1).await.expect("it is sent");
    assert_eq!(next(&clients[1].0).await.0, b"news");
    is_quiet(&clients[0].0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_datagram_is_one_too() {
    let bed = Bed::new().await;
    let (client, at_origin) = bed.client().await;
    client.send(b"").await.expect("it is sent");
    assert_eq!(next(&bed.origin).await, (Vec::new(), at_origin));
    bed.origin.send_to(b"", at_origin).await.expect("it is sent");
    assert_eq!(next(&client).await.0, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_passes_and_what_does_not_is_told_and_harms_nobody() {
    let mut bed = Bed::new().await;
    let (client, at_origin) = bed.client().await;
    // Both connections find out by and by how much their paths take.
    let (large, mut room) = (vec![7; 1200], vec![0; 2048]);
    eventually("1,200 bytes pass both ways", async || {
        client.send(&large).await.ok()?;
        let came = tokio::time::timeout(SOON, bed.origin.recv_from(&mut room)).await.ok()?.expect("a socket");
        assert_eq!((&room[..came.0], came.1), (&large[..], at_origin));
        bed.origin.send_to(&large, at_origin).await.ok()?;
        let length = tokio::time::timeout(SOON, client.recv(&mut room)).await.ok()?.expect("a socket");
        (room[..length] == large).then_some(())
    })
    .await;
    let too_large = vec![9; 5000];
    client.send(&too_large).await.expect("it is sent");
    bed.laptop.agent.process().wait_for_log("datagrams were dropped");
    bed.origin.send_to(&too_large, at_origin).await.expect("it is sent");
    bed.home.process().wait_for_log("datagrams for a peer were dropped");
    for process in [bed.laptop.agent.process(), bed.home.process()] {
        let log = process.log();
        assert!(log.contains("a datagram of 5000 bytes does not fit the path, which takes 1"), "{log}");
    }
    // Neither has come, and the flow lives.
    client.send(b"after").await.expect("it is sent");
    assert_eq!(next(&bed.origin).await, (b"after".to_vec(), at_origin));
    bed.origin.send_to(b"before", at_origin).await.expect("it is sent");
    assert_eq!(next(&client).await.0, b"before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_flows_at_once() {
    let bed = Bed::new().await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(bed.client().await);
    }
    let sources: BTreeSet<SocketAddr> = clients.iter().map(|(_, at_origin)| *at_origin).collect();
    assert_eq!(sources.len(), 100);
    for (client, at_origin) in &clients {
        bed.origin.send_to(at_origin.to_string().as_bytes(), at_origin).await.expect("it is sent");
        assert_eq!(next(client).await.0, at_origin.to_string().into_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_may_come_later_and_come_back() {
    let (relay, origin) = (Relay::start(), socket().await);
    let place = address(&origin);
    drop(origin);
    let _home = home(&relay, &private("dns", &format!("udp://{place}"), "role:operator"));
    let mut laptop = Operator::connected(&relay, "laptop", &["home/dns"]);
    let (door, client) = (laptop.door("home/dns"), socket().await);
    client.send_to(b"nobody hears this", door).await.expect("it is sent");
    for _ in 0..2 {
        let origin = UdpSocket::bind(place).await.expect("its port");
        let mut room = [0; 100];
        eventually("the origin hears", async || {
            client.send_to(b"?", door).await.ok()?;
            let (length, from) = tokio::time::timeout(SOON, origin.recv_from(&mut room)).await.ok()?.ok()?;
            origin.send_to(&room[..length], from).await.ok()?;
            tokio::time::timeout(SOON, client.recv_from(&mut room)).await.ok()?.ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_ends_with_the_grant_and_begins_with_it() {
    let mut bed = Bed::new().await;
    let (client, at_origin) = bed.client().await;
    let _said = bed.relay.ask(&["peer", "ungrant", "laptop", "--service", "home/dns"]);
    eventually("the flow is cut", async || {
        bed.origin.send_to(b"?", at_origin).await.ok()?;
        let heard = tokio::time::timeout(SOON, next(&client)).await;
        heard.is_err().then_some(())
    })
    .await;
    client.send(b"let me in").await.expect("it is sent");
    is_quiet(&bed.origin).await;
    bed.laptop.agent.process().wait_for_log("datagrams lead nowhere");
    let _said = bed.relay.ask(&["peer", "grant", "laptop", "--service", "home/dns"]);
    eventually("it is let in again", async || {
        client.send(b"again").await.ok()?;
        tokio::time::timeout(SOON, next(&bed.origin)).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_datagrams_are_not_taken_for_each_other() {
    let bed = Bed::new().await;
    let said = refusal(&bed.laptop, &["home/dns", "--stdio"]);
    assert!(said.contains("`home/dns` takes datagrams, not connections"), "{said}");
    let said = refusal(&bed.laptop, &["home/dns", "--listen", "0", "--https", "dns.localhost"]);
    assert!(said.contains("`--https` is for connections, and `home/dns` takes datagrams"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_at_one_door_leaves_connections_alone() {
    let web = tests::origin::Origin::named("web").await;
    let (relay, origin) = (Relay::start(), socket().await);
    let config = private("dns", &format!("udp://{}", address(&origin)), "role:operator")
        + &private("web", &format!("http://{}", web.address), "role:operator");
    let _home = home(&relay, &config);
    let mut laptop = Operator::enrolled(&relay, "laptop", &["home/*"]);
    laptop.connect(&["home/dns", "home/web", "--listen", "0", "--listen", "0"]);
    let (dns, web) = (laptop.door("home/dns"), laptop.door("home/web"));
    background(async move {
        let client = socket().await;
        loop {
            let _dropped = client.send_to(&[7; 1000], dns).await;
            tokio::task::yield_now().await;
        }
    });
    let mut heard = 0;
    while heard < 500 {
        heard += usize::from(next(&origin).await.0.len() == 1000);
    }
    for _ in 0..10 {
        let answer = tokio::time::timeout(Duration::from_secs(5), super::get(web)).await;
        assert_eq!(answer.expect("it gets through")["origin"], "web");
    }
}
