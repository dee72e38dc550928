//! Tables with a head: [`Columns`], [`Line`].

use super::problem::{FleetError, FleetProblem};

/// The columns that a table may have, and where each stands in the file.
#[derive(Debug)]
pub(super) struct Columns {
    known: &'static [&'static str],
    at: Vec<Option<usize>>,
}

impl Columns {
    /// From the head of a file; `None` when something is wrong with it. The first of those known must be there.
    pub(super) fn new(
        known: &'static [&'static str],
        required: usize,
        head: &csv::StringRecord,
        error: &mut FleetError,
    ) -> Option<Self> {
        let one = head.get(0).filter(|_| head.len() == 1).unwrap_or_default();
        if let Some(other) = one.chars().find(|char| [';', '\t', '|'].contains(char)) {
            let message = format!("columns are separated by {other:?} here; commas are wanted");
            error.add(FleetProblem::new(1, None, message));
            return None;
        }
        let mut columns = Self { known, at: vec![None; known.len()] };
        for (at, name) in head.iter().enumerate() {
            let problem = |message: String| FleetProblem::new(1, Some((at + 1, name)), message);
            let place = known.iter().position(|column| *column == name);
            match place.map(|place| &mut columns.at[place]) {
                Some(place @ None) => *place = Some(at),
                Some(_) => error.add(problem("this column is there twice; once is right".into())),
                None => {
                    let hint = nearest(name, known.iter().copied()).map_or_else(
                        || format!("known are {}", known.join(", ")),
                        |near| format!("did you mean {near:?}?"),
                    );
                    error.add(problem(format!("there is no such column; {hint}")));
                }
            }
        }
        for (name, _) in known.iter().zip(&columns.at).take(required).filter(|(_, at)| at.is_none()) {
            let message = format!("column {name:?} is missing; the first line must name it");
            error.add(FleetProblem::new(1, None, message));
        }
        error.is_empty().then_some(columns)
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.place(column).is_some()
    }

    fn place(&self, column: &str) -> Option<usize> {
        self.known.iter().position(|name| *name == column).and_then(|known| self.at[known])
    }
}

/// Longer ones are like no name: a quote was left open.
const LONGEST_NAME: usize = 200;

/// A name as it is shown, however long it is.
pub(super) fn shown(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{:?} and so on", &name[..end]),
        None => format!("{name:?}"),
    }
}

/// The name that is most like another, if one is like it at all.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let known = known.filter(|_| name.len() <= LONGEST_NAME);
    let likeness = known.map(|known| (strsim::jaro(known, name), known)).filter(|(like, _)| *like > 0.75);
    likeness.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// A line of the file.
pub(super) struct Line<'a> {
    pub(super) columns: &'a Columns,
    pub(super) record: &'a csv::StringRecord,
    pub(super) number: u64,
}

impl<'a> Line<'a> {
    pub(super) fn new(columns: &'a Columns, record: &'a csv::StringRecord) -> Self {
        Self { columns, record, number: record.position().map_or(0, csv::Position::line) }
    }

    /// The field of a column if it is not empty.
    pub(super) fn field(&self, column: &'static str) -> Option<&'a str> {
        let at = self.columns.place(column)?;
        self.record.get(at).filter(|field| !field.is_empty())
    }

    pub(super) fn problem(&self, column: &'static str, message: impl Into<String>) -> FleetProblem {
        let at = self.columns.place(column).map_or(0, |at| at + 1);
        FleetProblem::new(self.number, Some((at, column)), message)
    }

    pub(super) fn text(&self, column: &'static str) -> Result<&'a str, FleetProblem> {
        self.field(column).ok_or_else(|| self.problem(column, "it is empty; something is wanted here"))
    }

    /// A number in these bounds; `None` where the field is empty.
    pub(super) fn number(
        &self,
        column: &'static str,
        low: f64,
        high: f64,
        wanted: &str,
    ) -> Result<Option<f64>, FleetProblem> {
        let Some(text) = self.field(column) else { return Ok(None) };
        let number = text.parse::<f64>().ok().filter(|number| (low..=high).contains(number));
        number.map(Some).ok_or_else(|| self.problem(column, format!("{text:?} is not {wanted}")))
    }
}
