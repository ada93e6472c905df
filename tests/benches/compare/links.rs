//! Tunnels over emulated links: how much of the link one transfer gets, what it costs others in drops at the queue, and
//! how long small requests take on the quiet link and beside a transfer that fills it.

use std::time::Duration;

use anyhow::Context;
use tests::link::{Counts, Direction};

use crate::Choice;
use crate::compare::{check_programs, show, show_all, start_all};
use crate::ground::Bench;
use crate::load;
use crate::namespace::Terrain;
use crate::origin::{ENDLESS_FILE, Origin, RECEIVED};
use crate::place::Side;
use crate::stack::{self, Running, Stack};
use crate::table::{Outcome, Row, medians};

/// One link; the queue of each direction holds one product of its rate and the round trip's time.
#[derive(Debug)]
pub(crate) struct LinkRow {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// One way, milliseconds.
    delay: u64,
    /// Each way: 0 to 1.
    loss: f64,
    /// Mbit/s from home to the relay, where visitors' downloads go.
    up: f64,
    /// Mbit/s from the relay to home, where visitors' uploads go.
    down: f64,
}

const fn symmetric(name: &'static str, title: &'static str, delay: u64, loss: f64, rate: f64) -> LinkRow {
    LinkRow { name, title, delay, loss, up: rate, down: rate }
}

pub(crate) const LINKS: &[LinkRow] = &[
    symmetric("fast", "10 ms one way, no loss, 500 Mbit/s", 10, 0.0, 500.0),
    symmetric("lossy", "25 ms one way, 1 % loss, 200 Mbit/s", 25, 0.01, 200.0),
    symmetric("bad", "50 ms one way, 3 % loss, 100 Mbit/s", 50, 0.03, 100.0),
    symmetric("long", "40 ms one way, 0.1 % loss, 300 Mbit/s", 40, 0.001, 300.0),
    symmetric("far", "150 ms one way, 0.5 % loss, 50 Mbit/s", 150, 0.005, 50.0),
    LinkRow {
        name: "home",
        title: "5 ms one way, no loss, 20 Mbit/s from home, 200 Mbit/s to it",
        delay: 5,
        loss: 0.0,
        up: 20.0,
        down: 200.0,
    },
];

const COLUMNS: &[&str] = &[
    "download Mbit/s",
    "dropped %",
    "upload Mbit/s",
    "dropped % ",
    "quiet p50 ms",
    "quiet p99 ms",
    "filled p50 ms",
    "filled p99 ms",
];
/// Samples of each stack unless told otherwise, and how long one transfer lasts.
const ROUNDS: usize = 1;
const SECONDS: u64 = 10;
/// After a transfer was broken off, what is on its way arrives.
const CALM: Duration = Duration::from_secs(2);

/// Runs the tunnels that were chosen over the links that were chosen.
pub(crate) async fn run(choice: &Choice) -> anyhow::Result<()> {
    check_programs()?;
    let known = |name: &String| LINKS.iter().any(|link| link.name == *name);
    if let Some(name) = choice.only.iter().find(|name| !known(name)) {
        let names: Vec<&str> = LINKS.iter().map(|link| link.name).collect();
        anyhow::bail!("no link `{name}`; there are {}", names.join(", "));
    }
    let stacks: Vec<_> = stack::chosen(&choice.stack)?.into_iter().filter(|stack| stack.tunnel).collect();
    let bench = Bench::new()?;
    let mut outcomes = Vec::new();
    let asked = |link: &&LinkRow| choice.only.is_empty() || choice.only.iter().any(|name| name == link.name);
    for link in LINKS.iter().filter(asked) {
        let outcome = over(link, &stacks, &bench, choice).await?;
        show(&outcome, choice);
        outcomes.push(outcome);
    }
    show_all(&outcomes, choice)
}

