//! Random bytes from the operating system, for keys, tokens and identifiers.

/// Fresh random bytes, fit for keys.
///
/// # Panics
///
/// Where the operating system has no randomness to give: nothing that this process does would be secure then.
#[expect(clippy::expect_used, reason = "a caller that went on without randomness would make guessable keys")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_call_gives_others() {
        assert_ne!(super::bytes::<32>(), super::bytes::<32>());
    }
}
