//! Small answers first: a page does not wait behind a download that shares its session. And never only small answers: what
//! is bulk keeps a part of the session for itself, however many small answers there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quinn::SendStream;

/// Bytes that count as a small answer.
const SMALL: u64 = 64 << 10;
const BULK_PRIORITY: i32 = -1;
/// For each byte of bulk so many urgent ones may go before it.
const MOST_URGENT: u64 = 4;
/// What goes before it whatever has been; and over how many bytes the shares are looked at.
const ALLOWANCE: u64 = 1 << 20;
const MEMORY: u64 = 16 << 20;

/// What the streams of one session have written of late. Counts of streams that write at the same time may be a little off.
#[derive(Debug, Default)]
pub struct Shares {
    urgent: AtomicU64,
    bulk: AtomicU64,
}

impl Shares {
    fn note(&self, is_bulk: bool, bytes: u64) {
        let share = if is_bulk { &self.bulk } else { &self.urgent };
        share.fetch_add(bytes, Ordering::Relaxed);
        let (urgent, bulk) = (self.urgent.load(Ordering::Relaxed), self.bulk.load(Ordering::Relaxed));
        if urgent + bulk > MEMORY {
            self.urgent.store(urgent / 2, Ordering::Relaxed);
            self.bulk.store(bulk / 2, Ordering::Relaxed);
        }
    }

    /// Bulk has had its part.
    fn leave_room(&self) -> bool {
        let bulk = self.bulk.load(Ordering::Relaxed);
        self.urgent.load(Ordering::Relaxed) <= MOST_URGENT * bulk + ALLOWANCE
    }
}

/// How urgent what is written to a stream is: at first, and again after every word from the other side, as much as
/// anything else; once it has become a bulk transfer, less than what is small.
#[derive(Debug)]
pub struct Urgency {
    shares: Arc<Shares>,
    sent: u64,
    is_bulk: bool,
}

impl Urgency {
    /// Of a new stream.
    #[must_use]
    pub fn new(shares: Arc<Shares>) -> Self {
        Self { shares, sent: 0, is_bulk: false }
    }

    /// So many bytes were written to the stream.
    pub fn sent(&mut self, stream: &SendStream, bytes: usize) {
        set(stream, self.on_sent(bytes));
    }

    /// The other side has said something: what is written next may be a new answer.
    pub fn heard(&mut self, stream: &SendStream) {
        set(stream, self.on_heard());
    }

    fn on_sent(&mut self, bytes: usize) -> Option<i32> {
        self.sent = self.sent.saturating_add(bytes as u64);
        self.shares.note(self.is_bulk, bytes as u64);
        self.become_bulk(self.sent > SMALL || !self.shares.leave_room())
    }

    fn on_heard(&mut self) -> Option<i32> {
        self.sent = 0;
        self.become_bulk(!self.shares.leave_room())
    }

    fn become_bulk(&mut self, is_bulk: bool) -> Option<i32> {
        let changes = self.is_bulk != is_bulk;
        self.is_bulk = is_bulk;
        changes.then_some(if is_bulk { BULK_PRIORITY } else { 0 })
    }
}

fn set(stream: &SendStream, priority: Option<i32>) {
    if let Some(priority) = priority {
        // A stream that has ended has none.
        let _ = stream.set_priority(priority);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(shares: &Arc<Shares>) -> Urgency {
        Urgency::new(Arc::clone(shares))
    }

    #[test]
    fn a_stream_is_bulk_until_the_other_side_speaks_again() {
        let mut urgency = stream(&Arc::default());
        assert_eq!(urgency.on_sent(SMALL as usize), None);
        assert_eq!(urgency.on_sent(1), Some(BULK_PRIORITY));
        assert_eq!(urgency.on_sent(1 << 20), None, "it is set once");
        assert_eq!(urgency.on_heard(), Some(0));
        assert_eq!(urgency.on_heard(), None);
        assert_eq!(urgency.on_sent(SMALL as usize), None);
    }

    #[test]
    fn small_answers_without_end_leave_bulk_its_part() {
        let shares = Arc::default();
        let (mut bulk, mut chatter) = (stream(&shares), stream(&shares));
        bulk.on_sent(2 * SMALL as usize);
        let mut before = 0;
        while !chatter.is_bulk {
            chatter.on_heard();
            chatter.on_sent(SMALL as usize);
            before += SMALL;
        }
        assert!((ALLOWANCE / 2..2 * ALLOWANCE).contains(&before), "{before}");
        // As equals they take turns, and once bulk has had some, small goes first again.
        let mut turns = 0;
        while chatter.is_bulk && turns < 100 {
            bulk.on_sent(SMALL as usize);
            chatter.on_heard();
            turns += 1;
        }
        assert!((1..100).contains(&turns), "{turns}");
    }

    #[test]
    fn shares_are_those_of_late() {
        let shares = Shares::default();
        shares.note(false, 1 << 40);
        assert!(!shares.leave_room());
        for _ in 0..256 {
            shares.note(true, SMALL);
        }
        assert!(shares.leave_room());
    }
}
