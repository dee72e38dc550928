//! How many jobs may run at once: [`ConcurrencyLaw`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sched_core::{MonoTime, Reason, Scope};
use serde::{Deserialize, Serialize};

use crate::rate::Rate;
use crate::reading::Reading;
use crate::threshold::Thresholds;

mod bound;
mod config;
mod demand;
mod place;

pub use config::{ConcurrencyConfig, ConcurrencyError};
pub use demand::JobDemand;

use bound::{Fits, Seen};
use place::{Place, Source, answer};

/// Jobs that use at least this share of the rate may be slowed by it: what they move is not what they could.
const SLOWED_FROM: f64 = 0.8;
/// Weight of a new observation in the running mean of what a job moves.
const JOB_RATE_WEIGHT: f64 = 0.1;
/// A rate lets in as many jobs as this part of it feeds; more than the whole feeds must not run.
const AMPLE_RATE: f64 = 0.9;

/// How many jobs of a scope may run at once, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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

    /// A probe with this period answered while `running` jobs of a scope run: readings, each with the time at which it
    /// was taken. Returns what changed. A reading that cannot be believed counts as none.
    pub fn observe<'a>(
        &mut self,
        now: MonoTime,
        period: Duration,
        readings: impl IntoIterator<Item = (&'a Reading, MonoTime)>,
        mut running: impl FnMut(&Scope) -> u32,
    ) -> Vec<Room> {
        let mut changed = BTreeSet::new();
        let usable = |scope: &Scope| scope.is_place() && scope.check().is_ok();
        for (reading, taken) in readings {
            if !usable(&reading.scope) || reading.check().is_err() {
                continue;
            }
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
            answer(&mut source.bound, taken.min(now), Some(period), fits, seen);
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
