//! What time alone changes for a job, and what concerns every job at once.

use crate::event::EventKind;
use crate::gate::Reason;
use crate::state::JobState;
use crate::time::{MonoTime, Now, wall_until};

use super::Engine;
use super::index::JobIx;
use super::job::wall;

impl Engine {
    /// Sets the timer to the next moment at which time alone changes something for a job that has not started.
    pub(super) fn set_next_look(&mut self, now: Now, ix: JobIx) {
        let job = &self.jobs[ix.at()];
        let wall_ms = now.wall.as_millisecond();
        let back_off = (job.back_off_until() > now.mono).then_some(job.back_off_until());
        let opens = match job.state {
            JobState::Scheduled | JobState::Retryable => back_off
                .or_else(|| job.not_before_ms().filter(|at| *at > wall_ms).map(|at| self.mono_at(now, at))),
            _ => None,
        };
        let (_, step) = job.tolerance(wall_ms);
        let risk = (job.state.is_waiting() && !job.risk_told).then_some(job.latest_start_ms());
        let by_wall = step.into_iter().chain(risk).min().map(|at| self.mono_at(now, at));
        let patience = job.extras.as_ref().and_then(|extras| extras.patient_until);
        let next = opens.into_iter().chain(by_wall).chain(patience).min();
        self.set_timer(ix, next);
    }

    /// The monotonic moment at which the wall reads `ms`; the present when that has passed.
    pub(super) fn mono_at(&self, now: Now, ms: i64) -> MonoTime {
        let away = ms.saturating_sub(now.wall.as_millisecond());
        match u64::try_from(away) {
            // The wall reading is finer than a millisecond: its fraction has passed already.
            Ok(0) | Err(_) => now.mono,
            Ok(_) => now.mono + wall_until(now.wall, wall(ms)),
        }
    }

    /// Looks at jobs whose moment has come.
    pub(super) fn fire_timers(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0 {
            let jobs = &self.jobs;
            let valid = |at, job: JobIx| jobs.get(job.at()).is_some_and(|job| job.timer == at);
            let Some((_, ix)) = self.timers.first(valid).filter(|(at, _)| *at <= now.mono) else { return };
            self.timers.pop();
            self.jobs[ix.at()].timer = MonoTime::ZERO;
            *budget -= 1;
            self.look_at(now, ix);
        }
    }

    /// Time may have changed something for this job.
    fn look_at(&mut self, now: Now, ix: JobIx) {
        let job = &mut self.jobs[ix.at()];
        if job.back_off_until() <= now.mono {
            job.end_back_off();
        }
        let state = job.state;
        match state {
            state if state.is_waiting() => {
                self.tell_risk(now, ix);
                self.leave(ix);
                self.lose_patience(now, ix);
                self.enter(now, ix);
            }
            JobState::Paused if self.standing_aside(ix) => self.reenter(now, ix),
            JobState::Running | JobState::Pausing | JobState::Resuming => self.check_time_out(now, ix),
            _ => {}
        }
    }

    fn tell_risk(&mut self, now: Now, ix: JobIx) {
        let job = &mut self.jobs[ix.at()];
        if job.risk_told || now.wall.as_millisecond() < job.latest_start_ms() {
            return;
        }
        job.risk_told = true;
        if self.config.events {
            let deadline = wall(self.jobs[ix.at()].deadline_ms);
            let text = match self.closed_gates(ix, now).first() {
                Some(closed) => {
                    format!(
                        "the latest start has passed while waiting for {}",
                        self.describe(ix, *closed, now)
                    )
                }
                None => "the latest start has passed while waiting for its turn".into(),
            };
            self.emit(Some(ix), EventKind::RpoAtRisk { deadline, reason: Reason::new(text) });
        }
    }

    /// Looks at every job once, after something that concerns them all.
    pub(super) fn sweep_jobs(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some(at) = self.sweep
        {
            *budget -= 1;
            // Slots are visited in order; one that is filled behind the sweep was filled after the change.
            self.sweep = (at + 1 < self.jobs.capacity().max(1)).then_some(at + 1);
            if self.jobs.contains(at) {
                self.sweep_one(now, JobIx::new(at));
            }
        }
    }

    fn sweep_one(&mut self, now: Now, ix: JobIx) {
        let waits = self.jobs[ix.at()].state.is_waiting();
        if let Some(reason) = self.closed.clone().filter(|_| waits) {
            return self.end(now, ix, EventKind::Cancelled { reason });
        }
        if waits || self.jobs[ix.at()].state == JobState::Paused && self.standing_aside(ix) {
            self.refresh_express(now, ix);
            self.tell_risk(now, ix);
            self.reenter(now, ix);
        } else {
            self.look_at(now, ix);
        }
    }
}
