//! Attempts under way: how they start, what they are told, how they end.

use std::sync::Arc;
use std::time::Duration;

use sched_core::store::Entry;
use sched_core::{
    AttemptEnd, AttemptId, JobState, JobStatus, Now, Reason, RunContext, RunControl, RunError, RunParts,
    RunPhase, Scope, StartOrder,
};
use sched_limits::JobPacer;

use super::Dispatcher;
use super::floors::part;
use crate::runtime::rates::place;
use crate::runtime::worker::Work;
use crate::runtime::{Command, Grant, Route};

/// How long a job waits for which no thread could be started.
const NO_THREAD_FOR: Duration = Duration::from_secs(10);

/// An attempt under way.
pub(super) struct Running {
    pub(super) attempt: AttemptId,
    pub(super) control: Arc<RunControl>,
    pub(super) pacer: Arc<JobPacer>,
    /// What the request asked for.
    pub(super) own_ceiling: Option<u64>,
    /// What an operator allows.
    pub(super) ordered_ceiling: Option<u64>,
    pub(super) place: Scope,
    pub(super) floor: u64,
    /// What is left to it beside one that must not be slowed; `None` where there is none.
    pub(super) part: Option<u64>,
    /// It has ended, and its job has not.
    pub(super) over: bool,
    pub(super) latency_growth_ppm: Option<u32>,
}

impl Dispatcher {
    pub(super) fn start(&mut self, order: StartOrder) {
        let attempt = order.attempt;
        if !self.may_start(self.parts.clock.now(), attempt) {
            return;
        }
        let Some(route) = self.jobs.0.get(&attempt.job).map(|entry| entry.route.clone()) else { return };
        let (floor, latency_growth_ppm) = (order.terms.floor_bytes_per_sec, order.terms.latency_growth_ppm);
        let (place, own_ceiling) = (place(&order), order.spec.max_bytes_per_sec);
        let ordered_ceiling = order.ceiling_bytes_per_sec;
        // With it before its thread runs, which would take a burst at the full rate.
        let part = part(&self.beside, &self.parts.rates, &place, floor);
        let pacer = match self.parts.rates.join(&order, part) {
            Ok(pacer) => Arc::new(pacer),
            // Names were checked with the request.
            Err(error) => {
                let result = Err(RunError::Permanent(error.to_string()));
                let now = self.parts.clock.now();
                self.parts.engine.started(now, attempt);
                self.parts.engine.ended(now, attempt, AttemptEnd::new(0, result));
                return;
            }
        };
        let (spec, member) = (order.spec.clone(), order.member.clone());
        let ctx = self.context(order, pacer.clone());
        let control = ctx.control().clone();
        let unclean = self.keeping.as_ref().is_some_and(|keeping| keeping.unclean.contains(&attempt.job));
        let begun = match route {
            Route::Push(executor) => {
                if let Err(error) = self.workers.run(Work { executor, ctx, attempt, unclean }) {
                    let why = Reason::new(format!("no thread can be started for the attempt: {error}"));
                    self.parts.engine.not_begun(self.parts.clock.now(), attempt, why, NO_THREAD_FOR);
                    return;
                }
                Ok(())
            }
            Route::Pull(host) => {
                let gone = || RunError::Permanent("the caller no longer waits for its permit".into());
                host.hand(Grant(ctx)).then_some(()).ok_or_else(gone)
            }
        };
        let running = Running {
            attempt,
            control,
            pacer,
            own_ceiling,
            ordered_ceiling,
            place,
            floor,
            part,
            over: false,
            latency_growth_ppm,
        };
        self.running.insert(attempt.job, running);
        self.running_changed = true;
        let now = self.parts.clock.now();
        self.parts.engine.started(now, attempt);
        self.run_began(now, attempt.job, &spec, member.as_ref());
        self.watch(now, attempt.job, &spec, member.as_ref());
        self.parts.schedules.began(&(spec.instance.clone(), spec.kind), attempt.job);
        if let Err(error) = begun {
            self.ended(now, attempt, AttemptEnd::new(0, Err(error)));
        }
    }

