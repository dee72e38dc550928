//! How attempts and jobs end: success, back-off and retry, and what is learned.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::UnknownJob;
use crate::event::EventKind;
use crate::gate::Reason;
use crate::run::RunError;
use crate::spec::JobId;
use crate::state::JobState;
use crate::status::JobStatus;
use crate::time::Now;

use super::index::{DomainIx, JobIx};
use super::job::{Stop, timed_out, wall};
use super::marks::Mark;
use super::{AttemptEnd, AttemptId, Engine, Output, hash_id};

impl Engine {
    /// An attempt has ended and holds nothing any more. Returns `false`, and changes nothing, when that attempt is
    /// not under way: a late report carries an old number.
    pub fn ended(&mut self, now: Now, attempt: AttemptId, end: AttemptEnd) -> bool {
        let now = self.observe(now);
        let Some(ix) = self.under_way(attempt) else { return false };
        // A paused one may fail or be lost without going on.
        self.withdraw_claim(ix);
        self.leave(ix);
        let active = self.jobs[ix.at()].active;
        let entry = &mut self.actives[active.at()];
        entry.run.stop(now.mono);
        let stop = entry.stop.take().map(|stop| *stop);
        let ran = entry.run.read(now.mono);
        self.set_timer(ix, None);
        match (end.result, stop) {
            (_, Some(Stop::LetGo(_))) => self.vanish(ix, now),
            (Ok(()), _) => {
                self.report_success(ix);
                let target = self.jobs[ix.at()].target;
                self.targets[target.at()].estimate.observe(ran, end.bytes);
                self.record_estimate(target, false);
                self.end(now, ix, EventKind::Succeeded { ran, bytes: end.bytes });
            }
            (Err(_), Some(Stop::Requested(reason))) => self.end(now, ix, EventKind::Cancelled { reason }),
            (Err(_), Some(Stop::Interrupted(reason, until))) => self.interrupted(now, ix, &reason, until),
            (Err(_), Some(Stop::MadeRoom(reason))) => {
                // Should the critical job be kept back all the same, nobody is stopped and started in a circle.
                self.extras_mut(ix).back_off_until = now.mono + self.config.pause_within;
                self.interrupted(now, ix, &reason, Some(now.plus(self.config.pause_within).wall));
            }
            (Err(_), Some(Stop::TimedOut(after))) => self.failed(now, ix, timed_out(after), None),
            (Err(RunError::Permanent(error)), None) => self.end(now, ix, EventKind::Failed { error }),
            (Err(RunError::Retryable(error)), None) => self.failed(now, ix, error, None),
            (Err(RunError::Unavailable { what, error }), None) => {
                let blamed = self.blamed(ix, &what);
                self.failed(now, ix, format!("{what} is not available: {error}"), blamed);
            }
            (Err(RunError::Cancelled), None) => {
                self.failed(now, ix, "the executor stopped without being told to".into(), None);
            }
        }
        true
    }

