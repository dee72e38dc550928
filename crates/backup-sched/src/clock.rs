//! The real clock: the only place that reads it.

use std::sync::OnceLock;
use std::time::Instant;

use jiff::Timestamp;
use sched_core::{Clock, MonoTime, Now};

/// The machine's clocks: `Instant` for durations, the system's wall clock for deadlines.
///
/// Every value counts from the same origin, the first reading in the process. On Linux the monotonic side stands
/// still while the machine is suspended.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the real clock")]
    fn now(&self) -> Now {
        Now { mono: self.mono(), wall: Timestamp::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the real clock")]
    fn mono(&self) -> MonoTime {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        MonoTime::ZERO + ORIGIN.get_or_init(Instant::now).elapsed()
    }
}
