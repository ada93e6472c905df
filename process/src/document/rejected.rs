//! The report on a file that cannot be used. It holds no text of the file but the lines it shows, masked, so it can be
//! logged and sent to a command.

use std::fmt::{self, Write as _};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::excerpt::{Excerpt, cut};
use super::place::Place;
use super::problems::Problem;

/// A file with this many mistakes is not the file that was meant; showing all of them would hide that.
const SHOWN: usize = 100;

/// Every mistake of one file. Its `Display` is the whole report, without colour.
#[derive(Clone, Debug)]
pub struct Rejected {
    name: String,
    mistakes: Vec<Mistake>,
    total: usize,
}

/// One mistake of a file.
#[derive(Clone, Debug)]
pub struct Mistake {
    message: String,
    hint: Option<String>,
    excerpt: Option<Excerpt>,
}

impl Mistake {
    /// From 1; `None` where the file as a whole is meant.
    pub fn line(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.line)
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    fn new(text: &str, problem: Problem, hidden: &[Range<usize>]) -> Self {
        let excerpt = match problem.place {
            Place::File => None,
            Place::At { start, end } => Some(cut(text, start..end, hidden)),
        };
        Self { message: problem.message, hint: problem.hint, excerpt }
    }

    fn render(&self, name: &str, renderer: &Renderer) -> String {
        let mut group = Group::with_title(Level::ERROR.primary_title(self.message.as_str()));
        match &self.excerpt {
            None => group = group.element(Origin::path(name)),
            Some(excerpt) => {
                let underline = AnnotationKind::Primary.span(excerpt.underline.clone());
                let mut snippet = Snippet::source(excerpt.text.as_str()).line_start(excerpt.line);
                if excerpt.is_shifted() {
                    let origin = Origin::path(name).line(excerpt.line).char_column(excerpt.column);
                    group = group.element(origin);
                } else {
                    snippet = snippet.path(name);
                }
                group = group.element(snippet.annotation(underline));
            }
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
        }
        renderer.render(&[group])
    }
}

impl Rejected {
    pub(super) fn new(name: &str, text: &str, mut problems: Vec<Problem>, hidden: Vec<Range<usize>>) -> Self {
        let total = problems.len();
        problems.truncate(SHOWN);
        let mistakes = problems.into_iter().map(|problem| Mistake::new(text, problem, &hidden)).collect();
        Self { name: name.to_owned(), mistakes, total }
    }

    /// In the order of the file, at most the first hundred.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// The whole report; with ANSI colours if asked, which is the caller's to decide.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut report = match self.total {
            0 => format!("`{}` cannot be used", self.name),
            1 => format!("1 problem in `{}`", self.name),
            total => format!("{total} problems in `{}`", self.name),
        };
        for mistake in &self.mistakes {
            let block = mistake.render(&self.name, &renderer);
            report.push_str("\n\n");
            // An underline at the end of a line leaves blanks behind it.
            report.push_str(block.trim_end());
        }
        if self.total > self.mistakes.len() {
            let _ = write!(report, "\n\n... and {} more", self.total - self.mistakes.len());
        }
        report
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Rejected {}
