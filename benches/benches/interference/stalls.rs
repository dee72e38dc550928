//! What the kernel says of a block: [`Stalls`], the cause of much that latencies show.

use std::ops::Sub;
use std::time::Duration;

/// For how long some task waited for processor and disk, since the machine's start or within a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stalls {
    cpu: Duration,
    io: Duration,
}

impl Stalls {
    /// Up to now; nothing where the kernel does not tell.
    pub(crate) fn now() -> Self {
        let total = |of: &str| {
            let text = std::fs::read_to_string(format!("/proc/pressure/{of}")).unwrap_or_default();
            let micros = text.lines().next().and_then(|some| some.rsplit("total=").next()?.parse().ok());
            Duration::from_micros(micros.unwrap_or(0))
        };
        Self { cpu: total("cpu"), io: total("io") }
    }

    /// As shares of the time.
    pub(crate) fn over(self, time: Duration) -> (f64, f64) {
        let share = |stalled: Duration| stalled.as_secs_f64() / time.as_secs_f64();
        (share(self.cpu), share(self.io))
    }
}

impl Sub for Stalls {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(earlier.cpu), io: self.io.saturating_sub(earlier.io) }
    }
}
