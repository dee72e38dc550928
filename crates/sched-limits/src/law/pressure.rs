//! From stalls to a share, where nobody tells a latency: [`PressureLaw`].

use std::time::Duration;

use sched_core::{Measured, Now, Reason};

use super::freshness::{FailSlow, Freshness};
use super::healthy::Learning;
use super::intake::Intake;
use super::integral::{Gains, Integral, Step};
use super::learned::Learned;
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
/// A machine that always stalls has a hazard without bound; more than this tells nothing.
const MOST_STALLED: f64 = 0.99;

/// Settings of a [`PressureLaw`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PressureConfig {
    /// The share of time in which some task may stall because of backups, of the time in which none would stall without
    /// them; over 0 and below 1. Default .20.
    pub target: f64,
    /// How the stalls without backups are learned. `None`: there are none, and `target` is of all time. Default `None`: what
    /// is learned while backups run follows their own stalls where few bytes a second already make most of these, as on a
    /// slow disk that databases sync to.
    pub learning: Option<Learning>,
    /// The highest share. Default 1.
    pub cap: f64,
    /// What to do while no sample comes, and the period between samples.
    pub fail_slow: FailSlow,
}

impl Default for PressureConfig {
    fn default() -> Self {
        Self { target: 0.20, learning: None, cap: 1.0, fail_slow: FailSlow::default() }
    }
}

/// A proportional-integral law on pressure stall information: the share of time in which some task stalled, as the
/// difference of the kernel's `total` counter over the time between two readings (its `avg10` takes 7 s to half its
/// value).
///
/// A busy database stalls by itself, too. With [`learning`](PressureConfig::learning) what counts is what backups add: with p
/// the share of time stalled and p₀ that without backups, (1 − p) / (1 − p₀) is kept over 1 − target. The law works with the
/// hazard −ln(1 − p), in which both add up, and learns that without backups as [`PiLaw`](super::PiLaw) learns a healthy
/// latency: as the lowest that was seen within the memory, from readings at different shares and from sparse pauses. Until it
/// is known it counts as none, so on a busy machine backups stand still for some twenty readings at first.
///
/// An integral alone would take minutes to find out what an idle machine can do. So at first the share grows by a quarter
/// a period, later by a fiftieth, while backups use it and what they add stays below half the target; once it does not, that
/// is over for good.
///
/// Stalls of the backup itself count too, so this law is more timid than one that knows the foreground's latency. Use
/// it where there is none, or as a fast cut beside it.
#[derive(Clone, Debug)]
pub struct PressureLaw {
    config: PressureConfig,
    /// The hazard that backups may add.
    theta: f64,
    intake: Intake,
    freshness: Freshness,
    learned: Option<Learned>,
    /// Running mean of the hazard.
    mean: f64,
    /// What backups add has never come near the target.
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
        config.learning.as_ref().map_or(Ok(()), Learning::check)?;
        above("target", config.target, (0.0, MOST_STALLED), "over 0 and at most .99")?;
        above("cap", config.cap, (0.0, 1.0), "over 0 and at most 1")?;
        let share = config.fail_slow.blind_floor.min(config.cap);
        let theta = hazard(config.target);
        let learned = config.learning.clone().map(|learning| {
            // What is not known yet counts as a calm machine, which needs no long look before anything is done.
            Learned::new(learning, theta, config.fail_slow.period, share).without_first_pause()
        });
        Ok(Self {
            theta,
            intake: Intake::default(),
            freshness: Freshness::default(),
            learned,
            mean: theta,
            starting: true,
            integral: Integral::new(share),
            share,
            granted: share,
            config,
        })
    }

    /// The share of time that is stalled without backups, as learned so far.
    pub fn stalled_alone(&self) -> Option<f64> {
        self.learned.as_ref()?.healthy().map(|hazard| share_of_time(hazard.max(0.0)))
    }

    fn fresh(&mut self, now: Now, sample: Observation) -> Share {
        let theta = self.theta;
        // As they were before: what this sample teaches counts from the next on.
        let (noise, alone) = (self.intake.noise(), self.learned.as_ref().and_then(Learned::healthy));
        let (value, passed) = self.intake.take(sample.at, hazard(sample.value));
        let periods = self.config.fail_slow.periods(passed).min(2.0);
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
        let base = alone.unwrap_or(0.0).max(0.0);
        self.mean += (1.0 - (1.0 - SMOOTHING).powf(periods)) * (value - self.mean);
        let below = 1.0 - (self.mean - base) / theta;
        let quiet = noise * (SMOOTHING / (2.0 - SMOOTHING)).sqrt() < RECLAIM_BELOW * theta;
        let demand = used >= DEMAND_FROM * self.granted;
        let calm = value - base < START_BELOW * theta;
        // A machine that is busy by itself says nothing before its own stalls are known.
        self.starting &= calm || (self.learned.is_some() && alone.is_none());
        if self.starting && calm && demand {
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
        let stalled = share_of_time(base);
        let measured = Measured {
            signal: "pressure".into(),
            value: sample.value,
            threshold: stalled + self.config.target * (1.0 - stalled),
            unit: "share of time stalled".into(),
        };
        let text = format!("{NAME}: {:.1} % of the ceiling", self.share * 100.0);
        Share::new(self.share, Reason::measured(text, measured))
    }

    fn pause(&mut self, left: Duration) -> Share {
        self.granted = 0.0;
        let reason = Reason::new(format!("{NAME}: paused to see the machine without backups"));
        Share { share: self.share, pause: Some(left), reason }
    }
}

/// Stalls a unit of time in which nothing is stalled yet: those of independent causes add up.
fn hazard(stalled: f64) -> f64 {
    -(1.0 - stalled.clamp(0.0, MOST_STALLED)).ln()
}

/// The share of time that is stalled with this hazard.
fn share_of_time(hazard: f64) -> f64 {
    1.0 - (-hazard).exp()
}

impl ControlLaw for PressureLaw {
    fn step(&mut self, now: Now, sample: Option<Observation>) -> Share {
        if let Some(sample) = sample.filter(|sample| sample.value.is_finite() && sample.value >= 0.0) {
            return self.fresh(now, sample);
        }
        let held = self.freshness.held(now, &self.config.fail_slow);
        if let Some(learned) = self.learned.as_mut().filter(|learned| learned.pauses.under_way()) {
            if held {
                let left = learned.pauses.left(now.mono).unwrap_or(self.config.fail_slow.period);
                return self.pause(left);
            }
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
}
