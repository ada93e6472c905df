//! Log lines on their way out. Whoever logs copies a line into memory and goes on; a thread writes what has gathered, so
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

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lost: u64,
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

    /// Blocks until there is something to write, and a moment longer. The second value says that nothing will follow.
    fn gather(&self) -> (Waiting, bool) {
        let empty = |waiting: &mut Waiting| waiting.bytes.is_empty() && waiting.lost == 0 && !waiting.closed;
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

/// Where lines are put. One write is one line.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<Shared>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        let first = waiting.bytes.is_empty() && waiting.lost == 0;
        if waiting.bytes.len() + line.len() > MOST_WAITING {
            waiting.lost += 1;
        } else {
            waiting.bytes.extend_from_slice(line);
        }
        drop(waiting);
        if first {
            self.0.changed.notify_one();
        }
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

/// The thread that writes. Dropped, it has written everything that was put before, if the output takes it.
#[derive(Debug)]
pub(super) struct Writer(Arc<Shared>);

impl Writer {
    /// Starts it.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<(Lines, Self)> {
        let shared = Arc::new(Shared::default());
        let lines = Lines(Arc::clone(&shared));
        let ours = Arc::clone(&shared);
        thread::Builder::new().name("log".into()).spawn(move || write_all(&ours, output))?;
        Ok((lines, Self(shared)))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.closed = true;
        self.0.changed.notify_all();
        let _late = self.0.changed.wait_timeout_while(waiting, FAREWELL, |waiting| !waiting.finished);
    }
}

/// An output that was closed, or whose disk is full, must not end a process that forwards traffic.
fn write_all(shared: &Shared, mut output: impl Write) {
    let mut lost = 0;
    loop {
        let (waiting, closed) = shared.gather();
        lost += waiting.lost;
        if lost > 0 {
            // The new line ends what was cut off.
            let told = writeln!(output, "\n{lost} log lines were lost: the output took no more");
            lost = if told.is_ok() { 0 } else { lost };
        }
        if output.write_all(&waiting.bytes).and_then(|()| output.flush()).is_err() {
            lost += waiting.bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
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
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.began.send(()).ok();
            self.allowed.recv().ok();
            self.taken.lock().map_err(|_| io::ErrorKind::Other)?.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_put_is_written_in_order_before_the_end() {
        let (_, allowed) = channel();
        let (began, _) = channel();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (mut lines, writer) = Writer::start(Slow { allowed, began, taken: Arc::clone(&taken) }).unwrap();
        for line in 0..1000 {
            writeln!(lines, "{line}").unwrap();
        }
        drop(writer);
        let expected: String = (0..1000).map(|line| format!("{line}\n")).collect();
        assert_eq!(String::from_utf8(taken.lock().unwrap().clone()).unwrap(), expected);
    }

    #[test]
    fn a_slow_output_costs_lines_and_says_how_many() {
        let (allow, allowed) = channel();
        let (began, has_begun) = channel();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (mut lines, writer) = Writer::start(Slow { allowed, began, taken: Arc::clone(&taken) }).unwrap();
        lines.write_all(b"first\n").unwrap();
        has_begun.recv().unwrap();
        let line = [b'x'; 1 << 20];
        for _ in 0..7 {
            lines.write_all(&line).unwrap();
        }
        drop(allow);
        drop(writer);
        let taken = taken.lock().unwrap();
        assert_eq!(taken.iter().filter(|byte| **byte == b'x').count(), MOST_WAITING);
        let lost = "3 log lines were lost";
        assert!(taken.windows(lost.len()).any(|window| window == lost.as_bytes()));
    }

    #[test]
    fn a_closed_output_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let (mut lines, writer) = Writer::start(Closed).unwrap();
        assert_eq!(lines.write(b"event").unwrap(), 5);
        drop(writer);
    }
}
