//! Where in the file something stands, and values that remember it.

use std::fmt;
use std::ops::{Deref, Range};

/// A part of the file, in bytes, or the file as a whole (what is missing from it stands nowhere).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    File,
    At { start: usize, end: usize },
}

impl From<Range<usize>> for Place {
    fn from(range: Range<usize>) -> Self {
        Self::At { start: range.start, end: range.end }
    }
}

/// A value and where it was written. A secret's place is that of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    place: Place,
}

impl<T> Spanned<T> {
    pub fn new(value: T, place: impl Into<Place>) -> Self {
        Self { value, place: place.into() }
    }

    pub fn place(&self) -> Place {
        self.place
    }

    pub fn into_inner(self) -> T {
        self.value
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), place: self.place }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> From<&Spanned<T>> for Place {
    fn from(spanned: &Spanned<T>) -> Self {
        spanned.place
    }
}

/// Where the lines begin, so that a file with thousands of mistakes is not walked through for each of them.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// From 1.
    pub(super) fn number(&self, position: usize) -> usize {
        self.0.partition_point(|start| *start <= position) + 1
    }
}
