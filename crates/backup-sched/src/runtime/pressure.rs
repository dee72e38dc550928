//! Load as probes see it: over a second, lower threshold of a signal a scope is busy, and what can wait does.

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{CapacityState, LoadLevel, LoadState, MonoTime, Now, Reason, Scope};
use sched_limits::{CapacityJudge, Sample, Thresholds, Verdict};

/// Holds the readings of probes against the thresholds from which on a scope is busy.
#[derive(Debug)]
pub(crate) struct Pressure {
    judge: CapacityJudge,
    states: BTreeMap<Scope, LoadState>,
}

impl Pressure {
    pub(crate) fn new(busy: Thresholds) -> Self {
        Self { judge: CapacityJudge::new(busy), states: BTreeMap::new() }
    }

    /// A probe was started, and is expected to answer once a `period`.
    pub(crate) fn expect(&mut self, now: Now, probe: &str, period: Duration) {
        self.judge.expect(now, probe, period);
    }

    /// A probe answered, or failed to.
    pub(crate) fn sample(&mut self, now: Now, probe: &str, result: &Result<Sample, String>) {
        let verdicts = match result {
            Ok(sample) => self.judge.observe(now, probe, sample),
            Err(why) => self.judge.failed(now, probe, why.clone()),
        };
        self.take(verdicts);
    }

    /// Time has passed; returns whether anything changed.
    pub(crate) fn tick(&mut self, now: Now) -> bool {
        let verdicts = self.judge.tick(now);
        self.take(verdicts)
    }

    /// When [`tick`](Self::tick) may have something to say.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        self.judge.next_look()
    }

    /// The load of every scope that was busy at some time.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&Scope, &LoadState)> {
        self.states.iter()
    }

    /// Signals that are lost or back are told by whoever closes capacity on them.
    fn take(&mut self, verdicts: Vec<Verdict>) -> bool {
        let mut changed = false;
        for verdict in verdicts {
            let Verdict::Capacity { scope, state } = verdict else { continue };
            let state = match state {
                CapacityState::Closed { reason } => LoadState { level: LoadLevel::Busy, reason },
                CapacityState::Open => {
                    let reason = Reason::new("every signal is below its threshold again");
                    LoadState { level: LoadLevel::Calm, reason }
                }
            };
            self.states.insert(scope, state);
            changed = true;
        }
        changed
    }
}
