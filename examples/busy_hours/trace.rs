//! A recorded load.

use std::path::Path;

use jiff::Timestamp;
use thiserror::Error;

/// Taxi passengers in New York, from the Numenta Anomaly Benchmark (MIT): days, weekends and a holiday in it.
const BUILT_IN: &str = include_str!("../../benches/traces/nab_nyc_taxi.csv");

/// A load, in the order of time.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) name: String,
    /// Finite values only.
    pub(crate) samples: Vec<(Timestamp, f64)>,
    /// The usual distance of two samples.
    pub(crate) step_secs: i64,
}

/// A file that is no load.
#[derive(Debug, Error)]
pub(crate) enum TraceError {
    #[error("{file}: {source}")]
    Unreadable { file: String, source: std::io::Error },
    #[error("{file}, line {line}: {problem}")]
    Row { file: String, line: u64, problem: String },
    #[error("{file}: {samples} samples; a load of some days is needed")]
    Short { file: String, samples: usize },
}

impl Trace {
    pub(crate) fn built_in() -> Result<Self, TraceError> {
        Self::parse("taxi passengers in New York, summer 2014", BUILT_IN)
    }

    pub(crate) fn read(path: &Path) -> Result<Self, TraceError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path);
        Self::parse(&file, &text.map_err(|source| TraceError::Unreadable { file: file.clone(), source })?)
    }

    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, TraceError> {
        let wrong = |line, problem| TraceError::Row { file: file.into(), line, problem };
        let mut samples = Vec::new();
        for row in csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes()).into_records() {
            let row = row.map_err(|error| {
                let line = error.position().map_or(0, csv::Position::line);
                wrong(line, error.to_string())
            })?;
            let line = row.position().map_or(0, csv::Position::line);
            let [at, value] = [row.get(0), row.get(1)].map(|field| field.unwrap_or_default().trim());
            let at: Timestamp = at
                .parse()
                .map_err(|_| wrong(line, format!("{at:?} is no time; write it like 2026-11-25T14:00:00Z")))?;
            let value: f64 = value.parse().map_err(|_| wrong(line, format!("{value:?} is no number")))?;
            if value.is_finite() {
                samples.push((at, value.max(0.0)));
            }
        }
        samples.sort_by_key(|(at, _)| *at);
        samples.dedup_by_key(|(at, _)| *at);
        let mut steps: Vec<_> = samples.windows(2).map(|pair| seconds(pair[0].0, pair[1].0)).collect();
        steps.sort_unstable();
        let Some(step_secs) = steps.get(steps.len() / 2).map(|step| (*step).max(1)) else {
            return Err(TraceError::Short { file: file.into(), samples: samples.len() });
        };
        Ok(Self { name: file.into(), samples, step_secs })
    }

    /// Mean of the samples from one moment to another.
    pub(crate) fn mean(&self, from: Timestamp, until: Timestamp) -> Option<f64> {
        let first = self.samples.partition_point(|(at, _)| *at < from);
        let last = self.samples.partition_point(|(at, _)| *at < until);
        let inside = &self.samples[first..last];
        let sum: f64 = inside.iter().map(|(_, value)| value).sum();
        (!inside.is_empty()).then(|| sum / inside.len() as f64)
    }
}

pub(crate) fn seconds(from: Timestamp, until: Timestamp) -> i64 {
    until.as_second() - from.as_second()
}
