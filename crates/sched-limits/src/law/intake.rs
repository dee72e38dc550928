//! What a law believes of the readings that it is shown: [`Intake`].

use std::collections::VecDeque;
use std::time::Duration;

use sched_core::MonoTime;

/// Differences that the noise is estimated from.
const DIFFERENCES: usize = 61;
/// The median of |a − b| over two normal samples is .954 σ.
const MEDIAN_OF_DIFFERENCE: f64 = 0.954;

/// A median of three readings, and the noise of a single one.
///
/// One reading that is wildly wrong, high or low, changes nothing by itself; a real step is believed at its second
/// reading. A median never falls when one of its readings rises, so laws stay monotone.
#[derive(Clone, Debug, Default)]
pub(super) struct Intake {
    newest: VecDeque<f64>,
    differences: VecDeque<f64>,
    last: Option<MonoTime>,
}

impl Intake {
    /// Takes a reading; the value to believe, and the time since the reading before.
    pub(super) fn take(&mut self, at: MonoTime, value: f64) -> (f64, Duration) {
        let passed = self.last.map_or(Duration::ZERO, |last| at.since(last));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        if let Some(before) = self.newest.back() {
            push(&mut self.differences, (value - before).abs(), DIFFERENCES);
        }
        push(&mut self.newest, value, 3);
        (median(self.newest.iter().copied()), passed)
    }

    /// Standard deviation of a single reading; infinite while too few were seen.
    ///
    /// From the median of differences of neighbours: neither a step nor spikes count as noise.
    pub(super) fn noise(&self) -> f64 {
        if self.differences.len() < 15 {
            return f64::INFINITY;
        }
        median(self.differences.iter().copied()) / MEDIAN_OF_DIFFERENCE
    }
}

fn push(queue: &mut VecDeque<f64>, value: f64, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(value);
}

/// The middle value, the lower one of two; NaN when there is none.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
