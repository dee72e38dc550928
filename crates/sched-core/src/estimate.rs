//! What the next backup of an instance will take, learned from the last ones: [`Estimate`].

use std::f32::consts::LN_2;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spec::MAX_SIZE_BYTES;

/// 90th percentile of the standard normal distribution, in standard deviations: Φ⁻¹(0.9).
const Z90: f32 = 1.281_6;
/// Mean absolute deviation of a normal distribution, in standard deviations: √(2/π) (R. C. Geary, *The Ratio of the
/// Mean Deviation to the Standard Deviation as a Test of Normality*, Biometrika 27, 1935).
const MEAN_ABSOLUTE_DEVIATION: f32 = 0.797_9;
/// Smallest spread that is believed, as the standard deviation of the logarithm: runs differ by a tenth even when a
/// short history does not show it.
const LEAST_SPREAD: f32 = 0.1;
/// Spread assumed of a single observation: a factor of about two between median and 90th percentile.
const FIRST_SPREAD: f32 = 0.5;
/// An observation counts as at most this many spreads away …
const CLIPPED_AT: f32 = 3.0;
/// … and as at most a factor of four, as a logarithm: what one outlier can do is bounded, whatever the spread.
const CLIPPED_AT_MOST: f32 = 2.0 * LN_2;
/// The gain falls as 1/n up to this observation and stays at 1/8 from there on.
const SETTLED_AFTER: u16 = 8;
/// Observations in a row on one side of the median that are taken for a change: without one, the fourth of a row
/// comes once in eight.
const CHANGED_AFTER: i8 = 4;
/// Least gain of the median while there seems to be a change.
const CHANGED_GAIN: f32 = 1.0 / 3.0;
/// Largest factor, as a logarithm, by which a known size scales a learned run time: 8. Farther off, size is no
/// longer what the time depends on.
const MOST_SCALED: f32 = 3.0 * LN_2;
/// Bounds of a run time, learned and told.
const SHORTEST: Duration = Duration::from_millis(1);
/// Ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Run time and size of the next backup of one instance and kind, in 24 bytes.
///
/// Both are followed as median and mean absolute deviation of the logarithm, updated recursively with deviations
/// clipped as in P. J. Huber, *Robust Estimation of a Location Parameter* (Annals of Mathematical Statistics 35,
/// 1964), at three standard deviations or a factor of four. The 90th percentile is that of a log-normal
/// distribution, exp(median + 1.2816 σ), where σ is the mean absolute deviation divided by √(2/π), at least 0.1.
///
/// * **Outliers.** From the eighth backup on, one more, however long or large, multiplies or divides the learned
///   values by less than 2.
/// * **Changes.** A lasting change by a factor of three, up or down, is followed to within 15 % by median and
///   size in ten backups, and the 90th percentile covers an increase after eight; growth by 2 % a backup is followed
///   with the size at most 8 % behind. Four deviations in a row to the same side speed the median up.
/// * **Prior.** What is expected without history is an argument of every query. It weighs as much as one backup, on
///   the logarithmic scale, and is forgotten like one: 1/2 after the first, 1/8 after seven, 2 % after twenty.
///
/// Run times count as at least 1 ms and at most 10 years, sizes as at most [`MAX_SIZE_BYTES`]; no answer lies
/// outside of that. The same observations in the same order give the same bits on one platform; platforms may differ
/// in the last places of `ln` and `exp`.
///
/// ```
/// use sched_core::Estimate;
/// use std::time::Duration;
///
/// let minutes = |n: u64| Duration::from_secs(60 * n);
/// let mut estimate = Estimate::default();
/// assert_eq!(estimate.expected_duration(minutes(60)), minutes(60));
/// for _ in 0..30 {
///     estimate.observe(minutes(10), 5_000_000_000);
/// }
/// let expected = estimate.expected_duration(minutes(60));
/// assert!(expected > minutes(11) && expected < minutes(12));
/// let twice_as_large = estimate.expected_duration_for(minutes(60), Some(10_000_000_000));
/// assert!(twice_as_large > minutes(22) && twice_as_large < minutes(24));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    duration: Track,
    size: Track,
}

