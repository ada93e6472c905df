//! Text that came from the relay and goes to a log or a terminal.

/// Longer reasons are nobody's to read.
const LONGEST: usize = 300;

/// The text without what could steer a terminal or fill a screen.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn escape_sequences_and_length_are_tamed() {
        assert_eq!(super::printable("a\u{1b}[2Jb\n"), "a?[2Jb?");
        assert_eq!(super::printable(&"x".repeat(1000)).len(), 300);
    }
}
