//! How many jobs may run at once: [`ConcurrencyLaw`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sched_core::{MonoTime, Reason, Scope, SignalName};
use serde::{Deserialize, Serialize};

use crate::rate::Rate;
use crate::reading::Reading;
use crate::threshold::{Threshold, Thresholds};

mod bound;
mod demand;

pub use demand::JobDemand;

use bound::{Bound, Fits, Seen};
use demand::DemandEstimate;

/// Jobs that use at least this share of the rate may be slowed by it: what they move is not what they could.
const SLOWED_FROM: f64 = 0.8;
/// Weight of a new observation in the running mean of what a job moves.
const JOB_RATE_WEIGHT: f64 = 0.1;
/// A rate lets in as many jobs as this part of it feeds; more than the whole feeds must not run.
const AMPLE_RATE: f64 = 0.9;

/// Settings of a [`ConcurrencyLaw`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ConcurrencyConfig {
    /// What a running job uses of each signal; `network` stands for `network:eth0` too. A signal that is not named here,
    /// or has no [`Threshold`], bounds nothing. Default: `cpu`, `disk` and `network`, learned from an eighth of the capacity; `memory`, learned from a
    /// sixteenth.
    pub demands: BTreeMap<SignalName, JobDemand>,
    /// Signals of what a job takes whole, however slowly it runs: where less than that is left, none may run. Of
    /// anything else a job that is slowed takes less, so one may run while the threshold is not crossed. Default:
    /// `memory`.
    pub held: BTreeSet<SignalName>,
    /// What a job moves when nothing slows it, in bytes a second, at least 1. Default `None`: learned while the rate
    /// does not slow the jobs, and no bound before that.
    pub job_bytes_per_sec: Option<u64>,
    /// The most that may run in any scope, at least 1. Default 1,000.
    pub max: u32,
    /// Time between two steps up, and the time for which one more must have fitted. Positive. Default 30 s.
    pub step: Duration,
    /// How many may run when a signal is lost. More than these become fewer, one every [`step`](Self::step). Default 1;
    /// with 0 a lost signal may keep everything from starting until it is back.
    pub blind: u32,
}

impl ConcurrencyConfig {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// The first setting that does not, with what would be right.
    pub fn check(&self) -> Result<(), ConcurrencyError> {
        for (signal, demand) in &self.demands {
            signal.check().map_err(|source| ConcurrencyError::Name { signal: signal.clone(), source })?;
            if !demand.is_usable() {
                return Err(ConcurrencyError::Demand { signal: signal.clone(), demand: *demand });
            }
        }
        match self {
            Self { max: 0, .. } => Err(ConcurrencyError::Zero { setting: "max" }),
            Self { job_bytes_per_sec: Some(0), .. } => {
                Err(ConcurrencyError::Zero { setting: "job_bytes_per_sec" })
            }
            Self { step: Duration::ZERO, .. } => Err(ConcurrencyError::Zero { setting: "step" }),
            _ => Ok(()),
        }
    }

    /// What a job takes of a signal, and whether it holds it. One of `network:eth0` is that of `network` where it has
    /// none of its own.
    fn demand_of(&self, signal: &SignalName) -> Option<(JobDemand, bool)> {
        let kind = signal.as_str().split(':').next().map(SignalName::from)?;
        let (name, demand) =
            self.demands.get_key_value(signal).or_else(|| self.demands.get_key_value(&kind))?;
        Some((*demand, self.held.contains(name)))
    }
}

impl Default for ConcurrencyConfig {
    fn default() -> Self {
        let shares = [("cpu", 0.125), ("disk", 0.125), ("memory", 0.0625), ("network", 0.125)];
        let demands = shares.map(|(signal, share)| (SignalName::from(signal), JobDemand::Learned(share)));
        Self {
            demands: demands.into(),
            held: BTreeSet::from(["memory".into()]),
            job_bytes_per_sec: None,
            max: 1_000,
            step: Duration::from_secs(30),
            blind: 1,
        }
    }
}

