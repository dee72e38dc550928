//! What time alone changes for a job, and what concerns every job at once.

use crate::event::EventKind;
use crate::gate::Reason;
use crate::state::JobState;
use crate::time::{MonoTime, Now};

use super::Engine;
use super::gates::Closed;
use super::index::JobIx;
use super::job::{Job, Stop, millis, mono_at, wall};
use super::marks::Mark;

/// Slots of the table that a sweep looks at before it hands control back; those it finds as they should be cost
/// about a cache miss each.
const SWEPT_AT_ONCE: usize = 128;

/// A way through the table of jobs, after something that may concern all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// The next slot.
    at: usize,
    /// This round ends before this slot.
    end: usize,
    /// Slots before this one have another round: the last change came when they had been seen.
    again: usize,
    /// Nobody may start before it is over.
    pub(super) holds_starts: bool,
}

impl Engine {
    /// Sets the timer to the next moment at which time alone changes something for a job.
    pub(super) fn set_next_look(&mut self, now: Now, ix: JobIx) {
        let job = &self.jobs[ix.at()];
        let stands = job.state == JobState::Paused;
        let (_, tolerates_more) = job.tolerance(now.wall.as_millisecond());
        let tolerates_more = tolerates_more.filter(|_| stands || job.state.is_waiting());
        let risk = (!job.marks.has(Mark::RiskTold)).then(|| self.at_risk_from_ms(now, job)).flatten();
        let by_wall = tolerates_more.into_iter().chain(risk).min().map(|ms| mono_at(now, wall(ms)));
        let extras = job.extras.as_ref().filter(|_| stands || job.state.is_waiting());
        let patience = extras.and_then(|extras| Some(extras.kept_since? + extras.spec.patience));
        let patience = patience.filter(|at| *at > now.mono);
        let order = extras.and_then(|extras| extras.run_now.as_ref()?.expires).map(|at| mono_at(now, at));
        let opens = job.waits_until(now).filter(|_| job.state.is_waiting());
        let late = self.opens_window_at(now, job).filter(|_| stands || job.state.is_waiting());
        let planned = self.planned_until(ix, now).filter(|_| job.state.is_waiting());
        let goes_on = self.stands_until(job, now);
        let moments = [opens, planned, goes_on, by_wall, patience, order, late, self.times_out_at(now, job)];
        self.set_timer(ix, moments.into_iter().flatten().min());
    }

    /// When the slack of a job is used up whose window opens then.
    fn opens_window_at(&self, now: Now, job: &Job) -> Option<MonoTime> {
        if job.terms.calendar.is_none() || !job.terms.open_window_when_late {
            return None;
        }
        let late = Some(job.latest_start_ms()).filter(|late| *late > now.wall.as_millisecond());
        late.map(|late| mono_at(now, wall(late)))
    }

    /// When an attempt reaches its time-out: while it moves, or should.
    fn times_out_at(&self, now: Now, job: &Job) -> Option<MonoTime> {
        let run = &self.actives[job.active.some()?.at()].run;
        let left = job.terms.timeout?.saturating_sub(run.read(now.mono));
        run.is_running().then(|| now.mono + left)
    }

    /// From when on a job misses its deadline if nothing happens: one that waits, from its latest start on; one
    /// that stands, when what is left no longer fits; one that moves, at the deadline, or at once if what is left
    /// does not fit. `None` for one that was cancelled.
    fn at_risk_from_ms(&self, now: Now, job: &Job) -> Option<i64> {
        let Some(active) = job.active.some().map(|active| &self.actives[active.at()]) else {
            return Some(job.latest_start_ms());
        };
        if matches!(active.stop.as_deref(), Some(Stop::Requested(_) | Stop::LetGo(_))) {
            return None;
        }
        let left = job.expected().saturating_sub(active.run.read(now.mono));
        let latest = job.deadline_ms.saturating_sub(millis(left));
        let in_time = active.run.is_running() && now.wall.as_millisecond() <= latest;
        Some(if in_time { job.deadline_ms } else { latest })
    }

    /// Looks at jobs whose moment has come.
    pub(super) fn fire_timers(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0 {
            let jobs = &self.jobs;
            let valid = |at, job: JobIx| jobs.get(job.at()).is_some_and(|job| job.timer == at);
            let Some((_, ix)) = self.timers.first(valid).filter(|(at, _)| *at <= now.mono) else { return };
            self.timers.pop(ix);
            self.jobs[ix.at()].timer = MonoTime::ZERO;
            *budget -= 1;
            self.look_at(now, ix);
        }
    }

    /// Time may have changed something for this job.
    fn look_at(&mut self, now: Now, ix: JobIx) {
        self.tell_risk(now, ix);
        let job = &self.jobs[ix.at()];
        if job.state.is_waiting() {
            self.leave(ix);
            self.set_express(now, ix);
            return self.enter(now, ix);
        }
        if self.times_out_at(now, job).is_some_and(|at| at <= now.mono) {
            let limit = job.terms.timeout.unwrap_or_default();
            return self.order_stop(now, ix, Stop::TimedOut(limit));
        }
        if job.state == JobState::Paused {
            self.leave(ix);
            self.set_express(now, ix);
            return self.enter(now, ix);
        }
        self.set_next_look(now, ix);
    }

