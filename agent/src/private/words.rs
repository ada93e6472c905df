//! What two people read to each other to know that nobody is between their devices: twelve words that follow from both
//! keys, the same at both ends.

use bip39::Language;
use protocol::key::PublicKey;
use sha2::{Digest as _, Sha256};

/// 132 bits: to have two pairs of keys with the same words takes some 2^66 attempts at [`ROUNDS`] each.
const WORDS: usize = 12;
/// Makes each attempt dear, and costs a person nothing.
const ROUNDS: usize = 4096;
const BITS: usize = 11;

/// The words of two keys, in whichever order the keys are.
#[must_use]
pub fn of(one: &PublicKey, other: &PublicKey) -> String {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    let both = [first.as_bytes().as_slice(), second.as_bytes()].concat();
    let mut digest = Sha256::new().chain_update(b"adit/1 words").chain_update(&both).finalize();
    for _ in 1..ROUNDS {
        digest = Sha256::new().chain_update(digest).chain_update(&both).finalize();
    }
    let list = Language::English.word_list();
    let words = (0..WORDS).map(|at| list[bits(&digest, at * BITS)]);
    words.collect::<Vec<_>>().join(" ")
}

/// Eleven bits from this one on, the highest first.
fn bits(digest: &[u8], from: usize) -> usize {
    let bit = |at: usize| usize::from(digest[at / 8] >> (7 - at % 8) & 1);
    (from..from + BITS).fold(0, |number, at| number << 1 | bit(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    #[test]
    fn both_ends_read_the_same_words_and_others_read_others() {
        assert_eq!(of(&key(1), &key(2)), of(&key(2), &key(1)));
        assert_ne!(of(&key(1), &key(2)), of(&key(1), &key(3)));
        assert_eq!(of(&key(1), &key(2)).split(' ').count(), WORDS);
    }

    #[test]
    fn the_words_of_two_keys_never_change() {
        let words = "pottery enroll sure total they insect easy grace around color process diary";
        assert_eq!(of(&key(1), &key(2)), words);
    }

    #[test]
    fn bits_are_taken_from_the_highest_on() {
        assert_eq!(bits(&[0b1000_0000, 0b0010_0000, 0], 0), 0b100_0000_0001);
        assert_eq!(bits(&[0, 0b0000_0001, 0xff, 0xc0], 15), 0b111_1111_1111);
    }
}
