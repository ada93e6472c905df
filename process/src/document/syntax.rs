//! What to believe when the file is broken as TOML. The parser recovers, so the rest of the file is still read and its
//! mistakes reported; but a problem that only the break explains would send the reader looking in the wrong place.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::{DeTable, Error};

use super::place::{Lines, Place};
use super::problems::{Kind, Problem};
use super::value::leaves;

/// All problems in the order of the file: those of TOML (the first of each line, what follows it there is its echo),
/// and of `found` those that are believable.
pub(super) fn merge(
    text: &str,
    lines: &Lines,
    tree: &DeTable<'_>,
    errors: &[Error],
    found: Vec<Problem>,
) -> Vec<Problem> {
    let mut broken_lines = BTreeSet::new();
    let mut all = Vec::new();
    let mut sorted: Vec<_> = errors.iter().map(|error| (error.span().unwrap_or(0..0), error)).collect();
    sorted.sort_by_key(|(span, _)| span.start);
    for (span, error) in &sorted {
        if broken_lines.insert(lines.number(span.start)) {
            let (place, message) = (Place::from(span.clone()), worded(text, span, error));
            all.push(Problem { place, kind: Kind::Syntax, message, hint: None });
        }
    }
    let structure = first_structural(text, tree, &sorted);
    all.extend(found.into_iter().filter(|problem| believable(lines, problem, &broken_lines, structure)));
    all.sort_by_key(|problem| problem.place);
    all
}

/// The parser takes a bare word for a failed number if it begins like `nan` or `inf`.
fn worded(text: &str, span: &Range<usize>, error: &Error) -> String {
    let bare = text.get(span.clone()).is_some_and(|word| word.starts_with(|c: char| c.is_alphabetic()));
    match error.message() {
        "string values must be quoted, expected literal string" => "a string must be quoted".to_owned(),
        message if bare && message.starts_with("invalid float") => "a string must be quoted".to_owned(),
        message => message.to_owned(),
    }
}

fn believable(lines: &Lines, problem: &Problem, broken: &BTreeSet<usize>, structure: Option<usize>) -> bool {
    let start = match problem.place {
        Place::File => return structure.is_none(),
        Place::At { start, .. } => start,
    };
    if broken.contains(&lines.number(start)) {
        return false;
    }
    // Past a break of the structure keys may have moved to another table, or be lost.
    structure.is_none_or(|at| problem.kind == Kind::Value && start < at)
}

/// Where the first mistake stands that may have moved or swallowed what follows: one that is neither inside a single
/// value nor a key given twice.
fn first_structural(text: &str, tree: &DeTable<'_>, errors: &[(Range<usize>, &Error)]) -> Option<usize> {
    if errors.is_empty() {
        return None;
    }
    let mut values = Vec::new();
    leaves(text, tree, &mut |_, place| values.push(place));
    values.sort_by_key(|value| value.start);
    let inside_a_value = |span: &Range<usize>| {
        let next = values.partition_point(|value| value.start <= span.start);
        next.checked_sub(1).is_some_and(|at| span.end <= values[at].end && values[at].end < text.len())
    };
    errors
        .iter()
        .find(|(span, error)| error.message() != "duplicate key" && !inside_a_value(span))
        .map(|(span, _)| span.start)
}