    /// Tells a job under way to stop, and to continue later: when its window ends, or its host is needed. No retry
    /// is spent. It is not looked at before `until`. Returns `false`, and changes nothing, when it is not under way.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn interrupt(
        &mut self,
        now: Now,
        id: JobId,
        reason: Reason,
        until: Option<Timestamp>,
    ) -> Result<bool, UnknownJob> {
        let now = self.observe(now);
        let Some(ix) = self.find(id) else {
            return self.ended_status(id).map(|_| false).ok_or(UnknownJob(id));
        };
        let active = self.jobs[ix.at()].state.is_active();
        if active {
            self.order_stop(now, ix, Stop::Interrupted(reason, until));
        }
        Ok(active)
    }

    /// An attempt could not be begun for want of something of this process, such as a thread: nothing was tried. Its job waits
    /// again, for so long at least; no retry is spent and nobody is blamed. Returns `false`, and changes nothing, when that
    /// attempt is not under way.
    pub fn not_begun(&mut self, now: Now, attempt: AttemptId, reason: Reason, wait: Duration) -> bool {
        let at = self.observe(now);
        let Some(ix) = self.under_way(attempt) else { return false };
        // Short waits are not for the wall, which may jump.
        self.extras_mut(ix).back_off_until = at.mono + wait;
        let active = self.jobs[ix.at()].active;
        let until = Some(at.plus(wait).wall);
        self.actives[active.at()].stop.get_or_insert_with(|| Box::new(Stop::Interrupted(reason, until)));
        self.ended(now, attempt, AttemptEnd { bytes: 0, result: Err(RunError::Cancelled) })
    }

    /// Back to waiting after an attempt. A successor that was asked for meanwhile goes on waiting for its end;
    /// without one, later requests join this job.
    fn requeue(&mut self, now: Now, ix: JobIx) {
        let active = std::mem::take(&mut self.jobs[ix.at()].active);
        self.end_attempt(active);
        let job = &mut self.jobs[ix.at()];
        job.state = JobState::Queued;
        job.told_gate = 0;
        job.due_since = now.mono;
        self.count_waiting(ix);
        let target = &mut self.targets[self.jobs[ix.at()].target.at()];
        if target.waiting.is_none() {
            (target.waiting, target.begun) = (ix, JobIx::NONE);
        }
        if let Some(mut renewed) = self.renewals.remove(&ix) {
            self.adopt(ix, &mut renewed);
        }
        // Orders may have come and gone while it ran.
        self.set_express(now, ix);
        self.enter(now, ix);
        self.record(ix);
        self.let_apart_go(now, ix);
    }

    fn interrupted(&mut self, now: Now, ix: JobIx, reason: &Reason, until: Option<Timestamp>) {
        if self.closed.is_some() {
            return self.end_by_closing(now, ix, reason.clone());
        }
        let extras = self.extras_mut(ix);
        extras.error = Some(format!("interrupted: {reason}"));
        // Short waits are not for the wall, which may jump.
        extras.interrupted_until = until.filter(|_| extras.back_off_until <= now.mono);
        let not_before = until.unwrap_or(now.wall);
        self.emit(Some(ix), EventKind::Interrupted { reason: reason.clone(), not_before });
        self.requeue(now, ix);
    }

    /// An attempt failed in a way that may go away: tries again after a back-off, or gives up.
    fn failed(&mut self, now: Now, ix: JobIx, error: String, blamed: Option<DomainIx>) {
        let outage = self.report_failure(now, ix, blamed);
        let spared = outage.is_some();
        let job = &mut self.jobs[ix.at()];
        job.failures = job.failures.saturating_add(u16::from(!spared));
        let retry = job.terms.retry;
        let is_last = u32::from(job.failures) >= retry.max_attempts;
        match self.closed.clone() {
            Some(reason) if !is_last && self.keeps => return self.end_by_closing(now, ix, reason),
            None if !is_last => {}
            _ => return self.end(now, ix, EventKind::Failed { error }),
        }
        let failures = u32::from(job.failures).max(1);
        let attempt = job.attempt_id();
        let in_budget = spared || self.counts.retry_tokens >= 100;
        let share = jitter(self.config.seed, attempt);
        let wait = match outage {
            // Past the moment at which its breaker lets one try: another goes first.
            Some((opens, trips)) => {
                opens.since(now.mono) + retry.longest_wait(trips).mul_f64(0.5 + 0.5 * share)
            }
            None if in_budget => retry.longest_wait(failures).mul_f64(share),
            None => retry.cap.mul_f64(0.5 + 0.5 * share),
        };
        if !spared && in_budget {
            self.counts.retry_tokens -= 100;
        }
        let until = now.mono + wait;
        let wall_ms = now.wall.as_millisecond();
        let extras = self.extras_mut(ix);
        extras.back_off_until = until;
        extras.error = Some(error.clone());
        extras.failed_ms = Some(wall_ms);
        self.rekey(ix);
        self.emit(Some(ix), EventKind::Retried { error, not_before: now.plus(wait).wall });
        self.watch_cause(ix);
        self.requeue(now, ix);
    }

    /// Ends a job because nothing starts here any more. Where a later engine goes on, the last record of the job stands.
    pub(super) fn end_by_closing(&mut self, now: Now, ix: JobIx, reason: Reason) {
        self.end_here(now, ix, EventKind::Cancelled { reason }, !self.keeps);
    }

    /// Ends a job for good. `kind` says how, and becomes its last event.
    pub(super) fn end(&mut self, now: Now, ix: JobIx, kind: EventKind) {
        self.end_here(now, ix, kind, true);
    }

    fn end_here(&mut self, now: Now, ix: JobIx, kind: EventKind, for_good: bool) {
        self.withdraw_claim(ix);
        self.want_no_room(now, ix, false);
        self.leave(ix);
        self.set_timer(ix, None);
        let job = &mut self.jobs[ix.at()];
        let waits = job.state.is_waiting();
        let (state, error) = match &kind {
            EventKind::Failed { error } => (JobState::Failed, Some(error.clone())),
            EventKind::Cancelled { reason } => (JobState::Cancelled, Some(reason.to_string())),
            _ => (JobState::Succeeded, None),
        };
        let bytes = if let EventKind::Succeeded { bytes, .. } = &kind { *bytes } else { 0 };
        let mut status = self.status_of(ix, now);
        (status.state, status.error, status.bytes, status.waits_for) = (state, error, bytes, None);
        self.emit(Some(ix), kind);
        let active = std::mem::take(&mut self.jobs[ix.at()].active);
        if let Some(active) = active.some() {
            self.end_attempt(active);
        }
        if waits {
            self.count_waiting_no_more(ix);
        }
        if for_good {
            self.record_end(status.job.id);
        }
        self.forget_job(now, ix);
        *self.ended_counts.entry(state).or_default() += 1;
        let status = Arc::new(status);
        self.ended.push_back(status.clone());
        self.outputs.push_back(Output::Ended(status));
        while self.ended.len() > self.config.history {
            self.ended.pop_front();
        }
    }

    pub(super) fn forget_job(&mut self, now: Now, ix: JobIx) {
        self.forget_plan(ix);
        self.renewals.remove(&ix);
        self.unwatch(ix);
        self.watch_members(ix, false);
        self.count_out_of_places(ix);
        let job = self.jobs.remove(ix.at());
        if let Ok(entry) = self.ids.find_entry(hash_id(job.id()), |other| *other == ix) {
            entry.remove();
        }
        self.demands.release(job.demand);
        let target = &mut self.targets[job.target.at()];
        if target.waiting == ix {
            target.waiting = JobIx::NONE;
            // The one that it was to follow may wait again: with no successor, later requests join that one.
            if let Some(begun) = target.begun.some()
                && self.jobs[begun.at()].state.is_waiting()
            {
                (target.waiting, target.begun) = (begun, JobIx::NONE);
            }
        }
        if target.begun == ix {
            target.begun = JobIx::NONE;
            if let Some(waiting) = target.waiting.some()
                && self.jobs[waiting.at()].marks.has(Mark::WaitsForOverlap)
            {
                self.jobs[waiting.at()].due_since = self.jobs[waiting.at()].due_since.max(job.due_since);
                self.reenter(now, waiting);
            }
        }
        self.let_apart_go(now, ix);
    }

    pub(super) fn ended_status(&self, id: JobId) -> Option<&JobStatus> {
        self.ended.iter().rev().find(|status| status.job.id == id).map(|status| &**status)
    }

    /// A job's latest start, for those who ask.
    pub(super) fn latest_start(&self, ix: JobIx) -> Timestamp {
        wall(self.jobs[ix.at()].latest_start_ms())
    }
}

/// A share in [0, 1) that depends on the seed and the attempt alone: SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) fn jitter(seed: u64, attempt: AttemptId) -> f64 {
    let mut z = seed ^ attempt.job.0.rotate_left(32) ^ u64::from(attempt.number);
    for _ in 0..2 {
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_spread_and_repeats() {
        let at = |n| jitter(7, AttemptId { job: JobId(n), number: 1 });
        let mean = (0..10_000).map(at).sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
        assert!((0..10_000).map(at).all(|j| (0.0..1.0).contains(&j)));
        assert_eq!(at(3).to_bits(), at(3).to_bits());
    }
}