async fn over(
    link: &'static LinkRow,
    stacks: &[&'static Stack],
    bench: &Bench,
    choice: &Choice,
) -> anyhow::Result<Outcome> {
    let terrain = Terrain::new(link.direction(link.up), link.direction(link.down))?;
    let place = terrain.place();
    let origin = Origin::start(&place, &bench.folder("origin")?, &bench.files())?;
    let mut running = start_all(stacks, bench, &place, &origin).await;
    let mut rounds: Vec<Vec<_>> = running.iter().map(|_| Vec::new()).collect();
    for round in 1..=choice.rounds.unwrap_or(ROUNDS) {
        for (running, samples) in running.iter_mut().zip(&mut rounds) {
            let run = Run { link, terrain: &terrain, bench, running, origin: &origin };
            let sample = run.sample(choice.seconds.unwrap_or(SECONDS)).await;
            eprintln!("{} round {round} {}: {sample:.1?}", link.name, running.stack.name);
            samples.push(sample);
        }
    }
    let row = |(running, rounds): (&Running, _)| Row { stack: running.stack.name, outcome: medians(rounds) };
    let rows = running.iter().zip(rounds).map(row).collect();
    Ok(Outcome { name: link.name, title: link.title, columns: COLUMNS, compared: &[0, 2], rows })
}

impl LinkRow {
    fn direction(&self, megabits: f64) -> Direction {
        Direction::with_queue_of_one_round(Duration::from_millis(self.delay), self.loss, megabits * 1e6)
    }

    /// So many that there is something to see on long links, and so few that short ones stay quiet.
    fn connections(&self) -> u32 {
        u32::try_from(2 * self.delay / 40).unwrap_or(1).max(1)
    }
}

/// One stack on one link.
struct Run<'a> {
    link: &'a LinkRow,
    terrain: &'a Terrain,
    bench: &'a Bench,
    running: &'a Running,
    origin: &'a Origin,
}

impl Run<'_> {
    async fn sample(&self, seconds: u64) -> anyhow::Result<Vec<f64>> {
        let mut numbers = self.download(seconds).await.context("download")?;
        tokio::time::sleep(CALM).await;
        numbers.extend(self.upload(seconds).await.context("upload")?);
        tokio::time::sleep(CALM).await;
        numbers.extend(self.small_requests(seconds).await.context("quiet link")?);
        numbers.extend(self.beside_a_download(seconds).await.context("filled link")?);
        tokio::time::sleep(CALM).await;
        Ok(numbers)
    }

    async fn download(&self, seconds: u64) -> anyhow::Result<Vec<f64>> {
        let before = self.terrain.counts()[0];
        let transfer = load::download_for(self.running, seconds).await?;
        let dropped = dropped(before, self.terrain.counts()[0]);
        Ok(vec![transfer.bytes * 8e-6 / transfer.seconds, dropped])
    }

    async fn upload(&self, seconds: u64) -> anyhow::Result<Vec<f64>> {
        let (before, received) = (self.terrain.counts()[1], self.received().await?);
        load::upload_for(self.running, &self.bench.files().join(ENDLESS_FILE), seconds).await?;
        let bytes = self.received().await? - received;
        Ok(vec![bytes * 8e-6 / seconds as f64, dropped(before, self.terrain.counts()[1])])
    }

    async fn received(&self) -> anyhow::Result<f64> {
        let mut command = self.running.ground.place.command(Side::Home, "curl");
        command.args(["--silent", "--fail"]).arg(format!("http://{}{RECEIVED}", self.origin.address));
        Ok(load::output(command, Duration::from_secs(10)).await?.parse()?)
    }

    async fn small_requests(&self, seconds: u64) -> anyhow::Result<Vec<f64>> {
        let connections = self.link.connections();
        let requests = load::wrk(self.bench, self.running, "/1k", connections, seconds).await?;
        Ok(vec![requests.p50 / 1e3, requests.p99 / 1e3])
    }

    async fn beside_a_download(&self, seconds: u64) -> anyhow::Result<Vec<f64>> {
        const FILL: u64 = 2;
        let small = async {
            tokio::time::sleep(Duration::from_secs(FILL)).await;
            self.small_requests(seconds).await
        };
        // The download goes on until after the last small request.
        let (_transfer, numbers) =
            tokio::try_join!(load::download_for(self.running, seconds + FILL + 1), small)?;
        Ok(numbers)
    }
}

/// The share of packets that found the queue full, in percent.
fn dropped(before: Counts, after: Counts) -> f64 {
    let packets = after.packets - before.packets;
    100.0 * (after.dropped - before.dropped) as f64 / packets.max(1) as f64
}
