//! Robust estimates with intervals, and exact bounds of rates.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ChiSquared, ContinuousCDF};

/// Two-sided 95 % of the normal distribution.
const Z95: f64 = 1.959_963_985;
/// Differences from which on their order says something about 95 %: with five the widest interval has 93.8 %.
const FEWEST: usize = 6;

/// Latency with backups over latency without, and its confidence interval at 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ratio {
    /// The estimate; 1 is no effect.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Ratio {
    /// From a difference of logarithms and what it may be off by either way.
    pub(super) fn from_ln(value: f64, off: f64) -> Self {
        Self { value: value.exp(), low: (value - off).exp(), high: (value + off).exp() }
    }

    /// The centre of differences of logarithms (Hodges and Lehmann, 1963) with the interval that belongs to Wilcoxon's
    /// signed-rank test (Hollander and Wolfe, Nonparametric Statistical Methods, 3.3, with the normal approximation).
    /// A single stall, however long, moves neither. `None` below six differences.
    pub(super) fn of_differences(differences: &[f64]) -> Option<Self> {
        if differences.len() < FEWEST {
            return None;
        }
        let walsh = Walsh::of(differences);
        let n = differences.len() as f64;
        let spread = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
        let outside = (walsh.len() as f64 / 2.0 - Z95 * spread).floor().max(1.0) as usize;
        let (low, high) = (walsh.at(outside - 1), walsh.at(walsh.len() - outside));
        Some(Self { value: walsh.median().exp(), low: low.exp(), high: high.exp() })
    }
}

/// The median of the means of all pairs, each value with itself among them; 0 without values.
pub(super) fn centre(values: &[f64]) -> f64 {
    Walsh::of(values).median()
}

/// The means of all pairs of some values in ascending order, which are never listed: there are n² / 2 of them, and any one is
/// found in 64 n steps.
struct Walsh(Vec<f64>);

impl Walsh {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    fn len(&self) -> usize {
        self.0.len() * (self.0.len() + 1) / 2
    }

    /// The one at a place, from 0: the least number that more than `place` of them do not exceed, by halving what is left of
    /// all numbers.
    fn at(&self, place: usize) -> f64 {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else { return 0.0 };
        let (mut from, mut to) = (ordinal(*least), ordinal(*most));
        while from < to {
            let between = (from & to) + ((from ^ to) >> 1);
            if self.not_over(number(between)) > place {
                to = between;
            } else {
                from = between + 1;
            }
        }
        number(from)
    }

    /// How many do not exceed a number. The larger a value, the fewer partners it has.
    fn not_over(&self, most: f64) -> usize {
        let (mut count, mut partners) = (0, self.0.len());
        for (place, value) in self.0.iter().enumerate() {
            while partners > place && f64::midpoint(*value, self.0[partners - 1]) > most {
                partners -= 1;
            }
            if partners <= place {
                break;
            }
            count += partners - place;
        }
        count
    }

    fn median(&self) -> f64 {
        match self.len() {
            n if n % 2 == 1 => self.at(n / 2),
            n => f64::midpoint(self.at((n / 2).saturating_sub(1)), self.at(n / 2)),
        }
    }
}

/// Where a number stands among all, as [`f64::total_cmp`] has them.
fn ordinal(of: f64) -> i64 {
    turned(of.to_bits().cast_signed())
}

fn number(ordinal: i64) -> f64 {
    f64::from_bits(turned(ordinal).cast_unsigned())
}

/// Negative numbers ascend as their bits descend. Done twice, it is undone.
fn turned(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The median of sorted values.
fn middle(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The median; 0 without values.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    middle(values)
}

/// The value that this share of sorted values stays below; 0 without values.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or(0.0)
}

/// What the rate of events a unit does not exceed, with this confidence, when `events` were counted in `units`: exact for
/// events that come independently (Garwood, 1936). Without an event about 3 / `units` at 95 %: the rule of three. Infinite
/// when nothing was watched.
pub fn rate_at_most(events: f64, units: f64, confidence: f64) -> f64 {
    if units > 0.0 { 0.5 * chi_squared(2.0 * events + 2.0, confidence) / units } else { f64::INFINITY }
}

/// What the rate is at least, as [`rate_at_most`]; 0 without an event.
pub(super) fn rate_at_least(events: f64, units: f64, confidence: f64) -> f64 {
    if events > 0.0 && units > 0.0 { 0.5 * chi_squared(2.0 * events, 1.0 - confidence) / units } else { 0.0 }
}

/// What the share of `all` that are `some` does not exceed, with this confidence (Clopper and Pearson, 1934). 1 when
/// nothing was watched.
pub fn share_at_most(some: u64, all: u64, confidence: f64) -> f64 {
    if some >= all {
        return 1.0;
    }
    let beta = Beta::new(some as f64 + 1.0, (all - some) as f64);
    beta.map_or(1.0, |beta| beta.inverse_cdf(confidence))
}

fn chi_squared(freedom: f64, below: f64) -> f64 {
    ChiSquared::new(freedom).map_or(f64::INFINITY, |chi| chi.inverse_cdf(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Garwood's and Clopper and Pearson's own figures, one-sided 95 %.
        assert!((rate_at_most(0.0, 100.0, 0.95) - 0.029_957).abs() < 1e-5);
        assert!((rate_at_most(3.0, 1.0, 0.95) - 7.753_66).abs() < 1e-4);
        assert!((rate_at_least(3.0, 1.0, 0.95) - 0.817_69).abs() < 1e-4);
        assert!((share_at_most(0, 100, 0.95) - 0.029_513).abs() < 1e-5);
        assert!((share_at_most(1, 10, 0.95) - 0.394_163).abs() < 1e-5);
        assert_eq!((share_at_most(0, 0, 0.95), rate_at_most(0.0, 0.0, 0.95)), (1.0, f64::INFINITY));
    }

    #[test]
    fn any_mean_of_pairs_is_found_without_the_list_of_all() {
        let mut rng = fastrand::Rng::with_seed(5);
        for n in 0..40 {
            // Coarse, so that there are ties, and on both sides of 0.
            let values: Vec<f64> = (0..n).map(|_| f64::from(rng.i32(-9..9)) / 7.0).collect();
            let mut all: Vec<f64> = Vec::new();
            for (place, a) in values.iter().enumerate() {
                all.extend(values[place..].iter().map(|b| f64::midpoint(*a, *b)));
            }
            all.sort_by(f64::total_cmp);
            let walsh = Walsh::of(&values);
            assert_eq!((walsh.len(), walsh.median()), (all.len(), middle(&all)), "{values:?}");
            let found: Vec<f64> = (0..all.len()).map(|place| walsh.at(place)).collect();
            assert_eq!(found, all, "{values:?}");
        }
    }

    #[test]
    fn the_interval_covers_the_truth_and_a_stall_does_not_move_it() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut covered = 0;
        for _ in 0..2_000 {
            let mut all: Vec<f64> = (0..20).map(|_| 0.3 + rng.f64() + rng.f64() + rng.f64() - 1.5).collect();
            let ratio = Ratio::of_differences(&all).unwrap();
            covered += u32::from(ratio.low <= 0.3_f64.exp() && 0.3_f64.exp() <= ratio.high);
            all[0] = 50.0;
            let stalled = Ratio::of_differences(&all).unwrap();
            assert!((stalled.value / ratio.value).ln().abs() < 0.2, "{ratio:?} {stalled:?}");
        }
        assert!((1_860..=1_940).contains(&covered), "{covered}");
        assert_eq!(Ratio::of_differences(&[0.1; 5]), None);
    }
}
