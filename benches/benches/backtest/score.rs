//! What a choice of windows is worth.

use crate::traces::Trace;

/// Hours of the windows that are looked for.
pub(crate) const WINDOWS: [i64; 3] = [1, 2, 4];

/// Sums over the choices of one method on one trace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    pub(crate) choices: f64,
    regret: f64,
    right: f64,
    hits: f64,
    gained: f64,
    to_gain: f64,
}

impl Score {
    /// Adds the choice of `chosen` among windows with these mean loads.
    pub(crate) fn add(&mut self, windows: &[f64], chosen: usize, mean: f64, point: f64) {
        let best = windows.iter().copied().fold(f64::INFINITY, f64::min);
        let random = windows.iter().sum::<f64>() / windows.len() as f64;
        let lost = windows[chosen] - best;
        self.choices += 1.0;
        self.regret += lost / mean;
        self.right += f64::from(lost <= 10.0 * point);
        self.hits += f64::from(lost <= 0.1 * mean);
        self.gained += (random - windows[chosen]) / mean;
        self.to_gain += (random - best) / mean;
    }

    /// (Load of the chosen window − the best) ÷ the day's mean, %.
    pub(crate) fn regret(&self) -> f64 {
        100.0 * self.regret / self.choices
    }

    /// Choices within ten points of the best (Seagull's measure), %.
    pub(crate) fn right(&self) -> f64 {
        100.0 * self.right / self.choices
    }

    /// Choices within a tenth of the day's mean of the best, %.
    pub(crate) fn hit(&self) -> f64 {
        100.0 * self.hits / self.choices
    }

    /// 0: no better than a random time; 100: hindsight.
    pub(crate) fn capture(&self) -> f64 {
        100.0 * self.gained / self.to_gain
    }
}

/// A stretch of the trace in which a window is looked for: its mean, and the mean load of each window by its start.
pub(crate) struct Stretch {
    pub(crate) mean: f64,
    pub(crate) truth: Vec<f64>,
}

impl Stretch {
    /// Nothing where values are missing, or the load is nil: its mean is under a tenth of a point, so that whatever is
    /// chosen costs nobody anything and the regret would be divided by next to nothing.
    pub(crate) fn new(trace: &Trace, from: usize, steps: usize, window: usize) -> Option<Self> {
        let values = trace.values.get(from..from + steps)?;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / steps as f64;
        (mean > 0.1 * trace.point()).then(|| Self { mean, truth: window_means(values, window) })
    }
}

/// The mean of each window of so many values, by its start.
pub(crate) fn window_means(values: &[f32], window: usize) -> Vec<f64> {
    let mut sum: f64 = values[..window].iter().map(|v| f64::from(*v)).sum();
    let mut means = vec![sum / window as f64];
    for (gone, come) in values.iter().zip(&values[window..]) {
        sum += f64::from(*come) - f64::from(*gone);
        means.push(sum / window as f64);
    }
    means
}

/// The first of the least.
pub(crate) fn argmin(values: &[f64]) -> usize {
    (0..values.len()).min_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap_or_default()
}

/// A quantile of the values that are not missing; zero when there are none.
pub(crate) fn quantile(values: &[f32], quantile: f64) -> f32 {
    let mut sorted: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let at = (quantile * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// The mean of what is a number.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) =
        values.filter(|v| v.is_finite()).fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    sum / count
}
