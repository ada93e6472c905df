//! A network link in user space, between two network namespaces of Linux: one-way delay, rate, a queue that drops at its
//! tail, and random loss, each direction by itself. For kernels without netem. Needs root.
//!
//! [`Shaper`] holds the rules and is told the time; [`Link`] moves packets between two TUN devices, one thread a
//! direction.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use std::os::fd::AsFd;
use tun_rs::{DeviceBuilder, SyncDevice};

/// Bytes of a packet at most.
const MTU: u16 = 1500;
/// While packets are under way, both ends are looked at this often; it bounds how exact delays are.
const TICK: Duration = Duration::from_micros(50);
/// With nothing under way, how often a thread looks whether it should end.
const IDLE: u16 = 100;
/// Packets that the kernel may keep for us between two ticks.
const DEVICE_QUEUE: u32 = 4000;

/// What one direction of a link is like.
#[derive(Debug, Clone, Copy)]
pub struct Direction {
    /// From one end to the other, without waiting in the queue.
    pub delay: Duration,
    /// The share of packets that is lost by chance: 0 to 1.
    pub loss: f64,
    /// Bits a second.
    pub rate: f64,
    /// Bytes that may wait; what comes on top is dropped.
    pub queue: f64,
}

impl Direction {
    /// With a queue of one product of the rate and the time of a round trip, which is twice the delay.
    #[must_use]
    pub fn with_queue_of_one_round(delay: Duration, loss: f64, rate: f64) -> Self {
        Self { delay, loss, rate, queue: rate / 8.0 * 2.0 * delay.as_secs_f64() }
    }
}

/// What one direction has seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// All that came, also what was then lost or dropped.
    pub packets: u64,
    /// By chance.
    pub lost: u64,
    /// At the queue's tail.
    pub dropped: u64,
}

/// The rules of one direction.
#[derive(Debug)]
pub struct Shaper {
    direction: Direction,
    random: u64,
    /// When all that waits will have been sent.
    free: Option<Instant>,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// Buffers of packets that have arrived.
    spare: Vec<Vec<u8>>,
    counts: Counts,
}

impl Shaper {
    /// Chance follows from the seed, which is not 0.
    #[must_use]
    pub fn new(direction: Direction, seed: u64) -> Self {
        let (under_way, spare) = (VecDeque::new(), Vec::new());
        Self { direction, random: seed, free: None, under_way, spare, counts: Counts::default() }
    }

    /// Takes a packet that is sent now.
    pub fn offer(&mut self, now: Instant, packet: &[u8]) {
        self.counts.packets += 1;
        if self.chance() < self.direction.loss {
            self.counts.lost += 1;
            return;
        }
        let free = self.free.map_or(now, |free| free.max(now));
        let seconds_a_byte = 8.0 / self.direction.rate;
        let bytes = f64::from(u32::try_from(packet.len()).unwrap_or(u32::MAX));
        if (free - now).as_secs_f64() / seconds_a_byte + bytes > self.direction.queue {
            self.counts.dropped += 1;
            return;
        }
        let sent = free + Duration::from_secs_f64(bytes * seconds_a_byte);
        self.free = Some(sent);
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(packet);
        self.under_way.push_back((sent + self.direction.delay, buffer));
    }

