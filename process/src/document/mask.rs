//! Which bytes of the file are never shown, because they look like a secret even where nobody asked for that key: a
//! misspelt `token_secert` is reported with its line.

use std::ops::Range;

use toml::de::DeTable;

use super::value::leaves;

const SENSITIVE: [&str; 9] = [
    "secret",
    "token",
    "passw",
    "passphrase",
    "credential",
    "private_key",
    "api_key",
    "auth_key",
    "access_key",
];

/// A name such as `adit-agent.service` is shorter; a token that lost its end is not.
const SHORTEST_TOKEN: usize = 30;

/// Values of keys that are named like a secret.
pub(super) fn sensitive_values(text: &str, table: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    leaves(text, table, &mut |names, place| {
        if names.iter().any(|name| sensitive(name)) {
            found.push(place);
        }
    });
    found
}

/// The same by looking at the text alone, for files so broken that their tree misses parts: from the first word of a
/// line that looks like a secret's name, what follows is hidden.
pub(super) fn sensitive_lines(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(value) = sensitive_word_end(line) {
            found.push(start + value..start + end_of_value(&text[start..], value, line.len()));
        }
        start += line.len();
    }
    found
}

/// Enrollment tokens, whatever the key they were pasted to.
pub(super) fn tokens(text: &str) -> Vec<Range<usize>> {
    let begins = text.match_indices("adit-").map(|(begin, prefix)| (begin, begin + prefix.len()));
    let whole = begins.map(|(begin, secret)| {
        let length = text[secret..].find(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c));
        begin..length.map_or(text.len(), |length| secret + length)
    });
    whole.filter(|range| range.len() >= SHORTEST_TOKEN).collect()
}

/// Where in the line the value begins that belongs to a sensitive name.
fn sensitive_word_end(line: &str) -> Option<usize> {
    let is_key = |c: char| c.is_alphanumeric() || "_-".contains(c);
    let trimmed = line.trim_start();
    let mut rest = line;
    while let Some(begin) = rest.find(is_key).filter(|_| !trimmed.starts_with('#')) {
        let word = &rest[begin..];
        let (word, after) = word.split_at(word.find(|c| !is_key(c)).unwrap_or(word.len()));
        rest = after;
        if sensitive(word) {
            let end = line.len() - after.len();
            return match after.find('=') {
                Some(at) => Some(end + at + 1),
                // A header is a name and nothing else.
                None if trimmed.starts_with('[') => None,
                None => Some(end),
            };
        }
    }
    None
}

/// A multi-line string goes on to its closing quotes, or, as they may be what is missing, to the end of the file.
fn end_of_value(rest: &str, value: usize, line_end: usize) -> usize {
    let body = &rest[value..];
    let indent = body.len() - body.trim_start_matches([' ', '\t']).len();
    for quotes in ["\"\"\"", "'''"] {
        if let Some(inside) = body[indent..].strip_prefix(quotes) {
            let opened = value + indent + quotes.len();
            return inside.find(quotes).map_or(rest.len(), |at| opened + at + quotes.len());
        }
    }
    line_end
        - if rest[..line_end].ends_with("\r\n") { 2 } else { usize::from(rest[..line_end].ends_with('\n')) }
}

/// `token_file` names a file, not a secret.
fn sensitive(name: &str) -> bool {
    let name = name.trim().trim_matches(['"', '\'']).to_ascii_lowercase().replace('-', "_");
    SENSITIVE.iter().any(|word| name.contains(word)) && !name.ends_with("_file") && !name.ends_with("_path")
}

/// Sorted and without overlaps.
pub(super) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["token", "enrollment-token", "client_secret", "PASSWORD", "\"api-key\""] {
            assert!(sensitive(name), "{name}");
        }
        for name in ["key", "token_file", "hostname", "cert"] {
            assert!(!sensitive(name), "{name}");
        }
    }

    #[test]
    fn tokens_and_not_names() {
        let token = "adit-AQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD";
        let text = format!("name = \"{token} x\"\ncert = \"/etc/adit-relay.pem\"\n{token}");
        let hidden: Vec<&str> = tokens(&text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(hidden, [token, token]);
    }

    #[test]
    fn lines_of_a_broken_file() {
        let text = "# a token\n[[token]]\na = 1\ntoken = \"\"\"x\ny\"\"\" # end\r\npassword = b\r\nx = 1, secret = '''never closed\nz";
        let hidden: Vec<&str> = sensitive_lines(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(hidden, [" \"\"\"x\ny\"\"\"", " b", " '''never closed\nz"]);
    }
}
