//! What the next backup of an instance will take, learned from the last ones: [`Estimate`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// 90th percentile of the standard normal distribution, in standard deviations.
const Z90: f32 = 1.281_6;
/// Mean absolute deviation of a normal distribution, in standard deviations: √(2/π).
const MEAN_ABSOLUTE_DEVIATION: f32 = 0.797_9;
/// Smallest spread that is believed, as the standard deviation of the logarithm: runs differ by a tenth even when a
/// short history does not show it.
const LEAST_SPREAD: f32 = 0.1;
/// Spread that is assumed of a single observation: a factor of about two between median and 90th percentile.
const FIRST_SPREAD: f32 = 0.5;
/// Observations that the prior is worth.
const PRIOR_WEIGHT: f32 = 1.0;
/// Weight of a new observation once there is a history: a lasting change is followed within some ten backups.
const LEAST_GAIN: f32 = 0.2;
/// An observation counts as at most this many spreads away: what one outlier can do is bounded, whatever its size.
const CLIPPED_AT: f32 = 3.0;

/// Run time and size of the next backup of one instance and kind, in 20 bytes.
///
/// A recursive estimate of median and spread of the logarithm, with deviations clipped as Huber does (*Robust
/// Estimation of a Location Parameter*, 1964), starting from a prior that fades: with n observations it weighs
/// 1 / (n + 1). Once there is some history, one observation moves the estimate by at most a factor of two, however
/// wild it is.
///
/// ```
/// use sched_core::Estimate;
/// use std::time::Duration;
///
/// let minutes = |n: u64| Duration::from_secs(60 * n);
/// let mut estimate = Estimate::default();
/// assert_eq!(estimate.expected_duration(minutes(60)), minutes(60));
/// for _ in 0..20 {
///     estimate.observe(minutes(10), 5_000_000_000);
/// }
/// let expected = estimate.expected_duration(minutes(60));
/// assert!(expected > minutes(10) && expected < minutes(14));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    duration: Track,
    size: Track,
}

/// Median and spread of the logarithm of a positive quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Track {
    median: f32,
    spread: f32,
    observations: u16,
}

impl Estimate {
    /// Learns from a backup that succeeded: its run time at the paced rate, and its bytes (0 when unknown).
    pub fn observe(&mut self, ran: Duration, bytes: u64) {
        self.duration.observe((ran.as_secs_f64().max(1e-3) as f32).ln());
        if bytes > 0 {
            self.size.observe((bytes as f64).ln() as f32);
        }
    }

    /// Backups learned from; counting stops at 65,535.
    pub fn observations(&self) -> u32 {
        u32::from(self.duration.observations)
    }

    /// 90th percentile of the run time. `prior` is what is expected without any history.
    pub fn expected_duration(&self, prior: Duration) -> Duration {
        let prior_ln = prior.as_secs_f64().max(1e-3).ln() as f32;
        let track = self.duration;
        if track.observations == 0 {
            return prior;
        }
        let learned = track.median + Z90 * track.spread.max(LEAST_SPREAD);
        let weight = PRIOR_WEIGHT / (PRIOR_WEIGHT + f32::from(track.observations));
        let secs = f64::from(weight * prior_ln + (1.0 - weight) * learned).exp();
        Duration::try_from_secs_f64(secs).unwrap_or(prior)
    }

    /// Median of the size in bytes; `prior` without any history.
    pub fn expected_size(&self, prior: Option<u64>) -> Option<u64> {
        if self.size.observations == 0 {
            return prior;
        }
        Some((f64::from(self.size.median).exp() as u64).max(1))
    }
}

impl Track {
    fn observe(&mut self, value: f32) {
        self.observations = self.observations.saturating_add(1);
        if self.observations == 1 {
            (self.median, self.spread) = (value, FIRST_SPREAD);
            return;
        }
        let gain = (1.0 / f32::from(self.observations)).max(LEAST_GAIN);
        let spread = self.spread.max(LEAST_SPREAD);
        let off = (value - self.median).clamp(-CLIPPED_AT * spread, CLIPPED_AT * spread);
        self.median += gain * off;
        self.spread += gain * (off.abs() / MEAN_ABSOLUTE_DEVIATION - self.spread);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Sums of twelve uniform numbers from a fixed generator: close to normal, mean 0 and deviation 1.
    fn normal(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        move || (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }

    fn secs(of: f64) -> Duration {
        Duration::from_secs_f64(of)
    }

    #[test]
    fn nine_runs_of_ten_are_shorter_than_expected() {
        let (mut within, mut all) = (0, 0);
        for seed in 0..50 {
            let mut noise = normal(seed);
            let mut estimate = Estimate::default();
            for n in 0..60 {
                let ran = secs(600.0 * (0.3 * noise()).exp());
                if n >= 30 {
                    all += 1;
                    within += u32::from(ran <= estimate.expected_duration(HOUR));
                }
                estimate.observe(ran, 1);
            }
        }
        let share = f64::from(within) / f64::from(all);
        assert!((0.82..0.97).contains(&share), "{share}");
    }

    #[test]
    fn an_outlier_moves_it_by_less_than_a_factor_of_two() {
        let mut estimate = Estimate::default();
        let mut noise = normal(1);
        for _ in 0..10 {
            estimate.observe(secs(600.0 * (0.2 * noise()).exp()), 1 << 30);
        }
        let before = estimate.expected_duration(HOUR);
        estimate.observe(secs(600_000.0), u64::MAX);
        let after = estimate.expected_duration(HOUR);
        assert!(after < before * 2, "{before:?} → {after:?}");
        assert!(estimate.expected_size(None).unwrap() < 2 << 30);
    }

    #[test]
    fn a_lasting_change_is_followed_within_a_dozen_backups() {
        let mut estimate = Estimate::default();
        for _ in 0..30 {
            estimate.observe(secs(600.0), 1_000_000);
        }
        for _ in 0..12 {
            estimate.observe(secs(1800.0), 3_000_000);
        }
        assert!(estimate.expected_duration(HOUR) > secs(1700.0), "{:?}", estimate.expected_duration(HOUR));
        assert!(estimate.expected_size(None).unwrap() > 2_200_000, "{:?}", estimate.expected_size(None));
    }

    #[test]
    fn the_prior_fades() {
        let mut estimate = Estimate::default();
        let mut last = estimate.expected_duration(HOUR);
        for _ in 0..20 {
            estimate.observe(secs(60.0), 0);
            let now = estimate.expected_duration(HOUR);
            assert!(now < last, "{now:?}");
            last = now;
        }
        assert!(last < secs(100.0), "{last:?}");
        assert_eq!(estimate.expected_size(Some(7)), Some(7), "no size was ever reported");
    }

    #[test]
    fn a_fleet_can_afford_one_each() {
        assert!(size_of::<Estimate>() <= 24);
    }

    proptest! {
        #[test]
        fn nothing_observed_gives_nonsense(
            runs in prop::collection::vec((any::<Duration>(), any::<u64>()), 0..60),
            prior in any::<Duration>(),
        ) {
            let mut estimate = Estimate::default();
            for (ran, bytes) in runs {
                estimate.observe(ran, bytes);
                prop_assert!(estimate.expected_duration(prior) > Duration::ZERO);
                prop_assert!(estimate.expected_size(None) != Some(0));
            }
        }
    }
}
