//! Additive increase, multiplicative decrease: [`AimdLaw`].

use std::time::Duration;

use sched_core::{Measured, MonoTime, Now, Reason};

use super::freshness::{FailSlow, Freshness};
use super::intake::Intake;
use super::{ControlLaw, DEMAND_FROM, LawError, Observation, Share, above, within};

const NAME: &str = "AIMD law";
/// Weight of a new sample in the running mean.
const SMOOTHING: f64 = 0.3;

/// Settings of an [`AimdLaw`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AimdConfig {
    /// The latency that is not to be exceeded, positive.
    pub target: Duration,
    /// What is added a period while the latency is within the target, over 0 up to 1. Default .002.
    pub increase: f64,
    /// What is left of the share after a breach, from 0 to below 1. Default .5.
    pub decrease: f64,
    /// Periods after a decrease in which there is no other: the effect of the first one is not seen yet. Default 3.
    pub dwell_periods: f64,
    /// The highest share. Default 1.
    pub cap: f64,
    /// What to do while no sample comes, and the period between samples.
    pub fail_slow: FailSlow,
}

impl AimdConfig {
    /// Everything at its default but the target.
    pub fn new(target: Duration) -> Self {
        let fail_slow = FailSlow::default();
        Self { target, increase: 0.002, decrease: 0.5, dwell_periods: 3.0, cap: 1.0, fail_slow }
    }
}

/// Adds a little while latency is within its target, and halves on a breach: simple and fair between schedulers that
/// share a host, at the price of a share that saws.
#[derive(Clone, Debug)]
pub struct AimdLaw {
    config: AimdConfig,
    intake: Intake,
    freshness: Freshness,
    /// Running mean of the latency, in seconds.
    mean: Option<f64>,
    decreased: Option<MonoTime>,
    share: f64,
    granted: f64,
}

impl AimdLaw {
    /// A law that has seen nothing; its share is the blind floor.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn new(config: AimdConfig) -> Result<Self, LawError> {
        config.fail_slow.check()?;
        above("target", config.target.as_secs_f64(), (0.0, f64::MAX), "a positive latency")?;
        above("increase", config.increase, (0.0, 1.0), "over 0 and at most 1")?;
        within("decrease", config.decrease, (0.0, 0.99), "from 0 to .99")?;
        within("dwell_periods", config.dwell_periods, (0.0, 1e6), "from 0 to a million")?;
        above("cap", config.cap, (0.0, 1.0), "over 0 and at most 1")?;
        let share = config.fail_slow.blind_floor.min(config.cap);
        let (intake, freshness) = (Intake::default(), Freshness::default());
        Ok(Self { intake, freshness, mean: None, decreased: None, share, granted: share, config })
    }

    fn fresh(&mut self, sample: Observation) -> Share {
        let AimdConfig { increase, decrease, dwell_periods, cap, .. } = self.config;
        let target = self.config.target.as_secs_f64();
        let (value, passed) = self.intake.take(sample.at, sample.value);
        let periods = self.config.fail_slow.periods(passed).min(2.0);
        let mean = self.mean.get_or_insert(value);
        *mean += (1.0 - (1.0 - SMOOTHING).powf(periods)) * (value - *mean);
        let value = *mean;
        self.freshness.seen(sample.at);
        let settled = |at: MonoTime| self.config.fail_slow.periods(sample.at.since(at)) >= dwell_periods;
        if value > target {
            if self.decreased.is_none_or(settled) {
                self.share *= decrease;
                self.decreased = Some(sample.at);
            }
        } else if sample.used >= DEMAND_FROM * self.granted {
            self.share = (self.share + increase * periods).min(cap);
        }
        self.granted = self.share;
        let measured = Measured::new("latency", sample.value * 1e3, target * 1e3, "ms");
        let text = format!("{NAME}: {:.1} % of the ceiling", self.share * 100.0);
        Share::new(self.share, Reason::measured(text, measured))
    }
}

impl ControlLaw for AimdLaw {
    fn step(&mut self, now: Now, sample: Option<Observation>) -> Share {
        if let Some(sample) = sample.filter(|sample| sample.value.is_finite() && sample.value > 0.0) {
            return self.fresh(sample);
        }
        let (share, reason) = self.freshness.silent(now, self.share, &self.config.fail_slow, NAME);
        (self.share, self.granted) = (share, share);
        Share::new(share, reason)
    }

    fn track(&mut self, granted: f64) {
        self.granted = granted;
        self.share = self.share.min(granted.max(0.0));
    }
}
