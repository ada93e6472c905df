//! What processes and all their descendants use, as `/proc` tells it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use anyhow::Context;
use nix::unistd::{SysconfVar, sysconf};

/// The fields of `/proc/PID/stat` that are of use here (proc_pid_stat(5)).
struct Stat {
    parent: u32,
    /// Clock ticks in user and kernel mode, of all its threads, also of those that have ended.
    ticks: u64,
}

/// CPU time that these processes and their descendants have used. One that ends in between takes its time with it.
pub(crate) fn cpu(roots: &[u32]) -> anyhow::Result<Duration> {
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    let ticks: u64 = family(roots)?.iter().filter_map(|id| stat(*id)).map(|stat| stat.ticks).sum();
    Ok(Duration::from_secs(ticks) / u32::try_from(per_second)?)
}

/// Their proportional set size, in bytes: memory of their own, and their share of what they share.
pub(crate) fn memory(roots: &[u32]) -> anyhow::Result<u64> {
    let mut kib = 0;
    for id in family(roots)? {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
        kib += line.trim().trim_end_matches(" kB").parse::<u64>()?;
    }
    Ok(kib * 1024)
}

fn family(roots: &[u32]) -> anyhow::Result<HashSet<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let id = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some((id, stat)) = id.and_then(|id| Some((id, stat(id)?))) {
            children.entry(stat.parent).or_default().push(id);
        }
    }
    let mut found = HashSet::new();
    let mut open = roots.to_vec();
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(children.get(&id).into_iter().flatten());
        }
    }
    Ok(found)
}

fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let field: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| field.get(index)?.parse::<u64>().ok();
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, ticks: number(11)? + number(12)? })
}
