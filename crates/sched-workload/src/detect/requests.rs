//! The application's own request and error rates.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sched_core::{MonoTime, Now};

use super::detector::{DetectError, LoadDetector, LoadReading};
use super::gauge::{GaugeGoal, Meter};
use super::goal::GoalError;

/// Periods that errors are counted over at most when requests are few.
const POOLED: usize = 5;
/// Requests needed for an error rate by default: with none failed of so many, the rate is below 6 % with 95 % confidence
/// (rule of three).
const MIN_REQUESTS: u64 = 50;

/// What an application counts its requests in. Clones count into the same place, from any thread, without a lock.
///
/// ```
/// use sched_workload::RequestCounter;
///
/// let requests = RequestCounter::new();
/// requests.succeeded();
/// requests.failed();
/// ```
#[derive(Clone, Debug, Default)]
pub struct RequestCounter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    failed: AtomicU64,
}

/// Counts at a moment; they only grow, and wrap around.
#[derive(Clone, Copy, Debug)]
struct Seen {
    requests: u64,
    failed: u64,
}

impl RequestCounter {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a request that succeeded.
    pub fn succeeded(&self) {
        self.add(1, 0);
    }

    /// Counts a request that failed.
    pub fn failed(&self) {
        self.add(1, 1);
    }

    /// Counts several requests, of which some failed; no more than all.
    pub fn add(&self, requests: u64, failed: u64) {
        self.0.requests.fetch_add(requests, Ordering::Relaxed);
        // Whoever sees the failure sees its request too.
        self.0.failed.fetch_add(failed.min(requests), Ordering::Release);
    }

    fn seen(&self) -> Seen {
        let failed = self.0.failed.load(Ordering::Acquire);
        Seen { requests: self.0.requests.load(Ordering::Relaxed), failed }
    }
}

impl Seen {
    fn since(self, before: Self) -> Self {
        let requests = self.requests.wrapping_sub(before.requests);
        // A request may have been seen one period before its failure.
        let failed = self.failed.wrapping_sub(before.failed).min(requests);
        Self { requests, failed }
    }
}

/// Watches how many requests come in a second.
///
/// A rate says how busy the application is, not how well it does: prefer latencies where there are any.
#[derive(Debug)]
pub struct RequestRate {
    meter: Meter,
    counter: RequestCounter,
    last: Option<(MonoTime, Seen)>,
}

impl RequestRate {
    /// A detector named `request-rate`; the goal's target is in requests a second. Several may watch one counter.
    ///
    /// # Errors
    /// When the goal makes no sense.
    pub fn new(counter: RequestCounter, goal: GaugeGoal) -> Result<Self, GoalError> {
        Ok(Self { meter: Meter::new("request-rate", goal)?, counter, last: None })
    }

    /// Gives it another name, so that a scheduler can have several.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.meter.name = name.into();
        self
    }
}

impl LoadDetector for RequestRate {
    fn name(&self) -> &str {
        &self.meter.name
    }

    fn period(&self) -> Duration {
        self.meter.goal.period
    }

    /// # Errors
    /// [`DetectError::NoTime`] at the first call, from which the second counts.
    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError> {
        let seen = self.counter.seen();
        let (at, before) =
            self.last.ok_or(DetectError::NoTime).inspect_err(|_| self.last = Some((now.mono, seen)))?;
        let passed = now.mono.since(at);
        if passed.is_zero() {
            return Err(DetectError::NoTime);
        }
        self.last = Some((now.mono, seen));
        let requests = seen.since(before).requests;
        let rate = requests as f64 / passed.as_secs_f64();
        self.meter.read(now.mono, rate, format!("{requests} requests in {passed:.1?}"))
    }
}

/// Watches which share of the requests fails.
///
/// With fewer requests than needed, up to five periods are taken together; with too few even then, the load is unknown.
#[derive(Debug)]
pub struct ErrorRate {
    meter: Meter,
    counter: RequestCounter,
    min_requests: u64,
    /// What was counted at the ends of the last periods, the newest last.
    seen: VecDeque<Seen>,
}

impl ErrorRate {
    /// A detector named `error-rate`; the goal's target is a share from 0 to 1, as .01. Several may watch one counter.
    ///
    /// # Errors
    /// When the goal makes no sense.
    pub fn new(counter: RequestCounter, goal: GaugeGoal) -> Result<Self, GoalError> {
        let seen = VecDeque::from([counter.seen()]);
        Ok(Self { meter: Meter::new("error-rate", goal)?, counter, min_requests: MIN_REQUESTS, seen })
    }

    /// Gives it another name, so that a scheduler can have several.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.meter.name = name.into();
        self
    }

    /// Sets how many requests make a reading, at least 1. Default 50.
    #[must_use]
    pub fn min_requests(mut self, requests: u64) -> Self {
        self.min_requests = requests.max(1);
        self
    }
}

