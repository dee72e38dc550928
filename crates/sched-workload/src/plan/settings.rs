//! How a start is chosen: [`PlanSettings`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::grid::{Grid, duration_ms};

/// How many slots a horizon has at most.
pub const MAX_HORIZON_SLOTS: i64 = 4096;

/// How a start is chosen. Costs are in multiples of the forecast's mean load: 1 is a run at average load on idle links.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PlanSettings {
    /// How long a slot is, for the links and for re-planning: 1 min to 1 day. Default 15 min.
    pub step: Duration,
    /// How long after a job began to wait starts are considered, unless none is allowed before: `step` to
    /// [`MAX_HORIZON_SLOTS`] steps. Default 24 h.
    pub horizon: Duration,
    /// What a full link costs, beside a load of 1 for the average one: 0 to 1000. Default 1.
    pub link_weight: f64,
    /// A plan is given up for a gain of more than this many times the noise of the forecast: 0 to 100. Default
    /// 0.15: on the backtest's traces .5 had 4 % more regret (9.5 beside 9.2).
    pub hysteresis: f64,
    /// What is too little to count, in the unit of costs: a plan is not given up for it, and starts are spread
    /// within a slot if that costs no more. 0 to 1. Default 0.01.
    pub min_gain: f64,
    /// Whether the earliest start is taken of all that cost no more than the least and what a plan is given up for:
    /// nobody waits for nothing. A job that has a plan takes an earlier start when that costs no more than the least and
    /// half of it, so that noise moves nobody to and fro. Otherwise the best is taken, and starts that cost the same are
    /// spread over the horizon. Default false.
    pub prompt: bool,
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(900),
            horizon: Duration::from_secs(86_400),
            link_weight: 1.0,
            hysteresis: 0.15,
            min_gain: 0.01,
            prompt: false,
        }
    }
}

/// A setting of the planner that is out of its range.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("the planner's {what} is {is}; it has to be {range}")]
#[non_exhaustive]
pub struct PlanSettingsError {
    /// Which setting.
    pub what: &'static str,
    /// Its value.
    pub is: String,
    /// What would be right.
    pub range: &'static str,
}

impl PlanSettings {
    /// Sets how long a slot is.
    #[must_use]
    pub fn step(mut self, step: Duration) -> Self {
        self.step = step;
        self
    }

    /// Sets how long after a job began to wait starts are considered.
    #[must_use]
    pub fn horizon(mut self, horizon: Duration) -> Self {
        self.horizon = horizon;
        self
    }

    /// Sets what a full link costs.
    #[must_use]
    pub fn link_weight(mut self, weight: f64) -> Self {
        self.link_weight = weight;
        self
    }

    /// Sets for how many times the noise of the forecast a plan is given up.
    #[must_use]
    pub fn hysteresis(mut self, noises: f64) -> Self {
        self.hysteresis = noises;
        self
    }

    /// Sets what is too little to count.
    #[must_use]
    pub fn min_gain(mut self, gain: f64) -> Self {
        self.min_gain = gain;
        self
    }

    /// Sets whether the earliest of about equal starts is taken.
    #[must_use]
    pub fn prompt(mut self, prompt: bool) -> Self {
        self.prompt = prompt;
        self
    }

    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// [`PlanSettingsError`] about the first that is not.
    pub fn check(&self) -> Result<(), PlanSettingsError> {
        let error = |what, is, range| Err(PlanSettingsError { what, is, range });
        let (step, horizon) = (duration_ms(self.step), duration_ms(self.horizon));
        if !(60_000..=86_400_000).contains(&step) {
            return error("step", format!("{:?}", self.step), "1 minute to 1 day");
        }
        if !(step..=step * MAX_HORIZON_SLOTS).contains(&horizon) {
            return error("horizon", format!("{:?}", self.horizon), "one to 4096 steps");
        }
        if !(0.0..=1000.0).contains(&self.link_weight) {
            return error("link_weight", self.link_weight.to_string(), "0 to 1000");
        }
        if !(0.0..=100.0).contains(&self.hysteresis) {
            return error("hysteresis", self.hysteresis.to_string(), "0 to 100");
        }
        if !(0.0..=1.0).contains(&self.min_gain) {
            return error("min_gain", self.min_gain.to_string(), "0 to 1");
        }
        Ok(())
    }

    pub(super) fn grid(&self) -> Grid {
        Grid { step: duration_ms(self.step) }
    }

    pub(super) fn horizon_ms(&self) -> i64 {
        duration_ms(self.horizon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_said() {
        let good = PlanSettings::default();
        assert_eq!(good.check(), Ok(()));
        for (bad, what) in [
            (PlanSettings { step: Duration::ZERO, ..good }, "step"),
            (PlanSettings { horizon: Duration::MAX, ..good }, "horizon"),
            (PlanSettings { horizon: Duration::ZERO, ..good }, "horizon"),
            (PlanSettings { link_weight: f64::NAN, ..good }, "link_weight"),
            (PlanSettings { hysteresis: -1.0, ..good }, "hysteresis"),
            (PlanSettings { min_gain: f64::INFINITY, ..good }, "min_gain"),
        ] {
            assert_eq!(bad.check().unwrap_err().what, what);
        }
    }
}
