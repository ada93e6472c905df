//! What is measured: one row a measurement, and how one sample of it is taken.

use std::time::Duration;

use crate::client::{self, Done};
use crate::ground::Bench;
use crate::load::{self, Requests, Transfer};
use crate::origin::LARGE_FILE;
use crate::stack::{Running, Stack};
use crate::usage;

/// One table.
#[derive(Debug)]
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What the numbers of a sample are.
    pub(crate) columns: &'static [&'static str],
    /// The column that stacks are compared by.
    pub(crate) compared: &'static [usize],
    pub(crate) work: Work,
}

/// How a sample is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    Wrk { path: &'static str, connections: u32 },
    H2,
    Download,
    Upload,
    Visits,
    Echoes,
    Memory,
    Agents,
}

impl Work {
    /// Whether a stack has to be started anew for each sample: memory tells of all that has been.
    pub(crate) fn is_fresh(self) -> bool {
        matches!(self, Self::Memory | Self::Agents)
    }

    /// Whether a stack can do it.
    pub(crate) fn suits(self, stack: &Stack) -> bool {
        !matches!(self, Self::Agents) || stack.more_agents.is_some()
    }
}

const REQUESTS: &[&str] = &["CPU us/request", "requests/s", "p50 us", "p99 us"];
const TRANSFERS: &[&str] = &["CPU s/GB", "MB/s"];
/// Of the large file in one sample: CPU time is told in hundredths of seconds.
const TRANSFERS_PER_SAMPLE: usize = 5;

pub(crate) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "1k-64",
        title: "1 KiB, 64 connections (wrk, https, HTTP/1.1)",
        columns: REQUESTS,
        compared: &[0],
        work: Work::Wrk { path: "/1k", connections: 64 },
    },
    Measurement {
        name: "1k-1",
        title: "1 KiB, 1 connection (wrk, https, HTTP/1.1)",
        columns: REQUESTS,
        compared: &[0],
        work: Work::Wrk { path: "/1k", connections: 1 },
    },
    Measurement {
        name: "64k-16",
        title: "64 KiB, 16 connections (wrk, https, HTTP/1.1)",
        columns: REQUESTS,
        compared: &[0],
        work: Work::Wrk { path: "/64k", connections: 16 },
    },
    Measurement {
        name: "h2-100",
        title: "1 KiB, 1 connection with 100 streams (h2load, HTTP/2)",
        columns: REQUESTS,
        compared: &[0],
        work: Work::H2,
    },
    Measurement {
        name: "download",
        title: "100 MB download (curl, HTTP/1.1)",
        columns: TRANSFERS,
        compared: &[0],
        work: Work::Download,
    },
    Measurement {
        name: "upload",
        title: "100 MB upload (curl, HTTP/1.1)",
        columns: TRANSFERS,
        compared: &[0],
        work: Work::Upload,
    },
    Measurement {
        name: "visits",
        title: "new visitors: TCP, full TLS 1.3 handshake, one request of 1 KiB; 16 at once",
        columns: &["CPU us/visit", "visits/s"],
        compared: &[0],
        work: Work::Visits,
    },
    Measurement {
        name: "echo",
        title: "WebSocket messages of 128 bytes, there and back; 16 connections, one message at a time on each",
        columns: &["CPU us/message", "messages/s"],
        compared: &[0],
        work: Work::Echoes,
    },
    Measurement {
        name: "memory",
        title: "memory (PSS of all processes) after the start, and with 1000 idle WebSockets",
        columns: &["idle MiB", "KiB/WebSocket"],
        compared: &[0, 1],
        work: Work::Memory,
    },
    Measurement {
        name: "agents",
        title: "memory of the relay (PSS) with 100 further idle agents",
        columns: &["idle MiB", "KiB/agent"],
        compared: &[],
        work: Work::Agents,
    },
];

const WEBSOCKETS: usize = 1000;
const AGENTS: usize = 100;
/// Memory is read when nothing has happened for this long.
const CALM: Duration = Duration::from_secs(2);

/// Takes one sample on a stack that runs.
pub(crate) async fn sample(
    work: Work,
    bench: &Bench,
    running: &mut Running,
    seconds: u64,
) -> anyhow::Result<Vec<f64>> {
    let processes = running.processes();
    let before = usage::cpu(&processes)?;
    let spent = || usage::cpu(&processes).map(|after| after.saturating_sub(before));
    let numbers = match work {
        Work::Wrk { path, connections } => {
            let requests = load::wrk(bench, running, path, connections, seconds).await?;
            of_requests(requests, spent()?)
        }
        Work::H2 => {
            let requests = load::h2load(bench, running, seconds).await?;
            of_requests(requests, spent()?)
        }
        Work::Download => {
            let path = format!("/{LARGE_FILE}");
            let transfer = load::download(running, &path, TRANSFERS_PER_SAMPLE).await?;
            of_transfer(transfer, spent()?)
        }
        Work::Upload => {
            let file = bench.files().join(LARGE_FILE);
            let transfer = load::upload(running, &file, TRANSFERS_PER_SAMPLE).await?;
            of_transfer(transfer, spent()?)
        }
        Work::Visits => of_times(client::visits(bench, running, seconds).await?, spent()?),
        Work::Echoes => of_times(client::echoes(bench, running, seconds).await?, spent()?),
        Work::Memory => of_memory(&processes, WEBSOCKETS, client::idle(bench, running, WEBSOCKETS)).await?,
        Work::Agents => {
            // The first process is the relay.
            of_memory(&processes[..1], AGENTS, async { running.more_agents(AGENTS) }).await?
        }
    };
    running.check()?;
    Ok(numbers)
}

fn of_requests(requests: Requests, spent: Duration) -> Vec<f64> {
    let Requests { answered, seconds, p50, p99 } = requests;
    vec![spent.as_secs_f64() * 1e6 / answered, answered / seconds, p50, p99]
}

fn of_transfer(transfer: Transfer, spent: Duration) -> Vec<f64> {
    vec![spent.as_secs_f64() * 1e9 / transfer.bytes, transfer.bytes / 1e6 / transfer.seconds]
}

fn of_times(done: Done, spent: Duration) -> Vec<f64> {
    vec![spent.as_secs_f64() * 1e6 / done.times, done.times / done.seconds]
}

/// Before something is held, and what each of it adds.
async fn of_memory<T>(
    processes: &[u32],
    count: usize,
    hold: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Vec<f64>> {
    tokio::time::sleep(CALM).await;
    let before = usage::memory(processes)? as f64;
    let held = hold.await?;
    tokio::time::sleep(CALM).await;
    let after = usage::memory(processes)? as f64;
    drop(held);
    Ok(vec![before / 1_048_576.0, (after - before) / 1024.0 / count as f64])
}
