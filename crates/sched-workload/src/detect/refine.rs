//! What a detector says, changed: [`Refined`].

use std::time::Duration;

use sched_core::{Now, Scope};

use super::detector::{DetectError, LoadDetector, LoadReading};

/// Changes what a detector says.
pub trait Refine: Send {
    /// What to say in place of `said`, which is an error where nothing is known.
    ///
    /// # Errors
    /// When nothing can be said. What is unknown must not become calm.
    fn refine(
        &mut self,
        now: Now,
        said: Result<LoadReading, DetectError>,
    ) -> Result<LoadReading, DetectError>;
}

/// A detector whose readings are [refined](LoadDetectorExt::refined). Name, scope, period and latencies stay the detector's.
///
/// ```
/// use sched_core::{LoadLevel, Reason};
/// use sched_workload::{Lasting, LoadDetector, LoadDetectorExt, TimeHint};
/// use std::time::Duration;
///
/// let hint = TimeHint::new("sale", |_| Some((LoadLevel::Peak, Reason::new("a sale"))));
/// let mut detector = hint.refined(Lasting::new(Duration::from_secs(60)));
/// assert_eq!(detector.name(), "sale");
/// ```
#[derive(Clone, Debug)]
pub struct Refined<D, R> {
    detector: D,
    refine: R,
}

/// How detectors are refined.
pub trait LoadDetectorExt: LoadDetector + Sized {
    /// The same detector with what it says changed, such as by [`Lasting`](super::Lasting).
    fn refined<R: Refine>(self, refine: R) -> Refined<Self, R> {
        Refined { detector: self, refine }
    }
}

impl<D: LoadDetector> LoadDetectorExt for D {}

impl<D: LoadDetector, R: Refine> LoadDetector for Refined<D, R> {
    fn name(&self) -> &str {
        self.detector.name()
    }

    fn scope(&self) -> Scope {
        self.detector.scope()
    }

    fn period(&self) -> Duration {
        self.detector.period()
    }

    fn latency_target(&self) -> Option<Duration> {
        self.detector.latency_target()
    }

    fn healthy_latency(&self) -> Option<Duration> {
        self.detector.healthy_latency()
    }

    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError> {
        let said = self.detector.detect(now);
        self.refine.refine(now, said)
    }
}
