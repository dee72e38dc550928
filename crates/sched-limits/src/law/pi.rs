//! From foreground latency to a share: [`PiLaw`], the default.

use std::time::Duration;

use sched_core::{Measured, Now, Reason};

use super::freshness::{FailSlow, Freshness};
use super::healthy::Healthy;
use super::intake::Intake;
use super::integral::{Gains, Integral, Step};
use super::learned::Learned;
use super::mean::{Mean, Reading};
use super::{ControlLaw, DEMAND_FROM, LawError, Observation, Share, above};

const NAME: &str = "logarithmic PI law";
/// The longest gap between two samples, in periods, that moves the law as if it had been watched all along.
const LONGEST_STEP_PERIODS: f64 = 2.0;
/// The noise, as a standard deviation of ln latency, up to which all gains apply in full.
const QUIET: f64 = 0.1;
/// With more noise the mean is taken over more samples: its weight falls with this power of the noise.
const SMOOTHING_POWER: f64 = 1.5;
/// The integral near its target moves less by this power of the noise.
const NEAR_POWER: f64 = 1.5;
/// The least growth of the latency that the law steers by: less cannot be told from noise.
const LEAST_ALLOWANCE: f64 = 1.01;
/// Capacity is taken back in leaps while the mean is no noisier than it is with σ = .17 and the default smoothing.
const RECLAIM_BELOW: f64 = 0.063;

/// Settings of a [`PiLaw`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PiConfig {
    /// The latency without backups.
    pub healthy: Healthy,
    /// How far above the healthy latency the foreground may come, as a ratio over 1: its logarithm θ is the law's
    /// unit of error. Default 1.10. What [`ControlLaw::allow`] says goes before it.
    pub allowance: f64,
    /// A latency that is kept whatever may be added to the healthy one: what was promised to users. Default none.
    pub at_most: Option<Duration>,
    /// Weight of a new sample in the running mean of ln latency, over 0 up to 1. Default .25; noisy signals get less.
    pub smoothing: f64,
    /// Integral gain a period. Default .02.
    pub integral_gain: f64,
    /// Proportional gain. Default .15.
    pub proportional_gain: f64,
    /// The highest share. Default 1.
    pub cap: f64,
    /// What to do while no sample comes, and the period between samples.
    pub fail_slow: FailSlow,
}

impl PiConfig {
    /// Everything at its default, with this healthy latency.
    pub fn new(healthy: Healthy) -> Self {
        Self {
            healthy,
            allowance: 1.10,
            at_most: None,
            smoothing: 0.25,
            integral_gain: 0.02,
            proportional_gain: 0.15,
            cap: 1.0,
            fail_slow: FailSlow::default(),
        }
    }

    /// Everything at its default, with a healthy latency that is known.
    pub fn healthy(latency: Duration) -> Self {
        Self::new(Healthy::Known(latency))
    }

    /// Everything at its default, with a healthy latency to be learned.
    pub fn learned() -> Self {
        Self::new(Healthy::Learned(super::Learning::default()))
    }

    /// Keeps the foreground within `goal`, counting in steps of `allowance`: the healthy latency is taken to lie
    /// that far below the goal.
    pub fn goal(goal: Duration, allowance: f64) -> Self {
        let healthy = goal.as_secs_f64() / allowance.max(1.0);
        let healthy = Duration::try_from_secs_f64(healthy).unwrap_or_default();
        Self { allowance, ..Self::new(Healthy::Assumed(healthy)) }
    }

    fn check(&self) -> Result<(), LawError> {
        self.healthy.check()?;
        self.fail_slow.check()?;
        if self.at_most.is_some_and(|at_most| at_most.is_zero()) {
            return Err(LawError { field: "at_most", value: 0.0, right: "a positive duration" });
        }
        above("allowance", self.allowance, (1.0, 100.0), "a ratio over 1 and at most 100")?;
        above("smoothing", self.smoothing, (0.0, 1.0), "over 0 and at most 1")?;
        above("integral_gain", self.integral_gain, (0.0, 10.0), "over 0 and at most 10")?;
        above("proportional_gain", self.proportional_gain, (0.0, 10.0), "over 0 and at most 10")?;
        above("cap", self.cap, (0.0, 1.0), "over 0 and at most 1")
    }
}