    fn tell_risk(&mut self, now: Now, ix: JobIx) {
        let job = &self.jobs[ix.at()];
        let from = self.at_risk_from_ms(now, job).filter(|_| !job.marks.has(Mark::RiskTold));
        if from.is_none_or(|from| now.wall.as_millisecond() < from) {
            return;
        }
        self.jobs[ix.at()].marks.set(Mark::RiskTold, true);
        if self.config.events {
            let deadline = wall(self.jobs[ix.at()].deadline_ms);
            let reason = Reason::new(self.why_at_risk(now, ix));
            self.emit(Some(ix), EventKind::RpoAtRisk { deadline, reason });
        }
    }

    fn why_at_risk(&self, now: Now, ix: JobIx) -> String {
        let job = &self.jobs[ix.at()];
        if let Some(active) = job.active.some() {
            let ran = self.actives[active.at()].run.read(now.mono);
            let because = self.because(job).map(|because| format!(": {because}")).unwrap_or_default();
            return format!(
                "it is {} and has run {ran:?} of {:?} expected{because}",
                job.state,
                job.expected()
            );
        }
        match self.closed_gates(ix, now).first() {
            Some(closed) => {
                let closed = self.describe(ix, *closed, now);
                format!("the latest start has passed while waiting for {closed}")
            }
            None => "the latest start has passed while waiting for its turn".into(),
        }
    }

    /// Something changed that may concern every job. With `holds_starts`, nobody starts before all know of it:
    /// otherwise somebody outside an order's scope could take the room that the order is to use. After a step of
    /// the wall others may start: who does, starts as if the step had been noticed that much later.
    pub(super) fn begin_sweep(&mut self, holds_starts: bool) {
        let before = self.sweep;
        self.sweep = Some(Sweep {
            at: before.map_or(0, |sweep| sweep.at),
            end: usize::MAX,
            again: before.map_or(0, |sweep| sweep.at),
            holds_starts: holds_starts || before.is_some_and(|sweep| sweep.holds_starts),
        });
    }

    /// Looks at every job once, and moves those that stand otherwise than they should by now.
    pub(super) fn sweep_jobs(&mut self, now: Now, mut budget: usize) {
        let mut seen = 0;
        while budget > 0
            && let Some(Sweep { at, .. }) = self.sweep
        {
            seen += 1;
            self.sweep_on();
            // Slots are visited in order; one that is filled behind the sweep was filled after the change.
            let moved = self.jobs.contains(at) && self.sweep_one(now, JobIx::new(at));
            if moved || seen == SWEPT_AT_ONCE {
                (seen, budget) = (0, budget - 1);
            }
        }
    }

    fn sweep_on(&mut self) {
        let Some(sweep) = &mut self.sweep else { return };
        sweep.at += 1;
        if sweep.at < sweep.end.min(self.jobs.capacity()) {
            return;
        }
        (sweep.at, sweep.end, sweep.again) = (0, sweep.again, 0);
        if sweep.end == 0 {
            self.sweep = None;
        }
    }

    /// Returns whether the job was moved.
    fn sweep_one(&mut self, now: Now, ix: JobIx) -> bool {
        let waits = self.jobs[ix.at()].state.is_waiting();
        if let Some(reason) = self.closed.clone().filter(|_| waits) {
            self.end_by_closing(now, ix, reason);
            return true;
        }
        let stands = waits || self.jobs[ix.at()].state == JobState::Paused;
        if stands && (self.is_wanted_now(ix) != self.jobs[ix.at()].is_express() || self.is_misplaced(now, ix))
        {
            self.leave(ix);
            self.set_express(now, ix);
            self.enter(now, ix);
            return true;
        }
        if self.early_by_secs(&self.jobs[ix.at()]) != self.jobs[ix.at()].early_by_secs {
            self.follow_windows(now, ix, stands);
            return true;
        }
        self.set_next_look(now, ix);
        false
    }

    /// A job's latest start has moved with its windows.
    fn follow_windows(&mut self, now: Now, ix: JobIx, stands: bool) {
        if !stands {
            self.heed_windows(ix);
            return self.set_next_look(now, ix);
        }
        self.withdraw_claim(ix);
        self.leave(ix);
        self.heed_windows(ix);
        self.rekey(ix);
        self.enter(now, ix);
    }

    /// Whether the time by now has a waiting or paused job stand elsewhere.
    fn is_misplaced(&self, now: Now, ix: JobIx) -> bool {
        let job = &self.jobs[ix.at()];
        let pass = job.pass(now.wall.as_millisecond());
        let waits_for_time = matches!(job.state, JobState::Scheduled | JobState::Retryable);
        if !pass.goes_on
            && waits_for_time != matches!(self.own_gate(ix, now), Some(Closed::Time | Closed::Plan))
        {
            return true;
        }
        if let Some(bracket) = job.bracket.some() {
            return self.forest.need(bracket).pass != pass;
        }
        if pass.goes_on && job.parked.is_none() {
            return self.stands_until(job, now).is_none();
        }
        let Some(gates) = job.parked.some().and_then(|at| self.domains[at].gates.as_ref()) else {
            return false;
        };
        gates.parked.row_of(ix).is_none_or(|row| row.class != self.class_of(ix, now.wall.as_millisecond()))
    }
}
