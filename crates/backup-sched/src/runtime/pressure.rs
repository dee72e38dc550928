//! Load as probes see it: over a second, lower threshold of a signal a scope is busy, and what can wait does.

use std::time::Duration;

use sched_core::{CapacityState, LoadLevel, LoadState, MonoTime, Now};
use sched_limits::{CapacityJudge, Sample, Thresholds, Verdict};

use super::loads::{Subject, calm};

/// Holds the readings of probes against the thresholds from which on a scope is busy.
#[derive(Debug)]
pub(crate) struct Pressure(CapacityJudge);

impl Pressure {
    pub(crate) fn new(busy: Thresholds) -> Self {
        Self(CapacityJudge::new(busy))
    }

    /// A probe was started, and is expected to answer once a `period`.
    pub(crate) fn expect(&mut self, now: Now, probe: &str, period: Duration) {
        self.0.expect(now, probe, period);
    }

    /// A probe answered, or failed to; returns the load of scopes where it is another now.
    pub(crate) fn sample(
        &mut self,
        now: Now,
        probe: &str,
        result: &Result<Sample, String>,
    ) -> Vec<(Subject, LoadState)> {
        let verdicts = match result {
            Ok(sample) => self.0.observe(now, probe, sample),
            Err(why) => self.0.failed(now, probe, why.clone()),
        };
        loads(verdicts)
    }

    /// Time has passed; returns the load of scopes where it is another now.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<(Subject, LoadState)> {
        loads(self.0.tick(now))
    }

    /// When [`tick`](Self::tick) may have something to say.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        self.0.next_look()
    }
}

/// Signals that are lost or back are told by whoever closes capacity on them.
fn loads(verdicts: Vec<Verdict>) -> Vec<(Subject, LoadState)> {
    let load = |verdict| {
        let Verdict::Capacity { scope, state } = verdict else { return None };
        let state = match state {
            CapacityState::Closed { reason } => LoadState::new(LoadLevel::Busy, reason),
            CapacityState::Open => calm("every signal is below its threshold again"),
        };
        Some(((scope, None), state))
    };
    verdicts.into_iter().filter_map(load).collect()
}
