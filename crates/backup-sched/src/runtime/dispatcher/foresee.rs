//! What the dispatcher tells foresight, and what it does by it.

use sched_core::{AttemptId, Engine, Event, EventKind, InstanceName, JobId, JobSpec, Now, PauseMark, Scope};
use sched_limits::Rate;
use sched_workload::{DetectError, LoadReading};

use super::{Dispatcher, Foresight, Parts};
use crate::runtime::foresight::{Change, Placement, placement};

impl Parts {
    /// Foresight, the engine that it looks at, and the time as it is to be told: with the wall that the engine trusts.
    pub(super) fn foresight(&mut self, now: Now) -> (&mut Foresight, &Engine, Now) {
        let Self { foresight, engine, .. } = self;
        (foresight, engine, engine.trusted(now))
    }
}

impl Dispatcher {
    /// Ends what has grown old, and plans a portion. Before the engine decides.
    pub(super) fn foresee(&mut self, now: Now) {
        self.tell_peaks(now);
        let trusted = self.parts.engine.trusted(now);
        let Parts { foresight, engine, rates, .. } = &mut self.parts;
        let changes = foresight.replan(trusted, engine, rates);
        self.plan(now, changes);
    }

    /// Whether there is more to plan at once.
    pub(super) fn plans_on(&self, now: Now) -> bool {
        self.parts.foresight.next_look(self.parts.engine.trusted(now)).is_some_and(|at| at <= now.mono)
    }

    /// A detector answered.
    pub(super) fn learn(&mut self, now: Now, detector: usize, said: &Result<LoadReading, DetectError>) {
        let (foresight, _, trusted) = self.parts.foresight(now);
        foresight.heard(trusted, detector, said);
        self.tell_peaks(now);
    }

    /// A job was accepted: its plan is there before the engine looks at it.
    pub(super) fn plan_submitted(&mut self, now: Now, job: JobId, placement: &Placement) {
        let (foresight, engine, trusted) = self.parts.foresight(now);
        let change = foresight.submitted(trusted, engine, job, placement);
        self.plan(now, change);
    }

    /// An attempt began.
    pub(super) fn run_began(&mut self, now: Now, job: JobId, spec: &JobSpec, member: Option<&InstanceName>) {
        let placement = placement(spec, member, &self.parts.rates);
        let (foresight, engine, trusted) = self.parts.foresight(now);
        foresight.started(trusted, engine, job, placement);
    }

    /// An attempt stands, or moves again.
    pub(super) fn run_moves(&mut self, now: Now, attempt: AttemptId, mark: PauseMark) {
        if self.running.get(&attempt.job).is_some_and(|running| running.attempt == attempt) {
            let (foresight, _, trusted) = self.parts.foresight(now);
            foresight.moves(trusted, attempt.job, mark == PauseMark::Moving);
        }
    }

    /// What an event means for plans.
    pub(super) fn plan_by_event(&mut self, event: &Event) {
        if let (EventKind::Reprioritized { .. } | EventKind::RunNow { .. }, Some(job)) =
            (&event.kind, &event.job)
        {
            let now = self.parts.clock.now();
            let (foresight, engine, trusted) = self.parts.foresight(now);
            let change = foresight.reprioritized(trusted, engine, job.id);
            self.plan(now, change);
        }
    }

    /// A place was given a bandwidth.
    pub(super) fn widen(&mut self, place: &Scope, rate: Option<Rate>) {
        let bytes_per_sec = rate.and_then(|rate| match rate {
            Rate::BytesPerSec(bytes) => Some(bytes),
            Rate::Unlimited => None,
        });
        self.parts.foresight.set_link(place, bytes_per_sec);
        self.parts.schedules.set_link(place, bytes_per_sec);
    }

    /// Has the load gate of scopes follow their peaks.
    fn tell_peaks(&mut self, now: Now) {
        let (foresight, _, trusted) = self.parts.foresight(now);
        for (scope, state) in foresight.tick(trusted) {
            let directives = self.parts.signals.set_peak(scope, state);
            self.follow(directives);
        }
    }

    fn plan(&mut self, now: Now, changes: impl IntoIterator<Item = Change>) {
        for (job, plan) in changes {
            // One that is not known any more, or does not wait, needs none.
            let _ = self.parts.engine.plan(now, job, plan);
        }
    }
}
