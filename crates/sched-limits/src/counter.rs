//! From counters that only grow to rates: [`Counter`].

use std::time::Duration;

use sched_core::MonoTime;

/// The last value of a counter, and when it was read.
///
/// A counter that reads less than before was reset, replaced or has wrapped: it gives no rate then, rather than a
/// small or an enormous one, and starts anew.
///
/// ```
/// use sched_core::MonoTime;
/// use sched_limits::Counter;
///
/// let at = |seconds: u64| MonoTime::from_nanos(seconds * 1_000_000_000);
/// let mut bytes = Counter::default();
/// assert_eq!(bytes.per_sec(at(0), 5_000), None);
/// assert_eq!(bytes.per_sec(at(2), 9_000), Some(2_000.0));
/// assert_eq!(bytes.per_sec(at(3), 100), None, "reset");
/// assert_eq!(bytes.per_sec(at(4), 300), Some(200.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter(Option<(MonoTime, u64)>);

impl Counter {
    /// What was counted since the previous reading, and in what time; `None` for the first one, after a reset, and
    /// when no time has passed.
    pub fn grown(&mut self, at: MonoTime, value: u64) -> Option<(u64, Duration)> {
        if let Some((last_at, last)) = self.0
            && value >= last
        {
            let passed = at.since(last_at);
            if passed.is_zero() {
                return None;
            }
            self.0 = Some((at, value));
            return Some((value - last, passed));
        }
        self.0 = Some((at, value));
        None
    }

    /// The rate since the previous reading; `None` where [`grown`](Self::grown) is.
    pub fn per_sec(&mut self, at: MonoTime, value: u64) -> Option<f64> {
        let (grown, passed) = self.grown(at, value)?;
        Some(grown as f64 / passed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_counted_while_no_time_passes_is_told_later() {
        let mut counter = Counter::default();
        let second = MonoTime::from_nanos(1_000_000_000);
        assert_eq!(counter.per_sec(MonoTime::ZERO, 0), None);
        assert_eq!(counter.per_sec(MonoTime::ZERO, 70), None);
        assert_eq!(counter.per_sec(second, 100), Some(100.0));
    }

    proptest! {
        #[test]
        fn a_rate_is_finite_and_never_of_a_counter_that_fell(
            readings in prop::collection::vec((1..u32::MAX, any::<u64>()), 2..50),
        ) {
            let mut counter = Counter::default();
            let mut last: Option<u64> = None;
            let mut at = MonoTime::ZERO;
            for (passed, value) in readings {
                at = at + Duration::from_nanos(passed.into());
                let rate = counter.per_sec(at, value);
                prop_assert!(rate.is_none_or(|rate| rate.is_finite() && rate >= 0.0));
                prop_assert_eq!(rate.is_none(), last.is_none_or(|last| value < last));
                last = Some(value);
            }
        }
    }
}