    /// Hands out what has arrived by now, in order.
    pub fn deliver(&mut self, now: Instant, mut receive: impl FnMut(&[u8])) {
        while self.under_way.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, packet)) = self.under_way.pop_front() else { return };
            receive(&packet);
            self.spare.push(packet);
        }
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// What it has seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Between 0 and 1 (xorshift: fast, and the same in every run).
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from(u32::try_from(self.random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}

/// One end of a link.
#[derive(Debug, Clone)]
pub struct End {
    /// The name of a namespace, as `ip netns` has it.
    pub namespace: String,
    /// In the same /24 as the other end's.
    pub address: Ipv4Addr,
}

/// A link that carries packets until it is dropped.
#[derive(Debug)]
pub struct Link {
    stop: Arc<AtomicBool>,
    counts: [Arc<Mutex<Counts>>; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Link {
    /// Makes a device `link` at both ends and carries packets between them.
    ///
    /// # Errors
    ///
    /// Where a namespace does not exist, or a device cannot be made.
    pub fn start(ends: [&End; 2], there: Direction, back: Direction) -> io::Result<Self> {
        let (one, other) = (Arc::new(device(ends[0])?), Arc::new(device(ends[1])?));
        let mut link = Self { stop: Arc::default(), counts: Default::default(), threads: Vec::new() };
        link.carry(0, Arc::clone(&one), Arc::clone(&other), Shaper::new(there, 0x9E37_79B9_7F4A_7C15))?;
        link.carry(1, other, one, Shaper::new(back, 0xD1B5_4A32_D192_ED03))?;
        Ok(link)
    }

    fn carry(
        &mut self,
        index: usize,
        from: Arc<SyncDevice>,
        to: Arc<SyncDevice>,
        shaper: Shaper,
    ) -> io::Result<()> {
        let (stop, counts) = (Arc::clone(&self.stop), Arc::clone(&self.counts[index]));
        let thread = thread::Builder::new().name(format!("link-{index}"));
        self.threads.push(thread.spawn(move || pump(&from, &to, shaper, &stop, &counts))?);
        Ok(())
    }

    /// What both directions have seen: from the first end to the second, and back.
    #[must_use]
    pub fn counts(&self) -> [Counts; 2] {
        [0, 1].map(|index| *self.counts[index].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

/// A namespace is entered by a thread, which ends here so that no other work happens inside.
fn device(end: &End) -> io::Result<SyncDevice> {
    let namespace = File::open(format!("/var/run/netns/{}", end.namespace))?;
    let inside = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let builder = DeviceBuilder::new().name("link").mtu(MTU).tx_queue_len(DEVICE_QUEUE);
        let device = builder.enable(false).build_sync()?;
        device.set_nonblocking(true)?;
        Ok::<_, io::Error>(device)
    };
    let device =
        thread::spawn(inside).join().map_err(|_| io::Error::other("opening a TUN device panicked"))??;
    let address = format!("{}/24", end.address);
    ip(&end.namespace, &["addr", "add", &address, "dev", "link"])?;
    ip(&end.namespace, &["link", "set", "dev", "link", "up"])?;
    Ok(device)
}

fn ip(namespace: &str, arguments: &[&str]) -> io::Result<()> {
    let status = Command::new("ip").args(["-n", namespace]).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("ip {arguments:?}: {status}"))) }
}

fn pump(from: &SyncDevice, to: &SyncDevice, mut shaper: Shaper, stop: &AtomicBool, counts: &Mutex<Counts>) {
    be_punctual();
    let mut buffer = [0; MTU as usize];
    while !stop.load(Ordering::Relaxed) {
        if shaper.is_idle() {
            let mut readable = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
            let _interrupted = poll(&mut readable, PollTimeout::from(IDLE));
        } else {
            thread::sleep(TICK);
        }
        while let Ok(length) = from.recv(&mut buffer) {
            shaper.offer(Instant::now(), &buffer[..length]);
        }
        // A device that is down takes nothing; its packets are gone, as on a cut line.
        shaper.deliver(Instant::now(), |packet| drop(to.send(packet)));
        *counts.lock().unwrap_or_else(PoisonError::into_inner) = shaper.counts();
    }
}

/// Sleeps end when they should, also while every core is busy. The link still works where that is not allowed.
fn be_punctual() {
    let _best_effort = nix::sys::prctl::set_timerslack(1);
    let id = nix::unistd::gettid().to_string();
    let _best_effort = Command::new("chrt").args(["--fifo", "--pid", "10", &id]).status();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1000 bytes take 1 ms.
    fn shaper(loss: f64, queue: f64) -> Shaper {
        Shaper::new(Direction { delay: Duration::from_millis(20), loss, rate: 8e6, queue }, 1)
    }

    fn arrivals(shaper: &mut Shaper, begun: Instant, at_millis: u64) -> usize {
        let mut count = 0;
        shaper.deliver(begun + Duration::from_millis(at_millis), |_| count += 1);
        count
    }

    #[test]
    fn a_packet_takes_its_time() {
        let (mut shaper, now) = (shaper(0.0, 1e6), Instant::now());
        shaper.offer(now, &[0; 1000]);
        assert_eq!(arrivals(&mut shaper, now, 20), 0);
        assert_eq!(arrivals(&mut shaper, now, 21), 1);
        assert!(shaper.is_idle());
    }

    #[test]
    fn a_burst_arrives_at_the_rate() {
        let (mut shaper, now) = (shaper(0.0, 1e6), Instant::now());
        (0..10).for_each(|_| shaper.offer(now, &[0; 1000]));
        assert_eq!(arrivals(&mut shaper, now, 25), 5);
        assert_eq!(arrivals(&mut shaper, now, 30), 5);
    }

    #[test]
    fn what_does_not_fit_the_queue_is_dropped() {
        let (mut shaper, now) = (shaper(0.0, 3000.0), Instant::now());
        (0..10).for_each(|_| shaper.offer(now, &[0; 1000]));
        assert_eq!(shaper.counts(), Counts { packets: 10, lost: 0, dropped: 7 });
        shaper.offer(now + Duration::from_millis(1), &[0; 1000]);
        assert_eq!(shaper.counts().dropped, 7, "one has left the queue by then");
    }

    #[test]
    fn as_many_are_lost_as_asked_for() {
        let (mut shaper, now) = (shaper(0.03, 1e9), Instant::now());
        (0..100_000).for_each(|_| shaper.offer(now, &[0; 100]));
        let lost = shaper.counts().lost;
        assert!((2700..3300).contains(&lost), "{lost}");
    }
}
