//! Asking a probe once, and what that took: [`Sample`].

use std::ops::AddAssign;
use std::time::Duration;

use sched_core::{Clock, Now};
use serde::{Deserialize, Serialize};

use crate::probe::{CapacityProbe, ProbeError};
use crate::reading::Reading;

/// What one call of a probe gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When the probe was asked.
    pub taken: Now,
    /// What asking it took.
    pub cost: Cost,
    /// What it said.
    pub readings: Vec<Reading>,
}

/// What asking a probe took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Time on the clock, waiting included.
    pub wall: Duration,
    /// CPU time of the calling thread; zero where the system does not tell it.
    pub cpu: Duration,
}

impl Cost {
    /// This cost once a `period`, as CPU time in a second.
    pub fn cpu_per_sec(self, period: Duration) -> Duration {
        let periods = 1.0 / period.as_secs_f64().max(1e-9);
        Duration::try_from_secs_f64(self.cpu.as_secs_f64() * periods).unwrap_or(Duration::MAX)
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.wall = self.wall.saturating_add(other.wall);
        self.cpu = self.cpu.saturating_add(other.cpu);
    }
}

impl Sample {
    /// Asks `probe` on this thread. A panic of the probe passes through.
    ///
    /// # Errors
    /// The probe's own.
    pub fn take(probe: &mut dyn CapacityProbe, clock: &dyn Clock) -> Result<Self, ProbeError> {
        let (taken, cpu) = (clock.now(), thread_cpu());
        let readings = probe.sample(taken)?;
        let wall = clock.now().mono.since(taken.mono);
        Ok(Self { taken, cost: Cost { wall, cpu: thread_cpu().saturating_sub(cpu) }, readings })
    }

    /// Readings that were just taken at no cost: for tests and simulations.
    pub fn of(taken: Now, readings: impl Into<Vec<Reading>>) -> Self {
        Self { taken, cost: Cost::default(), readings: readings.into() }
    }
}

#[cfg(unix)]
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(not(unix))]
fn thread_cpu() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use sched_core::ManualClock;

    use super::*;
    use crate::given::FnProbe;

    #[test]
    fn a_sample_says_when_it_was_taken_and_what_it_took() {
        let clock = ManualClock::default();
        let before = clock.now();
        let moved = clock.clone();
        let mut probe = FnProbe::new("slow", Duration::from_secs(1), move |_| {
            moved.advance(Duration::from_millis(30));
            std::hint::black_box((0..2_000_000_u64).fold(0, |a: u64, b| a ^ std::hint::black_box(b)));
            Ok(vec![Reading::share("cpu", 0.5)])
        });
        let sample = Sample::take(&mut probe, &clock).unwrap();
        assert_eq!(sample.taken, before);
        assert_eq!(sample.cost.wall, Duration::from_millis(30));
        #[cfg(unix)]
        assert!(sample.cost.cpu > Duration::from_micros(100), "{:?}", sample.cost);
        assert_eq!(sample.cost.cpu_per_sec(Duration::from_millis(500)), sample.cost.cpu * 2);
        assert_eq!(Cost::default().cpu_per_sec(Duration::ZERO), Duration::ZERO);
    }
}
