//! All measurements on all stacks, on loopback: every stack runs at the same time, one is loaded at a time, and rounds
//! are interleaved so that what changes on the machine meanwhile changes for all.

use anyhow::{Context, ensure};

use crate::Choice;
use crate::ground::Bench;
use crate::links::LINKS;
use crate::load;
use crate::measure::{self, MEASUREMENTS, Measurement, Work};
use crate::origin::Origin;
use crate::place::{Place, find_program};
use crate::stack::{self, Running, Stack};
use crate::table::{Outcome, Row, medians};

/// Without these there is no load.
const PROGRAMS: &[(&str, &str)] = &[
    ("nginx", "apt-get install nginx-light"),
    ("wrk", "apt-get install wrk"),
    ("h2load", "apt-get install nghttp2-client"),
    ("curl", "apt-get install curl"),
];

/// Samples of each stack unless told otherwise, and how long one lasts.
const ROUNDS: usize = 3;
const SECONDS: u64 = 5;

/// Prints what can be asked for.
pub(crate) fn list() {
    for measurement in MEASUREMENTS {
        println!("--only {}: {}", measurement.name, measurement.title);
    }
    for name in stack::names() {
        println!("--stack {name}");
    }
    for link in LINKS {
        println!("links --only {}: {}", link.name, link.title);
    }
}

/// Measures what was chosen and prints each table as soon as it is there.
pub(crate) async fn run(choice: &Choice) -> anyhow::Result<()> {
    check_programs()?;
    let measurements = chosen(&choice.only)?;
    let mut stacks = stack::chosen(&choice.stack)?;
    let bench = Bench::new()?;
    let place = Place::loopback();
    let origin = Origin::start(&place, &bench.folder("origin")?, &bench.files())?;
    let mut field = Field { bench, place, origin, running: Vec::new() };
    if measurements.iter().any(|measurement| !measurement.work.is_fresh()) {
        field.running = start_all(&stacks, &field.bench, &field.place, &field.origin).await;
        stacks = field.running.iter().map(|running| running.stack).collect();
    }
    let mut outcomes = Vec::new();
    for measurement in measurements {
        let outcome = field.measure(measurement, &stacks, choice).await;
        show(&outcome, choice);
        outcomes.push(outcome);
    }
    show_all(&outcomes, choice)
}

/// Fails where no load can be made.
pub(crate) fn check_programs() -> anyhow::Result<()> {
    for (program, how) in PROGRAMS {
        ensure!(find_program(program).is_some(), "`{program}` is not installed ({how})");
    }
    warn_of_others();
    Ok(())
}

/// Figures taken on a machine that does something else are worth little, and look like any others.
fn warn_of_others() {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().and_then(|load| load.parse::<f64>().ok()).unwrap_or_default();
    if load > 0.5 {
        eprintln!("warning: this machine was not idle before (load {load}): figures will be off");
    }
}

/// A table as soon as it is there.
pub(crate) fn show(outcome: &Outcome, choice: &Choice) {
    if !choice.json {
        println!("{}", outcome.table());
    }
}

/// JSON when all is there. Fails where a stack has failed, so that nobody takes the rest for the whole.
pub(crate) fn show_all(outcomes: &[Outcome], choice: &Choice) -> anyhow::Result<()> {
    if choice.json {
        println!("{}", serde_json::to_string_pretty(outcomes)?);
    }
    let failed = outcomes.iter().flat_map(|outcome| &outcome.rows).filter(|row| row.outcome.is_err()).count();
    ensure!(failed == 0, "{failed} failed");
    Ok(())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Measurement>> {
    let unknown = names.iter().find(|name| MEASUREMENTS.iter().all(|measurement| measurement.name != **name));
    if let Some(name) = unknown {
        let known: Vec<&str> = MEASUREMENTS.iter().map(|measurement| measurement.name).collect();
        anyhow::bail!("no measurement `{name}`; there are {}", known.join(", "));
    }
    let asked =
        |measurement: &&Measurement| names.is_empty() || names.iter().any(|name| name == measurement.name);
    let mut chosen: Vec<_> = MEASUREMENTS.iter().filter(asked).collect();
    // Those that start stacks of their own come last.
    chosen.sort_by_key(|measurement| measurement.work.is_fresh());
    Ok(chosen)
}

/// Starts stacks; those that do not come up are named and left out.
pub(crate) async fn start_all(
    stacks: &[&'static Stack],
    bench: &Bench,
    place: &Place,
    origin: &Origin,
) -> Vec<Running> {
    let mut all = Vec::new();
    for stack in stacks {
        match start(bench, stack, place, origin).await {
            Ok(running) => all.push(running),
            Err(error) => eprintln!("skipped {}: {error:#}", stack.name),
        }
    }
    all
}

/// Starts a stack and waits until it answers.
async fn start(
    bench: &Bench,
    stack: &'static Stack,
    place: &Place,
    origin: &Origin,
) -> anyhow::Result<Running> {
    eprintln!("starting {}", stack.name);
    let mut running = Running::start(stack, bench.ground(stack.name, place, origin.address)?)
        .with_context(|| format!("starting {}", stack.name))?;
    let mut attempts = 0;
    while let Err(error) = load::answers(&running).await {
        running.check()?;
        attempts += 1;
        if attempts == 100 {
            return Err(error.context(format!("{} never answered", stack.name)));
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(running)
}

/// All that runs on loopback.
struct Field {
    bench: Bench,
    place: Place,
    origin: Origin,
    /// In the order of the stacks; nothing where every sample starts its own.
    running: Vec<Running>,
}

impl Field {
    async fn start(&self, stack: &'static Stack) -> anyhow::Result<Running> {
        start(&self.bench, stack, &self.place, &self.origin).await
    }

    async fn measure(
        &mut self,
        measurement: &'static Measurement,
        stacks: &[&'static Stack],
        choice: &Choice,
    ) -> Outcome {
        if measurement.work.is_fresh() {
            // Programs that run would share memory with those that are started.
            self.running.clear();
        }
        let suiting: Vec<_> =
            stacks.iter().enumerate().filter(|(_, stack)| measurement.work.suits(stack)).collect();
        let mut rounds: Vec<Vec<_>> = suiting.iter().map(|_| Vec::new()).collect();
        for round in 1..=choice.rounds.unwrap_or(ROUNDS) {
            for ((index, stack), samples) in suiting.iter().zip(&mut rounds) {
                let sample =
                    self.sample(measurement.work, *index, stack, choice.seconds.unwrap_or(SECONDS)).await;
                eprintln!("{} round {round} {}: {sample:.1?}", measurement.name, stack.name);
                samples.push(sample);
            }
        }
        let Measurement { name, title, columns, compared, .. } = *measurement;
        let row = |((_, stack), rounds): (&(_, &&'static Stack), _)| Row {
            stack: stack.name,
            outcome: medians(rounds),
        };
        Outcome { name, title, columns, compared, rows: suiting.iter().zip(rounds).map(row).collect() }
    }

    async fn sample(
        &mut self,
        work: Work,
        index: usize,
        stack: &'static Stack,
        seconds: u64,
    ) -> anyhow::Result<Vec<f64>> {
        if work.is_fresh() {
            let mut running = self.start(stack).await?;
            return measure::sample(work, &self.bench, &mut running, seconds).await;
        }
        measure::sample(work, &self.bench, &mut self.running[index], seconds).await
    }
}
