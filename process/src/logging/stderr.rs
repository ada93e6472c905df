//! The output of the log itself: it can tell of its own losses nowhere else than in itself.

use std::io::Write;

use super::lines::Sink;

/// Writes lines to an output, and how many it did not take.
#[derive(Debug)]
pub(super) struct Talk<O> {
    output: O,
    lost: u64,
}

impl<O> Talk<O> {
    pub(super) fn new(output: O) -> Self {
        Self { output, lost: 0 }
    }
}

impl<O: Write + Send + 'static> Sink for Talk<O> {
    fn write(&mut self, lines: &[u8]) {
        if self.lost > 0 {
            // The new line ends what was cut off.
            let lost = self.lost;
            let told = writeln!(self.output, "\n{lost} log lines were lost: the output took no more");
            self.lost = if told.is_ok() { 0 } else { lost };
        }
        if self.output.write_all(lines).and_then(|()| self.output.flush()).is_err() {
            self.lost += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }

    fn dropped(&mut self, count: u64) {
        self.lost += count;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes nothing as long as it is closed.
    #[derive(Clone, Default)]
    struct Door {
        closed: Arc<AtomicBool>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Door {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.closed.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.taken.lock().map_err(|_| io::ErrorKind::Other)?.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_lost_is_told_once_the_output_takes_lines_again() {
        let door = Door::default();
        let mut talk = Talk::new(door.clone());
        door.closed.store(true, Ordering::Relaxed);
        talk.write(b"one\ntwo\n");
        talk.dropped(3);
        door.closed.store(false, Ordering::Relaxed);
        talk.write(b"six\n");
        talk.write(b"seven\n");
        let taken = String::from_utf8(door.taken.lock().unwrap().clone()).unwrap();
        assert_eq!(taken, "\n5 log lines were lost: the output took no more\nsix\nseven\n");
    }
}