/// A proportional-integral law on the logarithm of latency.
///
/// With θ = ln allowance and s the running mean of ln(latency / healthy), once a period:
///
/// e = θ − s; i += .02 · e, upwards only while backups use what they are granted;
/// u = clamp(i + .15 · clamp(e, −3 θ, θ), 0, cap).
///
/// A ratio rather than a difference makes one set of gains fit a cache of 100 µs and a report of 10 s. The share falls
/// as fast as the harm is great and rises slowly. Around this formula:
///
/// - each reading is the median of three, so that one wrong reading changes next to nothing;
/// - a median that is far off the mean is a step, and so are many readings that are off the same way: the mean begins
///   anew there;
/// - the noisier the readings (σ over .1), the longer the mean and the calmer the integral near the target;
/// - freed capacity is taken back at 10 % a period up to 85 % of the last good share, unless even the mean is noisy.
#[derive(Clone, Debug)]
pub struct PiLaw {
    config: PiConfig,
    /// Logarithm of what may be added to the healthy latency.
    theta: f64,
    intake: Intake,
    learned: Option<Learned>,
    freshness: Freshness,
    /// Running mean of ln latency.
    mean: Mean,
    integral: Integral,
    share: f64,
    granted: f64,
}

impl PiLaw {
    /// A law that has seen nothing; its share is the blind floor.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn new(config: PiConfig) -> Result<Self, LawError> {
        config.check()?;
        let theta = config.allowance.ln();
        let share = config.fail_slow.blind_floor.min(config.cap);
        let learned = match &config.healthy {
            Healthy::Learned(learning) => {
                Some(Learned::new(learning.clone(), theta, config.fail_slow.period, share))
            }
            Healthy::Known(_) | Healthy::Assumed(_) => None,
        };
        Ok(Self {
            theta,
            intake: Intake::default(),
            learned,
            freshness: Freshness::default(),
            mean: Mean::default(),
            integral: Integral::new(share),
            share,
            granted: share,
            config,
        })
    }

    /// The healthy latency in seconds, known or as learned so far.
    pub fn healthy_seconds(&self) -> Option<f64> {
        self.ln_healthy().map(f64::exp)
    }

    fn ln_healthy(&self) -> Option<f64> {
        match (&self.config.healthy, &self.learned) {
            (Healthy::Known(latency) | Healthy::Assumed(latency), _) => Some(latency.as_secs_f64().ln()),
            (Healthy::Learned(_), learned) => learned.as_ref()?.healthy(),
        }
    }

    /// θ over a healthy latency: what may be added to it, within what is kept in any case.
    fn theta_over(&self, healthy: f64) -> f64 {
        let at_most = self.config.at_most.map(|at_most| at_most.as_secs_f64().ln() - healthy);
        at_most.map_or(self.theta, |at_most| self.theta.min(at_most).max(LEAST_ALLOWANCE.ln()))
    }

    fn fresh(&mut self, now: Now, sample: Observation) -> Share {
        // The healthy latency and the noise as they were before: what this sample teaches counts from the next on,
        // so that a higher reading never gives a higher share.
        let (healthy, noise) = (self.ln_healthy(), self.intake.noise());
        let (value, passed) = self.intake.take(sample.at, sample.value.ln());
        let periods = self.config.fail_slow.periods(passed).min(LONGEST_STEP_PERIODS);
        // Bursts may exceed the ceiling a little; what is no number is no use.
        let used = if sample.used.is_finite() { sample.used.clamp(0.0, 2.0) } else { 0.0 };
        self.freshness.seen(sample.at);
        if let Some(learned) = &mut self.learned {
            learned.observe(now.mono, value, used, self.integral.good(), noise);
            let varies = learned.load_varies();
            learned.pauses.step(now.mono, used, self.share, varies);
            if let Some(left) = learned.pauses.left(now.mono) {
                return self.pause(left);
            }
        }
        let Some(healthy) = healthy else {
            let reason = Reason::new(format!("{NAME}: the healthy latency is not known yet; blind share"));
            return Share::new(self.share, reason);
        };
        let theta = self.theta_over(healthy);
        let loud = loudness(noise);
        let weight = self.config.smoothing * loud.powf(SMOOTHING_POWER);
        let reading = Reading { raw: sample.value.ln(), median: value, noise, weight, periods };
        self.mean.step(healthy, theta, reading);
        let mean_noise = noise * (weight / (2.0 - weight)).sqrt();
        let step = Step {
            error: (theta + healthy - self.mean.value().unwrap_or(healthy)) / theta,
            periods,
            demand: used >= DEMAND_FROM * self.granted,
            near: loud.powf(NEAR_POWER),
            doubt: mean_noise / theta,
            late: weight.recip(),
            reclaim: mean_noise < RECLAIM_BELOW,
        };
        let gains = Gains {
            proportional: self.config.proportional_gain * theta,
            integral: self.config.integral_gain * theta,
            cap: self.config.cap,
        };
        self.share = self.integral.step(gains, step);
        self.granted = self.share;
        self.say(sample.value, healthy + theta)
    }

    fn pause(&mut self, left: Duration) -> Share {
        self.mean.forget();
        self.granted = 0.0;
        let reason = Reason::new(format!("{NAME}: paused to see the foreground alone"));
        Share { share: self.share, pause: Some(left), reason }
    }

    fn say(&self, latency: f64, ln_target: f64) -> Share {
        let measured = Measured::new("latency", latency * 1e3, ln_target.exp() * 1e3, "ms");
        let text = format!("{NAME}: {:.1} % of the ceiling", self.share * 100.0);
        Share::new(self.share, Reason::measured(text, measured))
    }
}

