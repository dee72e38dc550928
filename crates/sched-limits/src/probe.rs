//! What a capacity probe is, and what it says.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::Duration;

use sched_core::{NameError, Now, Scope, SignalName};
use serde::{Deserialize, Serialize};

/// Measures how much of something is in use.
///
/// Each probe is asked on a thread of its own, once a period: it may block. A probe that hangs, panics or returns
/// nonsense is reported as a lost signal and harms nobody else.
///
/// ```
/// use sched_limits::{CapacityProbe, ProbeError, Reading};
/// use sched_core::Now;
///
/// struct BackupVolume { free_bytes: fn() -> u64, total_bytes: u64 }
///
/// impl CapacityProbe for BackupVolume {
///     fn name(&self) -> &str {
///         "backup-volume"
///     }
///     fn sample(&mut self, _now: Now) -> Result<Vec<Reading>, ProbeError> {
///         let used = self.total_bytes - (self.free_bytes)();
///         Ok(vec![Reading::new("backup-volume", used as f64, "bytes").of(self.total_bytes as f64)])
///     }
/// }
/// ```
pub trait CapacityProbe: Send {
    /// A name for events and logs, unique among the probes of a scheduler.
    fn name(&self) -> &str;

    /// How often it wants to be asked. Default 1 s; a probe asked less often than a signal changes is no protection.
    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Measures. Rates should be taken over the monotonic time between two calls; the first call may return nothing.
    ///
    /// # Errors
    /// When nothing can be measured now. An error is an unknown value, never an idle one.
    fn sample(&mut self, now: Now) -> Result<Vec<Reading>, ProbeError>;
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reading {
    /// What was measured.
    pub signal: SignalName,
    /// Whom it concerns. Default: the whole fleet.
    pub scope: Scope,
    /// How much is in use, finite and not negative.
    pub value: f64,
    /// How much there is, positive; `None` when unknown, and then no threshold applies.
    pub capacity: Option<f64>,
    /// The unit of both.
    pub unit: Cow<'static, str>,
}

impl Reading {
    /// A value of unknown capacity.
    pub fn new(signal: impl Into<SignalName>, value: f64, unit: impl Into<Cow<'static, str>>) -> Self {
        let signal = signal.into();
        Self { signal, scope: Scope::default(), value, capacity: None, unit: unit.into() }
    }

    /// A share in use, from 0 to 1.
    pub fn share(signal: impl Into<SignalName>, value: f64) -> Self {
        Self::new(signal, value, "share").of(1.0)
    }

    /// Sets how much there is.
    #[must_use]
    pub fn of(mut self, capacity: f64) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// Sets whom it concerns.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// The share in use, where the capacity is known.
    pub fn utilization(&self) -> Option<f64> {
        self.capacity.map(|capacity| self.value / capacity)
    }

    /// Whether the reading can be believed.
    ///
    /// # Errors
    /// When the name is unusable, the value is not a finite number of at least 0, or the capacity is not positive.
    pub fn check(&self) -> Result<(), ReadingError> {
        let signal = || self.signal.clone();
        self.signal.check().map_err(|source| ReadingError::Name { signal: signal(), source })?;
        if !self.value.is_finite() || self.value < 0.0 {
            return Err(ReadingError::Value { signal: signal(), value: self.value });
        }
        match self.capacity {
            Some(capacity) if !capacity.is_finite() || capacity <= 0.0 => {
                Err(ReadingError::Capacity { signal: signal(), capacity })
            }
            _ => Ok(()),
        }
    }
}

/// Why a reading was rejected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadingError {
    /// The signal's name cannot be used.
    #[error("the signal name {signal:?} cannot be used: {source}")]
    Name {
        /// The name.
        signal: SignalName,
        /// Why.
        source: NameError,
    },
    /// The value is not a finite number of at least 0.
    #[error("{signal} reads {value}; a reading is a finite number of at least 0")]
    Value {
        /// The signal.
        signal: SignalName,
        /// What it read.
        value: f64,
    },
    /// The capacity is not a finite positive number.
    #[error("{signal} has a capacity of {capacity}; leave it out when it is unknown")]
    Capacity {
        /// The signal.
        signal: SignalName,
        /// Its capacity.
        capacity: f64,
    },
}

/// Why a probe could not measure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// What it measures cannot be had now.
    #[error("{0}")]
    Unavailable(String),
    /// Reading failed.
    #[error("cannot read {what}: {source}")]
    Io {
        /// What was read.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl ProbeError {
    /// A failure with only a text.
    pub fn unavailable(what: impl fmt::Display) -> Self {
        Self::Unavailable(what.to_string())
    }
}

/// A probe made of a closure.
pub struct FnProbe<F> {
    name: String,
    period: Duration,
    sample: F,
}

impl<F> FnProbe<F>
where
    F: FnMut(Now) -> Result<Vec<Reading>, ProbeError> + Send,
{
    /// A probe that calls `sample` once a `period`.
    pub fn new(name: impl Into<String>, period: Duration, sample: F) -> Self {
        Self { name: name.into(), period, sample }
    }
}

impl<F> CapacityProbe for FnProbe<F>
where
    F: FnMut(Now) -> Result<Vec<Reading>, ProbeError> + Send,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn sample(&mut self, now: Now) -> Result<Vec<Reading>, ProbeError> {
        (self.sample)(now)
    }
}

impl<F> fmt::Debug for FnProbe<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnProbe")
            .field("name", &self.name)
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_rejected_with_its_signal() {
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(Reading::share("cpu", value).check().unwrap_err().to_string().contains("cpu"));
        }
        assert!(Reading::new("net", 1.0, "bytes").of(0.0).check().is_err());
        assert!(Reading::new("", 1.0, "bytes").check().is_err());
        assert_eq!(Reading::new("net", 1.0, "bytes").utilization(), None);
        assert_eq!(Reading::new("net", 1.0, "bytes").of(4.0).utilization(), Some(0.25));
    }
}
