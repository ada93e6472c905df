//! Which known word a misspelt one was meant to be.

/// The candidate closest to `word`, where it is close enough that a slip of the fingers explains the difference.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Nobody means a known word with a key this long, and the distance takes time by the square of the length.
    if word.len() > 64 {
        return None;
    }
    let allowed = 1.max(word.chars().count() / 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment: insertions, deletions, substitutions and swapped neighbours count one each.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = fold(left);
    let right: Vec<char> = fold(right);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut best = (last[j] + usize::from(l != r)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

/// `Trusted-Proxies` is `trusted_proxies`, written by somebody who comes from another tool.
fn fold(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let known = ["hostname", "routes", "cert", "key"];
        assert_eq!(nearest("hostnam", known), Some("hostname"));
        assert_eq!(nearest("hsotname", known), Some("hostname"));
        assert_eq!(nearest("Routes", known), Some("routes"));
        assert_eq!(nearest("origin", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"hostname".repeat(100_000), known), None);
    }
}
