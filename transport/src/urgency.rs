//! Small answers first: a page does not wait behind a download that shares its session.

use quinn::SendStream;

/// Bytes that count as a small answer.
const SMALL: u64 = 64 << 10;
const BULK_PRIORITY: i32 = -1;

/// How urgent what is written to a stream is: at first, and again after every word from the other side, as much as
/// anything else; once it has become a bulk transfer, less than what is small.
#[derive(Debug, Default)]
pub struct Urgency {
    sent: u64,
    is_bulk: bool,
}

impl Urgency {
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
        let becomes_bulk = self.sent > SMALL && !self.is_bulk;
        self.is_bulk |= becomes_bulk;
        becomes_bulk.then_some(BULK_PRIORITY)
    }

    fn on_heard(&mut self) -> Option<i32> {
        self.sent = 0;
        std::mem::take(&mut self.is_bulk).then_some(0)
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

    #[test]
    fn a_stream_is_bulk_until_the_other_side_speaks_again() {
        let mut urgency = Urgency::default();
        assert_eq!(urgency.on_sent(SMALL as usize), None);
        assert_eq!(urgency.on_sent(1), Some(BULK_PRIORITY));
        assert_eq!(urgency.on_sent(1 << 30), None, "it is set once");
        assert_eq!(urgency.on_heard(), Some(0));
        assert_eq!(urgency.on_heard(), None);
        assert_eq!(urgency.on_sent(SMALL as usize), None);
        assert_eq!(urgency.on_heard(), None, "many small answers never become bulk");
        assert_eq!(urgency.on_sent(SMALL as usize), None);
    }
}
