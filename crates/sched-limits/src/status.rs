//! What is known of each probe at one moment: [`ProbeStatus`].

use std::time::Duration;

use sched_core::{MonoTime, Reason, SignalName};
use serde::{Deserialize, Serialize};

use crate::reading::Reading;
use crate::sample::Cost;

/// A signal that is older than this many of its periods is held: it raises nothing.
pub const HELD_AFTER_PERIODS: u32 = 2;
/// A signal that is older than this many of its periods is unknown.
pub const LOST_AFTER_PERIODS: u32 = 5;

/// How far a value can be relied on, by its age in periods of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// At most [`HELD_AFTER_PERIODS`] old.
    Fresh,
    /// Older: it may keep something as it is or lower it, and raises nothing.
    Held,
    /// [`LOST_AFTER_PERIODS`] old or older: unknown, which is neither idle nor busy.
    Lost,
}

impl Freshness {
    /// The freshness of a value measured at `taken`, of a signal that is measured once a `period`.
    pub fn of(now: MonoTime, taken: MonoTime, period: Duration) -> Self {
        let age = now.since(taken);
        if age >= period.saturating_mul(LOST_AFTER_PERIODS) {
            Self::Lost
        } else if age > period.saturating_mul(HELD_AFTER_PERIODS) {
            Self::Held
        } else {
            Self::Fresh
        }
    }
}

/// One probe at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProbeStatus {
    /// Its name.
    pub probe: SignalName,
    /// How often it is asked.
    pub period: Duration,
    /// Why it gives no usable values; `None` when it does.
    pub lost: Option<Reason>,
    /// Times that it answered.
    pub answers: u64,
    /// Times that it failed or panicked.
    pub failures: u64,
    /// Readings that could not be believed.
    pub rejected: u64,
    /// What its last answer took.
    pub cost: Cost,
    /// CPU time in a second, on average over all its answers.
    pub cpu_per_sec: Duration,
    /// What it says, by scope and signal.
    pub signals: Vec<SignalStatus>,
}

/// One signal at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SignalStatus {
    /// The last value that could be believed.
    pub reading: Reading,
    /// How old the value is now.
    pub age: Duration,
    /// How far it can be relied on.
    pub freshness: Freshness,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_counted_in_periods_of_the_signal() {
        let at = |seconds: u64| MonoTime::from_nanos(seconds * 1_000_000_000);
        let scrape = Duration::from_secs(15);
        let of = |age: u64| Freshness::of(at(1000), at(1000 - age), scrape);
        assert_eq!([of(0), of(16), of(30)], [Freshness::Fresh; 3], "a scrape of 15 s is not stale at 16 s");
        assert_eq!([of(31), of(74)], [Freshness::Held; 2]);
        assert_eq!([of(75), of(1000)], [Freshness::Lost; 2]);
        assert_eq!(Freshness::of(at(0), at(9), scrape), Freshness::Fresh);
    }
}
