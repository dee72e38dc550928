//! What the dispatcher keeps of what has happened, for those who ask: [`Records`].

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{Event, JobStatus};
use sched_observe::metrics::{Counts, Histogram};
use sched_observe::{AttemptHistory, Feed};

/// Events that are kept for readers who come again.
const FED: usize = 4096;
/// Attempts that are kept.
const ATTEMPTS: usize = 1000;
/// Seconds that a round of decisions takes.
const ROUNDS: &[f64] = &[1e-5, 1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0];

/// Counts, the newest events and attempts. Exact, unlike what a hook sees, and bounded.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) counts: Counts,
    pub(crate) feed: Feed,
    pub(crate) attempts: AttemptHistory,
    pub(crate) rounds: Histogram,
}

impl Records {
    pub(crate) fn new(now: Timestamp) -> Self {
        // Fewer than a million events a second.
        let origin = u64::try_from(now.as_second()).unwrap_or_default() * 1_000_000;
        Self {
            counts: Counts::default(),
            feed: Feed::new(FED, origin),
            attempts: AttemptHistory::new(ATTEMPTS),
            rounds: Histogram::new(ROUNDS),
        }
    }

    pub(crate) fn event(&mut self, event: &Arc<Event>) {
        self.counts.event(event);
        self.attempts.event(event);
        self.feed.push(event.clone());
    }

    pub(crate) fn ended(&mut self, at: Timestamp, job: &JobStatus) {
        self.counts.ended(at, job);
    }

    /// How long a round of decisions took.
    pub(crate) fn round(&mut self, took: Duration) {
        self.rounds.record_time(took);
    }
}
