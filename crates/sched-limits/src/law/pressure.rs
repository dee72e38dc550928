//! From stalls to a share, where nobody tells a latency: [`PressureLaw`].

use std::time::Duration;

use sched_core::{Measured, Now, Reason};

use super::alone::{Alone, SoFar};
use super::freshness::{FailSlow, Freshness};
use super::intake::Intake;
use super::integral::{Gains, Integral, Step};
use super::{ControlLaw, DEMAND_FROM, LawError, Observation, Share, above, within};

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
/// The longest settings, in seconds.
const LONGEST: f64 = 365.0 * 86_400.0;
/// Where less than this part of the time is left without stalls they tell nothing: what is left counts as this.
const LEAST_CALM: f64 = 0.02;

/// Settings of a [`PressureLaw`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PressureConfig {
    /// The share of time in which some task may stall because of backups, of the time in which none would stall without
    /// them; over 0 up to 1. Default .10.
    pub target: f64,
    /// The share of time in which tasks may stall whosoever fault it is, from `target` up to 1: above it backups stand
    /// still. Default .90.
    pub at_most: f64,
    /// How often backups pause on average, for [`settle`](Self::settle) and eight periods, for a look at how much the machine
    /// stalls by itself. `None`: never, and `target` is of all time. Default 5 min.
    pub look_every: Option<Duration>,
    /// How long what backups did may go on after they have paused, in caches and queues: readings within that time say nothing
    /// of the machine by itself. At least two periods. Default 3 s.
    pub settle: Duration,
    /// The highest share. Default 1.
    pub cap: f64,
    /// What to do while no sample comes, and the period between samples.
    pub fail_slow: FailSlow,
}

impl Default for PressureConfig {
    fn default() -> Self {
        Self {
            target: 0.10,
            at_most: 0.90,
            look_every: Some(Duration::from_secs(300)),
            settle: Duration::from_secs(3),
            cap: 1.0,
            fail_slow: FailSlow::default(),
        }
    }
}

