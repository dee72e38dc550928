//! What bounds one place, and how the number of its jobs follows.

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{MonoTime, Reason, Scope, SignalName};

use super::bound::{Bound, Fits, Seen};
use super::config::ConcurrencyConfig;
use super::demand::{DemandEstimate, JobDemand};
use super::{Room, as_jobs};
use crate::reading::Reading;
use crate::threshold::Threshold;

/// What bounds one place.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) sources: BTreeMap<SignalName, Source>,
    pub(super) rate: Option<Bound>,
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
pub(super) struct Source {
    demand: DemandEstimate,
    held: bool,
    /// Jobs that ran at the previous reading.
    running: Option<u32>,
    pub(super) bound: Option<Bound>,
}

impl Place {
    /// Follows its bounds; returns whether the number changed.
    pub(super) fn decide(&mut self, now: MonoTime, config: &ConcurrencyConfig) -> bool {
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

    pub(super) fn age(&mut self, now: MonoTime, config: &ConcurrencyConfig) {
        let jobs = self.jobs.unwrap_or(config.max);
        self.bounds_mut().for_each(|bound| bound.age(now, jobs, config.blind, config.step));
    }

    pub(super) fn next_look(&self, config: &ConcurrencyConfig) -> Option<MonoTime> {
        self.bounds().filter_map(|bound| bound.next_look(config.blind)).chain(self.rises_at).min()
    }

    pub(super) fn room(&self, scope: &Scope) -> Option<Room> {
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
    pub(super) fn new(demand: JobDemand, held: bool) -> Self {
        Self { demand: DemandEstimate::new(demand), held, running: None, bound: None }
    }

    /// How many fit by a reading taken while `running` jobs run.
    pub(super) fn observe(
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
        let before = self.running.replace(running).unwrap_or(running);
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

pub(super) fn answer(
    bound: &mut Option<Bound>,
    taken: MonoTime,
    period: Option<Duration>,
    fits: Fits,
    seen: Seen,
) {
    match bound {
        Some(bound) => bound.answer(taken, period, fits, seen),
        none => *none = Some(Bound::new(taken, period, fits, seen)),
    }
}
