//! How the controller behaves on simulated paths. Each test asserts what its path's applications and its other users see.

#[expect(clippy::unwrap_used, reason = "a simulator that cannot be set up fails its test")]
mod sim;

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::TransportConfig;
use quinn_proto::congestion::CubicConfig;
use sim::link::Policer;
use sim::{Load, Path, Shape, World, transport};

/// Of the rate, what is left for applications under the headers of IP, UDP and QUIC.
const PAYLOAD: f64 = 0.955;
const SECOND: Duration = Duration::from_secs(1);

fn ours() -> TransportConfig {
    transport(Arc::new(transport::congestion::Config::default()))
}

fn bulk(shape: Shape) -> (World, Path, usize) {
    let (mut world, path) = World::with_path(shape.clone(), shape, 3);
    let flow = world.connect(path, ours());
    world.load(flow, Load::Bulk);
    (world, path, flow)
}

/// Two flows' goodput over a span.
fn both(world: &mut World, first: usize, second: usize, span: Duration) -> (f64, f64) {
    let before = world.flows[second].server.received;
    let of_first = world.goodput(first, span);
    let received = world.flows[second].server.received - before;
    (of_first, received as f64 * 8.0 / span.as_secs_f64() / 1e6)
}

#[test]
fn clean_link_is_full_without_drops() {
    let (mut world, path, flow) = bulk(Shape::new(50.0, 20, 1.0));
    let goodput = world.goodput(flow, 6 * SECOND);
    let counters = &world.links[path.there].counters;
    assert!(goodput > 50.0 * PAYLOAD * 0.94, "{goodput}");
    assert!(counters.tail_share() < 0.002, "{}", counters.tail_share());
    assert!(counters.mean_wait() < Duration::from_millis(8), "{:?}", counters.mean_wait());
}

#[test]
fn random_loss_costs_what_is_lost_and_little_more() {
    for loss in [0.01, 0.03, 0.1] {
        let (mut world, path, flow) = bulk(Shape::new(50.0, 20, 1.0).with_loss(loss));
        let goodput = world.goodput(flow, 6 * SECOND);
        assert!(goodput > 50.0 * PAYLOAD * (1.0 - loss) * 0.9, "{loss}: {goodput}");
        assert!(world.links[path.there].counters.tail_share() < 0.01);
    }
}

#[test]
fn deep_buffer_is_not_filled() {
    let (mut world, path, flow) = bulk(Shape::new(50.0, 20, 10.0));
    world.run_until(SECOND);
    world.links[path.there].counters = Default::default();
    let goodput = world.goodput(flow, 5 * SECOND);
    let wait = world.links[path.there].counters.wait_quantile(0.99);
    assert!(goodput > 50.0 * PAYLOAD * 0.95, "{goodput}");
    assert!(wait < Duration::from_millis(20), "p99 {wait:?} over a round trip of 40 ms");
}

#[test]
fn shallow_buffer_is_not_overrun() {
    for queue in [0.1, 0.25] {
        let (mut world, path, flow) = bulk(Shape::new(50.0, 20, queue));
        let goodput = world.goodput(flow, 8 * SECOND);
        let dropped = world.links[path.there].counters.tail_share();
        assert!(goodput > 50.0 * PAYLOAD * 0.85, "{queue}: {goodput}");
        assert!(dropped < 0.02, "{queue}: {dropped}");
    }
}

#[test]
fn policer_is_used_and_not_flooded() {
    let policer = Policer { rate: 20e6, burst: 100e3 };
    let (mut world, path, flow) = bulk(Shape { policer: Some(policer), ..Shape::new(100.0, 20, 1.0) });
    world.run_until(3 * SECOND);
    world.links[path.there].counters = Default::default();
    let goodput = world.goodput(flow, 6 * SECOND);
    let counters = &world.links[path.there].counters;
    let policed = counters.policed as f64 / counters.sent as f64;
    assert!(goodput > 20.0 * PAYLOAD * 0.85, "{goodput}");
    assert!(policed < 0.2, "{policed}");
}

#[test]
fn rate_is_followed_down_and_up() {
    let (mut world, path, flow) = bulk(Shape::new(50.0, 20, 1.0));
    world.run_until(3 * SECOND);
    for rate in [25.0, 50.0] {
        world.reshape(path, |shape| shape.rate = rate * 1e6);
        world.run_until(world.now + 3 * SECOND);
        world.links[path.there].counters = Default::default();
        let goodput = world.goodput(flow, 2 * SECOND);
        assert!(goodput > rate * PAYLOAD * 0.93, "{rate}: {goodput}");
        assert!(world.links[path.there].counters.tail_share() < 0.02);
    }
}

