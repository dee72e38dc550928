//! Until when a scheduler may act: [`Lease`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment on the clock of this machine since it was started, suspended or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// Now. A clock that stood still while the machine was suspended would find a lease good that others have taken over.
    pub fn now() -> Self {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let at = rustix::time::clock_gettime(clock);
        Self(Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or_default()))
    }

    /// The moment that much later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// Until when a scheduler may act on what it owns. Clones are the same lease, for other threads to look at: before
/// anything is started, and before anything is written.
///
/// The server counts a lease from when it heard of the scheduler; the scheduler itself from before it spoke, and only two
/// thirds of it. What is left is there for its attempts and their children to end, before anybody takes over.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Nanoseconds since the machine was started; 0 when it is lost.
    until: Arc<AtomicU64>,
    length: Duration,
}

impl Lease {
    /// One of so long a time, that does not hold yet.
    pub fn new(length: Duration) -> Self {
        Self { until: Arc::default(), length }
    }

    /// The server has heard of the scheduler, which asked at that time.
    pub fn renew(&self, asked: BootTime) {
        let until = asked.plus(self.length * 2 / 3).0.as_nanos();
        self.until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// It is over, whatever time is left.
    pub fn lose(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether the scheduler may act at `now`.
    pub fn holds_at(&self, now: BootTime) -> bool {
        now < self.until()
    }

    /// Whether the scheduler may act.
    pub fn holds(&self) -> bool {
        self.holds_at(BootTime::now())
    }

    /// When it runs out unless it is renewed.
    pub fn until(&self) -> BootTime {
        BootTime(Duration::from_nanos(self.until.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> BootTime {
        BootTime(Duration::from_secs(secs))
    }

    #[test]
    fn it_ends_for_its_owner_before_it_ends_for_others() {
        let lease = Lease::new(Duration::from_secs(15));
        assert!(!lease.holds_at(at(0)) && !lease.holds_at(at(9)));
        lease.renew(at(100));
        assert!(lease.holds_at(at(109)) && !lease.holds_at(at(110)));
        lease.renew(at(104));
        assert!(lease.clone().holds_at(at(113)));
        lease.lose();
        assert!(!lease.holds_at(at(104)));
    }

    #[test]
    fn the_clock_goes_on() {
        let before = BootTime::now();
        assert!(before > at(0) && BootTime::now() >= before);
    }
}
