//! What is wrong with a file: [`FleetError`].

use std::fmt;

/// So many problems are told.
const TOLD: usize = 20;

/// Everything that is wrong with the file of a fleet, or of its loads. Shown as a line for each problem, the first 20 of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetError {
    /// The file's name.
    pub file: String,
    /// The first problems, in order.
    pub problems: Vec<FleetProblem>,
    /// How many there are besides.
    pub more: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetProblem {
    /// In which line, from 1: the head is the first.
    pub line: u64,
    /// In which column, from 1, and its name.
    pub column: Option<(usize, String)>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl FleetProblem {
    pub(super) fn new(line: u64, column: Option<(usize, &str)>, message: impl Into<String>) -> Self {
        Self { line, column: column.map(|(at, name)| (at, name.to_owned())), message: message.into() }
    }

    /// The file cannot be read, or is not text.
    pub(super) fn unreadable(source: &csv::Error) -> Self {
        let line = source.position().map_or(1, csv::Position::line);
        let message = match source.kind() {
            csv::ErrorKind::Utf8 { err, .. } => {
                format!("field {} is not UTF-8; save the file as UTF-8", err.field() + 1)
            }
            _ => format!("it cannot be read: {source}"),
        };
        Self { line, column: None, message }
    }
}

impl FleetError {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    pub(super) fn add(&mut self, problem: FleetProblem) {
        if self.problems.len() < TOLD {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn with(mut self, problem: FleetProblem) -> Self {
        self.add(problem);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }
}

impl std::error::Error for FleetError {}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, FleetProblem { line, column, message }) in self.problems.iter().enumerate() {
            let next = if n == 0 { "" } else { "\n" };
            write!(f, "{next}{}, line {line}", self.file)?;
            if let Some((at, name)) = column {
                write!(f, ", column {at} ({name})")?;
            }
            write!(f, ": {message}")?;
        }
        if self.more > 0 { write!(f, "\nand {} more", self.more) } else { Ok(()) }
    }
}