impl Estimate {
    /// Learns from a backup that succeeded: its run time at the paced rate, and the bytes it moved (0 when unknown:
    /// nothing is learned about the size).
    pub fn observe(&mut self, ran: Duration, bytes: u64) {
        self.duration.observe(ln_secs(ran));
        if bytes > 0 {
            self.size.observe(ln_bytes(bytes));
        }
    }

    /// Backups learned from; counting stops at 65,535.
    pub fn observations(&self) -> u32 {
        u32::from(self.duration.observations)
    }

    /// 90th percentile of the paced run time, 1 ms to 10 years. `prior` is what is expected without any history.
    pub fn expected_duration(&self, prior: Duration) -> Duration {
        self.expected_duration_for(prior, None)
    }

    /// 90th percentile of the paced run time of a backup that will move `size` bytes (`None` or 0 when unknown).
    ///
    /// What was learned is scaled by the ratio to the learned size, by at most a factor of 8 either way. `prior` is
    /// what is expected of this very backup without any history: it is not scaled. `size` must count the same bytes
    /// as [`observe`](Self::observe) does; data before compression and bytes moved after it do not compare.
    pub fn expected_duration_for(&self, prior: Duration, size: Option<u64>) -> Duration {
        let prior = prior.clamp(SHORTEST, LONGEST);
        if self.duration.observations == 0 {
            return prior;
        }
        let scale = match size {
            Some(bytes) if bytes > 0 && self.size.observations > 0 => {
                (ln_bytes(bytes) - self.size.median).clamp(-MOST_SCALED, MOST_SCALED)
            }
            _ => 0.0,
        };
        let ln = self.duration.blend(ln_secs(prior), self.duration.p90() + scale);
        Duration::try_from_secs_f64(f64::from(ln).exp()).unwrap_or(prior).clamp(SHORTEST, LONGEST)
    }

    /// Median of the size in bytes, 1 to [`MAX_SIZE_BYTES`]. `prior` is what is expected without any history, `None`
    /// or 0 when nothing is.
    pub fn expected_size(&self, prior: Option<u64>) -> Option<u64> {
        let prior = prior.filter(|&bytes| bytes > 0).map(|bytes| bytes.min(MAX_SIZE_BYTES));
        if self.size.observations == 0 {
            return prior;
        }
        let ln = prior.map_or(self.size.median, |bytes| self.size.blend(ln_bytes(bytes), self.size.median));
        Some((f64::from(ln).exp().round() as u64).clamp(1, MAX_SIZE_BYTES))
    }
}

fn ln_secs(duration: Duration) -> f32 {
    duration.clamp(SHORTEST, LONGEST).as_secs_f64().ln() as f32
}

fn ln_bytes(bytes: u64) -> f32 {
    (bytes.clamp(1, MAX_SIZE_BYTES) as f64).ln() as f32
}

/// Median and spread of the logarithm of a positive quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Track {
    median: f32,
    /// Standard deviation, from the mean absolute deviation.
    spread: f32,
    observations: u16,
    /// How many of the last observations in a row lay above (positive) or below (negative) the median.
    row: i8,
}

impl Track {
    fn observe(&mut self, value: f32) {
        self.observations = self.observations.saturating_add(1);
        if self.observations == 1 {
            (self.median, self.spread) = (value, FIRST_SPREAD);
            return;
        }
        let limit = (CLIPPED_AT * self.spread.max(LEAST_SPREAD)).min(CLIPPED_AT_MOST);
        let off = (value - self.median).clamp(-limit, limit);
        self.row = match off {
            _ if off > 0.0 => self.row.max(0).saturating_add(1),
            _ if off < 0.0 => self.row.min(0).saturating_sub(1),
            _ => 0,
        };
        let gain = 1.0 / f32::from(self.observations.min(SETTLED_AFTER));
        let changed = self.row.unsigned_abs() >= CHANGED_AFTER.unsigned_abs();
        self.median += off * if changed { gain.max(CHANGED_GAIN) } else { gain };
        self.spread += gain * (off.abs() / MEAN_ABSOLUTE_DEVIATION - self.spread);
    }

    fn p90(&self) -> f32 {
        self.median + Z90 * self.spread.max(LEAST_SPREAD)
    }

