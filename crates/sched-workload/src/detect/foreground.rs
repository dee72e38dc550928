//! The application's own request latencies.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use sched_core::{Now, Reason};

use super::detector::{DetectError, LatencyReading, LoadDetector, LoadReading};
use super::goal::{GoalError, LatencyGoal};
use super::hysteresis::Hysteresis;

/// Recorded latencies are cut off here.
const LONGEST: Duration = Duration::from_secs(600);
/// Two significant digits: an error of 1 % at most, in about 20 KiB.
const DIGITS: u8 = 2;
/// Windows that are pooled at most when requests are few.
const POOLED: usize = 5;

pub(super) fn histogram() -> Histogram<u64> {
    // The bounds are constants that hdrhistogram accepts; should they not be, an empty range still records.
    let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
    Histogram::new_with_bounds(1, longest, DIGITS).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// What an application records its request latencies in. Clones record into the same place, from any thread.
///
/// Record every request, errors included, measured from when it *should* have started: a request that waited in a
/// queue waited for its user too. Requests that have not finished are not seen yet.
///
/// ```
/// use sched_workload::ForegroundLatency;
/// use std::time::Duration;
///
/// let latency = ForegroundLatency::new();
/// latency.record(Duration::from_millis(3));
/// assert_eq!(latency.drain().samples(), 1);
/// ```
#[derive(Clone)]
pub struct ForegroundLatency {
    window: Arc<Mutex<Histogram<u64>>>,
}

impl ForegroundLatency {
    /// An empty recorder.
    pub fn new() -> Self {
        Self { window: Arc::new(Mutex::new(histogram())) }
    }

    /// Records one request. Takes well under a microsecond; latencies over 10 minutes count as 10 minutes.
    pub fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.window.lock().saturating_record(micros);
    }

    /// Takes everything recorded since the last call.
    pub fn drain(&self) -> LatencyWindow {
        LatencyWindow(Arc::new(std::mem::replace(&mut *self.window.lock(), histogram())))
    }
}

impl Default for ForegroundLatency {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ForegroundLatency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForegroundLatency")
            .field("samples", &self.window.lock().len())
            .finish_non_exhaustive()
    }
}

/// Latencies that were recorded together.
#[derive(Clone, PartialEq)]
pub struct LatencyWindow(Arc<Histogram<u64>>);

impl LatencyWindow {
    /// Requests recorded.
    pub fn samples(&self) -> u64 {
        self.0.len()
    }

    /// Each latency that was recorded, exact to 1 %, and how many requests took so long.
    pub fn counts(&self) -> impl Iterator<Item = (Duration, u32)> + '_ {
        let count = |requests: u64| u32::try_from(requests).unwrap_or(u32::MAX);
        self.0.iter_recorded().map(move |at| {
            (Duration::from_micros(at.value_iterated_to()), count(at.count_since_last_iteration()))
        })
    }

    /// Adds all of them to a histogram with the bounds of [`histogram`]; whether that was so.
    pub(super) fn add_to(&self, pool: &mut Histogram<u64>) -> bool {
        pool.add(&*self.0).is_ok()
    }

    /// The latency that this share of the requests stayed within; zero when there were none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }
}

impl fmt::Debug for LatencyWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p99 = self.quantile(0.99);
        f.debug_struct("LatencyWindow")
            .field("samples", &self.samples())
            .field("p99", &p99)
            .finish_non_exhaustive()
    }
}

/// Watches a [`ForegroundLatency`] against a [`LatencyGoal`].
///
/// With fewer requests than the goal needs, up to five periods are taken together; with too few even then, the load
/// is unknown.
#[derive(Debug)]
pub struct ForegroundDetector {
    name: String,
    latency: ForegroundLatency,
    goal: LatencyGoal,
    hysteresis: Hysteresis,
    windows: VecDeque<LatencyWindow>,
}

impl ForegroundDetector {
    /// A detector named `foreground`.
    ///
    /// # Errors
    /// When the goal makes no sense.
    pub fn new(latency: ForegroundLatency, goal: LatencyGoal) -> Result<Self, GoalError> {
        let hysteresis = goal.hysteresis()?;
        Ok(Self { name: "foreground".into(), latency, goal, hysteresis, windows: VecDeque::new() })
    }

    /// Gives it another name, so that a scheduler can have several.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The newest windows, just as many as make enough requests.
    fn pooled(&self) -> LatencyWindow {
        let mut pool = histogram();
        for window in self.windows.iter().rev() {
            let added = window.add_to(&mut pool);
            debug_assert!(added, "histograms of the same bounds add up");
            if pool.len() >= self.goal.min_samples {
                break;
            }
        }
        LatencyWindow(Arc::new(pool))
    }
}

