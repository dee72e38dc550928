//! Plans: a planner outside says when jobs should start. They wait for that, but never beyond their latest start.

use crate::error::UnknownJob;
use crate::event::EventKind;
use crate::gate::Scope;
use crate::plan::{Plan, Plannable};
use crate::spec::{JobId, JobSpec, Priority};
use crate::time::{MonoTime, Now};

use super::Engine;
use super::index::JobIx;
use super::job::{mono_at, wall};
use super::marks::Mark;

impl Engine {
    /// Has a waiting job start no earlier than planned, or takes its plan back with `None`. From its latest start on,
    /// with an order to run now, and in the classes high and critical it does not wait for its plan; nor does anybody
    /// while the engine only [advises](crate::EngineConfig::advise_only), which tells the plan. A plan is over when
    /// the job starts, and is not kept in the journal: it is made again. Returns `false`, and changes nothing, when the
    /// job does not wait.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn plan(&mut self, now: Now, id: JobId, plan: Option<Plan>) -> Result<bool, UnknownJob> {
        let now = self.observe(now);
        let Some(ix) = self.find(id) else {
            return self.ended_status(id).map(|_| false).ok_or(UnknownJob(id));
        };
        if !self.jobs[ix.at()].state.is_waiting() {
            return Ok(false);
        }
        let start = |plan: &Plan| plan.start;
        let moved = self.plan_of(ix).map(start) != plan.as_ref().map(start);
        self.jobs[ix.at()].marks.set(Mark::Planned, plan.is_some());
        match plan {
            Some(plan) => _ = self.plans.insert(ix, plan),
            None => _ = self.plans.remove(&ix),
        }
        if moved {
            let plan = self.plan_of(ix).cloned();
            self.emit(Some(ix), EventKind::Planned { plan });
            self.reenter(now, ix);
        }
        Ok(true)
    }

    /// What a planner needs to know of a job; `None` when it does not wait for its first attempt, or would not wait
    /// for a plan: in the classes high and critical, and with an order to run now.
    pub fn plannable(&self, id: JobId) -> Option<Plannable> {
        let job = &self.jobs[self.find(id)?.at()];
        let waits = job.state.is_waiting() && job.attempt == 0;
        if !waits || job.priority >= Priority::High || job.is_express() {
            return None;
        }
        let calendar = job.terms.calendar.some().and_then(|domain| match &self.domains[domain].scope {
            Scope::Calendar(name) => Some(name.clone()),
            _ => None,
        });
        let submitted = wall(job.submitted_ms);
        Some(Plannable {
            since: job.not_before().unwrap_or(submitted).max(submitted),
            latest_start: wall(job.latest_start_ms()),
            may_override: calendar.is_none() || job.terms.open_window_when_late,
            calendar,
            expected_duration: job.expected(),
            size_bytes: job.size_bytes(),
        })
    }

    /// The request of a job that has not ended, as its terms have it by now.
    pub fn request(&self, id: JobId) -> Option<JobSpec> {
        Some(self.request_of(&self.jobs[self.find(id)?.at()]).0)
    }

    /// [`plan`](Self::plan)s many at once; answers are in the same order.
    pub fn plan_all(
        &mut self,
        now: Now,
        plans: impl IntoIterator<Item = (JobId, Option<Plan>)>,
    ) -> Vec<Result<bool, UnknownJob>> {
        plans.into_iter().map(|(id, plan)| self.plan(now, id, plan)).collect()
    }

    pub(super) fn plan_of(&self, ix: JobIx) -> Option<&Plan> {
        self.jobs[ix.at()].marks.has(Mark::Planned).then(|| self.plans.get(&ix)).flatten()
    }

    /// When a waiting job need not wait for its plan any more; `None` when it does not wait for one.
    pub(super) fn planned_until(&self, ix: JobIx, now: Now) -> Option<MonoTime> {
        let plan = self.plan_of(ix)?;
        let job = &self.jobs[ix.at()];
        if job.priority >= Priority::High || job.is_express() {
            return None;
        }
        let until = plan.start.min(wall(job.latest_start_ms()));
        (until > now.wall).then(|| mono_at(now, until))
    }

    /// The job starts or is gone.
    pub(super) fn forget_plan(&mut self, ix: JobIx) {
        if self.jobs[ix.at()].marks.set(Mark::Planned, false) {
            self.plans.remove(&ix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Reason;
    use crate::time::{Clock, ManualClock};
    use crate::{EngineConfig, JobTerms};

    #[test]
    fn who_would_not_wait_for_a_plan_is_not_planned() {
        let clock = ManualClock::default();
        let now = clock.now();
        let mut engine = Engine::new(EngineConfig::default(), now);
        let hour = std::time::Duration::from_secs(3600);
        let asked = now.plus(hour).wall;
        let spec = JobSpec::new("a", "sqlite").not_before(asked).deadline(now.plus(5 * hour).wall);
        let job = engine.submit(now, spec.size_bytes(7), JobTerms::default()).unwrap().job();
        let plannable = engine.plannable(job).unwrap();
        assert_eq!((plannable.since, plannable.size_bytes), (asked, Some(7)));
        // An hour's run and a minute's back-off before the deadline.
        assert_eq!(plannable.latest_start, now.plus(4 * hour - hour / 60).wall);
        assert!(plannable.may_override && plannable.calendar.is_none());
        for (priority, planned) in [(Priority::High, false), (Priority::Low, true)] {
            engine.reprioritize(now, job, priority).unwrap();
            assert_eq!(engine.plannable(job).is_some(), planned, "{priority}");
        }
        engine.run_now(now, job, crate::Order::new("ada", "now")).unwrap();
        assert_eq!(engine.plannable(job), None);
        assert_eq!(engine.plannable(JobId(99)), None);
    }

    #[test]
    fn a_start_that_moves_is_told_once() {
        let now = ManualClock::default().now();
        let mut engine = Engine::new(EngineConfig::default(), now);
        let job = engine.submit(now, JobSpec::new("a", "sqlite"), JobTerms::default()).unwrap().job();
        let plan = |minutes: u64| {
            let start = now.plus(std::time::Duration::from_secs(60 * minutes)).wall;
            Some(Plan::new(start, Reason::new("calm")))
        };
        for plan in [plan(1), plan(1), plan(2), None, None] {
            engine.plan(now, job, plan).unwrap();
        }
        let told = engine.decisions(job).filter_map(|event| match &event.kind {
            EventKind::Planned { plan } => Some(plan.clone()),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>(), [plan(1), plan(2), None]);
    }

    #[test]
    fn a_job_that_is_gone_leaves_no_plan_behind() {
        let now = ManualClock::default().now();
        let mut engine = Engine::new(EngineConfig::default(), now);
        let job = engine.submit(now, JobSpec::new("a", "sqlite"), JobTerms::default()).unwrap().job();
        let start = now.plus(std::time::Duration::from_secs(60)).wall;
        engine.plan(now, job, Some(Plan::new(start, Reason::new("calm")))).unwrap();
        assert_eq!(engine.plans.len(), 1);
        engine.cancel(now, job, Reason::new("not needed")).unwrap();
        assert!(engine.plans.is_empty());
    }
}