#[test]
fn bandwidth_that_is_gone_is_forgotten_without_losses() {
    let (mut world, path, flow) = bulk(Shape::new(50.0, 20, 10.0));
    world.run_until(3 * SECOND);
    world.reshape(path, |shape| shape.rate = 25e6);
    world.run_until(4 * SECOND);
    world.links[path.there].counters = Default::default();
    world.run_until(6 * SECOND);
    // What is in flight is bounded by what the path carried before.
    let at_first = world.links[path.there].counters.wait_quantile(0.99);
    assert!(at_first < Duration::from_millis(130), "{at_first:?}");
    world.run_until(12 * SECOND);
    world.links[path.there].counters = Default::default();
    let goodput = world.goodput(flow, 2 * SECOND);
    let wait = world.links[path.there].counters.wait_quantile(0.99);
    assert!(goodput > 25.0 * PAYLOAD * 0.93, "{goodput}");
    assert!(wait < Duration::from_millis(25), "p99 {wait:?} over a round trip of 40 ms");
}

#[test]
fn longer_route_is_noticed_soon() {
    let (mut world, path, flow) = bulk(Shape { queue: 500e3, ..Shape::new(50.0, 10, 1.0) });
    world.run_until(3 * SECOND);
    for delay in [60, 10] {
        world.reshape(path, |shape| shape.delay = Duration::from_millis(delay));
        world.run_until(world.now + 2 * SECOND);
        let goodput = world.goodput(flow, 2 * SECOND);
        assert!(goodput > 50.0 * PAYLOAD * 0.93, "{delay}: {goodput}");
    }
}

#[test]
fn dead_path_that_comes_back_is_filled_again() {
    let (mut world, path, flow) = bulk(Shape::new(50.0, 20, 1.0));
    world.run_until(3 * SECOND);
    world.reshape(path, |shape| shape.loss = 1.0);
    world.run_until(6 * SECOND);
    world.reshape(path, |shape| shape.loss = 0.0);
    // quinn's probe timer, doubled each time, decides when the path is tried again.
    world.run_until(9 * SECOND);
    let goodput = world.goodput(flow, SECOND);
    assert!(goodput > 50.0 * PAYLOAD * 0.9, "{goodput}");
}

#[test]
fn idle_session_keeps_its_window_and_starts_at_once() {
    let shape = Shape::new(50.0, 20, 1.0);
    let (mut world, path) = World::with_path(shape.clone(), shape, 3);
    let flow = world.connect(path, ours());
    let requests = Load::Requests { bytes: 600, every: 3 * SECOND };
    world.load(flow, requests);
    world.run_until(120 * SECOND);
    let initial = 32 * 1200;
    assert!(world.window(flow) >= initial, "{}", world.window(flow));

    world.load(flow, Load::Bulk);
    let first = world.goodput(flow, SECOND);
    assert!(first > 50.0 * PAYLOAD * 0.65, "{first}");

    world.load(flow, requests);
    world.run_until(world.now + 120 * SECOND);
    world.links[path.there].counters = Default::default();
    world.load(flow, Load::Bulk);
    let again = world.goodput(flow, SECOND);
    assert!(again > 50.0 * PAYLOAD * 0.9, "{again}");
    assert_eq!(world.links[path.there].counters.tail_dropped, 0, "a burst that the path did not take");
}

#[test]
fn two_flows_share() {
    let (mut world, path, first) = bulk(Shape::new(30.0, 15, 1.0));
    world.run_until(3 * SECOND);
    let second = world.connect(path, ours());
    world.load(second, Load::Bulk);
    world.run_until(28 * SECOND);
    let (a, b) = both(&mut world, first, second, 10 * SECOND);
    let jain = (a + b).powi(2) / (2.0 * (a * a + b * b));
    assert!(jain > 0.9, "{a} and {b}: {jain}");
    assert!(a + b > 30.0 * PAYLOAD * 0.95, "{a} and {b}");
    assert!(world.links[path.there].counters.tail_share() < 0.02);
}

#[test]
fn cubic_and_we_live_together() {
    for (queue, share) in [(0.3, 0.1), (1.0, 0.2), (4.0, 0.2)] {
        let (mut world, path, ours) = bulk(Shape::new(30.0, 15, queue));
        let cubic = world.connect(path, transport(Arc::new(CubicConfig::default())));
        world.load(cubic, Load::Bulk);
        world.run_until(10 * SECOND);
        let (a, b) = both(&mut world, ours, cubic, 15 * SECOND);
        assert!(a.min(b) > (a + b) * share, "{queue}: ours {a}, Cubic {b}");
    }
}

#[test]
fn short_round_trip_is_no_limit() {
    let shape = Shape { queue: 1e6, delay: Duration::from_micros(50), ..Shape::new(2000.0, 1, 1.0) };
    let (mut world, _, flow) = bulk(shape);
    world.run_until(SECOND / 10);
    let goodput = world.goodput(flow, SECOND / 5);
    assert!(goodput > 2000.0 * PAYLOAD * 0.9, "{goodput}");
}
