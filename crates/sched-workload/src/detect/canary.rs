//! A small query of a fixed kind, on a timer.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sched_core::{Clock, Now, Reason, Scope};

use super::detector::{DetectError, LatencyReading, LoadDetector, LoadReading};
use super::goal::{GoalError, LatencyGoal};
use super::hysteresis::Hysteresis;

/// Runs that the median is taken over: enough to ignore two stragglers.
const RUNS: usize = 5;

/// Runs a closure once a period and watches how long it takes: for applications that cannot tell their latencies.
///
/// Its mix never changes, but it is only one request a period: so it watches the median of the last five runs, and
/// the goal's quantile counts for nothing. A failed run is an unknown load.
pub struct Canary<F> {
    name: String,
    scope: Scope,
    goal: LatencyGoal,
    hysteresis: Hysteresis,
    clock: Arc<dyn Clock>,
    query: F,
    runs: VecDeque<Duration>,
}

impl<F, E> Canary<F>
where
    F: FnMut() -> Result<(), E> + Send,
    E: fmt::Display,
{
    /// A canary that runs `query` once in the goal's period; `target` is what its median is to stay within.
    ///
    /// # Errors
    /// When the goal makes no sense.
    pub fn new(
        name: impl Into<String>,
        goal: LatencyGoal,
        clock: Arc<dyn Clock>,
        query: F,
    ) -> Result<Self, GoalError> {
        let hysteresis = goal.hysteresis()?;
        let runs = VecDeque::with_capacity(RUNS);
        Ok(Self { name: name.into(), scope: Scope::Fleet, goal, hysteresis, clock, query, runs })
    }

    /// Sets whom it concerns. Default: the whole fleet.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

impl<F, E> LoadDetector for Canary<F>
where
    F: FnMut() -> Result<(), E> + Send,
    E: fmt::Display,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn period(&self) -> Duration {
        self.goal.period
    }

    fn latency_target(&self) -> Option<Duration> {
        Some(self.goal.target)
    }

    fn healthy_latency(&self) -> Option<Duration> {
        self.goal.healthy
    }

    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError> {
        let begun = self.clock.now().mono;
        (self.query)().map_err(|error| DetectError::Failed(format!("the canary failed: {error}")))?;
        if self.runs.len() == RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back(self.clock.now().mono.since(begun));
        let mut sorted: Vec<_> = self.runs.iter().copied().collect();
        sorted.sort_unstable();
        let value = sorted[sorted.len() / 2];
        let latency =
            LatencyReading { value, target: self.goal.target, quantile: 0.5, samples: sorted.len() as u64 };
        let level = self.hysteresis.update(now.mono, latency.ratio());
        let text = format!("median of {} canary runs", sorted.len());
        Ok(LoadReading::new(level, Reason::measured(text, latency.measured(&self.name))).latency(latency))
    }
}

impl<F> fmt::Debug for Canary<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canary").field("name", &self.name).field("runs", &self.runs).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{LoadLevel, ManualClock};

    use super::*;

    #[test]
    fn watches_the_median_and_forgives_a_straggler() {
        let clock = ManualClock::default();
        let durations = [1, 1, 1, 900, 1, 30, 30, 30].map(Duration::from_millis);
        let mut next = durations.into_iter();
        let inner = clock.clone();
        let query = move || {
            inner.advance(next.next().ok_or("no more")?);
            Ok::<_, &str>(())
        };
        let goal = LatencyGoal::p99(Duration::from_millis(10));
        let mut canary = Canary::new("select-1", goal, Arc::new(clock.clone()), query).unwrap();
        let levels: Vec<_> = (0..8).map(|_| canary.detect(clock.now()).unwrap().state.level).collect();
        assert_eq!(levels[..6], [LoadLevel::Calm; 6]);
        assert_eq!(levels[7], LoadLevel::Peak);
        let error = canary.detect(clock.now()).unwrap_err();
        assert_eq!(error.to_string(), "the canary failed: no more");
    }
}
