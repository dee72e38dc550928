//! What a load detector is, and what it says.

use std::time::Duration;

use sched_core::{LoadLevel, LoadState, Measured, Now, Reason, Scope, TechnologyName};

use super::foreground::LatencyWindow;

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
    /// When nothing can be said now. An error is an unknown load, never a low one; but of [`DetectError::TooFew`] a scheduler
    /// that learns the hours of the week learns that this one is idle.
    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError>;
}

impl<D: LoadDetector + ?Sized> LoadDetector for Box<D> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn scope(&self) -> Scope {
        (**self).scope()
    }

    fn period(&self) -> Duration {
        (**self).period()
    }

    fn latency_target(&self) -> Option<Duration> {
        (**self).latency_target()
    }

    fn healthy_latency(&self) -> Option<Duration> {
        (**self).healthy_latency()
    }

    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError> {
        (**self).detect(now)
    }
}

/// What a detector found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadReading {
    /// How busy, and why.
    pub state: LoadState,
    /// What was measured over its target, where there is one: 1 is the target. Finite, not negative. From it come levels
    /// of other thresholds than the detector's own.
    pub pressure: Option<f64>,
    /// The latency behind it, where there is one: the rate of backups is steered by it.
    pub latency: Option<LatencyReading>,
    /// The requests since the detector was asked before, where it saw each: what backups cost is measured by them.
    pub window: Option<LatencyWindow>,
    /// How busy single technologies find the same scope. Beside it `state` counts too: the worse of both holds.
    pub technologies: Vec<(TechnologyName, LoadState)>,
}

impl LoadReading {
    /// A level without anything measured.
    pub fn new(level: LoadLevel, reason: Reason) -> Self {
        let state = LoadState::new(level, reason);
        Self { state, pressure: None, latency: None, window: None, technologies: Vec::new() }
    }

    /// With what was measured over its target. One that is negative or not finite is left out.
    #[must_use]
    pub fn pressure(mut self, pressure: f64) -> Self {
        self.pressure = Some(pressure).filter(|pressure| pressure.is_finite() && *pressure >= 0.0);
        self
    }

    /// With the latency behind it, and the pressure that follows from it.
    #[must_use]
    pub fn latency(mut self, latency: LatencyReading) -> Self {
        self.latency = Some(latency);
        self.pressure(latency.ratio())
    }

    /// With the requests since the detector was asked before.
    #[must_use]
    pub fn window(mut self, window: LatencyWindow) -> Self {
        self.window = Some(window);
        self
    }

    /// The pressure; where none was measured the one that stands for the level, by the default thresholds: 0 for
    /// calm, 1.5 for busy, 2.5 for a peak.
    pub fn strength(&self) -> f64 {
        self.pressure.unwrap_or(match self.state.level {
            LoadLevel::Calm => 0.0,
            LoadLevel::Busy => 1.5,
            LoadLevel::Peak => 2.5,
        })
    }
}

/// A measured latency beside the one that is to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
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
    /// A latency at a quantile from 0 to 1, measured from so many requests, and what is to be kept.
    pub fn new(value: Duration, target: Duration, quantile: f64, samples: u64) -> Self {
        Self { value, target, quantile, samples }
    }

    /// The measurement behind a decision, in ms, under the name of `signal`.
    pub fn measured(&self, signal: &str) -> Measured {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        Measured::new(signal, ms(self.value), ms(self.target), "ms")
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
    /// What was measured is not a number, not finite or negative.
    #[error("{signal} is {value}; right is a number that is finite and not negative")]
    Value {
        /// What was measured.
        signal: String,
        /// What was found.
        value: f64,
    },
    /// What was measured is too old.
    #[error("the newest value is {age:?} old; at most {most:?} is believed")]
    Stale {
        /// How old.
        age: Duration,
        /// How old it may be.
        most: Duration,
    },
    /// A rate was asked for again without any time between, or for the first time.
    #[error("no time has passed yet to measure a rate over")]
    NoTime,
    /// Too many parts of a combination are unknown. The text says what the first of them says.
    #[error("{unknown} of {parts} parts are unknown, such as {example}")]
    Parts {
        /// Parts that are unknown.
        unknown: usize,
        /// All parts.
        parts: usize,
        /// The first of them, with its error.
        example: String,
    },
    /// Asking failed.
    #[error("{0}")]
    Failed(String),
}
