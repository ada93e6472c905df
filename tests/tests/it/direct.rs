//! Direct paths between two agents, through real NATs: when they come about, what happens when they die, and that the
//! relay is spared.

mod bed;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use tests::lab::Nat;
use tests::wait::eventually_blocking;

use bed::Bed;

/// Large enough to tell who carried it.
const LARGE: usize = 5_000_000;
/// What the sessions themselves may send meanwhile.
const SMALL_TALK: u64 = 200_000;

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn behind_nats_that_keep_their_ports_it_is_direct_within_three_seconds_and_the_relay_is_spared() {
    let bed = Bed::new(Nat::EndpointIndependent, Nat::EndpointIndependent);
    bed.becomes_direct();
    assert!(bed.took < Duration::from_secs(3), "{:?}", bed.took);
    assert_eq!(bed.address().ip(), bed.home_site.public_address());
    let before = bed.lab.relay().traffic();
    assert_eq!(bed.fetch(LARGE), LARGE);
    let after = bed.lab.relay().traffic();
    assert!(after.received - before.received < SMALL_TALK, "{before:?} {after:?}");
    let listed: serde_json::Value =
        serde_json::from_slice(&bed.laptop.command(&["services", "--json"]).stdout).expect("JSON");
    assert_eq!(listed[0]["path"], "direct", "{listed}");
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn where_a_nat_gives_every_destination_another_port_it_stays_relayed_and_says_so() {
    use Nat::{EndpointIndependent, Symmetric};
    for (home, laptop) in
        [(Symmetric, EndpointIndependent), (EndpointIndependent, Symmetric), (Symmetric, Symmetric)]
    {
        let bed = Bed::new(home, laptop);
        assert_eq!(bed.fetch(1000), 1000);
        let why = bed.stays_relayed();
        assert!(why.contains("nothing came through from") && why.contains("another port"), "{why}");
        let before = bed.lab.relay().traffic();
        assert_eq!(bed.fetch(LARGE), LARGE);
        assert!(bed.lab.relay().traffic().sent - before.sent > LARGE as u64);
    }
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn in_one_network_local_addresses_are_used() {
    let bed = Bed::in_one_network(Nat::Symmetric);
    bed.becomes_direct();
    assert_eq!(bed.address().ip(), bed.home_site.host(0).address());
    assert_eq!(bed.fetch(LARGE), LARGE);
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn over_ipv6_it_is_direct_whatever_the_nat_does_to_ipv4() {
    let bed = Bed::with_ipv6(Nat::Symmetric, Nat::Symmetric);
    bed.becomes_direct();
    assert!(bed.address().is_ipv6(), "{}", bed.address());
    assert_eq!(bed.fetch(1000), 1000);
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn when_the_path_dies_the_relay_carries_on_within_two_seconds_and_later_it_is_direct_again() {
    let bed = Bed::new(Nat::EndpointIndependent, Nat::EndpointIndependent);
    bed.becomes_direct();
    // In use: what runs on it is broken off, not left hanging.
    let mut running = bed.open();
    running.echo(b"before");
    bed.cut();
    let begun = Instant::now();
    running.breaks();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(bed.fetch(1000), 1000);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    bed.restore();
    bed.becomes_direct();
    // Idle: whoever comes first notices, and is led another way.
    bed.cut();
    let begun = Instant::now();
    assert_eq!(bed.fetch(1000), 1000);
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn what_runs_through_the_relay_finishes_there_when_a_path_comes_about() {
    let bed = Bed::cut_from_the_start();
    let mut running = bed.open();
    running.echo(b"relayed");
    bed.restore();
    bed.becomes_direct();
    running.echo(b"still there");
    bed.cut();
    running.echo(b"and not on the direct path");
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn a_direct_path_outlives_the_relay() {
    let mut bed = Bed::new(Nat::EndpointIndependent, Nat::EndpointIndependent);
    bed.becomes_direct();
    let mut running = bed.open();
    running.echo(b"before");
    bed.relay.process.kill();
    running.echo(b"after");
    assert_eq!(bed.fetch(1000), 1000);
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn a_grant_that_is_taken_ends_what_runs_directly() {
    let bed = Bed::new(Nat::EndpointIndependent, Nat::EndpointIndependent);
    bed.becomes_direct();
    let mut running = bed.open();
    running.echo(b"before");
    let begun = Instant::now();
    let _said = bed.relay.ask(&["peer", "ungrant", "laptop", "--service", "home/echo"]);
    running.breaks();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let mut refused = bed.connect();
    let _refused = refused.write_all(b"hello\n");
    assert!(matches!(refused.read(&mut [0; 9]), Ok(0) | Err(_)));
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn a_grant_that_is_taken_while_the_sessions_are_away_ends_what_runs_directly() {
    let mut bed = Bed::new(Nat::EndpointIndependent, Nat::EndpointIndependent);
    bed.becomes_direct();
    let mut running = bed.open();
    running.echo(b"before");
    bed.relay.process.kill();
    bed.relay.start_again();
    let _said = bed.relay.ask(&["peer", "ungrant", "laptop", "--service", "home/echo"]);
    running.breaks();
}

#[test]
#[ignore = "needs root, iproute2 and nftables"]
fn strangers_get_no_answer_from_an_agents_socket() {
    let bed = Bed::new(Nat::None, Nat::None);
    bed.becomes_direct();
    eventually_blocking("the meeting is over", || {
        let port = bed.address().port();
        let stranger =
            bed.lab.relay().within(|| std::net::UdpSocket::bind(("203.0.113.1", 0))).expect("a socket");
        stranger.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        // A packet that begins like QUIC's first, of a version that nobody has: who serves answers with those it has.
        let mut packet = vec![0; 1200];
        packet[0] = 0xc0;
        packet[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
        packet[5] = 8;
        stranger.send_to(&packet, (bed.home_site.host(0).address(), port)).expect("it is sent");
        stranger.recv(&mut [0; 2000]).is_err().then_some(())
    });
}
