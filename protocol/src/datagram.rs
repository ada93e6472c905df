//! Datagrams of one flow between two peers. Each stands for itself: it has a number, any may be missing, and none is taken
//! twice.
//!
//! In a datagram of QUIC stand eight bytes with the number of the flow's stream in that connection, which the relay
//! replaces, eight bytes with the datagram's own number, and what is encrypted; numbers big-endian. Directly between two
//! agents QUIC's encryption is all that is needed: there the datagram follows the number of the stream.

use snow::StatelessTransportState;

use crate::noise::NoiseError;
use crate::private::{Hidden, OVERHEAD, PrivateError, Proven};

/// Bytes with the number of a stream.
pub const FLOW: usize = 8;
/// Bytes with the number of a datagram.
const NUMBER: usize = 8;
/// What encryption adds to a datagram, in bytes, beside the number of the flow.
pub const SEALED: usize = NUMBER + OVERHEAD;
/// So many datagrams of a direction have one key; the flow ends there, and the next one proves the keys anew.
pub const MOST: u64 = 1 << 32;

/// How far behind the latest one a datagram may come, in datagrams.
const WINDOW: u64 = 2048;
const WORDS: usize = (WINDOW / 64) as usize;

/// The flow of a datagram, and the rest. None where it is too short to have one.
#[must_use]
pub fn split_flow(datagram: &[u8]) -> Option<(u64, &[u8])> {
    let (flow, rest) = datagram.split_first_chunk::<FLOW>()?;
    Some((u64::from_be_bytes(*flow), rest))
}

/// Both directions of a flow.
#[derive(Debug)]
pub struct Datagrams {
    noise: Hidden<StatelessTransportState>,
    next: u64,
    seen: Window,
}

impl Datagrams {
    /// Of two peers that have proven their keys.
    ///
    /// # Errors
    ///
    /// Never: the handshake is over.
    pub fn new(proven: Proven) -> Result<Self, PrivateError> {
        Ok(Self { noise: proven.datagrams()?, next: 0, seen: Window::default() })
    }

    /// Whether the flow has to end, since its key has been used enough.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.next >= MOST
    }

    /// The bytes behind the number of the flow.
    ///
    /// # Errors
    ///
    /// Where it is longer than any datagram can be.
    pub fn seal(&mut self, data: &[u8]) -> Result<Vec<u8>, PrivateError> {
        let mut wire = vec![0; SEALED + data.len()];
        let (number, body) = wire.split_at_mut(NUMBER);
        number.copy_from_slice(&self.next.to_be_bytes());
        self.noise.0.write_message(self.next, data, body).map_err(NoiseError)?;
        self.next += 1;
        Ok(wire)
    }

    /// What they say. One that does not verify changes nothing.
    ///
    /// # Errors
    ///
    /// Where it does not verify, or came before.
    pub fn open(&mut self, wire: &[u8]) -> Result<Vec<u8>, PrivateError> {
        let (number, body) = wire.split_first_chunk::<NUMBER>().ok_or(PrivateError::Record(wire.len()))?;
        let number = u64::from_be_bytes(*number);
        if !self.seen.is_new(number) {
            return Err(PrivateError::Repeated);
        }
        let mut data = vec![0; body.len()];
        let length = self.noise.0.read_message(number, body, &mut data).map_err(NoiseError)?;
        self.seen.note(number);
        data.truncate(length);
        Ok(data)
    }
}

/// Which of the latest numbers have been seen: a bit each, in a ring.
#[derive(Debug, Default)]
struct Window {
    /// One more than the highest that was seen.
    end: u64,
    bits: [u64; WORDS],
}

impl Window {
    fn is_new(&self, number: u64) -> bool {
        let too_old = number.saturating_add(WINDOW) < self.end;
        number >= self.end || (!too_old && self.bits[word(number)] & bit(number) == 0)
    }

    fn note(&mut self, number: u64) {
        if number >= self.end {
            // What the ring held there is too old by now.
            let first = self.end.max(number.saturating_sub(WINDOW - 1));
            (first..=number).for_each(|passed| self.bits[word(passed)] &= !bit(passed));
            self.end = number.saturating_add(1);
        }
        self.bits[word(number)] |= bit(number);
    }
}

fn word(number: u64) -> usize {
    usize::try_from(number / 64 % (WINDOW / 64)).unwrap_or(0)
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::private::tests::pair;

    fn flows() -> (Datagrams, Datagrams) {
        let (operator, host) = pair();
        (Datagrams::new(operator).unwrap(), Datagrams::new(host).unwrap())
    }

    #[test]
    fn datagrams_come_in_any_order_and_each_once() {
        let (mut operator, mut host) = flows();
        let sent: Vec<_> = (0..5u8).map(|n| operator.seal(&[n; 3]).unwrap()).collect();
        assert_eq!(sent[0].len(), SEALED + 3);
        for at in [3usize, 0, 4, 1] {
            assert_eq!(host.open(&sent[at]).unwrap(), [at as u8; 3]);
        }
        for again in [&sent[0], &sent[3], &sent[4]] {
            assert!(matches!(host.open(again), Err(PrivateError::Repeated)));
        }
        assert_eq!(host.open(&sent[2]).unwrap(), [2; 3]);
        let answer = host.seal(b"").unwrap();
        assert_eq!(operator.open(&answer).unwrap(), b"");
        assert!(host.open(&answer).is_err(), "one's own words are no answer");
    }

    #[test]
    fn what_somebody_changed_is_dropped_and_harms_nothing() {
        let (mut operator, mut host) = flows();
        let sent = operator.seal(b"word").unwrap();
        for at in 0..sent.len() {
            let mut changed = sent.clone();
            changed[at] ^= 1;
            assert!(host.open(&changed).is_err(), "{at}");
        }
        for length in 0..sent.len() {
            assert!(host.open(&sent[..length]).is_err(), "{length}");
        }
        assert_eq!(host.open(&sent).unwrap(), b"word");
    }

    #[test]
    fn what_is_far_behind_is_too_late() {
        let mut window = Window::default();
        window.note(5);
        window.note(5 + WINDOW);
        assert!(!window.is_new(5) && window.is_new(6) && window.is_new(u64::MAX));
        window.note(u64::MAX - 1);
        assert!(window.is_new(u64::MAX - 2) && !window.is_new(6));
    }

    #[test]
    fn flows_are_told_apart_by_their_number() {
        assert_eq!(split_flow(&[0, 0, 0, 0, 0, 0, 1, 2, 9]), Some((258, [9].as_slice())));
        assert_eq!(split_flow(&[0; 7]), None);
    }

    proptest! {
        #[test]
        fn the_window_is_a_set(numbers in proptest::collection::vec(0u64..6000, 0..400)) {
            let (mut window, mut seen, mut end) = (Window::default(), BTreeSet::new(), 0);
            for number in numbers {
                let expected = !seen.contains(&number) && number + WINDOW >= end;
                prop_assert_eq!(window.is_new(number), expected);
                if expected {
                    window.note(number);
                    seen.insert(number);
                    end = end.max(number + 1);
                }
            }
        }
    }
}
