//! One emulated link for programs that are started by hand: `compare link`.

use std::time::Duration;

use tests::link::{Counts, Direction};

use crate::namespace::Terrain;

/// What the link is like.
#[derive(Debug, clap::Args)]
pub(crate) struct HeldLink {
    /// One way, milliseconds
    #[arg(long, default_value_t = 25)]
    delay: u64,
    /// Each way, percent
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Mbit/s from home to the relay
    #[arg(long, default_value_t = 200.0)]
    up: f64,
    /// Mbit/s from the relay to home
    #[arg(long, default_value_t = 200.0)]
    down: f64,
}

impl HeldLink {
    /// Prints where it is, and stays until it is given up.
    pub(crate) async fn hold(&self) -> anyhow::Result<()> {
        let [up, down] = [self.up, self.down].map(|rate| {
            Direction::with_queue_of_one_round(
                Duration::from_millis(self.delay),
                self.loss / 100.0,
                rate * 1e6,
            )
        });
        let held = Held(Terrain::new(up, down)?);
        if let Some((relay, home)) = held.0.place().namespaces {
            println!("ip netns exec {relay} ...: the relay's side, {}", held.0.place().relay);
            println!("ip netns exec {home} ...: the home side");
        }
        std::future::pending().await
    }
}

/// Tells at its end what the link has seen.
struct Held(Terrain);

impl Drop for Held {
    fn drop(&mut self) {
        for (way, counts) in ["up", "down"].iter().zip(self.0.counts()) {
            let Counts { packets, lost, dropped } = counts;
            println!("{way}: {packets} packets, {lost} lost, {dropped} dropped at the tail");
        }
    }
}
