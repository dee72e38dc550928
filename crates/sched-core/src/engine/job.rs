//! One job's record.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::lines::Line;
use super::{AttemptId, Boosts};
use crate::event::JobRef;
use crate::gate::{ClosedGate, LoadLevel, Reason, Scope};
use crate::queue::OrderKey;
use crate::spec::{JobId, JobSpec, JobTerms, Priority};
use crate::state::JobState;
use crate::status::JobStatus;
use crate::time::{MonoTime, Now, wall_minus, wall_until};

/// The last part of a job's slack, as a divisor, in which it tolerates a busy foreground.
const BUSY_TOLERATED_IN_LAST: u32 = 4;

#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) spec: Arc<JobSpec>,
    pub(super) terms: Arc<JobTerms>,
    pub(super) state: JobState,
    pub(super) attempt: u32,
    pub(super) submitted: Now,
    /// Since when nothing but gates keeps it from starting.
    pub(super) due_since: MonoTime,
    /// End of the back-off after a failed attempt.
    pub(super) back_off_until: Option<MonoTime>,
    pub(super) deadline: Timestamp,
    pub(super) latest_start: Timestamp,
    pub(super) key: OrderKey,
    pub(super) line: Option<Line>,
    pub(super) timer: Option<MonoTime>,
    pub(super) deferred_by: Option<ClosedGate>,
    pub(super) deferrals: u32,
    pub(super) requesters: u32,
    pub(super) started: Option<Now>,
    pub(super) waited: Duration,
    pub(super) run: Stopwatch,
    pub(super) bytes: u64,
    pub(super) pause: Option<(MonoTime, Reason)>,
    pub(super) stop: Option<Stop>,
    pub(super) risk_told: bool,
    pub(super) error: Option<String>,
}

/// Why an attempt was told to stop.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// Somebody asked for it: the job is cancelled.
    Requested(Reason),
    /// It ran too long: the attempt has failed.
    TimedOut(Duration),
}

/// Time spent running, pauses excluded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stopwatch {
    total: Duration,
    since: Option<MonoTime>,
}

impl Stopwatch {
    pub(super) fn start(&mut self, at: MonoTime) {
        self.since.get_or_insert(at);
    }

    pub(super) fn stop(&mut self, at: MonoTime) {
        if let Some(since) = self.since.take() {
            self.total += at.since(since);
        }
    }

    pub(super) fn read(&self, at: MonoTime) -> Duration {
        self.total + self.since.map_or(Duration::ZERO, |since| at.since(since))
    }
}

impl Job {
    pub(super) fn new(now: Now, id: JobId, spec: JobSpec, terms: JobTerms, rank: u16) -> Self {
        let key = OrderKey {
            class: 1,
            start_by_ms: 0,
            technology_rank: rank,
            size_bytes: spec.size_bytes.unwrap_or(u64::MAX),
            id,
        };
        Self {
            id,
            deadline: spec.deadline.unwrap_or_else(|| now.plus(terms.rpo).wall),
            spec: Arc::new(spec),
            terms: Arc::new(terms),
            state: JobState::Queued,
            attempt: 0,
            submitted: now,
            due_since: now.mono,
            back_off_until: None,
            latest_start: Timestamp::MIN,
            key,
            line: None,
            timer: None,
            deferred_by: None,
            deferrals: 0,
            requesters: 1,
            started: None,
            waited: Duration::ZERO,
            run: Stopwatch::default(),
            bytes: 0,
            pause: None,
            stop: None,
            risk_told: false,
            error: None,
        }
    }

    /// Sets latest start and place in the order from deadline, expected duration and class.
    pub(super) fn rekey(&mut self, boosts: Boosts) {
        let retry_margin = self.terms.retry.longest_wait(1);
        self.latest_start =
            wall_minus(self.deadline, self.terms.expected_duration.saturating_add(retry_margin));
        let start_by = wall_minus(self.latest_start, boosts.of(self.terms.priority));
        self.key.class = u8::from(self.terms.priority != Priority::Critical);
        self.key.start_by_ms = start_by.as_millisecond();
        self.key.size_bytes = self.spec.size_bytes.unwrap_or(u64::MAX);
    }

    /// The highest load at which the job may start or go on at `wall`, and when that next rises.
    ///
    /// High and critical jobs tolerate any load. Others: calm while the slack is ample, busy in its last quarter,
    /// anything from the latest start on.
    pub(super) fn tolerance(&self, wall: Timestamp) -> (LoadLevel, Option<Timestamp>) {
        if self.terms.priority >= Priority::High || wall >= self.latest_start {
            return (LoadLevel::Peak, None);
        }
        let slack = wall_until(self.submitted.wall, self.latest_start);
        let busy_from = wall_minus(self.latest_start, slack / BUSY_TOLERATED_IN_LAST);
        if wall >= busy_from {
            (LoadLevel::Busy, Some(self.latest_start))
        } else {
            (LoadLevel::Calm, Some(busy_from))
        }
    }

    pub(super) fn scopes(&self) -> [Scope; 3] {
        let host = Scope::Host(self.spec.host.clone());
        [Scope::Fleet, host, Scope::Instance(self.spec.instance.clone())]
    }

    pub(super) fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.id, number: self.attempt }
    }

    pub(super) fn reference(&self) -> JobRef {
        JobRef {
            id: self.id,
            instance: self.spec.instance.clone(),
            technology: self.spec.technology.clone(),
            kind: self.spec.kind,
            priority: self.terms.priority,
            attempt: self.attempt,
        }
    }

    pub(super) fn status(&self, now: Now) -> JobStatus {
        let waiting = self.state.is_waiting();
        JobStatus {
            job: self.reference(),
            state: self.state,
            submitted: self.submitted.wall,
            deadline: self.deadline,
            started: self.started.map(|s| s.wall),
            waited: if waiting { now.mono.since(self.due_since) } else { self.waited },
            ran: self.run.read(now.mono),
            bytes: self.bytes,
            deferrals: self.deferrals,
            requesters: self.requesters,
            waits_for: if waiting { self.deferred_by.clone() } else { None },
            error: self.error.clone(),
        }
    }

    pub(super) fn because(&self) -> Option<String> {
        match (&self.stop, &self.pause) {
            (Some(Stop::Requested(reason)), _) if self.state == JobState::Cancelling => {
                Some(reason.to_string())
            }
            (Some(Stop::TimedOut(after)), _) if self.state == JobState::Cancelling => Some(timed_out(*after)),
            (_, Some((_, reason))) => Some(reason.to_string()),
            _ => self.error.clone(),
        }
    }

    /// Whether this deferral says something that the last one did not.
    pub(super) fn is_news(&self, gate: &ClosedGate) -> bool {
        let kind = |g: &ClosedGate| (g.gate.clone(), g.scope.clone());
        self.deferred_by.as_ref().map(kind) != Some(kind(gate))
    }
}

pub(super) fn timed_out(after: Duration) -> String {
    format!("the attempt ran longer than its time-out of {after:?}")
}
