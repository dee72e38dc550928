//! Time as an argument: [`Now`] pairs a monotonic and a wall reading, a [`Clock`] produces them.
//!
//! Durations (back-off, time-outs, pacing) are measured on [`MonoTime`]; recovery points, deadlines and windows
//! are on the wall. Pure code takes a `Now`; only the edge asks a `Clock`, and the real one lives in the facade.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Nanoseconds since the clock's own origin; never goes backwards. Covers 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MonoTime(u64);

impl MonoTime {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// The latest representable moment.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for MonoTime {
    type Output = Self;
    /// Saturates at [`MonoTime::MAX`].
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for MonoTime {
    type Output = Self;
    /// Saturates at [`MonoTime::ZERO`].
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Monotonic reading: for durations.
    pub mono: MonoTime,
    /// Wall reading: for recovery points, windows and reports.
    pub wall: Timestamp,
}

impl Now {
    /// Both clocks moved on by `by`; saturates.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self { mono: self.mono + by, wall: wall_plus(self.wall, by) }
    }
}

/// `wall + by`, saturating at the latest representable timestamp.
pub fn wall_plus(wall: Timestamp, by: Duration) -> Timestamp {
    // By its parts, without the 128 bits that a sum in nanoseconds takes: schedulers add to their clocks all the time.
    let nanos = wall.subsec_nanosecond() + by.subsec_nanos().cast_signed();
    let over = i64::from(nanos.div_euclid(1_000_000_000));
    let seconds = (wall.as_second() + over).checked_add_unsigned(by.as_secs());
    let sum = seconds.map(|seconds| Timestamp::new(seconds, nanos.rem_euclid(1_000_000_000)));
    sum.and_then(Result::ok).unwrap_or(Timestamp::MAX)
}

/// `wall - by`, saturating at the earliest representable timestamp.
pub fn wall_minus(wall: Timestamp, by: Duration) -> Timestamp {
    wall.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// Wall time from `now` until `then`; zero when `then` has passed.
pub fn wall_until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// Where a thread that waits on a clock can be woken when that clock is moved by hand.
pub trait Wake: Send + Sync {
    /// The clock has moved; look again.
    fn wake(&self);
}

/// A source of [`Now`].
///
/// Readings must never go backwards on the monotonic side; the wall may jump.
///
/// It is read often, by every thread, and while locks are held: a clock of one's own reads and returns. It must not call the
/// scheduler, which would wait for itself, and must not panic: on the thread that decides that would be the scheduler's end.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present reading.
    fn now(&self) -> Now;

    /// The monotonic side of [`now`](Self::now) alone, for callers that count nanoseconds: reading the wall costs
    /// as much again. The default reads both.
    fn mono(&self) -> MonoTime {
        self.now().mono
    }

    /// How long a thread that waits for `until` may really sleep before it looks at the clock again.
    /// `None`: until it is woken, which is what a hand-moved clock wants. The default is the remaining time.
    fn sleep_for(&self, until: MonoTime) -> Option<Duration> {
        Some(until.since(self.now().mono))
    }

    /// Registers `waker` to be called whenever the clock is moved by hand. Real clocks ignore it.
    fn on_move(&self, waker: Weak<dyn Wake>) {
        let _ = waker;
    }
}

/// A clock that stands still until it is moved: for tests, simulations and hosts that own their time.
///
/// ```
/// use sched_core::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new("2026-03-01T02:00:00Z".parse().unwrap());
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(clock.now().wall.to_string(), "2026-03-01T02:01:30Z");
/// ```
#[derive(Clone)]
pub struct ManualClock {
    shared: Arc<Mutex<ManualState>>,
}

struct ManualState {
    now: Now,
    wakers: Vec<Weak<dyn Wake>>,
}

impl ManualClock {
    /// A clock at monotonic zero and the given wall time.
    pub fn new(wall: Timestamp) -> Self {
        let now = Now { mono: MonoTime::ZERO, wall };
        Self { shared: Arc::new(Mutex::new(ManualState { now, wakers: Vec::new() })) }
    }

    /// Moves both clocks forward by `by`.
    pub fn advance(&self, by: Duration) {
        self.change(|now| *now = now.plus(by));
    }

    /// Moves both clocks forward so that the monotonic one reads `to`; does nothing when that has passed.
    pub fn advance_to(&self, to: MonoTime) {
        self.change(|now| *now = now.plus(to.since(now.mono)));
    }

    /// Sets the wall alone, as an operator or a time server does.
    pub fn step_wall(&self, to: Timestamp) {
        self.change(|now| now.wall = to);
    }

    fn change(&self, f: impl FnOnce(&mut Now)) {
        let wakers: Vec<_> = {
            let mut state = self.shared.lock();
            f(&mut state.now);
            state.wakers.retain(|w| w.strong_count() > 0);
            state.wakers.iter().filter_map(Weak::upgrade).collect()
        };
        for waker in wakers {
            waker.wake();
        }
    }
}

impl Default for ManualClock {
    /// Starts at 2026-01-05T00:00:00Z, a Monday.
    fn default() -> Self {
        Self::new(Timestamp::constant(1_767_571_200, 0))
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        self.shared.lock().now
    }

    fn sleep_for(&self, until: MonoTime) -> Option<Duration> {
        (self.now().mono >= until).then_some(Duration::ZERO)
    }

    fn on_move(&self, waker: Weak<dyn Wake>) {
        self.shared.lock().wakers.push(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_arithmetic_saturates() {
        assert_eq!(MonoTime::MAX + Duration::from_secs(1), MonoTime::MAX);
        assert_eq!(MonoTime::ZERO - Duration::from_secs(1), MonoTime::ZERO);
        assert_eq!(MonoTime::ZERO.since(MonoTime::MAX), Duration::ZERO);
    }

    #[test]
    fn wall_arithmetic_is_exact_and_saturates() {
        let walls =
            ["-000500-03-01T07:00:00.25Z", "1969-12-31T23:59:59.5Z", "2026-01-05T00:00:00.999999999Z"]
                .map(|text| text.parse::<Timestamp>().unwrap());
        let walls = walls.into_iter().chain([Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX]);
        let nanos = [0, 1, 499_999_999, 500_000_000, 750_000_000, 999_999_999];
        let secs = [0, 1, 59, 86_400, 400_000_000_000, 700_000_000_000, u64::MAX];
        for wall in walls {
            for by in secs.iter().flat_map(|secs| nanos.map(|nanos| Duration::new(*secs, nanos))) {
                let sum = wall.as_nanosecond() + i128::try_from(by.as_nanos()).unwrap();
                let exact = Timestamp::from_nanosecond(sum).unwrap_or(Timestamp::MAX);
                assert_eq!(wall_plus(wall, by), exact, "{wall} {by:?}");
            }
        }
    }

    #[test]
    fn default_manual_clock_starts_on_the_stated_monday() {
        assert_eq!(ManualClock::default().now().wall.to_string(), "2026-01-05T00:00:00Z");
    }

    #[test]
    fn stepping_the_wall_leaves_the_monotonic_clock_alone() {
        let clock = ManualClock::default();
        clock.advance(Duration::from_secs(5));
        clock.step_wall(Timestamp::UNIX_EPOCH);
        let now = clock.now();
        assert_eq!(now.mono, MonoTime::from_nanos(5_000_000_000));
        assert_eq!(now.wall, Timestamp::UNIX_EPOCH);
    }
}
