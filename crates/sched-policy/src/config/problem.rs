//! What is wrong with a configuration, all of it at once: [`Problems`].

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::node::Span;
use super::path::Path;

/// Problems that are kept with their text; later ones are only counted. A file of this subject that has more is broken
/// in one way many times.
const MOST_KEPT: usize = 1_000;

/// The longest line that is shown whole, in characters.
const WIDEST: usize = 160;

/// Whether a problem keeps the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// It cannot be used.
    Error,
    /// It can be used, and probably does not do what was meant.
    Warning,
}

/// Where in a file something stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Place {
    /// The name that the file was read under.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// The text of that line.
    pub text: String,
    /// How many characters of it are meant, at least 1.
    pub width: u32,
}

/// One thing that is wrong, with what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// Whether it keeps the configuration from being used.
    pub severity: Severity,
    /// The keys from the root to the value, such as `technologies.ledger.rpo`. Empty for an error of syntax.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Where it stands, if it was read from a text.
    pub place: Option<Place>,
}

/// Everything that is wrong with one configuration. Its `Display` shows each problem with its line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problems {
    found: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    /// As they stand in the file. Warnings are told only where there are no errors.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// How many there are, those included that are not kept.
    pub fn len(&self) -> usize {
        self.found.len() + self.left_out
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether there is an error among them.
    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|problem| problem.severity == Severity::Error)
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.found.iter().enumerate() {
            write!(f, "{}{problem}", if n > 0 { "\n\n" } else { "" })?;
        }
        match self.left_out {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Error => "error: ",
            Severity::Warning => "warning: ",
        })?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        let Some(Place { file, line, column, text, width }) = &self.place else { return Ok(()) };
        let margin = " ".repeat(line.to_string().len());
        write!(f, "\n{margin}--> {file}:{line}:{column}")?;
        if text.chars().count() <= WIDEST {
            let before: String = text.chars().take(*column as usize - 1).map(blank).collect();
            let marks = "^".repeat(*width as usize);
            write!(f, "\n{margin} |\n{line} | {text}\n{margin} | {before}{marks}")?;
        }
        Ok(())
    }
}

/// A tab stays a tab, so that what is below stands below.
fn blank(c: char) -> char {
    if c == '\t' { c } else { ' ' }
}

/// The text that is read, and where its lines begin.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    line_starts: Vec<u32>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1);
        Self { file, text, line_starts: std::iter::once(0).chain(ends).collect() }
    }

    pub(crate) fn file(&self) -> Arc<str> {
        self.file.into()
    }

    /// The line, from 1.
    pub(crate) fn line(&self, span: Span) -> u32 {
        self.line_starts.partition_point(|start| *start <= span.start) as u32
    }

    fn place(&self, span: Span) -> Place {
        let line = self.line(span);
        let start = self.line_starts[line as usize - 1] as usize;
        let text = self.text[start..].lines().next().unwrap_or_default();
        let floor = |at: u32| {
            let within = (at as usize).saturating_sub(start).min(text.len());
            text.char_indices().map(|(at, _)| at).take_while(|at| *at < within).count() as u32
        };
        let (from, to) = (floor(span.start), floor(span.end));
        let width = to.saturating_sub(from).max(1);
        Place { file: self.file.to_owned(), line, column: from + 1, text: text.to_owned(), width }
    }
}

/// Collects problems while a configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<(Severity, Span, String, String)>,
    left_out: usize,
}

impl Findings {
    pub(crate) fn error(&mut self, span: Span, path: &Path<'_>, message: impl Into<String>) {
        self.add(Severity::Error, span, path.to_string(), message.into());
    }

    pub(crate) fn add(&mut self, severity: Severity, span: Span, path: String, message: String) {
        let errors_make_room = severity == Severity::Error && self.found.len() >= MOST_KEPT;
        if errors_make_room
            && let Some(at) = self.found.iter().rposition(|found| found.0 == Severity::Warning)
        {
            self.found.swap_remove(at);
            self.left_out += 1;
        }
        if self.found.len() >= MOST_KEPT {
            self.left_out += 1;
        } else {
            self.found.push((severity, span, path, message));
        }
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.left_out += more.left_out;
        for (severity, span, path, message) in more.found {
            self.add(severity, span, path, message);
        }
    }

    /// Whether another problem would be kept.
    pub(crate) fn has_room(&self) -> bool {
        self.found.len() < MOST_KEPT || self.found.iter().any(|found| found.0 == Severity::Warning)
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|found| found.0 == Severity::Error)
    }

    /// In the order in which they stand; with places if they were read from a text. Warnings only where there are no
    /// errors: what could not be read may be what they warn of.
    pub(crate) fn problems(mut self, source: Option<&Source<'_>>) -> Problems {
        if self.has_errors() {
            self.found.retain(|found| found.0 == Severity::Error);
        }
        self.found.sort_by(|a, b| {
            let key = |f: &(Severity, Span, String, String)| (f.1.start, f.1.end);
            key(a).cmp(&key(b)).then_with(|| a.2.cmp(&b.2))
        });
        let problem = |(severity, span, path, message)| Problem {
            severity,
            path,
            message,
            place: source.map(|source| source.place(span)),
        };
        Problems { found: self.found.into_iter().map(problem).collect(), left_out: self.left_out }
    }
}