    fn context(&self, order: StartOrder, pacer: Arc<JobPacer>) -> RunContext {
        let StartOrder { attempt, spec, terms, member, .. } = order;
        let commands = self.parts.link.commands.clone();
        let (phases, progress) = (commands.clone(), commands.clone());
        let control = RunControl::new(move |mark| drop(commands.send(Command::Mark(attempt, mark))))
            .on_phase(move |phase| drop(phases.send(Command::Phase(attempt, phase))))
            // Nobody waits to tell this: when the dispatcher is behind, the next tenth will do.
            .on_progress(move |done| drop(progress.try_send(Command::Progress(attempt, done))));
        let clock = self.parts.clock.clone();
        let mut parts = RunParts::new(attempt.job, spec, Arc::new(control), clock);
        parts.attempt = attempt.number;
        parts.terms = terms;
        parts.member = member;
        parts.pacer = pacer;
        let ctx = RunContext::new(parts);
        match &self.sharing {
            Some(sharing) => ctx.under(sharing.lease()),
            None => ctx,
        }
    }

    /// Another part of an attempt begins, with a floor of its own.
    pub(super) fn phase(&mut self, now: Now, attempt: AttemptId, phase: RunPhase) {
        let floor = phase.floor_bytes_per_sec;
        if self.parts.engine.phase(now, attempt, phase)
            && let Some(running) = self.running.get_mut(&attempt.job)
        {
            running.floor = floor;
            running.pacer.set_floor(floor);
            running.part = part(&self.beside, &self.parts.rates, &running.place, floor);
            self.running_changed = true;
            self.watch_phase(now, attempt.job, floor);
            // What it may move beside others, and in a comparison, depends on its floor.
            self.limit(attempt.job);
        }
    }

    pub(super) fn with_control(&self, attempt: AttemptId, f: impl FnOnce(&RunControl)) {
        if let Some(running) = self.running.get(&attempt.job).filter(|r| r.attempt == attempt) {
            f(&running.control);
        }
    }

    /// An attempt has ended. One that the host makes itself ends its job, even if it was told to stop and to continue
    /// later: nobody waits for another permit, and the host can ask for one only when the job has ended.
    pub(super) fn ended(&mut self, now: Now, attempt: AttemptId, end: AttemptEnd) {
        let over = self.parts.engine.ended(now, attempt, end);
        if over {
            let (foresight, _, trusted) = self.parts.foresight(now);
            foresight.ended(trusted, attempt.job);
        }
        if let Some(running) = self.running.get_mut(&attempt.job).filter(|r| r.attempt == attempt) {
            // The job may go on, but nothing of it runs.
            (running.floor, running.latency_growth_ppm, running.over) = (0, None, true);
            self.running_changed = true;
            self.watch_no_longer(now, attempt.job);
        }
        let entry = self.jobs.0.get(&attempt.job);
        if over && entry.is_some_and(|entry| matches!(entry.route, Route::Pull(_))) {
            let reason = Reason::new("its permit was interrupted and given back");
            // Most have ended with their attempt.
            let _ = self.parts.engine.cancel(now, attempt.job, reason);
        }
    }

    pub(super) fn forget(&mut self, status: &JobStatus) {
        let job = status.job.id;
        if self.sharing.is_some() && !self.is_kept(job) {
            self.keeping.iter_mut().for_each(|keeping| keeping.add(Entry::EndedAs(Box::new(status.clone()))));
        }
        self.sharing.iter_mut().for_each(|sharing| sharing.forget(job));
        let now = self.parts.clock.now();
        let (foresight, _, trusted) = self.parts.foresight(now);
        foresight.ended(trusted, job);
        self.records.ended(now.wall, status);
        let kept = self.is_kept(job) && self.jobs.0.get(&job).is_some_and(|entry| !entry.is_its_hosts());
        self.closing.iter_mut().for_each(|closing| closing.report.kept += usize::from(kept));
        if self.running.remove(&job).is_some() {
            self.running_changed = true;
            if let Some(closing) = self.closing.as_mut().filter(|c| !c.report.abandoned.contains(&job)) {
                match status.state {
                    JobState::Cancelled => closing.report.cancelled += 1,
                    _ => closing.report.finished += 1,
                }
            }
        } else if let Some(closing) = &mut self.closing {
            closing.report.cancelled += 1;
        }
        if let Some(entry) = self.jobs.0.remove(&job) {
            entry.outcome.tell(status.clone());
        }
        self.recurred(status);
    }
}
