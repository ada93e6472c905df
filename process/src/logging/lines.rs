//! Lines on their way out. Whoever logs copies a line into memory and goes on; a thread writes what has gathered, so
//! that a busy relay pays one wake-up for hundreds of lines, and nobody waits for a terminal or a disk.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes that wait for a slow output before further lines are dropped (and counted).
const MOST_WAITING: usize = 4 << 20;
/// How long the end of a process waits for an output that takes nothing.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long lines gather. Also what a process that is killed can lose.
const GATHERING: Duration = Duration::from_millis(20);

/// Where gathered lines go. Lives on a thread of its own, which may block. An output that was closed, or whose disk is
/// full, must not end a process that forwards traffic: it counts what is lost, and says so where that is read.
pub trait Sink: Send + 'static {
    /// Writes whole lines.
    fn write(&mut self, lines: &[u8]);

    /// Hears of lines that were dropped before the next write, because too many waited.
    fn dropped(&mut self, count: u64);
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    dropped: u64,
    closed: bool,
    finished: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: &[u8]) {
        let mut waiting = self.lock();
        let first = waiting.bytes.is_empty() && waiting.dropped == 0;
        if waiting.bytes.len() + line.len() > MOST_WAITING {
            waiting.dropped += 1;
        } else {
            waiting.bytes.extend_from_slice(line);
        }
        drop(waiting);
        if first {
            self.changed.notify_one();
        }
    }

    fn close(&self) -> MutexGuard<'_, Waiting> {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.changed.notify_all();
        waiting
    }

    /// Blocks until there is something to write, and a moment longer. The second value says that nothing will follow.
    fn gather(&self) -> (Waiting, bool) {
        let empty =
            |waiting: &mut Waiting| waiting.bytes.is_empty() && waiting.dropped == 0 && !waiting.closed;
        let waiting = self.changed.wait_while(self.lock(), empty).unwrap_or_else(PoisonError::into_inner);
        let open = |waiting: &mut Waiting| !waiting.closed;
        let gathered = self.changed.wait_timeout_while(waiting, GATHERING, open);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        let closed = waiting.closed;
        // As much room as this time: the next lines are about as many.
        let room = Vec::with_capacity(waiting.bytes.len());
        (mem::replace(&mut *waiting, Waiting { bytes: room, closed, ..Waiting::default() }), closed)
    }
}

/// Where lines are put. When the last clone is dropped, the thread writes what is left, and ends; nobody waits for it.
#[derive(Debug, Clone)]
pub struct Lines(Arc<Open>);

#[derive(Debug)]
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

impl Lines {
    /// Starts a thread of this name that writes to `sink`.
    pub fn start(name: &str, sink: impl Sink) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        thread::Builder::new().name(name.into()).spawn(move || write_all(&ours, sink))?;
        Ok(Self(Arc::new(Open(shared))))
    }

    /// Leaves one line, with its end, to the thread.
    pub fn put(&self, line: &[u8]) {
        self.0.0.put(line);
    }

    /// Waits until everything that was put before is written, if the output takes it within a moment. What is put
    /// afterwards is not written.
    pub fn finish(&self) {
        let shared = &self.0.0;
        let _late = shared.changed.wait_timeout_while(shared.close(), FAREWELL, |waiting| !waiting.finished);
    }
}

/// One write is one line.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn write_all(shared: &Shared, mut sink: impl Sink) {
    loop {
        let (waiting, closed) = shared.gather();
        if waiting.dropped > 0 {
            sink.dropped(waiting.dropped);
        }
        if !waiting.bytes.is_empty() {
            sink.write(&waiting.bytes);
        }
        if closed {
            shared.lock().finished = true;
            shared.changed.notify_all();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes one write for each token that it is given.
    struct Slow {
        allowed: Receiver<()>,
        began: Sender<()>,
        taken: Arc<Mutex<(Vec<u8>, u64)>>,
    }

    impl Sink for Slow {
        fn write(&mut self, lines: &[u8]) {
            self.began.send(()).ok();
            self.allowed.recv().ok();
            self.taken.lock().unwrap().0.extend_from_slice(lines);
        }

        fn dropped(&mut self, count: u64) {
            self.taken.lock().unwrap().1 += count;
        }
    }

    #[test]
    fn what_was_put_is_written_in_order_before_the_end() {
        let (_, allowed) = channel();
        let (began, _) = channel();
        let taken = Arc::new(Mutex::default());
        let mut lines = Lines::start("test", Slow { allowed, began, taken: Arc::clone(&taken) }).unwrap();
        for line in 0..1000 {
            writeln!(lines, "{line}").unwrap();
        }
        lines.finish();
        let expected: String = (0..1000).map(|line| format!("{line}\n")).collect();
        assert_eq!(String::from_utf8(taken.lock().unwrap().0.clone()).unwrap(), expected);
    }

    #[test]
    fn a_slow_output_costs_lines_and_hears_how_many() {
        let (allow, allowed) = channel();
        let (began, has_begun) = channel();
        let taken = Arc::new(Mutex::default());
        let lines = Lines::start("test", Slow { allowed, began, taken: Arc::clone(&taken) }).unwrap();
        lines.put(b"first\n");
        has_begun.recv().unwrap();
        let line = [b'x'; 1 << 20];
        for _ in 0..7 {
            lines.put(&line);
        }
        drop(allow);
        lines.finish();
        let taken = taken.lock().unwrap();
        assert_eq!(taken.0.iter().filter(|byte| **byte == b'x').count(), MOST_WAITING);
        assert_eq!(taken.1, 3);
    }

    #[test]
    fn the_thread_ends_with_the_last_handle_and_nobody_waits() {
        let (allow, allowed) = channel();
        let (began, has_begun) = channel();
        let lines = Lines::start("test", Slow { allowed, began, taken: Arc::default() }).unwrap();
        let other = lines.clone();
        lines.put(b"first\n");
        has_begun.recv().unwrap();
        drop(lines);
        other.put(b"second\n");
        drop(other);
        drop(allow);
        // The sink, and with it the sender, goes when the thread has ended.
        assert_eq!(has_begun.iter().count(), 1);
    }
}
