//! From stalls to a share, where nobody tells a latency: [`PressureLaw`].

use sched_core::{Measured, Now, Reason};

use super::freshness::{FailSlow, Freshness};
use super::intake::Intake;
use super::integral::{Gains, Integral, Step};
use super::{ControlLaw, DEMAND_FROM, LawError, Observation, Share, above};

const NAME: &str = "pressure law";
/// Weight of a new sample in the running mean.
const SMOOTHING: f64 = 0.3;
/// Shares a unit of error, where a unit is the whole target.
const PROPORTIONAL: f64 = 0.02;
/// The same a period, for the integral: a minute and more from nothing to a fifth.
const INTEGRAL: f64 = 0.002;
/// Above the target errors count so many times: stalls hurt at once, capacity can wait.
const FALLS_FASTER: f64 = 5.0;
/// Noise of the mean, in units of the target, up to which capacity is taken back in leaps.
const RECLAIM_BELOW: f64 = 0.5;
/// Growth a period from the start until stalls first come near the target: from 1 % to a quarter of the ceiling in some
/// 15 periods, with each reading there to end it. As in TCP's slow start (RFC 5681), but by a quarter instead of
/// doubling, and above a quarter of the ceiling by a fiftieth: stalls may follow the share some seconds late.
const START_GROWTH: f64 = 1.25;
const START_GROWTH_HIGH: f64 = 1.02;
const START_HIGH: f64 = 0.25;
/// Stalls come near the target from this part of it on.
const START_BELOW: f64 = 0.5;

/// Settings of a [`PressureLaw`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PressureConfig {
    /// The share of time in which some task may stall, over 0 up to 1. Default .20.
    pub target: f64,
    /// The highest share. Default 1.
    pub cap: f64,
    /// What to do while no sample comes, and the period between samples.
    pub fail_slow: FailSlow,
}

impl Default for PressureConfig {
    fn default() -> Self {
        Self { target: 0.20, cap: 1.0, fail_slow: FailSlow::default() }
    }
}

/// A proportional-integral law on pressure stall information: the share of time in which some task stalled, as the
/// difference of the kernel's `total` counter over the time between two readings (its `avg10` takes 7 s to half its
/// value).
///
/// An integral alone would take minutes to find out what an idle machine can do. So at first the share grows by a quarter
/// a period, later by a fiftieth, while backups use it and stalls stay below half the target; once they do not, that is
/// over for good.
///
/// Stalls of the backup itself count too, so this law is more timid than one that knows the foreground's latency. Use
/// it where there is none, or as a fast cut beside it.
#[derive(Clone, Debug)]
pub struct PressureLaw {
    config: PressureConfig,
    intake: Intake,
    freshness: Freshness,
    mean: f64,
    /// Stalls have never come near the target.
    starting: bool,
    integral: Integral,
    share: f64,
    granted: f64,
}

impl PressureLaw {
    /// A law that has seen nothing; its share is the blind floor.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn new(config: PressureConfig) -> Result<Self, LawError> {
        config.fail_slow.check()?;
        above("target", config.target, (0.0, 1.0), "over 0 and at most 1")?;
        above("cap", config.cap, (0.0, 1.0), "over 0 and at most 1")?;
        let share = config.fail_slow.blind_floor.min(config.cap);
        Ok(Self {
            intake: Intake::default(),
            freshness: Freshness::default(),
            mean: config.target,
            starting: true,
            integral: Integral::new(share),
            share,
            granted: share,
            config,
        })
    }

    fn fresh(&mut self, sample: Observation) -> Share {
        let target = self.config.target;
        let noise = self.intake.noise();
        let (value, passed) = self.intake.take(sample.at, sample.value.min(1.0));
        let periods = self.config.fail_slow.periods(passed).min(2.0);
        self.freshness.seen(sample.at);
        self.mean += (1.0 - (1.0 - SMOOTHING).powf(periods)) * (value - self.mean);
        let below = 1.0 - self.mean / target;
        let quiet = noise * (SMOOTHING / (2.0 - SMOOTHING)).sqrt() < RECLAIM_BELOW * target;
        let demand = sample.used >= DEMAND_FROM * self.granted;
        self.starting &= value < START_BELOW * target;
        if self.starting && demand {
            let growth = if self.share < START_HIGH { START_GROWTH } else { START_GROWTH_HIGH };
            self.integral.grow(growth.powf(periods), self.config.cap);
        }
        let step = Step {
            error: if below < 0.0 { FALLS_FASTER * below } else { below },
            periods,
            demand,
            near: 1.0,
            doubt: 0.0,
            late: 1.0 / SMOOTHING,
            reclaim: quiet,
        };
        let gains = Gains { proportional: PROPORTIONAL, integral: INTEGRAL, cap: self.config.cap };
        self.share = self.integral.step(gains, step);
        self.granted = self.share;
        let measured = Measured {
            signal: "pressure".into(),
            value: sample.value,
            threshold: target,
            unit: "share of time stalled".into(),
        };
        let text = format!("{NAME}: {:.1} % of the ceiling", self.share * 100.0);
        Share::new(self.share, Reason::measured(text, measured))
    }
}

impl ControlLaw for PressureLaw {
    fn step(&mut self, now: Now, sample: Option<Observation>) -> Share {
        if let Some(sample) = sample.filter(|sample| sample.value.is_finite() && sample.value >= 0.0) {
            return self.fresh(sample);
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
}
