//! The attempts of the past: [`AttemptHistory`].

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{Event, EventKind, JobId, JobRef};
use serde::{Deserialize, Serialize};

use crate::impact::Verdict;

/// The newest attempts that have ended.
#[derive(Clone, Debug)]
pub struct AttemptHistory {
    capacity: usize,
    ended: VecDeque<AttemptRecord>,
    /// When those under way began. No larger than what runs.
    begun: HashMap<JobId, Timestamp>,
    /// Of attempts that are about to end.
    judged: HashMap<JobId, Verdict>,
}

/// One attempt, from its start to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// Its job, with the number of the attempt.
    pub job: JobRef,
    /// When its executor began; `None` when it ended before.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Whether it did the foreground harm; `None` where that is not measured.
    #[serde(default)]
    pub impact: Option<Verdict>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The backup is done.
    Succeeded {
        /// Run time without pauses.
        ran: Duration,
        /// Bytes that the executor reported.
        bytes: u64,
    },
    /// It failed, and another follows.
    Retried {
        /// What went wrong.
        error: String,
    },
    /// It failed for good.
    Failed {
        /// What went wrong.
        error: String,
    },
    /// It was stopped, to continue later.
    Interrupted {
        /// Why.
        reason: String,
    },
    /// Its job was cancelled.
    Cancelled {
        /// Why.
        reason: String,
    },
}

impl AttemptHistory {
    /// A history of this many attempts, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            ended: VecDeque::new(),
            begun: HashMap::new(),
            judged: HashMap::new(),
        }
    }

    /// Takes note of what a job's attempt did to the foreground, before the event of its end.
    pub fn judged(&mut self, job: JobId, impact: Verdict) {
        if self.begun.contains_key(&job) {
            self.judged.insert(job, impact);
        }
    }

    /// Takes note of an event.
    pub fn event(&mut self, event: &Event) {
        let Some(job) = &event.job else { return };
        let outcome = match &event.kind {
            EventKind::Started => {
                self.begun.insert(job.id, event.at.wall);
                return;
            }
            EventKind::Succeeded { ran, bytes } => AttemptOutcome::Succeeded { ran: *ran, bytes: *bytes },
            EventKind::Retried { error, .. } => AttemptOutcome::Retried { error: error.clone() },
            EventKind::Failed { error } => AttemptOutcome::Failed { error: error.clone() },
            EventKind::Interrupted { reason, .. } => {
                AttemptOutcome::Interrupted { reason: reason.to_string() }
            }
            EventKind::Cancelled { reason } => AttemptOutcome::Cancelled { reason: reason.to_string() },
            _ => return,
        };
        let (started, impact) = (self.begun.remove(&job.id), self.judged.remove(&job.id));
        // What is cancelled while it waits was never attempted, or its last attempt has been told of.
        if started.is_none() && matches!(outcome, AttemptOutcome::Cancelled { .. }) {
            return;
        }
        if self.ended.len() == self.capacity {
            self.ended.pop_front();
        }
        let (job, ended) = (job.clone(), event.at.wall);
        self.ended.push_back(AttemptRecord { job, started, ended, outcome, impact });
    }

    /// At most `most` attempts, newest first.
    pub fn newest(&self, most: usize) -> Vec<AttemptRecord> {
        self.ended.iter().rev().take(most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{BackupKind, Clock, ManualClock, Reason};

    use super::*;

    #[test]
    fn every_attempt_is_told_once_and_the_oldest_go() {
        let clock = ManualClock::default();
        let mut history = AttemptHistory::new(3);
        let mut tell = |attempt: u32, kind: EventKind| {
            let mut job = JobRef::new(JobId(7), "orders", "mysql", BackupKind::Full);
            job.attempt = attempt;
            clock.advance(Duration::from_secs(10));
            history.event(&Event::new(clock.now(), Some(job), kind));
        };
        let at = clock.now().wall;
        let done = || EventKind::Succeeded { ran: Duration::from_secs(10), bytes: 5 };
        tell(1, EventKind::Started);
        tell(1, EventKind::Retried { error: "gone".into(), not_before: at });
        tell(2, EventKind::Started);
        tell(2, done());
        tell(0, EventKind::Cancelled { reason: Reason::new("never began") });
        let newest = history.newest(10);
        let attempts: Vec<_> = newest.iter().map(|record| record.job.attempt).collect();
        assert_eq!(attempts, [2, 1]);
        let lasted = newest[0].ended.duration_since(newest[0].started.unwrap()).as_secs();
        assert_eq!(lasted, 10);
        let mut tell = |kind: EventKind| {
            let job = newest[0].job.clone();
            history.event(&Event::new(clock.now(), Some(job), kind));
        };
        for _ in 0..5 {
            tell(EventKind::Started);
            tell(done());
        }
        assert_eq!((history.newest(10).len(), history.newest(2).len()), (3, 2));
        assert!(history.begun.is_empty());
    }
}
