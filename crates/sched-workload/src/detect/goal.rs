//! Which latency is to be kept: [`LatencyGoal`].

use std::time::Duration;

use super::hysteresis::{Hysteresis, LevelThresholds, LevelThresholdsError};

/// A latency to be kept, and how it is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LatencyGoal {
    /// The quantile that the target speaks of, over 0 and below 1. Default .99.
    pub quantile: f64,
    /// The latency to be kept.
    pub target: Duration,
    /// The latency without backups, as it is over minutes, where it is known: backups are then steered to add a tenth to
    /// it at most. Default none: they are steered to stay within the target, and aimed a twentieth below it.
    pub healthy: Option<Duration>,
    /// How often it is looked at. Default 1 s.
    pub period: Duration,
    /// Requests needed for a reading; with fewer, up to five periods are taken together. Default 50.
    ///
    /// The error of a quantile falls with the root of this number: for an exponential tail the standard deviation of
    /// ln p99 is about 2.16 / √n, so 50 requests tell a doubling from noise, and 467 tell 10 %.
    pub min_samples: u64,
    /// At which ratios of measured to target the load counts as busy and as a peak.
    pub levels: LevelThresholds,
    /// How long a lower load must last before it is believed. Default two periods.
    pub dwell: Option<Duration>,
}

impl LatencyGoal {
    /// Keep `target` for 99 of 100 requests.
    pub fn p99(target: Duration) -> Self {
        Self {
            quantile: 0.99,
            target,
            healthy: None,
            period: Duration::from_secs(1),
            min_samples: 50,
            levels: LevelThresholds::default(),
            dwell: None,
        }
    }

    /// Sets the quantile.
    #[must_use]
    pub fn quantile(mut self, quantile: f64) -> Self {
        self.quantile = quantile;
        self
    }

    /// Says what the latency is without backups.
    #[must_use]
    pub fn healthy(mut self, latency: Duration) -> Self {
        self.healthy = Some(latency);
        self
    }

    /// Sets how often it is looked at.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// Sets how many requests make a reading.
    #[must_use]
    pub fn min_samples(mut self, samples: u64) -> Self {
        self.min_samples = samples;
        self
    }

    /// Sets the ratios of the levels.
    #[must_use]
    pub fn levels(mut self, levels: LevelThresholds) -> Self {
        self.levels = levels;
        self
    }

    /// Whether the goal makes sense.
    ///
    /// # Errors
    /// The first field that does not, with what would be right.
    pub fn check(&self) -> Result<(), GoalError> {
        if !(self.quantile > 0.0 && self.quantile < 1.0) {
            return Err(GoalError::Quantile(self.quantile));
        }
        if self.target.is_zero() {
            return Err(GoalError::ZeroTarget);
        }
        if let Some(healthy) = self.healthy.filter(|healthy| healthy.is_zero() || *healthy > self.target) {
            return Err(GoalError::Healthy { healthy, target: self.target });
        }
        if self.period.is_zero() {
            return Err(GoalError::ZeroPeriod);
        }
        Ok(self.levels.check()?)
    }

    pub(crate) fn hysteresis(&self) -> Result<Hysteresis, GoalError> {
        self.check()?;
        let dwell = self.dwell.unwrap_or(self.period.saturating_mul(2));
        Ok(Hysteresis::new(self.levels, dwell)?)
    }
}

/// Why a goal cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GoalError {
    /// The quantile is not inside (0, 1).
    #[error("quantile: {0} is not between 0 and 1; p99 is 0.99")]
    Quantile(f64),
    /// The target is zero.
    #[error("target: no request takes no time; give the latency to be kept")]
    ZeroTarget,
    /// The healthy latency is zero, or above the target.
    #[error("healthy: {healthy:?} is not over zero and at most the target of {target:?}")]
    Healthy {
        /// The healthy latency given.
        healthy: Duration,
        /// The target.
        target: Duration,
    },
    /// A target that is not a duration is zero, negative or not finite.
    #[error("target: {0} is not a finite number over zero")]
    Target(f64),
    /// A multiple of the healthy latency that does not leave room for it.
    #[error("times: {0} is not a finite number over 1")]
    Times(f64),
    /// The period is zero.
    #[error("period: give a positive duration")]
    ZeroPeriod,
    /// The levels contradict each other.
    #[error(transparent)]
    Levels(#[from] LevelThresholdsError),
}