/// A proportional-integral law on pressure stall information: the share of time in which some task stalled, as the
/// difference of the kernel's `total` counter over the time between two readings (its `avg10` takes 7 s to half its
/// value).
///
/// A busy machine stalls by itself, too: what counts is what backups add. With p the share of time stalled and p₀ that
/// without backups, p is kept to p₀ + target · (1 − p₀). p₀ is learned only from readings in which no backup moved anything:
/// while none runs, and in looks for which all pause: the first when stalls come near the target, then sparse ones at random times,
/// one more whenever the share has grown by half, and one a minute where backups stand still because the machine stalls. While
/// it hardly stalls nobody looks.
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
    intake: Intake,
    freshness: Freshness,
    alone: Option<Alone>,
    /// The share of time without stalls that the machine left by itself when backups last moved something.
    room: f64,
    /// Backups move nothing: what is granted says nothing of the share that was right when they did.
    idle: bool,
    /// Some backup runs.
    at_work: bool,
    /// Running mean of what backups add.
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
        above("target", config.target, (0.0, 1.0), "over 0 and at most 1")?;
        if let Some(every) = config.look_every {
            above("look_every", every.as_secs_f64(), (0.0, LONGEST), "over 0 and at most a year, or none")?;
        }
        within("settle", config.settle.as_secs_f64(), (0.0, LONGEST), "from 0 to a year")?;
        within("at_most", config.at_most, (config.target, 1.0), "from the target to 1")?;
        above("cap", config.cap, (0.0, 1.0), "over 0 and at most 1")?;
        let share = config.fail_slow.blind_floor.min(config.cap);
        Ok(Self {
            intake: Intake::default(),
            freshness: Freshness::default(),
            alone: config.look_every.map(|every| Alone::new(every, config.settle, &config.fail_slow)),
            room: 1.0,
            idle: false,
            at_work: false,
            mean: config.target,
            starting: true,
            integral: Integral::new(share),
            share,
            granted: share,
            config,
        })
    }

    /// The share of time that is stalled without backups, as learned so far.
    pub fn stalled_alone(&self) -> Option<f64> {
        self.alone.as_ref()?.level()
    }

    fn fresh(&mut self, now: Now, sample: Observation) -> Share {
        // As it was before: what this sample teaches counts from the next on.
        let (noise, alone) = (self.intake.noise(), self.stalled_alone().unwrap_or(0.0));
        let unit = self.config.target * (1.0 - alone).max(LEAST_CALM);
        let (value, passed) = self.intake.take(sample.at, sample.value.min(1.0));
        let periods = self.config.fail_slow.periods(passed).min(2.0);
        let used = if sample.used.is_finite() { sample.used.clamp(0.0, 2.0) } else { 0.0 };
        self.freshness.seen(sample.at);
        let so_far = match () {
            () if value < START_BELOW * self.config.target => SoFar::Calm,
            () if alone + self.mean > self.threshold(alone) => SoFar::Over,
            () => SoFar::Within,
        };
        self.idle = used == 0.0;
        if let Some(looks) = &mut self.alone {
            // What is no number may be anything: it is no sign that nothing moved.
            let moved = if sample.used.is_finite() { used } else { f64::INFINITY };
            let told = looks.observe(now.mono, value, (moved, self.share), (self.at_work, so_far));
            if let Some(left) = looks.left(now.mono) {
                return self.pause(left);
            }
            let room = 1.0 - looks.level().unwrap_or(0.0);
            if used > 0.0 {
                // With what was granted, the part that is not the integral's included: a share that is too much falls within
                // seconds, and not with the integral alone.
                self.integral.follow(self.granted);
                self.room = room;
            } else if told && self.share > 0.0 {
                // Nothing runs, so nothing is learned of what backups add. Those that start find as much less of a share as
                // there is less room now.
                self.mean = unit;
                let most = if 1.0 - room < self.config.at_most { self.share } else { 0.0 };
                return self.say(sample.value, most * (room / self.room).min(1.0), 1.0 - room);
            } else if self.at_work && self.granted > 0.0 {
                // What they do now is no matter of their rate: a check, a checkpoint.
                return self.say(sample.value, self.granted, alone);
            }
        }
        self.mean += (1.0 - (1.0 - SMOOTHING).powf(periods)) * (value - alone - self.mean);
        let below = (self.threshold(alone) - alone - self.mean) / unit;
        let quiet = noise * (SMOOTHING / (2.0 - SMOOTHING)).sqrt() < RECLAIM_BELOW * unit;
        let demand = used >= DEMAND_FROM * self.granted;
        self.starting &= value - alone < START_BELOW * unit;
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
        self.say(sample.value, self.share, alone)
    }

    /// Up to where tasks may stall on a machine that does so much by itself.
    fn threshold(&self, alone: f64) -> f64 {
        (alone + self.config.target * (1.0 - alone)).min(self.config.at_most)
    }

    fn say(&mut self, stalled: f64, share: f64, alone: f64) -> Share {
        self.granted = share;
        let measured = Measured::new("pressure", stalled, self.threshold(alone), "share of time stalled");
        let text = format!("{NAME}: {:.1} % of the ceiling", share * 100.0);
        Share::new(share, Reason::measured(text, measured))
    }

    fn pause(&self, left: Duration) -> Share {
        let reason = Reason::new(format!("{NAME}: paused to see the machine without backups"));
        Share { share: self.share, pause: Some(left), reason }
    }
}

impl ControlLaw for PressureLaw {
    fn step(&mut self, now: Now, sample: Option<Observation>) -> Share {
        if let Some(sample) = sample.filter(|sample| sample.value.is_finite() && sample.value >= 0.0) {
            return self.fresh(now, sample);
        }
        let held = self.freshness.held(now, &self.config.fail_slow);
        if let Some(alone) = self.alone.as_mut().filter(|alone| alone.under_way()) {
            // Nothing would say what the end of the look does, so it goes on as long as a share would be held.
            if held {
                let left = alone.left(now.mono).unwrap_or(self.config.fail_slow.period);
                return self.pause(left);
            }
            alone.give_up();
            self.share = self.share.min(self.config.fail_slow.blind_cap_at(now));
        }
        let (share, reason) = self.freshness.silent(now, self.share, &self.config.fail_slow, NAME);
        (self.share, self.granted) = (share, share);
        self.integral.follow(share);
        Share::new(share, reason)
    }

    fn track(&mut self, granted: f64) {
        self.granted = granted;
        if !self.idle {
            self.integral.follow(granted);
        }
    }

    /// Not by how much, but that some backup runs.
    fn allow(&mut self, growth: Option<f64>) {
        self.at_work = growth.is_some();
    }
}
