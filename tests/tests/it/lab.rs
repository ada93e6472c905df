//! The lab does what tests of direct paths rely on: its NATs map and filter as they say, paths can be cut, bytes are
//! counted, and nothing of it stays.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::lab::{Host, Lab, Nat};
use tests::wait::eventually_blocking;

/// What has not come by then is lost, where that is what we expect.
const SOON: Duration = Duration::from_millis(300);
/// The same where a packet should come, also on a machine that is busy.
const LONG: Duration = Duration::from_secs(3);

/// Some port of a host.
fn socket(host: &Host) -> UdpSocket {
    socket_at(host, host.address())
}

fn socket_at(host: &Host, address: IpAddr) -> UdpSocket {
    host.within(|| UdpSocket::bind((address, 0))).expect("a host has its address")
}

fn local(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("a bound socket")
}

/// Where a packet comes from, as its receiver sees it; nothing if it is lost.
fn seen(from: &UdpSocket, to: SocketAddr, receiver: &UdpSocket) -> Option<SocketAddr> {
    seen_within(LONG, from, to, receiver)
}

fn is_lost(from: &UdpSocket, to: SocketAddr, receiver: &UdpSocket) -> bool {
    seen_within(SOON, from, to, receiver).is_none()
}

fn seen_within(time: Duration, from: &UdpSocket, to: SocketAddr, receiver: &UdpSocket) -> Option<SocketAddr> {
    let sent = local(from).to_string();
    from.send_to(sent.as_bytes(), to).expect("a packet can be sent");
    receiver.set_read_timeout(Some(time)).expect("a timeout");
    let mut buffer = [0; 100];
    loop {
        let (length, source) = receiver.recv_from(&mut buffer).ok()?;
        if buffer[..length] == *sent.as_bytes() {
            return Some(source);
        }
    }
}

/// The address that a socket has for one who asks.
fn mapped(from: &UdpSocket, observer: &UdpSocket) -> SocketAddr {
    seen(from, local(observer), observer).expect("an observer is reached")
}

/// Both send to where the other was seen; whether packets then pass in both directions.
fn punch(one: &UdpSocket, other: &UdpSocket, observer: &UdpSocket) -> bool {
    let (at_one, at_other) = (mapped(one, observer), mapped(other, observer));
    assert!(is_lost(one, at_other, other), "a NAT lets in what nobody asked for");
    let back = seen(other, at_one, one);
    back.is_some() && seen(one, at_other, other) == Some(at_one)
}

