//! Load from programs that others trust: wrk, h2load, curl. What they print becomes numbers or a failure, never both.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::ground::Bench;
use crate::origin::ENDLESS_FILE;
use crate::place::{Place, Side};
use crate::stack::Running;

/// What many small requests were like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requests {
    pub(crate) answered: f64,
    pub(crate) seconds: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// How curl ends when `--max-time` is over.
const CURL_TIMED_OUT: i32 = 28;

/// Runs a command to its end, killed where the measurement is given up; what it printed.
pub(crate) async fn output(command: Command, limit: Duration) -> anyhow::Result<String> {
    output_or(command, limit, 0).await
}

/// The same where another exit code is as good as none.
async fn output_or(command: Command, limit: Duration, code: i32) -> anyhow::Result<String> {
    let name = format!("{:?}", command.get_program());
    let mut command = tokio::process::Command::from(command);
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(limit, running).await;
    let output = output.with_context(|| format!("{name} still ran after {limit:?}"))??;
    let err = String::from_utf8_lossy(&output.stderr);
    let fine = output.status.success() || output.status.code() == Some(code);
    ensure!(fine, "{name} {}: {}", output.status, err.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn with_grace(seconds: u64) -> Duration {
    Duration::from_secs(seconds + 60)
}

/// `wrk` over HTTP/1.1, each connection asking again as soon as it was answered.
pub(crate) async fn wrk(
    bench: &Bench,
    running: &Running,
    path: &str,
    connections: u32,
    seconds: u64,
) -> anyhow::Result<Requests> {
    let script = bench.path().join("wrk.lua");
    std::fs::write(&script, include_str!("wrk.lua"))?;
    let mut command = running.ground.place.command(Side::Relay, "wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--timeout", "20s", "-s"]);
    command.arg(script).arg(running.url(path));
    let text = output(command, with_grace(seconds)).await?;
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT ")).context("wrk printed no result")?;
    let fields: Result<Vec<f64>, _> = line.split(' ').map(str::parse).collect();
    let [answered, micros, errors, p50, p99] = fields?[..] else { bail!("wrk printed `{line}`") };
    ensure!(errors == 0.0 && answered > 0.0, "{answered} answers, {errors} errors: {}", complaints(&text));
    Ok(Requests { answered, seconds: micros / 1e6, p50, p99 })
}

fn complaints(text: &str) -> String {
    let bad = |line: &&str| line.contains("Socket errors") || line.contains("Non-2xx");
    text.lines().filter(bad).map(str::trim).collect::<Vec<_>>().join("; ")
}

/// `h2load`: one connection with 100 streams, each asking again as soon as it was answered.
pub(crate) async fn h2load(bench: &Bench, running: &Running, seconds: u64) -> anyhow::Result<Requests> {
    let log = bench.path().join("h2load.log");
    let _from_before = std::fs::remove_file(&log);
    let mut command = running.ground.place.command(Side::Relay, "h2load");
    command.args(["-t1", "-c1", "-m100", "-D", &seconds.to_string(), "--log-file"]).arg(&log);
    command.arg(running.url("/1k"));
    let text = output(command, with_grace(seconds)).await?;
    // A line a request: start, status, microseconds.
    let lines = std::fs::read_to_string(&log).context("h2load wrote no log")?;
    let mut times = Vec::new();
    for line in lines.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, status, micros] = fields[..] else { bail!("h2load wrote `{line}`") };
        ensure!(status.starts_with('2'), "h2load met status {status}");
        times.push(micros.parse::<f64>()?);
    }
    let problems = text.lines().find(|line| line.starts_with("requests:")).context("h2load said nothing")?;
    ensure!(problems.contains(" 0 failed, 0 errored, 0 timeout"), "{problems}");
    ensure!(!times.is_empty(), "h2load was never answered");
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    Ok(Requests { answered: times.len() as f64, seconds: seconds as f64, p50: at(50), p99: at(99) })
}

/// What one or several transfers were like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transfer {
    pub(crate) bytes: f64,
    pub(crate) seconds: f64,
}

/// `curl` over HTTP/1.1: downloads a path, several times on one connection.
pub(crate) async fn download(running: &Running, path: &str, times: usize) -> anyhow::Result<Transfer> {
    let mut command = curl(running, "size_download", PATIENCE);
    for _ in 0..times {
        command.args(["-o", "/dev/null"]).arg(running.url(path));
    }
    transfers(command).await
}

/// The same upwards.
pub(crate) async fn upload(running: &Running, file: &Path, times: usize) -> anyhow::Result<Transfer> {
    let mut command = curl(running, "size_upload", PATIENCE);
    for _ in 0..times {
        command.args(["-H", "Expect:", "-o", "/dev/null", "-T"]).arg(file).arg(running.url("/upload"));
    }
    transfers(command).await
}

/// Downloads without an end, for a time.
pub(crate) async fn download_for(running: &Running, seconds: u64) -> anyhow::Result<Transfer> {
    let mut command = curl(running, "size_download", seconds);
    command.args(["-o", "/dev/null"]).arg(running.url(&format!("/{ENDLESS_FILE}")));
    let limit = with_grace(seconds);
    summed(&output_or(command, limit, CURL_TIMED_OUT).await?)
}

/// Uploads without an end, for a time. What arrived is known to the origin alone: the way there holds some of it.
pub(crate) async fn upload_for(running: &Running, file: &Path, seconds: u64) -> anyhow::Result<()> {
    let mut command = curl(running, "size_upload", seconds);
    command.args(["-H", "Expect:", "-o", "/dev/null", "-T"]).arg(file).arg(running.url("/upload"));
    output_or(command, with_grace(seconds), CURL_TIMED_OUT).await.map(drop)
}

/// Seconds for transfers that come to their end.
const PATIENCE: u64 = 120;

fn curl(running: &Running, size: &str, seconds: u64) -> Command {
    let mut command = running.ground.place.command(Side::Relay, "curl");
    command.args(["--silent", "--show-error", "--insecure", "--http1.1", "--max-time", &seconds.to_string()]);
    command.args(["-w", &format!("%{{http_code}} %{{{size}}} %{{time_total}}\\n")]);
    command
}

async fn transfers(command: Command) -> anyhow::Result<Transfer> {
    summed(&output(command, with_grace(PATIENCE)).await?)
}

fn summed(text: &str) -> anyhow::Result<Transfer> {
    let mut sum = Transfer { bytes: 0.0, seconds: 0.0 };
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [code, bytes, seconds] = fields[..] else { bail!("curl printed `{line}`") };
        ensure!(code.starts_with('2'), "curl met status {code}");
        sum.bytes += bytes.parse::<f64>()?;
        sum.seconds += seconds.parse::<f64>()?;
    }
    Ok(sum)
}

/// Whether a stack answers `200` to a small request.
pub(crate) async fn answers(running: &Running) -> anyhow::Result<()> {
    let place: &Place = &running.ground.place;
    let mut command = place.command(Side::Relay, "curl");
    command.args(["--silent", "-o", "/dev/null", "--fail", "--max-time", "5", "--insecure"]);
    command.arg(running.url("/1k"));
    output(command, Duration::from_secs(10)).await.map(drop)
}
