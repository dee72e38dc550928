//! How many values lay in which range: [`Histogram`].

use std::time::Duration;

use serde::Serialize;

/// Counts of values up to each of some bounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds: the last is for what lies above all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty histogram with these upper bounds, which must rise.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts a value; what is no number is left out.
    pub fn record(&mut self, value: f64) {
        if value.is_finite() {
            self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
            self.sum += value;
        }
    }

    /// Counts a duration in seconds.
    pub fn record_time(&mut self, time: Duration) {
        self.record(time.as_secs_f64());
    }

    /// The upper bound of each range, the last infinite, and how many values lay in it.
    pub fn ranges(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts.iter().copied())
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_a_bound_lies_below_it() {
        let mut histogram = Histogram::new(&[0.0, 1.0, 2.0]);
        [-3.0, 0.0, 0.5, 1.0, 2.5, f64::NAN, f64::INFINITY].into_iter().for_each(|v| histogram.record(v));
        let ranges: Vec<_> = histogram.ranges().collect();
        assert_eq!(ranges, [(0.0, 2), (1.0, 2), (2.0, 0), (f64::INFINITY, 1)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, 1.0));
    }
}
