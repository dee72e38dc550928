//! Queueing delay against a target, as LEDBAT does: [`DelayLaw`].

use std::collections::VecDeque;
use std::time::Duration;

use sched_core::{Measured, MonoTime, Now, Reason};

use super::freshness::{FailSlow, Freshness};
use super::intake::Intake;
use super::{ControlLaw, DEMAND_FROM, LawError, Observation, Share, above};

const NAME: &str = "delay law";
/// Weight of a new sample in the running mean.
const SMOOTHING: f64 = 0.3;
/// Minutes of history that the base delay is taken from. RFC 6817 has ten; a peak outlasts that, and the base rises.
const MINUTES: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// Settings of a [`DelayLaw`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DelayConfig {
    /// Delay over the base that is to be kept, positive.
    pub target: Duration,
    /// Share gained a period with no queueing delay at all, over 0 up to 1. Default .002.
    pub gain: f64,
    /// The highest share. Default 1.
    pub cap: f64,
    /// What to do while no sample comes, and the period between samples.
    pub fail_slow: FailSlow,
}

impl DelayConfig {
    /// Everything at its default but the target.
    pub fn new(target: Duration) -> Self {
        Self { target, gain: 0.002, cap: 1.0, fail_slow: FailSlow::default() }
    }
}

/// A delay-based law after LEDBAT (RFC 6817): the base delay is the least of an hour, what is above it counts as
/// queueing, and the share moves by gain · (1 − queueing / target) a period, ten times as fast downwards and at most
/// down by half.
///
/// It needs no healthy latency, and yields to everybody. With noisy quantiles the minimum lies far below the usual,
/// and it starves: it is for signals with little noise, such as the round trips of a link.
#[derive(Clone, Debug)]
pub struct DelayLaw {
    config: DelayConfig,
    intake: Intake,
    freshness: Freshness,
    /// Running mean of the latency, in seconds.
    mean: Option<f64>,
    minutes: VecDeque<(MonoTime, f64)>,
    share: f64,
    granted: f64,
}

impl DelayLaw {
    /// A law that has seen nothing; its share is the blind floor.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn new(config: DelayConfig) -> Result<Self, LawError> {
        config.fail_slow.check()?;
        above("target", config.target.as_secs_f64(), (0.0, f64::MAX), "a positive delay")?;
        above("gain", config.gain, (0.0, 1.0), "over 0 and at most 1")?;
        above("cap", config.cap, (0.0, 1.0), "over 0 and at most 1")?;
        let share = config.fail_slow.blind_floor.min(config.cap);
        let (intake, freshness) = (Intake::default(), Freshness::default());
        Ok(Self { intake, freshness, mean: None, minutes: VecDeque::new(), share, granted: share, config })
    }

    fn fresh(&mut self, sample: Observation) -> Share {
        let target = self.config.target.as_secs_f64();
        // The base as it was: a sample that lowers it has no queueing delay anyway.
        let base = self.minutes.iter().map(|(_, least)| *least).fold(f64::INFINITY, f64::min);
        let (value, passed) = self.intake.take(sample.at, sample.value);
        let periods = self.config.fail_slow.periods(passed).min(2.0);
        let mean = self.mean.get_or_insert(value);
        *mean += (1.0 - (1.0 - SMOOTHING).powf(periods)) * (value - *mean);
        let value = *mean;
        self.freshness.seen(sample.at);
        self.remember(sample.at, value);
        let off = if base.is_finite() { 1.0 - (value - base).max(0.0) / target } else { 0.0 };
        let moved = if off < 0.0 { 10.0 * self.config.gain * off } else { self.config.gain * off };
        if off < 0.0 || sample.used >= DEMAND_FROM * self.granted {
            let moved = (self.share + moved * periods).max(self.share * 0.5);
            self.share = moved.clamp(0.0, self.config.cap);
        }
        self.granted = self.share;
        let measured = Measured::new(
            "latency",
            sample.value * 1e3,
            if base.is_finite() { (base + target) * 1e3 } else { target * 1e3 },
            "ms",
        );
        let text = format!("{NAME}: {:.1} % of the ceiling", self.share * 100.0);
        Share::new(self.share, Reason::measured(text, measured))
    }

    fn remember(&mut self, at: MonoTime, value: f64) {
        match self.minutes.back_mut() {
            Some((begun, least)) if at.since(*begun) < MINUTE => *least = least.min(value),
            _ => {
                if self.minutes.len() == MINUTES {
                    self.minutes.pop_front();
                }
                self.minutes.push_back((at, value));
            }
        }
    }
}

impl ControlLaw for DelayLaw {
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