/// A [`ConcurrencyConfig`] that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConcurrencyError {
    /// A signal's name cannot be used.
    #[error("demands: the signal name {signal:?} cannot be used: {source}")]
    Name {
        /// The name.
        signal: SignalName,
        /// Why.
        source: sched_core::NameError,
    },
    /// A demand is not an amount.
    #[error(
        "demands: {demand:?} of {signal}; a fixed demand is positive, a learned one a share over 0 up to 1"
    )]
    Demand {
        /// The signal.
        signal: SignalName,
        /// What was given.
        demand: JobDemand,
    },
    /// A setting is 0 that has to be positive.
    #[error("{setting} is 0; it must be positive")]
    Zero {
        /// Which.
        setting: &'static str,
    },
}

/// How many jobs of a scope may run at once, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Room {
    /// Whom it concerns.
    pub scope: Scope,
    /// How many.
    pub jobs: u32,
    /// What leaves room for no more: the signal, its value, and the value from which on one more would fit.
    pub reason: Reason,
}

/// The rate of a scope and what was made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feed {
    /// What all jobs together may move.
    pub rate: Rate,
    /// What they moved since the last look, in bytes a second; `None` when the number of jobs changed meanwhile.
    pub used_bytes_per_sec: Option<f64>,
    /// Jobs that run.
    pub running: u32,
}

/// Says how many jobs of each place may run at once. Pure: no clock, no I/O.
///
/// For each signal of a place `N = running + ⌊(threshold − in use) ÷ demand of a job⌋`, at least 1 below the threshold
/// of what is not [`held`](ConcurrencyConfig::held), and for the rate `N = ⌈rate ÷ what a job moves⌉`, at least 1; the
/// least counts. What is in use includes the jobs that run, and a
/// threshold is a share of the whole: so jobs that displace the foreground make no room for others.
///
/// `N` falls at once to the median of the last answers, as far as it must. It rises by one at most once a
/// [`step`](ConcurrencyConfig::step), if one more has fitted all that time below the share at which the threshold
/// opens. From 0 it rises to 1 as soon as one fits there: jobs wait for the signal, not for a timer. While a signal is
/// missing nothing rises; see [`ConcurrencyConfig::blind`] for one that stays away.
#[derive(Debug)]
pub struct ConcurrencyLaw {
    config: ConcurrencyConfig,
    thresholds: Thresholds,
    places: BTreeMap<Scope, Place>,
    /// Running mean of what a job moves when nothing slows it.
    job_rate: Option<f64>,
}

