//! What the dispatcher tells the impact ledger, and how it carries out the pauses that this wants.

use std::collections::BTreeSet;

use sched_core::{AttemptId, InstanceName, JobId, JobSpec, MonoTime, Now, PauseMark, Scope};
use sched_workload::{DetectError, LoadReading};

use super::{Dispatcher, Parts};
use crate::runtime::Rates;

impl Dispatcher {
    /// An attempt began: whose latency it may raise. Backups that only advice is given to are not stopped.
    pub(super) fn watch(&mut self, now: Now, job: JobId, spec: &JobSpec, member: Option<&InstanceName>) {
        let Some(running) = self.running.get(&job) else { return };
        let Parts { impact, rates, .. } = &mut self.parts;
        let Some(impact) = impact else { return };
        let instance = Scope::Instance(member.unwrap_or(&spec.instance).clone());
        let feels = std::iter::once(instance).chain(rates.path(&running.place));
        impact.began(now, (job, spec.kind), slowable(running.floor, rates), feels);
    }

    /// Another part of it begins, and promises a rate or none.
    pub(super) fn watch_phase(&mut self, now: Now, job: JobId, floor: u64) {
        let Parts { impact, rates, .. } = &mut self.parts;
        if let Some(impact) = impact {
            impact.phase(now, job, slowable(floor, rates));
        }
    }

    pub(super) fn watch_no_longer(&mut self, now: Now, job: JobId) {
        if let Some(cost) = self.parts.impact.as_mut().and_then(|impact| impact.ended(now, job)) {
            self.records.attempts.judged(job, cost.verdict);
        }
    }

    pub(super) fn run_stands(&mut self, now: Now, attempt: AttemptId, mark: PauseMark) {
        let runs = self.running.get(&attempt.job).is_some_and(|running| running.attempt == attempt);
        if let Some(impact) = self.parts.impact.as_mut().filter(|_| runs) {
            impact.mark(now, attempt.job, mark);
        }
    }

    /// A detector answered.
    pub(super) fn hear(&mut self, now: Now, detector: usize, result: &Result<LoadReading, DetectError>) {
        let running = &self.running;
        if let Some(impact) = &mut self.parts.impact {
            let window = result.as_ref().ok().and_then(|reading| reading.window.as_ref());
            let paced = |job| running.get(&job).map_or(0, |running| running.control.progress().paced_bytes);
            impact.heard(now, detector, window, paced);
        }
    }

    /// Stops backups for a moment, and lets them go again.
    pub(super) fn compare(&mut self, now: Now) {
        let Parts { impact, signals, rates, .. } = &mut self.parts;
        let Some(impact) = impact else { return };
        let paused: BTreeSet<&Scope> = signals.paused_places().collect();
        let at_paused =
            |place: &Scope| !paused.is_empty() && rates.path(place).any(|above| paused.contains(&above));
        let stopped = self.running.iter().filter(|(_, running)| at_paused(&running.place));
        let looked_away = stopped.map(|(job, _)| *job).collect();
        for job in impact.tick(now, &looked_away) {
            self.limit(job);
        }
    }

    /// When [`compare`](Self::compare) has something to do.
    pub(super) fn compares_at(&self) -> Option<MonoTime> {
        self.parts.impact.as_ref()?.next_look()
    }
}

/// The rate to which an attempt may be slowed; `None` for one that may not be, or that only advice is given to.
fn slowable(floor: u64, rates: &Rates) -> Option<u64> {
    Some(floor).filter(|floor| *floor < u64::MAX && rates.are_held())
}