    /// `learned` and the prior, which weighs as one more observation before all others would.
    fn blend(&self, prior: f32, learned: f32) -> f32 {
        let rising = self.observations.min(SETTLED_AFTER - 1);
        let kept = 1.0 - 1.0 / f32::from(SETTLED_AFTER);
        let weight = kept.powi(i32::from(self.observations - rising)) / (1.0 + f32::from(rising));
        weight * prior + (1.0 - weight) * learned
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const GIB: u64 = 1 << 30;

    /// Sums of twelve uniform numbers from a fixed generator (splitmix64): close to normal, mean 0 and deviation 1.
    fn normal(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        let mut uniform = move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        };
        move || (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }

    fn secs(of: f64) -> Duration {
        Duration::from_secs_f64(of)
    }

    fn learned(history: impl IntoIterator<Item = (Duration, u64)>) -> Estimate {
        let mut estimate = Estimate::default();
        history.into_iter().for_each(|(ran, bytes)| estimate.observe(ran, bytes));
        estimate
    }

    #[test]
    fn nine_runs_of_ten_are_shorter_than_expected() {
        for sigma in [0.1, 0.3, 0.7] {
            let (mut within, mut all, mut error) = (0, 0, 0.0);
            for seed in 0..100 {
                let mut noise = normal(seed);
                let mut run = || secs(600.0 * (sigma * noise()).exp());
                let mut estimate = learned((0..30).map(|_| (run(), GIB)));
                for _ in 0..30 {
                    let (expected, ran) = (estimate.expected_duration(HOUR), run());
                    all += 1;
                    within += u32::from(ran <= expected);
                    error += (expected.as_secs_f64() / 600.0).ln() - f64::from(Z90) * sigma;
                    estimate.observe(ran, GIB);
                }
            }
            let (share, bias) = (f64::from(within) / f64::from(all), error / f64::from(all));
            assert!((0.8..0.97).contains(&share), "sigma {sigma}: {share} within");
            assert!(bias.abs() < 0.1, "sigma {sigma}: off by {bias} on average");
        }
    }

    #[test]
    fn a_run_a_hundred_times_longer_hardly_shows_after_a_steady_history() {
        let mut noise = normal(1);
        let mut estimate = learned((0..20).map(|_| (secs(600.0 * (0.05 * noise()).exp()), GIB)));
        let before = (estimate.expected_duration(HOUR), estimate.expected_size(None).unwrap());
        estimate.observe(secs(60_000.0), u64::MAX);
        let after = (estimate.expected_duration(HOUR), estimate.expected_size(None).unwrap());
        assert!(after.0 > before.0 && after.0 < before.0.mul_f64(1.15), "{before:?} → {after:?}");
        assert!(after.1 > before.1 && after.1 < before.1 + before.1 / 8, "{before:?} → {after:?}");
    }

    #[test]
    fn a_first_run_that_was_an_outlier_is_forgotten() {
        let mut estimate = learned([(secs(60_000.0), 100 * GIB)]);
        (0..20).for_each(|_| estimate.observe(secs(600.0), GIB));
        assert!(estimate.expected_duration(secs(900.0)) < secs(1200.0), "{estimate:?}");
        assert!(estimate.expected_size(None).unwrap() < GIB + GIB / 10, "{estimate:?}");
    }

    #[test]
    fn a_lasting_change_is_followed_within_ten_backups() {
        for (factor, seed) in [3.0, 1.0 / 3.0].into_iter().flat_map(|f| (0..20).map(move |s| (f, s))) {
            let mut noise = normal(seed);
            let mut run = |level: f64| {
                let level = level * (0.02 * noise()).exp();
                (secs(600.0 * level), (level * GIB as f64) as u64)
            };
            let mut estimate = learned((0..30).map(|_| run(1.0)));
            for n in 1..=10 {
                let (ran, bytes) = run(factor);
                estimate.observe(ran, bytes);
                let expected = estimate.expected_duration(HOUR).as_secs_f64() / (600.0 * factor);
                assert!(
                    n < 8 || expected > 1.0,
                    "×{factor}, {n} later: {expected} of the new level expected"
                );
            }
            let size = estimate.expected_size(None).unwrap() as f64 / (factor * GIB as f64);
            let median = f64::from(estimate.duration.median).exp() / (600.0 * factor);
            assert!((0.85..1.15).contains(&size), "×{factor}: {size} of the new size");
            assert!((0.85..1.15).contains(&median), "×{factor}: {median} of the new run time");
            let expected = estimate.expected_duration(HOUR).as_secs_f64() / (600.0 * factor);
            assert!(expected < 2.0, "×{factor}: {expected} of the new level expected");
        }
    }

    #[test]
    fn growth_is_followed() {
        let mut noise = normal(3);
        let mut estimate = Estimate::default();
        for n in 0..200 {
            let size = 1e9 * 1.02_f64.powi(n);
            if n >= 10 {
                let ratio = estimate.expected_size(None).unwrap() as f64 / size;
                assert!((0.92..1.02).contains(&ratio), "{ratio} of the size after {n}");
            }
            estimate.observe(HOUR, (size * (0.01 * noise()).exp()) as u64);
        }
    }

    #[test]
    fn without_history_there_is_only_the_prior() {
        let estimate = Estimate::default();
        assert_eq!(estimate.expected_duration(HOUR), HOUR);
        assert_eq!(estimate.expected_duration_for(HOUR, Some(GIB)), HOUR);
        assert_eq!((estimate.expected_size(None), estimate.expected_size(Some(7))), (None, Some(7)));
        let sizeless = learned([(HOUR, 0)]);
        assert_eq!((sizeless.expected_size(Some(7)), sizeless.observations()), (Some(7), 1));
        assert_eq!(sizeless.expected_duration_for(HOUR, Some(GIB)), sizeless.expected_duration(HOUR));
    }

    #[test]
    fn the_prior_fades() {
        for (n, weight) in [(1, 0.5), (3, 0.25), (7, 0.125), (20, 0.022)] {
            let estimate = learned((0..n).map(|_| (secs(60.0), GIB)));
            // A prior that is longer by a factor of e tells its own weight.
            let (short, long) = (secs(600.0), secs(600.0 * std::f64::consts::E));
            let ratio = estimate.expected_duration(long).div_duration_f64(estimate.expected_duration(short));
            assert!((ratio.ln() - weight).abs() < 1e-3, "weighs {} after {n}", ratio.ln());
            let size = |prior: f64| estimate.expected_size(Some(prior as u64)).unwrap() as f64;
            let ratio = size(1e9 * std::f64::consts::E) / size(1e9);
            assert!((ratio.ln() - weight).abs() < 1e-3, "weighs {} after {n}", ratio.ln());
        }
    }

    #[test]
    fn a_known_size_scales_the_time_up_to_a_factor_of_eight() {
        let estimate = learned((0..200).map(|_| (secs(600.0), GIB)));
        let plain = estimate.expected_duration(HOUR);
        let least = secs(600.0 * f64::from(Z90 * LEAST_SPREAD).exp());
        assert!(
            plain.abs_diff(least) < secs(0.1),
            "no spread is believed to be none: {plain:?}, not {least:?}"
        );
        for (size, factor) in
            [(GIB, 1.0), (2 * GIB, 2.0), (GIB / 4, 0.25), (1, 0.125), (u64::MAX, 8.0), (0, 1.0)]
        {
            let ratio = estimate.expected_duration_for(HOUR, Some(size)).div_duration_f64(plain);
            assert!((ratio - factor).abs() < 1e-3 * factor, "{size} bytes: {ratio} instead of {factor}");
        }
    }

    #[test]
    fn absurd_inputs_are_bounded() {
        let nothing = learned((0..50).map(|_| (Duration::ZERO, 1)));
        assert!(nothing.expected_duration(Duration::ZERO) < Duration::from_millis(2));
        assert_eq!(nothing.expected_size(Some(0)), Some(1));
        let endless = learned((0..50).map(|_| (Duration::MAX, u64::MAX)));
        assert_eq!(endless.expected_duration(Duration::MAX), LONGEST);
        assert!(endless.expected_size(Some(u64::MAX)).unwrap() > MAX_SIZE_BYTES - MAX_SIZE_BYTES / 1000);
        assert!(f64::from(endless.size.median) < (MAX_SIZE_BYTES as f64).ln() + 0.001);
        let none = Estimate::default();
        assert_eq!(none.expected_duration(Duration::ZERO), SHORTEST);
        assert_eq!(none.expected_duration(Duration::MAX), LONGEST);
        assert_eq!(
            (none.expected_size(Some(0)), none.expected_size(Some(u64::MAX))),
            (None, Some(MAX_SIZE_BYTES))
        );
        let forever = learned((0..70_000).map(|_| (HOUR, 1)));
        assert_eq!(forever.observations(), 65_535);
    }

    #[test]
    fn it_is_repeatable_and_survives_storage() {
        let mut noise = normal(5);
        let history: Vec<_> =
            (0..100).map(|_| (secs(600.0 * noise().exp()), 1 + noise().abs() as u64)).collect();
        let estimate = learned(history.clone());
        assert_eq!(estimate, learned(history));
        let json = serde_json::to_string(&estimate).unwrap();
        assert_eq!(serde_json::from_str::<Estimate>(&json).unwrap(), estimate);
    }

    #[test]
    fn a_damaged_state_gives_no_nonsense() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN] {
            for (median, spread) in [(bad, 0.1), (1.0, bad), (bad, bad)] {
                let track = Track { median, spread, observations: 9, row: i8::MIN };
                let mut estimate = Estimate { duration: track, size: track };
                for _ in 0..3 {
                    let expected = estimate.expected_duration_for(HOUR, Some(GIB));
                    assert!((SHORTEST..=LONGEST).contains(&expected), "{expected:?} of {estimate:?}");
                    let size = estimate.expected_size(None).unwrap();
                    assert!((1..=MAX_SIZE_BYTES).contains(&size), "{size} of {estimate:?}");
                    estimate.observe(HOUR, GIB);
                }
            }
        }
    }

    #[test]
    fn a_fleet_can_afford_one_each() {
        assert!(size_of::<Estimate>() <= 24);
    }

    /// Any run at all, but often one within some factors of others, as real ones are.
    fn any_run() -> impl Strategy<Value = (Duration, u64)> {
        let near = (1.0..5.0_f64, 1.0..5.0_f64);
        prop_oneof![
            near.prop_map(|(ran, bytes)| (secs(100.0 * ran), (1e9 * bytes) as u64)),
            (any::<Duration>(), any::<u64>()),
            (Just(Duration::ZERO), Just(0)),
            (Just(Duration::MAX), Just(u64::MAX)),
        ]
    }

    proptest! {
        #[test]
        fn every_answer_is_within_bounds(
            runs in prop::collection::vec(any_run(), 0..60),
            prior in any_run(),
            size in any::<Option<u64>>(),
        ) {
            let mut estimate = Estimate::default();
            for (ran, bytes) in runs {
                for expected in [
                    estimate.expected_duration(prior.0),
                    estimate.expected_duration_for(prior.0, size),
                ] {
                    prop_assert!((SHORTEST..=LONGEST).contains(&expected), "{:?}", expected);
                }
                for expected in [estimate.expected_size(None), estimate.expected_size(Some(prior.1))] {
                    prop_assert!(expected.is_none_or(|bytes| (1..=MAX_SIZE_BYTES).contains(&bytes)));
                }
                estimate.observe(ran, bytes);
                for track in [estimate.duration, estimate.size] {
                    prop_assert!(track.median.is_finite() && (0.0..2.0).contains(&track.spread), "{:?}", track);
                }
            }
        }

        #[test]
        fn no_backup_after_the_seventh_moves_it_by_a_factor_of_two(
            runs in prop::collection::vec(any_run(), 8..40),
        ) {
            let (before, last) = runs.split_at(7);
            let mut estimate = learned(before.iter().copied());
            for &(ran, bytes) in last {
                let old = estimate;
                estimate.observe(ran, bytes);
                let moved = (estimate.duration.p90() - old.duration.p90()).abs();
                prop_assert!(moved < LN_2, "{:?} moved it by {} from {:?}", ran, moved.exp(), old);
                if old.size.observations >= 7 {
                    let moved = (estimate.size.median - old.size.median).abs();
                    prop_assert!(moved < LN_2, "{} moved it by {} from {:?}", bytes, moved.exp(), old);
                }
            }
        }
    }
}
