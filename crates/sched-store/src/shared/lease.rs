//! Until when a scheduler may act: [`Lease`], and what was started while it held: [`Tenure`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sched_core::RunLease;

/// A moment on the clock of this machine since it was started, suspended or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// Now. A clock that stood still while the machine was suspended would find a lease good that others have taken over.
    pub fn now() -> Self {
        Self(since_boot())
    }

    /// The moment that much later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

#[cfg(unix)]
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    // That of macOS goes on while the machine is suspended.
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let at = rustix::time::clock_gettime(clock);
    Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or_default())
}

/// Since somebody first asked, which serves as well in one process. The counter of Windows goes on while the machine is
/// suspended.
#[cfg(not(unix))]
#[expect(clippy::disallowed_methods, reason = "the edge: a lease has a clock of its own")]
fn since_boot() -> Duration {
    static FIRST: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    FIRST.elapsed()
}

/// Until when a scheduler may act on what it owns. Clones are the same lease, for other threads to look at: before
/// anything is started, and before anything is written.
///
/// The server counts a lease from when it heard of the scheduler; the scheduler itself from before it spoke, and only two
/// thirds of it. What is left is there for its attempts and their tools to end. Others wait for the grace on top of the
/// whole lease before they take over.
#[derive(Clone, Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    length: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    /// Nanoseconds since the machine was started; 0 when it is lost.
    until: AtomicU64,
    /// How often it was lost.
    losses: AtomicU64,
}

impl Lease {
    /// One of so long a time, that does not hold yet.
    pub fn new(length: Duration) -> Self {
        Self { shared: Arc::default(), length }
    }

    /// The server has heard of the scheduler, which asked at that time.
    pub fn renew(&self, asked: BootTime) {
        let until = asked.plus(self.usable()).0.as_nanos();
        self.shared.until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// It is over, whatever time is left.
    pub fn lose(&self) {
        // In this order: whoever sees a later renewal sees the loss.
        self.shared.losses.fetch_add(1, Ordering::AcqRel);
        self.shared.until.store(0, Ordering::Release);
    }

    /// The lease up to its next loss.
    pub fn tenure(&self) -> Tenure {
        Tenure { losses: self.shared.losses.load(Ordering::Acquire), lease: self.clone() }
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
        BootTime(Duration::from_nanos(self.shared.until.load(Ordering::Acquire)))
    }

    /// How much of it its owner may use.
    fn usable(&self) -> Duration {
        self.length * 2 / 3
    }
}

/// A lease up to its next loss: whoever joins again after that has another one. What was started in its time runs under it.
#[derive(Clone, Debug)]
pub struct Tenure {
    lease: Lease,
    losses: u64,
}

impl Tenure {
    fn left_at(&self, now: BootTime) -> Duration {
        let until = self.lease.until();
        let lost = self.lease.shared.losses.load(Ordering::Acquire) != self.losses;
        if lost { Duration::ZERO } else { until.0.saturating_sub(now.0) }
    }
}

impl RunLease for Tenure {
    fn left(&self) -> Duration {
        self.left_at(BootTime::now())
    }

    fn length(&self) -> Duration {
        self.lease.usable()
    }

    /// The third that its owner may not use. The grace comes on top: it is for what is late.
    fn ends_within(&self) -> Duration {
        self.lease.length - self.lease.usable()
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
    fn what_ran_before_a_loss_does_not_run_under_the_next_lease() {
        let lease = Lease::new(Duration::from_secs(15));
        lease.renew(at(100));
        let before = lease.tenure();
        assert_eq!(before.left_at(at(104)), Duration::from_secs(6));
        assert_eq!(
            (before.length(), before.ends_within()),
            (Duration::from_secs(10), Duration::from_secs(5))
        );
        lease.renew(at(105));
        assert_eq!(before.left_at(at(105)), Duration::from_secs(10));
        assert_eq!(before.left_at(at(120)), Duration::ZERO);
        lease.lose();
        lease.renew(at(130));
        assert_eq!(before.left_at(at(130)), Duration::ZERO);
        assert_eq!(lease.tenure().left_at(at(130)), Duration::from_secs(10));
    }

    #[test]
    fn the_clock_goes_on() {
        let before = BootTime::now();
        assert!(before > at(0) && BootTime::now() >= before);
    }
}