impl ConcurrencyLaw {
    /// A law that has seen nothing, and bounds nothing yet.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn new(config: ConcurrencyConfig, thresholds: Thresholds) -> Result<Self, ConcurrencyError> {
        config.check()?;
        let job_rate = config.job_bytes_per_sec.map(|rate| rate as f64);
        Ok(Self { config, thresholds, places: BTreeMap::new(), job_rate })
    }

    /// A probe with this period answered while `running` jobs of a scope run. Returns what changed. A reading that
    /// cannot be believed counts as none.
    pub fn observe(
        &mut self,
        now: MonoTime,
        period: Duration,
        readings: &[Reading],
        mut running: impl FnMut(&Scope) -> u32,
    ) -> Vec<Room> {
        let mut changed = BTreeSet::new();
        let usable = |scope: &Scope| scope.is_place() && scope.check().is_ok();
        for reading in readings.iter().filter(|reading| usable(&reading.scope) && reading.check().is_ok()) {
            let signal = &reading.signal;
            let (Some(threshold), Some(capacity), Some((demand, held))) =
                (self.thresholds.of(signal), reading.capacity, self.config.demand_of(signal))
            else {
                continue;
            };
            if !(reading.value / capacity).is_finite() {
                continue;
            }
            let place = self.places.entry(reading.scope.clone()).or_default();
            let source = place.sources.entry(signal.clone()).or_insert_with(|| Source::new(demand, held));
            let (fits, seen) =
                source.observe(reading, capacity, threshold, running(&reading.scope), self.config.max);
            answer(&mut source.bound, now, Some(period), fits, seen);
            changed.insert(&reading.scope);
        }
        changed.into_iter().filter_map(|scope| self.decide(scope, now)).collect()
    }

    /// The rate of a scope, and what its jobs made of it. Returns what changed.
    pub fn feed(&mut self, now: MonoTime, scope: &Scope, feed: Feed) -> Option<Room> {
        self.learn_job_rate(&feed);
        let (Rate::BytesPerSec(rate), Some(job)) = (feed.rate, self.job_rate) else {
            self.places.get_mut(scope)?.rate = None;
            return self.decide(scope, now);
        };
        // A job that is overdue must be able to start, and raises a rate of 0 by its floor: one is always fed.
        let fed = |rate: f64| as_jobs((rate / job).ceil().max(1.0), self.config.max);
        let fits = Fits { most: fed(rate as f64), ample: fed(AMPLE_RATE * rate as f64) };
        let seen = Seen::Rate { rate, job };
        answer(&mut self.places.entry(scope.clone()).or_default().rate, now, None, fits, seen);
        self.decide(scope, now)
    }

    /// Time has passed: signals may have been lost. Returns what changed.
    pub fn tick(&mut self, now: MonoTime) -> Vec<Room> {
        let mut due = Vec::new();
        for (scope, place) in &mut self.places {
            if place.next_look(&self.config).is_some_and(|at| at <= now) {
                place.age(now, &self.config);
                due.push(scope.clone());
            }
        }
        due.iter().filter_map(|scope| self.decide(scope, now)).collect()
    }

    /// When [`tick`](Self::tick) may have something to say.
    pub fn next_look(&self) -> Option<MonoTime> {
        self.places.values().filter_map(|place| place.next_look(&self.config)).min()
    }

    /// How many may run in a scope, and why; `None` when nothing bounds it.
    pub fn room(&self, scope: &Scope) -> Option<Room> {
        self.places.get(scope)?.room(scope)
    }

    /// Every scope that is bounded.
    pub fn rooms(&self) -> impl Iterator<Item = Room> + '_ {
        self.places.iter().filter_map(|(scope, place)| place.room(scope))
    }

    fn decide(&mut self, scope: &Scope, now: MonoTime) -> Option<Room> {
        let place = self.places.get_mut(scope)?;
        place.decide(now, &self.config).then(|| place.room(scope)).flatten()
    }

    fn learn_job_rate(&mut self, feed: &Feed) {
        let (None, Some(used)) = (self.config.job_bytes_per_sec, feed.used_bytes_per_sec) else { return };
        let slowed = match feed.rate {
            Rate::Unlimited => false,
            Rate::BytesPerSec(rate) => used >= SLOWED_FROM * rate as f64,
        };
        if feed.running == 0 || slowed || !(used.is_finite() && used > 0.0) {
            return;
        }
        let job = used / f64::from(feed.running);
        let before = self.job_rate.unwrap_or(job);
        self.job_rate = Some(before + JOB_RATE_WEIGHT * (job - before));
    }
}

/// What bounds one place.
#[derive(Debug, Default)]
struct Place {
    sources: BTreeMap<SignalName, Source>,
    rate: Option<Bound>,
    /// How many may run; `None` before the first answer.
    jobs: Option<u32>,
    /// When it rose last.
    raised: Option<MonoTime>,
    /// Since when one more has fitted all the time.
    ample_since: MonoTime,
    /// One would fit where none may run, but it has risen too lately.
    rises_at: Option<MonoTime>,
}

/// One signal of a place.
#[derive(Debug)]
struct Source {
    demand: DemandEstimate,
    held: bool,
    /// Jobs that ran at the previous reading.
    running: u32,
    bound: Option<Bound>,
}

