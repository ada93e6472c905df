//! Prints what quinn's controllers and ours get out of six links, simulated in virtual time.

#[path = "../tests/sim/mod.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "the tests' simulator, of which they use more")]
mod sim;

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::congestion::{BbrConfig, ControllerFactory, CubicConfig};
use sim::{Load, Shape, World, transport};

const SPAN: Duration = Duration::from_secs(12);

#[expect(clippy::print_stdout, reason = "it prints a table")]
fn main() {
    let only = std::env::args().nth(1);
    let link: Option<String> = std::env::args().nth(2);
    println!(
        "{:28} {:6} {:>9} {:>7} {:>8} {:>9} {:>9}",
        "link", "by", "Mbit/s", "share", "dropped", "queue", "p99"
    );
    for (name, there, back) in links() {
        if link.as_ref().is_some_and(|l| !name.starts_with(l.as_str())) {
            continue;
        }
        for (by, controller) in controllers() {
            if only.as_ref().is_some_and(|only| only != by) {
                continue;
            }
            let (mut world, path) = World::with_path(there.clone(), back.clone(), 7);
            let flow = world.connect(path, transport(controller));
            world.load(flow, Load::Bulk);
            let goodput = world.goodput(flow, SPAN);
            let counters = &world.links[path.there].counters;
            println!(
                "{name:28} {by:6} {goodput:9.1} {:6.1}% {:7.2}% {:9.1?} {:9.1?}",
                goodput * 1e8 / there.rate,
                counters.tail_share() * 100.0,
                counters.mean_wait(),
                counters.wait_quantile(0.99),
            );
        }
    }
}

fn links() -> Vec<(&'static str, Shape, Shape)> {
    let link = |rate, delay, loss| Shape::new(rate, delay, 1.0).with_loss(loss);
    let both = |name, shape: Shape| (name, shape.clone(), shape);
    vec![
        both("10 ms, 0 %, 500 Mbit/s", link(500.0, 10, 0.0)),
        both("25 ms, 1 %, 200 Mbit/s", link(200.0, 25, 0.01)),
        both("50 ms, 3 %, 100 Mbit/s", link(100.0, 50, 0.03)),
        both("40 ms, 0.1 %, 300 Mbit/s", link(300.0, 40, 0.001)),
        both("150 ms, 0.5 %, 50 Mbit/s", link(50.0, 150, 0.005)),
        ("5 ms, 20 of 20/200 Mbit/s", link(20.0, 5, 0.0), link(200.0, 5, 0.0)),
        ("5 ms, 200 of 20/200 Mbit/s", link(200.0, 5, 0.0), link(20.0, 5, 0.0)),
    ]
}

fn controllers() -> [(&'static str, Arc<dyn ControllerFactory + Send + Sync>); 3] {
    [
        ("cubic", Arc::new(CubicConfig::default())),
        ("bbr", Arc::new(BbrConfig::default())),
        ("ours", Arc::new(transport::congestion::Config::default())),
    ]
}
