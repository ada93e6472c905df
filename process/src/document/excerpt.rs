//! The one line of the file that a problem is shown with: secrets masked, a line without end clipped, so that it can be
//! kept and printed without thought.

use std::ops::Range;

/// Characters shown before and after the beginning of the underlined text where a line is longer than a terminal.
const BEFORE: usize = 60;
const AFTER: usize = 100;

/// A line and which part of it to underline, in bytes of `text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: String,
    pub(super) underline: Range<usize>,
}

impl Excerpt {
    /// Whether the underlined text stands in another column here than in the file.
    pub(super) fn is_shifted(&self) -> bool {
        self.text[..self.underline.start].chars().count() + 1 != self.column
    }
}

/// A stretch of the file and what it became in the excerpt.
struct Piece {
    source: Range<usize>,
    shown: Range<usize>,
    masked: bool,
}

/// Cuts the line out of `text` on which `span` begins. `hidden` is sorted and without overlaps.
pub(super) fn cut(text: &str, span: Range<usize>, hidden: &[Range<usize>]) -> Excerpt {
    let start = text.floor_char_boundary(position(text, span.start));
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line_end = line_start + text[line_start..line_end].trim_end_matches('\r').len();
    let start = start.min(line_end);
    let end = text.ceil_char_boundary(span.end.clamp(start, line_end));
    let window = window(text, line_start..line_end, start);
    let end = end.min(window.end);

    let mut shown = String::from(if window.start > line_start { "…" } else { "" });
    let pieces = pieces(text, &window, hidden, &mut shown);
    if window.end < line_end {
        shown.push('…');
    }
    let from = pieces.iter().rev().find(|piece| piece.source.start <= start);
    let to = pieces.iter().find(|piece| end <= piece.source.end);
    let from = from.map_or(0, |piece| if piece.masked { piece.shown.start } else { piece.at(start) });
    let to = to.map_or(shown.len(), |piece| if piece.masked { piece.shown.end } else { piece.at(end) });
    Excerpt {
        line: text[..line_start].matches('\n').count() + 1,
        column: text[line_start..start].chars().count() + 1,
        text: shown,
        underline: from..to.max(from),
    }
}

impl Piece {
    fn at(&self, position: usize) -> usize {
        self.shown.start + position - self.source.start
    }
}

/// What is wrong at the very end of the file (something was never closed) is shown at the end of its last line.
fn position(text: &str, start: usize) -> usize {
    if start < text.len() { start } else { text.trim_end_matches(['\n', '\r']).len() }
}

fn window(text: &str, line: Range<usize>, start: usize) -> Range<usize> {
    if line.len() <= BEFORE + AFTER {
        return line;
    }
    let from = text.floor_char_boundary(start.saturating_sub(BEFORE).max(line.start));
    let to = text.floor_char_boundary((start + AFTER).min(line.end));
    from..to
}

fn pieces(text: &str, window: &Range<usize>, hidden: &[Range<usize>], shown: &mut String) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut push = |source: Range<usize>, masked: bool| {
        let begin = shown.len();
        shown.push_str(if masked { "***" } else { &text[source.clone()] });
        pieces.push(Piece { source, shown: begin..shown.len(), masked });
    };
    let mut from = window.start;
    for mask in hidden.iter().filter(|mask| mask.start < window.end && mask.end > window.start) {
        push(from..mask.start.max(from), false);
        push(mask.start.max(from)..mask.end.min(window.end), true);
        from = mask.end.min(window.end);
    }
    push(from..window.end, false);
    pieces
}
