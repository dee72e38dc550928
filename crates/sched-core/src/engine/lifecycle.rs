//! A job's life outside the gates: acceptance, the course of its attempts, and its end.

use std::sync::Arc;
use std::time::Duration;

use crate::error::SubmitError;
use crate::event::EventKind;
use crate::gate::Reason;
use crate::run::RunError;
use crate::spec::{JobId, JobSpec, JobTerms};
use crate::state::JobState;
use crate::time::Now;

use super::job::{Job, Stop, timed_out};
use super::lines::Line;
use super::{AttemptEnd, AttemptId, Engine, Output, Submission};

impl Engine {
    /// An attempt's worker runs. Returns `false`, and changes nothing, when that attempt is not being started.
    pub fn started(&mut self, now: Now, attempt: AttemptId) -> bool {
        let now = self.observe(now);
        let Some(job) = self.current(attempt) else { return false };
        if job.state != JobState::Starting {
            return false;
        }
        job.state = JobState::Running;
        job.started = Some(now);
        job.run.start(now.mono);
        let timer = job.terms.timeout.map(|limit| now.mono + limit);
        self.set_timer(attempt.job, timer);
        self.review_active = true;
        self.emit(Some(attempt.job), EventKind::Started);
        true
    }

    /// An attempt stands at a checkpoint. Returns `false`, and changes nothing, when it was not told to.
    pub fn paused(&mut self, now: Now, attempt: AttemptId) -> bool {
        let now = self.observe(now);
        let Some(job) = self.current(attempt) else { return false };
        if job.state != JobState::Pausing {
            return false;
        }
        job.state = JobState::Paused;
        job.run.stop(now.mono);
        self.set_timer(attempt.job, None);
        self.review_active = true;
        self.emit(Some(attempt.job), EventKind::Paused);
        true
    }

    /// A paused attempt moves again. Returns `false`, and changes nothing, when it was not told to.
    pub fn resumed(&mut self, now: Now, attempt: AttemptId) -> bool {
        let now = self.observe(now);
        let Some(job) = self.current(attempt) else { return false };
        if job.state != JobState::Resuming {
            return false;
        }
        self.goes_on(now, attempt.job);
        true
    }

    /// An attempt has ended and holds nothing any more. Returns `false`, and changes nothing, when that attempt is
    /// not under way: a late report carries an old number.
    pub fn ended(&mut self, now: Now, attempt: AttemptId, end: AttemptEnd) -> bool {
        let now = self.observe(now);
        let Some(job) = self.current(attempt) else { return false };
        job.run.stop(now.mono);
        job.pause = None;
        let stop = job.stop.take();
        let terms = job.terms.clone();
        let ran = job.run.read(now.mono);
        self.active.remove(&attempt.job);
        self.set_timer(attempt.job, None);
        self.ledger.give_back(&terms.demand);
        for (name, _) in terms.demand.iter() {
            self.lines.touch(&Line::Resource(name.clone()));
        }
        let id = attempt.job;
        match (end.result, stop) {
            (Ok(()), _) => self.end(now, id, EventKind::Succeeded { ran, bytes: end.bytes }),
            (Err(_), Some(Stop::Requested(reason))) => self.end(now, id, EventKind::Cancelled { reason }),
            (Err(_), Some(Stop::TimedOut(after))) => self.failed(now, id, timed_out(after)),
            (Err(RunError::Permanent(error)), None) => self.end(now, id, EventKind::Failed { error }),
            (Err(RunError::Retryable(error)), None) => self.failed(now, id, error),
            (Err(RunError::Cancelled), None) => {
                self.failed(now, id, "the executor stopped without being told to".into());
            }
        }
        true
    }

