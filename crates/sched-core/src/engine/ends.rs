//! How attempts and jobs end: success, back-off and retry, breakers, and what is learned.

use std::sync::Arc;

use jiff::Timestamp;

use crate::error::UnknownJob;
use crate::event::EventKind;
use crate::gate::{LoadLevel, Reason, Scope};
use crate::run::RunError;
use crate::spec::JobId;
use crate::state::JobState;
use crate::status::JobStatus;
use crate::time::{MonoTime, Now};

use super::breaker::Change;
use super::index::{DomainIx, JobIx};
use super::job::{Stop, timed_out, wall};
use super::requests::hash_target;
use super::{Alarm, AttemptEnd, AttemptId, Engine, Output, hash_id};

/// Failures of one job that an outage may be blamed for although others got through: beyond that, it is the job.
const MOST_SPARED: u8 = 16;
/// Retries that successes can save up, in percent of one.
const MOST_RETRY_TOKENS: u64 = 10_000;

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
            (Ok(()), _) => {
                self.report_success(ix);
                let target = self.jobs[ix.at()].target;
                self.targets[target.at()].estimate.observe(ran, end.bytes);
                self.end(now, ix, EventKind::Succeeded { ran, bytes: end.bytes });
            }
            (Err(_), Some(Stop::Requested(reason))) => self.end(now, ix, EventKind::Cancelled { reason }),
            (Err(_), Some(Stop::Interrupted(reason, until))) => self.interrupted(now, ix, &reason, until),
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

    /// Back to waiting after an attempt. A successor that was asked for meanwhile goes on waiting for its end;
    /// without one, later requests join this job.
    fn requeue(&mut self, now: Now, ix: JobIx) {
        let active = std::mem::take(&mut self.jobs[ix.at()].active);
        self.end_attempt(active);
        let job = &mut self.jobs[ix.at()];
        job.state = JobState::Queued;
        job.told_gate = 0;
        job.due_since = now.mono;
        self.counts.pending += 1;
        let target = &mut self.targets[job.target.at()];
        if target.waiting.is_none() {
            (target.waiting, target.begun) = (ix, JobIx::NONE);
        }
        // Orders may have come and gone while it ran.
        self.set_express(now, ix);
        self.enter(now, ix);
        self.record(ix);
    }

    fn interrupted(&mut self, now: Now, ix: JobIx, reason: &Reason, until: Option<Timestamp>) {
        if self.closed.is_some() {
            return self.end(now, ix, EventKind::Cancelled { reason: reason.clone() });
        }
        let extras = self.extras_mut(ix);
        extras.error = Some(format!("interrupted: {reason}"));
        extras.interrupted_until = until;
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
        if u32::from(job.failures) >= retry.max_attempts || self.closed.is_some() {
            return self.end(now, ix, EventKind::Failed { error });
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

    /// Counts a failure against the breakers of what may be the reason, or of what the executor blamed.
    /// If an outage is to blame, so that the job spends no retry, returns when its breaker lets one try, and how often
    /// that was tried.
    fn report_failure(&mut self, now: Now, ix: JobIx, blamed: Option<DomainIx>) -> Option<(MonoTime, u32)> {
        let job = &self.jobs[ix.at()];
        let (active, target) = (job.active, &self.targets[job.target.at()]);
        let target = hash_target(&target.instance, target.kind);
        let jitter = jitter(self.config.seed ^ 1, job.attempt_id());
        let mut own = Vec::new();
        self.domains_of(job, &mut own);
        let (mut outage, mut known) = (None, false);
        for domain in blamed.map_or_else(|| self.suspects(ix), |blamed| vec![blamed]) {
            let config = self.config.breaker;
            let breaker = self.domains[domain].gates_mut().breaker.get_or_insert_default();
            let was_out = breaker.is_out();
            let change = breaker.failed(&config, now.mono, active, target, blamed.is_some(), jitter);
            // A breaker that does not keep the job itself waiting would let it fail again at once.
            if breaker.is_tripped() && own.contains(&domain) {
                known |= was_out;
                outage = outage.max(Some((breaker.opens_at().unwrap_or(now.mono), breaker.trips())));
            }
            if let Change::Tripped(until) = change {
                self.alarms.insert((until, Alarm::Breaker(domain)));
                self.changed(domain);
                self.tell_breaker(domain, now.plus(until.since(now.mono)).wall);
            }
        }
        let job = &mut self.jobs[ix.at()];
        let outage = outage.filter(|_| known || job.spared < MOST_SPARED);
        job.spared += u8::from(outage.is_some() && !known);
        outage
    }

    fn report_success(&mut self, ix: JobIx) {
        let tokens = self.counts.retry_tokens + u64::from(self.config.retry_budget_percent);
        self.counts.retry_tokens = tokens.min(MOST_RETRY_TOKENS.max(self.counts.retry_tokens));
        let config = self.config.breaker;
        let active = self.jobs[ix.at()].active;
        for at in 0..self.actives[active.at()].domains.len() {
            let (domain, _) = self.actives[active.at()].domains[at];
            let Some(breaker) = self.domains[domain].breaker_mut() else { continue };
            if breaker.succeeded(&config, active) != Change::Nothing {
                self.touch(domain);
            }
        }
    }

    /// The domains whose breakers count a failure that nothing was blamed for: the job's host, its destination, and
    /// whatever it tried.
    fn suspects(&self, ix: JobIx) -> Vec<DomainIx> {
        let job = &self.jobs[ix.at()];
        let is_host = |place: &DomainIx| matches!(self.domains[*place].scope, Scope::Host(_));
        let host = self.domains.path(job.place).find(is_host);
        let destination = job.extras.as_ref().and_then(|extras| extras.destination.some());
        let mut suspects: Vec<_> = host.into_iter().chain(destination).collect();
        for (domain, _) in &self.actives[job.active.at()].domains {
            let breaker = self.domains[*domain].gates.as_ref().and_then(|gates| gates.breaker.as_ref());
            let tried = breaker.is_some_and(|breaker| breaker.probes().contains(&job.active));
            if tried && !suspects.contains(domain) {
                suspects.push(*domain);
            }
        }
        suspects
    }

    /// The domain of a scope that an executor blamed. One that nobody else has named is none, or executors could make
    /// any number of them.
    fn blamed(&mut self, ix: JobIx, what: &Scope) -> Option<DomainIx> {
        let own = &self.targets[self.jobs[ix.at()].target.at()].instance;
        match what {
            Scope::Instance(name) if name == own => Some(self.domain(what)),
            what => self.domains.find(what),
        }
    }

    fn tell_breaker(&mut self, domain: DomainIx, until: Timestamp) {
        let scope = self.domains[domain].scope.clone();
        self.emit(None, EventKind::BreakerTripped { scope, until });
    }

    /// A tripped breaker's cool-down is over.
    pub(super) fn breaker_due(&mut self, now: Now, domain: DomainIx) {
        let gates = self.domains[domain].gates_mut();
        if gates.breaker.as_mut().is_some_and(|breaker| breaker.try_again(now.mono)) {
            self.touch(domain);
        }
    }

    /// Lets the back-off of a job end early when what probably made it fail is over: the first of its domains that
    /// is short of something or at its peak.
    fn watch_cause(&mut self, ix: JobIx) {
        let mut domains = Vec::new();
        self.domains_of(&self.jobs[ix.at()], &mut domains);
        self.unwatch(ix);
        if let Some(cause) = domains.into_iter().find(|domain| self.may_be_cause(*domain)) {
            self.extras_mut(ix).cause = cause;
            self.domains[cause].gates_mut().backing_off.insert(ix);
        }
    }

    fn may_be_cause(&self, domain: DomainIx) -> bool {
        let gates = self.domains[domain].gates.as_ref();
        gates.is_some_and(|gates| gates.short.is_some() || gates.down.is_some())
            || self.domains[domain].load_level() == LoadLevel::Peak
    }

    /// The job's back-off ends with its time alone.
    pub(super) fn unwatch(&mut self, ix: JobIx) {
        let cause = self.jobs[ix.at()].extras.as_mut().map(|extras| std::mem::take(&mut extras.cause));
        if let Some(cause) = cause.and_then(DomainIx::some) {
            self.domains[cause].gates_mut().backing_off.remove(&ix);
        }
    }

    pub(super) fn end_back_off(&mut self, ix: JobIx) {
        self.unwatch(ix);
        if let Some(extras) = &mut self.jobs[ix.at()].extras {
            extras.back_off_until = MonoTime::ZERO;
        }
    }

    /// Ends the back-offs that opened domains caused.
    pub(super) fn end_back_offs(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some(domain) = self.recovered.first().copied()
        {
            let gates = self.domains[domain].gates.as_ref();
            let next = gates.and_then(|gates| gates.backing_off.first().copied());
            let Some(ix) = next.filter(|_| !self.may_be_cause(domain)) else {
                self.recovered.remove(&domain);
                continue;
            };
            *budget -= 1;
            let job = &self.jobs[ix.at()];
            let backs_off = job.state.is_waiting() && job.back_off_until() > now.mono;
            self.end_back_off(ix);
            if backs_off {
                self.reenter(now, ix);
            }
        }
    }

    /// Ends a job for good. `kind` says how, and becomes its last event.
    pub(super) fn end(&mut self, now: Now, ix: JobIx, kind: EventKind) {
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
        self.counts.pending -= usize::from(waits);
        self.record_end(status.job.id);
        self.forget_job(now, ix);
        *self.ended_counts.entry(state).or_default() += 1;
        let status = Arc::new(status);
        self.ended.push_back(status.clone());
        self.outputs.push_back(Output::Ended(status));
        while self.ended.len() > self.config.history {
            self.ended.pop_front();
        }
    }

    fn forget_job(&mut self, now: Now, ix: JobIx) {
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
        }
        if target.begun == ix {
            target.begun = JobIx::NONE;
            if let Some(waiting) = target.waiting.some()
                && self.jobs[waiting.at()].waits_for_overlap
            {
                self.jobs[waiting.at()].due_since = self.jobs[waiting.at()].due_since.max(job.due_since);
                self.reenter(now, waiting);
            }
        }
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
