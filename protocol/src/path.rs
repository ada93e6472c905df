//! Paths as they stand in a configuration: `/login` is that path alone, `/api/*` is everything below `/api/`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::textual::textual;

const LONGEST: usize = 1024;

/// Why a text is no path pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has to begin with a slash.
    #[error("a path begins with `/`")]
    Start,
    /// A star stands elsewhere than at the end, after a slash.
    #[error("a star stands only at the end, after a slash: `/api/*`")]
    Star,
    /// It is not in its plain form, so a request could never match it.
    #[error("`{0}` cannot stand in a path here: write the path decoded, without `//`, `.` and `..`")]
    NotPlain(String),
    /// Longer than 1024 bytes.
    #[error("a path has at most {LONGEST} characters")]
    Length,
}

/// One path, or all paths below one. Kept in the plain form that requests are matched in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern(Box<str>);

impl PathPattern {
    /// Whether a path in plain form (decoded, dots resolved) belongs to this pattern.
    #[must_use]
    pub fn matches(&self, plain: &[u8]) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => plain.starts_with(prefix.as_bytes()),
            None => plain == self.0.as_bytes(),
        }
    }

    /// How much a match says: the longest wins, and an exact path wins over a star of the same length.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self.0.strip_suffix('*') {
            Some(prefix) => prefix.len() * 2,
            None => self.0.len() * 2 + 1,
        }
    }
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > LONGEST {
            return Err(PatternError::Length);
        }
        if !text.starts_with('/') {
            return Err(PatternError::Start);
        }
        let path = text.strip_suffix("/*").map_or(text, |parent| &text[..=parent.len()]);
        if path.contains('*') {
            return Err(PatternError::Star);
        }
        if let Some(c) = path.chars().find(|c| matches!(c, '%' | '\\' | ';' | '?' | '#') || c.is_control()) {
            return Err(PatternError::NotPlain(c.escape_default().to_string()));
        }
        let segments: Vec<&str> = path[1..].split('/').collect();
        let last = segments.len() - 1;
        let odd = |(at, segment): &(usize, &&str)| {
            matches!(**segment, "." | "..") || (segment.is_empty() && *at != last)
        };
        match segments.iter().enumerate().find(odd) {
            Some((_, segment)) => Err(PatternError::NotPlain(format!("/{segment}"))),
            None => Ok(Self(text.into())),
        }
    }
}

textual!(PathPattern, PatternError);

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_matches_what_is_below_and_no_star_exactly_one_path() {
        assert!(pattern("/*").matches(b"/") && pattern("/*").matches(b"/a/b"));
        assert!(pattern("/api/*").matches(b"/api/") && pattern("/api/*").matches(b"/api/x/y"));
        assert!(!pattern("/api/*").matches(b"/api") && !pattern("/api/*").matches(b"/apix"));
        assert!(pattern("/login").matches(b"/login") && !pattern("/login").matches(b"/login/"));
    }

    #[test]
    fn the_longer_and_the_exact_weigh_more() {
        assert!(pattern("/a/b/*").weight() > pattern("/a/*").weight());
        assert!(pattern("/a/").weight() > pattern("/a/*").weight());
    }

    #[test]
    fn a_path_that_no_request_can_match_is_refused() {
        for bad in [
            "", "a", "*", "/a*", "/*/a", "/a/**", "/a//b", "//", "/./a", "/a/..", "/%61", "/a;b", "/a?b",
            "/a\\b",
        ] {
            assert!(bad.parse::<PathPattern>().is_err(), "{bad}");
        }
        for good in ["/", "/*", "/a", "/a/", "/a/*", "/a.b/..c", "/é"] {
            assert_eq!(pattern(good).as_str(), good);
        }
    }
}