impl ControlLaw for PiLaw {
    fn step(&mut self, now: Now, sample: Option<Observation>) -> Share {
        if let Some(sample) = sample.filter(|sample| sample.value.is_normal() && sample.value > 0.0) {
            return self.fresh(now, sample);
        }
        let held = self.freshness.held(now, &self.config.fail_slow);
        if let Some(learned) = self.learned.as_mut().filter(|learned| learned.pauses.under_way()) {
            // Nothing would say what the end of the pause does, so it goes on as long as a share would be held.
            if held {
                let left = learned.pauses.left(now.mono).unwrap_or(self.config.fail_slow.period);
                return self.pause(left);
            }
            // Nothing is seen in it. What follows is no more than any law gives blindly.
            learned.give_up_pause();
            self.share = self.share.min(self.config.fail_slow.blind_cap_at(now));
        }
        let (share, reason) = self.freshness.silent(now, self.share, &self.config.fail_slow, NAME);
        (self.share, self.granted) = (share, share);
        self.integral.follow(share);
        Share::new(share, reason)
    }

    fn track(&mut self, granted: f64) {
        self.granted = granted;
        self.integral.follow(granted);
    }

    /// Ratios from 1.01 to 100 count as they are, others as the nearest of these.
    fn allow(&mut self, growth: Option<f64>) {
        if matches!(self.config.healthy, Healthy::Assumed(_)) {
            return;
        }
        let growth = growth.filter(|growth| growth.is_finite());
        self.theta = growth.map_or(self.config.allowance, |growth| growth.clamp(LEAST_ALLOWANCE, 100.0)).ln();
        if let Some(learned) = &mut self.learned {
            learned.set_theta(self.theta);
        }
    }
}

/// The part of its usual weight that a sample with this noise has. Noise that is not known yet counts as little.
fn loudness(noise: f64) -> f64 {
    if noise.is_finite() { QUIET / noise.max(QUIET) } else { 1.0 }
}
