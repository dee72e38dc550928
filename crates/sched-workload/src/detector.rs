//! What a load detector is, and what it says.

use std::time::Duration;

use sched_core::{LoadLevel, LoadState, Measured, Now, Reason, Scope};

/// Says how busy the foreground is.
///
/// Each detector is asked on a thread of its own, once a period: it may block. One that hangs, panics or fails is a
/// lost signal: neither busy nor calm.
///
/// ```
/// use sched_core::{LoadLevel, Now, Reason};
/// use sched_workload::{DetectError, LoadDetector, LoadReading};
///
/// struct QueueDepth(fn() -> u32);
///
/// impl LoadDetector for QueueDepth {
///     fn name(&self) -> &str {
///         "queue-depth"
///     }
///     fn detect(&mut self, _now: Now) -> Result<LoadReading, DetectError> {
///         let depth = (self.0)();
///         let level = if depth > 100 { LoadLevel::Busy } else { LoadLevel::Calm };
///         Ok(LoadReading::new(level, Reason::new(format!("{depth} requests queued"))))
///     }
/// }
/// ```
pub trait LoadDetector: Send {
    /// A name for events and logs, unique among the detectors of a scheduler.
    fn name(&self) -> &str;

    /// Whom its readings concern. Default: the whole fleet.
    fn scope(&self) -> Scope {
        Scope::Fleet
    }

    /// How often it wants to be asked. Default 1 s.
    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// The latency that is to be kept, for detectors that report one: the rate starts low until the first reading.
    /// Default: none.
    fn latency_target(&self) -> Option<Duration> {
        None
    }

    /// The latency without backups, where it is known: the rate is then steered to stay within a tenth of it, rather
    /// than by the target. Default: none.
    fn healthy_latency(&self) -> Option<Duration> {
        None
    }

    /// Looks at the foreground.
    ///
    /// # Errors
    /// When nothing can be said now. An error is an unknown load, never a low one.
    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError>;
}

/// What a detector found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadReading {
    /// How busy, and why.
    pub state: LoadState,
    /// The latency behind it, where there is one: the rate of backups is steered by it.
    pub latency: Option<LatencyReading>,
}

impl LoadReading {
    /// A level without a latency.
    pub fn new(level: LoadLevel, reason: Reason) -> Self {
        Self { state: LoadState { level, reason }, latency: None }
    }

    /// With the latency behind it.
    #[must_use]
    pub fn latency(mut self, latency: LatencyReading) -> Self {
        self.latency = Some(latency);
        self
    }
}

/// A measured latency beside the one that is to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyReading {
    /// What was measured.
    pub value: Duration,
    /// What is to be kept.
    pub target: Duration,
    /// Which quantile both are, from 0 to 1.
    pub quantile: f64,
    /// Requests that it was measured from.
    pub samples: u64,
}

impl LatencyReading {
    /// The measurement behind a decision, in ms, under the name of `signal`.
    pub fn measured(&self, signal: &str) -> Measured {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        Measured {
            signal: signal.into(),
            value: ms(self.value),
            threshold: ms(self.target),
            unit: "ms".into(),
        }
    }

    /// Measured over target: what levels are held against.
    pub(crate) fn ratio(&self) -> f64 {
        self.value.as_secs_f64() / self.target.as_secs_f64()
    }
}

/// Why a detector can say nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// Too little happened to measure.
    #[error("only {found} requests were recorded in {window:?}, {needed} are needed")]
    TooFew {
        /// Requests recorded.
        found: u64,
        /// Requests needed.
        needed: u64,
        /// In how much time.
        window: Duration,
    },
    /// Asking failed.
    #[error("{0}")]
    Failed(String),
}
