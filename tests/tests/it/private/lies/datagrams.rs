//! Datagrams that come again, late, changed or elsewhere: each is delivered once, or not at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::control::Carries;
use protocol::private::Purpose;
use protocol::roster::Role;
use quinn::Connection;
use tests::bed::Agent;
use tests::operator::Operator;
use tests::wait::PATIENCE;
use tokio::net::UdpSocket;

use super::relay::{Liar, Session, Stream, carry, offering, reaching};
use super::{for_host, private};

/// What has not come by then does not come.
const SOON: Duration = Duration::from_millis(500);
const COUNT: usize = 20;

/// A flow, of which the liar holds both ends.
struct Flow {
    client: UdpSocket,
    /// Where its datagrams come from at the origin.
    at_origin: SocketAddr,
    operator: Stream,
    host: Stream,
}

struct Bed {
    origin: UdpSocket,
    door: SocketAddr,
    _laptop: Operator,
    _home: Agent,
    operator: Session,
    host: Session,
    _liar: Liar,
}

impl Bed {
    async fn new() -> Self {
        let (liar, origin) = (Liar::start(), UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
        let mut laptop = Operator { agent: liar.enroll("laptop").await };
        let mut home = liar.enroll("home").await;
        let url = format!("udp://{}", origin.local_addr().expect("an address"));
        home.write_config(&private("web", &url, "role:operator"));
        home.run();
        let mut host = liar.admit("home").await;
        laptop.connect(&["home/web", "--listen", "127.0.0.1:0"]);
        let mut operator = liar.admit("laptop").await;
        operator.tell(vec![offering("home", host.key, Carries::Udp)]).await;
        host.tell(vec![reaching("laptop", operator.key, Role::Operator)]).await;
        let (header, talk) = operator.next_of_any_kind().await;
        assert_eq!(header.purpose, Purpose::Talk);
        carry(talk, host.open(&for_host(&header, "laptop")).await);
        let door = laptop.door("home/web");
        Self { origin, door, _laptop: laptop, _home: home, operator, host, _liar: liar }
    }

    async fn flow(&mut self) -> Flow {
        let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        client.connect(self.door).await.expect("an address");
        client.send(b"hello").await.expect("it is sent");
        let (header, mut operator) = self.operator.next().await;
        let mut host = self.host.open(&for_host(&header, "laptop")).await;
        host.say(&operator.message().await).await;
        operator.say(&host.message().await).await;
        let hello = taken(&self.operator.connection, &operator).await;
        give(&self.host.connection, &host, &hello);
        let (said, at_origin) = received(&self.origin).await.expect("it comes");
        assert_eq!(said, b"hello");
        Flow { client, at_origin, operator, host }
    }
}

/// The next datagram of a flow, without its number.
async fn taken(from: &Connection, stream: &Stream) -> Vec<u8> {
    let datagram = tokio::time::timeout(PATIENCE, from.read_datagram()).await;
    let datagram = datagram.expect("a datagram comes").expect("a session");
    let (flow, rest) = protocol::datagram::split_flow(&datagram).expect("a flow");
    assert_eq!(flow, u64::from(stream.send.id()));
    rest.to_vec()
}

fn give(to: &Connection, stream: &Stream, sealed: &[u8]) {
    let datagram = [&u64::from(stream.send.id()).to_be_bytes(), sealed].concat();
    to.send_datagram(datagram.into()).expect("it takes datagrams");
}

/// What comes next, if it does soon.
async fn received(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut room = vec![0; 2048];
    let (length, from) = tokio::time::timeout(SOON, socket.recv_from(&mut room)).await.ok()?.ok()?;
    Some((room[..length].to_vec(), from))
}

/// All that comes, and how often.
async fn all(socket: &UdpSocket) -> BTreeMap<Vec<u8>, usize> {
    let mut came = BTreeMap::new();
    while let Some((said, _)) = received(socket).await {
        *came.entry(said).or_default() += 1;
    }
    came
}

fn each_once() -> BTreeMap<Vec<u8>, usize> {
    (0..COUNT).map(|number| (number.to_string().into_bytes(), 1)).collect()
}

fn changed(sealed: &[u8], at: usize) -> Vec<u8> {
    let mut sealed = sealed.to_vec();
    sealed[at] ^= 1;
    sealed
}

/// Everything that a liar can do with datagrams which it has seen.
fn play(to: &Connection, stream: &Stream, seen: &[Vec<u8>]) {
    for sealed in seen.iter().rev() {
        // What does not verify must not use the number up.
        give(to, stream, &changed(sealed, sealed.len() - 1));
        give(to, stream, &changed(sealed, 7));
        give(to, stream, &sealed[..sealed.len() - 1]);
        give(to, stream, &sealed[..4]);
        give(to, stream, sealed);
        give(to, stream, sealed);
    }
    seen.iter().for_each(|sealed| give(to, stream, sealed));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_delivered_once_in_whatever_order_and_however_often_they_come() {
    let mut bed = Bed::new().await;
    let flow = bed.flow().await;
    let mut seen = Vec::new();
    for number in 0..COUNT {
        flow.client.send(number.to_string().as_bytes()).await.expect("it is sent");
        seen.push(taken(&bed.operator.connection, &flow.operator).await);
    }
    play(&bed.host.connection, &flow.host, &seen);
    assert_eq!(all(&bed.origin).await, each_once());
    let mut seen = Vec::new();
    for number in 0..COUNT {
        bed.origin.send_to(number.to_string().as_bytes(), flow.at_origin).await.expect("it is sent");
        seen.push(taken(&bed.host.connection, &flow.host).await);
    }
    play(&bed.operator.connection, &flow.operator, &seen);
    assert_eq!(all(&flow.client).await, each_once());
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_one_flow_or_direction_are_none_of_another() {
    let mut bed = Bed::new().await;
    let (one, other) = (bed.flow().await, bed.flow().await);
    one.client.send(b"mine").await.expect("it is sent");
    let sealed = taken(&bed.operator.connection, &one.operator).await;
    give(&bed.host.connection, &other.host, &sealed);
    give(&bed.operator.connection, &other.operator, &sealed);
    give(&bed.operator.connection, &one.operator, &sealed);
    assert_eq!(received(&bed.origin).await, None);
    assert_eq!((received(&one.client).await, received(&other.client).await), (None, None));
    give(&bed.host.connection, &one.host, &sealed);
    assert_eq!(received(&bed.origin).await, Some((b"mine".to_vec(), one.at_origin)));
}