impl Place {
    /// Follows its bounds; returns whether the number changed.
    fn decide(&mut self, now: MonoTime, config: &ConcurrencyConfig) -> bool {
        self.rises_at = None;
        let jobs = self.jobs.unwrap_or(config.max);
        let full = jobs == 0;
        let limit = Fits { most: config.max, ample: config.max };
        let fits = self.bounds().map(|bound| bound.fits(full)).fold(limit, |least, fits| Fits {
            most: least.most.min(fits.most),
            ample: least.ample.min(fits.ample),
        });
        if self.jobs.is_none() {
            self.jobs = Some(fits.ample.min(fits.most));
            self.ample_since = now;
            return true;
        }
        if fits.most < jobs {
            self.jobs = Some(fits.most);
            self.ample_since = now;
            return true;
        }
        let blind = jobs < config.blind;
        if fits.ample <= jobs || !self.bounds().all(|bound| bound.lets_rise(now, blind)) {
            self.ample_since = now;
            return false;
        }
        let next = self.raised.map(|at| at + config.step);
        if full && next.is_some_and(|at| at > now) {
            self.rises_at = next;
        }
        let lasts = full || now.since(self.ample_since) >= config.step;
        if !lasts || next.is_some_and(|at| at > now) {
            return false;
        }
        if full {
            // The shortage is over: what was said in it must not close again.
            self.bounds_mut().for_each(Bound::forget);
        }
        self.jobs = Some(jobs + 1);
        self.raised = Some(now);
        self.ample_since = now;
        true
    }

    fn age(&mut self, now: MonoTime, config: &ConcurrencyConfig) {
        let jobs = self.jobs.unwrap_or(config.max);
        self.bounds_mut().for_each(|bound| bound.age(now, jobs, config.blind, config.step));
    }

    fn next_look(&self, config: &ConcurrencyConfig) -> Option<MonoTime> {
        self.bounds().filter_map(|bound| bound.next_look(config.blind)).chain(self.rises_at).min()
    }

    fn room(&self, scope: &Scope) -> Option<Room> {
        let jobs = self.jobs?;
        let binds = self.bounds().min_by_key(|bound| bound.fits(false));
        let reason =
            binds.map_or_else(|| Reason::new("nothing bounds it"), |bound| bound.reason(scope, jobs));
        Some(Room { scope: scope.clone(), jobs, reason })
    }

    fn bounds(&self) -> impl Iterator<Item = &Bound> {
        self.sources.values().filter_map(|source| source.bound.as_ref()).chain(&self.rate)
    }

    fn bounds_mut(&mut self) -> impl Iterator<Item = &mut Bound> {
        self.sources.values_mut().filter_map(|source| source.bound.as_mut()).chain(&mut self.rate)
    }
}

impl Source {
    fn new(demand: JobDemand, held: bool) -> Self {
        Self { demand: DemandEstimate::new(demand), held, running: 0, bound: None }
    }

    /// How many fit by a reading taken while `running` jobs run.
    fn observe(
        &mut self,
        reading: &Reading,
        capacity: f64,
        threshold: Threshold,
        running: u32,
        max: u32,
    ) -> (Fits, Seen) {
        let utilization = reading.value / capacity;
        self.demand.observe(utilization, running, utilization >= threshold.close_above());
        let job = self.demand.share_of(capacity);
        // A reading may cover the time since the one before: who has started or ended meanwhile may be in it or not.
        let before = std::mem::replace(&mut self.running, running);
        let fits = |running: u32, threshold: f64, open: bool| {
            let jobs = as_jobs(f64::from(running) + ((threshold - utilization) / job).floor(), max);
            jobs.max(u32::from(open && !self.held))
        };
        let (close_above, open_below) = (threshold.close_above(), threshold.open_below());
        let fits = Fits {
            most: fits(running.max(before), close_above, utilization <= close_above),
            ample: fits(running.min(before), open_below, utilization < open_below),
        };
        let (signal, held) = (reading.signal.clone(), self.held);
        (fits, Seen::Use { signal, utilization, job, threshold, running, held })
    }
}

fn answer(bound: &mut Option<Bound>, now: MonoTime, period: Option<Duration>, fits: Fits, seen: Seen) {
    match bound {
        Some(bound) => bound.answer(now, period, fits, seen),
        none => *none = Some(Bound::new(now, period, fits, seen)),
    }
}

/// A number of jobs within bounds; a number that is none lets nothing run.
fn as_jobs(jobs: f64, max: u32) -> u32 {
    if jobs.is_nan() { 0 } else { jobs.clamp(0.0, f64::from(max)) as u32 }
}

/// The middle value; of an even number the one that `order` puts first.
fn lower_median<T: Copy>(values: impl IntoIterator<Item = T>, order: fn(&T, &T) -> Ordering) -> Option<T> {
    let mut sorted: Vec<T> = values.into_iter().collect();
    sorted.sort_by(order);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests;
