//! Collects what is wrong with a file while it is being read.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use super::place::{Lines, Place};

/// Everything found wrong so far. Shared by all tables of one file; obtained with [`super::Table::problems`].
pub struct Problems {
    lines: Lines,
    found: RefCell<Vec<Problem>>,
    hidden: RefCell<Vec<Range<usize>>>,
}

/// One mistake, before it is known how its line will be shown.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Decides whether a problem is still believable when the file is broken as TOML (see `syntax`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The parser of TOML found it.
    Syntax,
    /// Told by one key or value alone.
    Value,
    /// Told by several parts of the file: something missing, or a check of the caller's.
    Whole,
}

impl Problems {
    pub(super) fn new(text: &str) -> Self {
        Self { lines: Lines::of(text), found: RefCell::default(), hidden: RefCell::default() }
    }

    /// Adds what the caller found wrong at `at`: a `&Spanned<T>`, a [`Place`] or a range of bytes.
    pub fn add(&self, at: impl Into<Place>, message: impl Into<String>) {
        self.push(at.into(), Kind::Whole, message.into(), None);
    }

    /// Like [`Self::add`], with a way out.
    pub fn add_with_hint(&self, at: impl Into<Place>, message: impl Into<String>, hint: impl Into<String>) {
        self.push(at.into(), Kind::Whole, message.into(), Some(hint.into()));
    }

    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// The line on which `at` begins, from 1, for hints such as 'first on line 12'.
    pub fn line(&self, at: impl Into<Place>) -> usize {
        match at.into() {
            Place::File => 1,
            Place::At { start, .. } => self.lines.number(start),
        }
    }

    pub(super) fn push(&self, place: Place, kind: Kind, message: String, hint: Option<String>) {
        self.found.borrow_mut().push(Problem { place, kind, message, hint });
    }

    /// The bytes of `value` are never shown in a report.
    pub(super) fn hide(&self, value: Range<usize>) {
        self.hidden.borrow_mut().push(value);
    }

    pub(super) fn into_parts(self) -> (Lines, Vec<Problem>, Vec<Range<usize>>) {
        (self.lines, self.found.into_inner(), self.hidden.into_inner())
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problems").field("found", &self.found).finish_non_exhaustive()
    }
}