impl LoadDetector for ErrorRate {
    fn name(&self) -> &str {
        &self.meter.name
    }

    fn period(&self) -> Duration {
        self.meter.goal.period
    }

    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError> {
        let newest = self.counter.seen();
        // As few periods as make enough requests, else all that are remembered.
        let mut pools = self.seen.iter().rev().map(|before| newest.since(*before));
        let enough = pools.clone().find(|pool| pool.requests >= self.min_requests);
        let found = pools.next_back().map_or(0, |pool| pool.requests);
        let window = self.meter.goal.period.saturating_mul(self.seen.len() as u32);
        self.seen.push_back(newest);
        if self.seen.len() > POOLED {
            self.seen.pop_front();
        }
        let Some(Seen { requests, failed }) = enough else {
            return Err(DetectError::TooFew { found, needed: self.min_requests, window });
        };
        let share = failed as f64 / requests as f64;
        self.meter.read(now.mono, share, format!("{failed} of {requests} requests failed"))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use sched_core::{Clock, LoadLevel, ManualClock};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn counting_from_many_threads_loses_nothing_and_failures_are_never_more_than_requests() {
        let counter = RequestCounter::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5_000).for_each(|_| counter.failed()));
            }
            for _ in 0..2_000 {
                let seen = counter.seen();
                assert!(seen.failed <= seen.requests, "{seen:?}");
            }
        });
        let seen = counter.seen();
        assert_eq!((seen.requests, seen.failed), (20_000, 20_000));
    }

    #[test]
    fn a_rate_is_over_the_time_that_passed() {
        let (clock, counter) = (ManualClock::default(), RequestCounter::new());
        let goal = GaugeGoal::below(100.0, "requests/s");
        let mut detector = RequestRate::new(counter.clone(), goal).unwrap();
        counter.add(1_000_000, 0);
        assert_eq!(detector.detect(clock.now()), Err(DetectError::NoTime), "from when is not known");
        clock.advance(4 * SECOND);
        counter.add(600, 0);
        let reading = detector.detect(clock.now()).unwrap();
        assert_eq!((reading.state.level, reading.pressure), (LoadLevel::Busy, Some(1.5)));
        counter.add(5, 0);
        assert_eq!(detector.detect(clock.now()), Err(DetectError::NoTime));
        clock.advance(SECOND);
        assert_eq!(detector.detect(clock.now()).unwrap().pressure, Some(0.05), "and no request is lost");
    }

    #[test]
    fn counters_may_wrap_around() {
        let (clock, counter) = (ManualClock::default(), RequestCounter::new());
        counter.add(u64::MAX - 10, 0);
        let mut detector = RequestRate::new(counter.clone(), GaugeGoal::below(100.0, "requests/s")).unwrap();
        assert!(detector.detect(clock.now()).is_err());
        clock.advance(SECOND);
        counter.add(50, 0);
        assert_eq!(detector.detect(clock.now()).unwrap().pressure, Some(0.5));
    }

    #[test]
    fn errors_are_a_share_of_enough_requests() {
        let (clock, counter) = (ManualClock::default(), RequestCounter::new());
        counter.add(1_000, 1_000);
        let goal = GaugeGoal::below(0.01, "share");
        let mut detector = ErrorRate::new(counter.clone(), goal).unwrap();
        let mut look = |requests, failed| {
            clock.advance(SECOND);
            counter.add(requests, failed);
            detector.detect(clock.now())
        };
        assert_eq!(look(200, 1).unwrap().pressure, Some(0.5), "what was before is not counted");
        let peak = look(100, 7).unwrap();
        assert_eq!(peak.state.level, LoadLevel::Peak);
        assert_eq!(peak.state.reason.text, "7 of 100 requests failed");
        assert_eq!(look(30, 0).unwrap().state.reason.text, "7 of 130 requests failed");
        for _ in 0..3 {
            look(0, 0).unwrap();
        }
        let few = look(0, 0).unwrap_err();
        assert_eq!(few, DetectError::TooFew { found: 30, needed: 50, window: 5 * SECOND });
        assert!(matches!(look(2, 1), Err(DetectError::TooFew { found: 2, .. })));
    }

    #[test]
    fn more_failures_than_requests_are_cut_off() {
        let counter = RequestCounter::new();
        let mut detector =
            ErrorRate::new(counter.clone(), GaugeGoal::below(1.0, "share")).unwrap().min_requests(0);
        counter.add(3, 9);
        assert_eq!(counter.seen().failed, 3, "none are left for other requests");
        assert_eq!(detector.detect(ManualClock::default().now()).unwrap().pressure, Some(1.0));
        assert!(detector.detect(ManualClock::default().now()).is_ok(), "one of the last periods had enough");
    }
}