fn namespaces_of(lab_name: &str) -> Vec<String> {
    let output = Command::new("ip").args(["netns", "list"]).output().expect("`ip` runs");
    let list = String::from_utf8(output.stdout).expect("text");
    list.lines().filter(|line| line.starts_with(&format!("{lab_name}-"))).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn endpoint_independent_nats_are_punched() {
    let mut lab = Lab::new();
    let home = lab.site(Nat::EndpointIndependent, 2);
    let office = lab.site(Nat::EndpointIndependent, 1);
    let elsewhere = lab.site(Nat::None, 1);
    let (one, other) = (socket(home.host(0)), socket(office.host(0)));
    let (relay, stranger) = (socket(lab.relay()), socket(elsewhere.host(0)));

    let mapping = mapped(&one, &relay);
    assert_eq!(mapping, SocketAddr::new(home.public_address(), local(&one).port()));
    assert_eq!(mapped(&one, &stranger), mapping, "for another destination");
    assert!(punch(&one, &other, &relay));

    assert_eq!(mapped(&stranger, &relay), local(&stranger), "a host without a NAT");
    let third = socket(elsewhere.host(0));
    assert!(is_lost(&third, mapping, &one), "who was not sent to");
    let neighbour = socket(home.host(1));
    assert_eq!(seen(&neighbour, local(&one), &one), Some(local(&neighbour)), "within one site");
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn a_symmetric_nat_is_not_punched() {
    let mut lab = Lab::new();
    let home = lab.site(Nat::EndpointIndependent, 1);
    let hotel = lab.site(Nat::Symmetric, 1);
    let (one, other) = (socket(home.host(0)), socket(hotel.host(0)));
    let (relay, second) = (socket(lab.relay()), socket(lab.relay()));

    let (mapping, second) = (mapped(&other, &relay), mapped(&other, &second));
    assert_eq!((mapping.ip(), second.ip()), (hotel.public_address(), hotel.public_address()));
    assert_ne!(mapping.port(), second.port());
    assert_eq!(mapped(&other, &relay), mapping, "for the same destination");
    assert!(!punch(&one, &other, &relay));
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn paths_are_cut_and_restored() {
    let mut lab = Lab::new();
    let home = lab.site(Nat::EndpointIndependent, 1);
    let office = lab.site(Nat::EndpointIndependent, 1);
    let (one, other) = (socket(home.host(0)), socket(office.host(0)));
    let relay = socket(lab.relay());
    let (at_one, at_other) = (mapped(&one, &relay), mapped(&other, &relay));
    assert!(punch(&one, &other, &relay));

    lab.cut_between(&office, &home);
    assert!(is_lost(&one, at_other, &other));
    assert!(is_lost(&other, at_one, &one));
    assert_eq!((mapped(&one, &relay), mapped(&other, &relay)), (at_one, at_other), "the relay is reached");
    lab.restore_between(&home, &office);
    assert_eq!(seen(&one, at_other, &other), Some(at_one));
    assert_eq!(seen(&other, at_one, &one), Some(at_other));

    lab.block_udp(&home);
    assert!(is_lost(&one, local(&relay), &relay));
    assert!(is_lost(&relay, at_one, &one));
    assert_eq!(mapped(&other, &relay), at_other, "another site's UDP");
    let listener = lab.relay().within(|| std::net::TcpListener::bind((lab.relay().address(), 0)));
    let address = listener.as_ref().expect("a port").local_addr().expect("a bound socket");
    home.host(0).within(|| std::net::TcpStream::connect(address)).expect("TCP passes");
    lab.allow_udp(&home);
    assert_eq!(mapped(&one, &relay), at_one);
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn bytes_at_the_relay_are_counted() {
    const COUNT: u64 = 50;
    const LENGTH: u64 = 1000;
    let mut lab = Lab::new();
    let (home, office) = (lab.site(Nat::EndpointIndependent, 1), lab.site(Nat::EndpointIndependent, 1));
    let (one, other) = (socket(home.host(0)), socket(office.host(0)));
    let relay = socket(lab.relay());
    assert!(punch(&one, &other, &relay));
    let at_other = mapped(&other, &relay);
    let sends = |to: SocketAddr| {
        let before = lab.relay().traffic();
        (0..COUNT).for_each(|_| drop(one.send_to(&[7; LENGTH as usize], to)));
        assert_eq!(mapped(&one, &relay).ip(), home.public_address(), "what was sent before has arrived");
        let after = lab.relay().traffic();
        (after.received - before.received, after.sent - before.sent)
    };

    let (received, sent) = sends(at_other);
    assert!(received < LENGTH && sent < LENGTH, "past the relay: {received} {sent}");
    let (received, sent) = sends(local(&relay));
    assert!(received > COUNT * LENGTH && sent < LENGTH, "to the relay: {received} {sent}");
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn ipv6_hosts_have_a_firewall_and_no_nat() {
    let mut lab = Lab::with_ipv6();
    let (home, hotel) = (lab.site(Nat::EndpointIndependent, 1), lab.site(Nat::Symmetric, 1));
    let outside = lab.site(Nat::None, 1);
    let open = |host: &Host| socket_at(host, host.ipv6_address().expect("a lab of both families"));
    let (one, other) = (open(home.host(0)), open(hotel.host(0)));
    let (relay, stranger) = (open(lab.relay()), open(outside.host(0)));

    assert_eq!(mapped(&one, &relay), local(&one));
    assert_eq!(mapped(&stranger, &relay), local(&stranger));
    assert!(is_lost(&stranger, local(&one), &one), "unasked");
    assert!(punch(&one, &other, &relay));
    lab.cut_between(&home, &hotel);
    assert!(is_lost(&one, local(&other), &other));
    lab.block_udp(&hotel);
    assert!(is_lost(&other, local(&relay), &relay));
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn a_relay_and_agents_run_in_it() {
    let mut lab = Lab::new();
    let (home, hotel) = (lab.site(Nat::EndpointIndependent, 1), lab.site(Nat::Symmetric, 1));
    let mut relay = Relay::in_namespace(lab.relay(), "");
    let mut agents = [Agent::in_namespace(home.host(0)), Agent::in_namespace(hotel.host(0))];
    for (agent, hostname) in agents.iter_mut().zip(["a.example.com", "b.example.com"]) {
        agent.start(&relay, &[hostname], &simple(hostname, "http://127.0.0.1:1"));
    }
    for site in [&home, &hotel] {
        relay.process.wait_for_log(&format!("address=[::ffff:{}]:", site.public_address()));
    }
    relay.process.kill();
    relay.start_again();
    assert_eq!(relay.https.to_string(), "203.0.113.1:443");
    let sessions = || relay.process.log().matches("session up").count();
    eventually_blocking("the agents are back", || (sessions() == 4).then_some(()));
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn commands_run_on_a_host() {
    let lab = Lab::new();
    let mut command = Command::new("sh");
    command.args(["-c", "ip -br addr show dev eth0; echo $WORD; pwd"]).env("WORD", "of two words");
    let output = lab.relay().wrap(command.current_dir("/usr")).output().expect("the command runs");
    let printed = String::from_utf8(output.stdout).expect("text");
    for part in ["203.0.113.1/24", "\nof two words\n", "\n/usr\n"] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn nothing_is_left() {
    let mut name = String::new();
    let panics = catch_unwind(AssertUnwindSafe(|| {
        let mut lab = Lab::new();
        name.push_str(lab.name());
        let (_home, office) = (lab.site(Nat::Symmetric, 2), lab.site(Nat::None, 1));
        let kept = office.host(0).clone();
        assert_eq!(namespaces_of(lab.name()).len(), 7);
        drop((lab, _home, office));
        assert_eq!(namespaces_of(&name).len(), 1, "the one that is still in use");
        assert_eq!(kept.address().to_string(), "203.0.113.21");
        panic!("as a test does that fails");
    }));
    let text = panics.expect_err("a panic");
    assert_eq!(text.downcast_ref(), Some(&"as a test does that fails"));
    assert_eq!(namespaces_of(&name), Vec::<String>::new());
}