    pub(super) fn accept(&mut self, now: Now, spec: JobSpec, terms: JobTerms) -> JobId {
        let id = JobId(self.next_id);
        self.next_id += 1;
        let order = &self.config.technology_order;
        let rank = order.iter().position(|name| *name == spec.technology).unwrap_or(order.len());
        let mut job = Job::new(now, id, spec, terms, u16::try_from(rank).unwrap_or(u16::MAX));
        job.rekey(self.config.boosts);
        let (deadline, latest_start) = (job.deadline, job.latest_start);
        job.risk_told = latest_start < now.wall;
        let late = job.risk_told;
        let twin = self.twins.entry((job.spec.instance.clone(), job.spec.kind)).or_default();
        twin.waiting = Some(id);
        self.jobs.insert(id, job);
        self.emit(Some(id), EventKind::Submitted { deadline, latest_start });
        if late {
            let text = if deadline <= now.wall {
                "the deadline had passed when the job was submitted"
            } else {
                "the time until the deadline is shorter than the expected duration"
            };
            self.emit(Some(id), EventKind::RpoAtRisk { deadline, reason: Reason::new(text) });
        }
        self.make_ready(id);
        id
    }

    /// Joins a request to the pending job `id`: the more urgent of both counts.
    pub(super) fn coalesce(
        &mut self,
        now: Now,
        id: JobId,
        spec: JobSpec,
        terms: &JobTerms,
    ) -> Result<Submission, SubmitError> {
        let boosts = self.config.boosts;
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(Submission::Coalesced(id)) };
        if let Some((field, pending, asked)) = difference(&job.spec, &spec) {
            return Err(SubmitError::Conflict { job: id, field, pending, asked });
        }
        let deadline = spec.deadline.unwrap_or_else(|| now.plus(terms.rpo).wall);
        let before = job.key;
        let kept = Arc::make_mut(&mut job.spec);
        kept.not_before = match (kept.not_before, spec.not_before) {
            (Some(a), Some(b)) => Some(a.min(b)),
            _ => None,
        };
        kept.size_bytes = spec.size_bytes.or(kept.size_bytes);
        let held = Arc::make_mut(&mut job.terms);
        held.priority = held.priority.max(terms.priority);
        job.deadline = job.deadline.min(deadline);
        job.requesters = job.requesters.saturating_add(1);
        job.rekey(boosts);
        // A larger size must not push a waiting job back.
        job.key = job.key.min(before);
        let requesters = job.requesters;
        self.make_ready(id);
        self.emit(Some(id), EventKind::Coalesced { requesters });
        Ok(Submission::Coalesced(id))
    }

    pub(super) fn order_stop(&mut self, now: Now, id: JobId, stop: Stop) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.state == JobState::Cancelling {
            // A request to cancel outweighs a time-out, which would retry.
            if matches!(stop, Stop::Requested(_)) {
                job.stop = Some(stop);
            }
            return;
        }
        let reason = match &stop {
            Stop::Requested(reason) => reason.clone(),
            Stop::TimedOut(after) => Reason::new(timed_out(*after)),
        };
        job.run.stop(now.mono);
        job.state = JobState::Cancelling;
        job.stop = Some(stop);
        let attempt = job.attempt_id();
        self.set_timer(id, None);
        self.outputs.push_back(Output::Cancel(attempt, reason));
    }

    pub(super) fn order_pause(&mut self, now: Now, id: JobId, reason: Reason) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.state = JobState::Pausing;
        job.pause = Some((now.mono, reason.clone()));
        let attempt = job.attempt_id();
        self.outputs.push_back(Output::Pause(attempt));
        self.emit(Some(id), EventKind::Pausing { reason });
    }

    pub(super) fn order_resume(&mut self, now: Now, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let attempt = job.attempt_id();
        let standing = job.state == JobState::Paused;
        job.state = JobState::Resuming;
        self.outputs.push_back(Output::Resume(attempt));
        if !standing {
            // It never reached a checkpoint, so nothing will report that it moves again.
            self.goes_on(now, id);
        }
    }

    fn goes_on(&mut self, now: Now, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.state = JobState::Running;
        job.run.start(now.mono);
        let paused_for = job.pause.take().map_or(Duration::ZERO, |(since, _)| now.mono.since(since));
        let left = job.terms.timeout.map(|limit| limit.saturating_sub(job.run.read(now.mono)));
        self.set_timer(id, left.map(|left| now.mono + left));
        self.review_active = true;
        self.emit(Some(id), EventKind::Resumed { paused_for });
    }

    /// An attempt failed in a way that may go away: tries again after a back-off, or gives up.
    fn failed(&mut self, now: Now, id: JobId, error: String) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.attempt >= job.terms.retry.max_attempts || self.closed {
            return self.end(now, id, EventKind::Failed { error });
        }
        let longest = job.terms.retry.longest_wait(job.attempt);
        let wait = longest.mul_f64(jitter(self.config.seed, job.attempt_id()));
        let until = now.mono + wait;
        job.state = JobState::Retryable;
        job.back_off_until = Some(until);
        job.due_since = until;
        job.error = Some(error.clone());
        // Whoever fails again and again must not stand before those who have not had a turn.
        job.key.start_by_ms = job.key.start_by_ms.max(now.wall.as_millisecond());
        self.emit(Some(id), EventKind::Retried { error, not_before: now.plus(wait).wall });
        self.make_ready(id);
    }

    /// Ends a job for good. `kind` says how, and becomes its last event.
    pub(super) fn end(&mut self, now: Now, id: JobId, kind: EventKind) {
        self.leave_line(id);
        self.set_timer(id, None);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let waited_until_now = job.state.is_waiting().then(|| now.mono.since(job.due_since));
        job.waited = waited_until_now.unwrap_or(job.waited);
        (job.state, job.error) = match &kind {
            EventKind::Failed { error } => (JobState::Failed, Some(error.clone())),
            EventKind::Cancelled { reason } => (JobState::Cancelled, Some(reason.to_string())),
            _ => (JobState::Succeeded, None),
        };
        if let EventKind::Succeeded { bytes, .. } = &kind {
            job.bytes = *bytes;
        }
        let state = job.state;
        let status = job.status(now);
        let key = (job.spec.instance.clone(), job.spec.kind);
        if let Some(twin) = self.twins.get_mut(&key) {
            twin.waiting = twin.waiting.filter(|waiting| *waiting != id);
            twin.begun = twin.begun.filter(|begun| *begun != id);
            if twin.waiting.is_none() && twin.begun.is_none() {
                self.twins.remove(&key);
            }
        }
        self.lines.touch(&Line::Overlap(key.0, key.1));
        *self.ended_counts.entry(state).or_default() += 1;
        self.ended.push_back(id);
        self.emit(Some(id), kind);
        self.outputs.push_back(Output::Ended(status));
        while self.ended.len() > self.config.history {
            if let Some(oldest) = self.ended.pop_front() {
                self.jobs.remove(&oldest);
            }
        }
    }

    /// The job of an attempt that is under way.
    fn current(&mut self, attempt: AttemptId) -> Option<&mut Job> {
        let job = self.jobs.get_mut(&attempt.job)?;
        (job.state.is_active() && job.attempt == attempt.number).then_some(job)
    }
}

/// The first field in which two requests for the same backup contradict each other.
///
/// Urgency, size, deadline and earliest start do not: the more urgent counts.
fn difference(pending: &JobSpec, asked: &JobSpec) -> Option<(&'static str, String, String)> {
    fn differs<T: PartialEq + std::fmt::Debug>(
        field: &'static str,
        a: &T,
        b: &T,
    ) -> Option<(&'static str, String, String)> {
        (a != b).then(|| (field, format!("{a:?}"), format!("{b:?}")))
    }
    differs("technology", &pending.technology, &asked.technology)
        .or_else(|| differs("host", &pending.host, &asked.host))
        .or_else(|| differs("demand", &pending.demand, &asked.demand))
        .or_else(|| differs("max_bytes_per_sec", &pending.max_bytes_per_sec, &asked.max_bytes_per_sec))
}

/// A share in [0, 1) that depends on the seed and the attempt alone: SplitMix64 (Steele, Lea and Flood, 2014).
fn jitter(seed: u64, attempt: AttemptId) -> f64 {
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