impl LoadDetector for ForegroundDetector {
    fn name(&self) -> &str {
        &self.name
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
        let LatencyGoal { quantile, target, period, min_samples, .. } = self.goal;
        let newest = self.latency.drain();
        self.windows.push_back(newest.clone());
        if self.windows.len() > POOLED {
            self.windows.pop_front();
        }
        let pool = self.pooled();
        if pool.samples() < min_samples.max(1) {
            let window = period.saturating_mul(self.windows.len() as u32);
            return Err(DetectError::TooFew { found: pool.samples(), needed: min_samples, window });
        }
        let value = pool.quantile(quantile);
        let latency = LatencyReading { value, target, quantile, samples: pool.samples() };
        let level = self.hysteresis.update(now.mono, latency.ratio());
        let text = format!("p{} of {} requests", quantile * 100.0, latency.samples);
        Ok(LoadReading::new(level, Reason::measured(text, latency.measured(&self.name)))
            .latency(latency)
            .window(newest))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use sched_core::{Clock, LoadLevel, ManualClock};

    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn recording_from_many_threads_loses_nothing() {
        let latency = ForegroundLatency::new();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..5_000).for_each(|n| latency.record(Duration::from_micros(n))));
            }
        });
        assert_eq!(latency.drain().samples(), 40_000);
        assert_eq!(latency.drain().samples(), 0);
    }

    #[test]
    fn quantiles_are_right_within_a_percent() {
        let latency = ForegroundLatency::new();
        (1..=10_000).for_each(|n| latency.record(Duration::from_micros(n * 10)));
        let p99 = latency.drain().quantile(0.99).as_secs_f64();
        assert!((p99 / 0.099 - 1.0).abs() < 0.01, "{p99}");
        latency.record(Duration::MAX);
        assert!(latency.drain().quantile(1.0) >= LONGEST);
    }

    #[test]
    fn the_level_follows_the_goal() {
        let clock = ManualClock::default();
        let latency = ForegroundLatency::new();
        let mut detector = ForegroundDetector::new(latency.clone(), LatencyGoal::p99(ms(10))).unwrap();
        let mut look = |each: Duration| {
            clock.advance(Duration::from_secs(1));
            (0..500).for_each(|_| latency.record(each));
            detector.detect(clock.now()).unwrap()
        };
        assert_eq!(look(ms(2)).state.level, LoadLevel::Calm);
        assert_eq!(look(ms(12)).state.level, LoadLevel::Busy);
        let peak = look(ms(30));
        assert_eq!(peak.state.level, LoadLevel::Peak);
        assert_eq!(peak.latency.unwrap().samples, 500);
        assert_eq!(look(ms(2)).state.level, LoadLevel::Peak, "not believed yet");
        look(ms(2));
        assert_eq!(look(ms(2)).state.level, LoadLevel::Calm);
    }

    #[test]
    fn few_requests_are_pooled_and_none_are_unknown() {
        let clock = ManualClock::default();
        let latency = ForegroundLatency::new();
        let mut detector = ForegroundDetector::new(latency.clone(), LatencyGoal::p99(ms(10))).unwrap();
        assert!(matches!(detector.detect(clock.now()), Err(DetectError::TooFew { found: 0, .. })));
        for round in 1..=3 {
            (0..20).for_each(|_| latency.record(ms(1)));
            assert_eq!(detector.detect(clock.now()).is_ok(), round == 3, "{round}");
        }
        for _ in 0..4 {
            drop(detector.detect(clock.now()));
        }
        assert!(detector.detect(clock.now()).is_err(), "old requests are forgotten");
    }

    #[test]
    fn nonsense_goals_are_refused() {
        let refused =
            |goal: LatencyGoal| ForegroundDetector::new(ForegroundLatency::new(), goal).unwrap_err();
        assert!(matches!(refused(LatencyGoal::p99(ms(0))), GoalError::ZeroTarget));
        assert!(matches!(refused(LatencyGoal::p99(ms(1)).quantile(99.0)), GoalError::Quantile(_)));
        assert!(matches!(refused(LatencyGoal::p99(ms(1)).quantile(f64::NAN)), GoalError::Quantile(_)));
        assert!(matches!(refused(LatencyGoal::p99(ms(1)).period(ms(0))), GoalError::ZeroPeriod));
    }
}
