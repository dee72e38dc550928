//! One measured value: [`Reading`].

use std::borrow::Cow;
use std::time::Duration;

use sched_core::{NameError, Scope, SignalName};
use serde::{Deserialize, Serialize};

use crate::signal;

/// A share may exceed 1 by this much: two counters are never read at quite the same moment.
const SHARE_SLACK: f64 = 0.01;
/// A value that is so many times its capacity is in another unit, or comes from a counter that wrapped.
const IMPLAUSIBLE_TIMES_CAPACITY: f64 = 100.0;

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reading {
    /// What was measured. The names in [the list of signals](crate::signal) have fixed units.
    pub signal: SignalName,
    /// Whom it concerns. Default: the whole fleet.
    pub scope: Scope,
    /// How much is in use, finite and not negative.
    pub value: f64,
    /// How much there is, positive; `None` when unknown, and then no threshold applies.
    pub capacity: Option<f64>,
    /// The unit of both.
    pub unit: Cow<'static, str>,
    /// How old the value was when the probe was asked. Default 0: measured there and then.
    pub age: Duration,
    /// A value that is the same for longer than this comes from a source that froze. Default `None`: it may stay as
    /// it is for ever.
    pub moves_within: Option<Duration>,
}

impl Reading {
    /// A value of unknown capacity.
    pub fn new(signal: impl Into<SignalName>, value: f64, unit: impl Into<Cow<'static, str>>) -> Self {
        Self {
            signal: signal.into(),
            scope: Scope::default(),
            value,
            capacity: None,
            unit: unit.into(),
            age: Duration::ZERO,
            moves_within: None,
        }
    }

    /// A share in use, from 0 to 1.
    pub fn share(signal: impl Into<SignalName>, value: f64) -> Self {
        Self::new(signal, value, signal::SHARE).of(1.0)
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

    /// Says how old the value was when the probe was asked: for sources that measure on their own time.
    #[must_use]
    pub fn aged(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Says that the value of a live source changes within `time`: the same value for longer is rejected.
    #[must_use]
    pub fn moves_within(mut self, time: Duration) -> Self {
        self.moves_within = Some(time);
        self
    }

    /// The share in use, where the capacity is known.
    pub fn utilization(&self) -> Option<f64> {
        self.capacity.map(|capacity| self.value / capacity)
    }

    /// Whether the reading can be believed, taken by itself.
    ///
    /// # Errors
    /// When a name is unusable, the value is not a finite number of at least 0, the capacity is not positive, the unit
    /// is not the signal's, a share exceeds 1, or the value exceeds a hundred times the capacity.
    pub fn check(&self) -> Result<(), ReadingError> {
        let signal = || self.signal.clone();
        self.signal.check().map_err(|source| ReadingError::Name { signal: signal(), source })?;
        self.scope.check().map_err(|source| ReadingError::Scope { signal: signal(), source })?;
        if !self.value.is_finite() || self.value < 0.0 {
            return Err(ReadingError::Value { signal: signal(), value: self.value });
        }
        signal::accepts(&self.signal, &self.unit).map_err(|expected| ReadingError::Unit {
            signal: signal(),
            found: self.unit.clone(),
            expected,
        })?;
        if self.unit == signal::SHARE && self.value > 1.0 + SHARE_SLACK {
            return Err(ReadingError::Share { signal: signal(), value: self.value });
        }
        match self.capacity {
            Some(capacity) if !capacity.is_finite() || capacity <= 0.0 => {
                Err(ReadingError::Capacity { signal: signal(), capacity })
            }
            Some(capacity) if self.value > IMPLAUSIBLE_TIMES_CAPACITY * capacity => {
                Err(ReadingError::Implausible { signal: signal(), value: self.value, capacity })
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
    /// The scope's name cannot be used.
    #[error("the scope of {signal} cannot be used: {source}")]
    Scope {
        /// The signal.
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
    /// The signal is always measured in another unit.
    #[error("{signal} is in {found:?}; it must be in {expected:?}, or be a share from 0 to 1")]
    Unit {
        /// The signal.
        signal: SignalName,
        /// Its unit.
        found: Cow<'static, str>,
        /// The unit that is right.
        expected: &'static str,
    },
    /// A share is above 1, as percents are.
    #[error("{signal} reads {value} as a share; a share is from 0 to 1")]
    Share {
        /// The signal.
        signal: SignalName,
        /// What it read.
        value: f64,
    },
    /// The value is so far above the capacity that one of them is in another unit, or a counter wrapped.
    #[error("{signal} reads {value} of {capacity}: is one of them in another unit?")]
    Implausible {
        /// The signal.
        signal: SignalName,
        /// What it read.
        value: f64,
        /// Its capacity.
        capacity: f64,
    },
    /// One sample has two readings of the same signal and scope.
    #[error("{signal} of {scope} is read twice in one sample")]
    Duplicate {
        /// The signal.
        signal: SignalName,
        /// The scope.
        scope: Scope,
    },
    /// The unit is not what it was before.
    #[error("{signal} is in {found:?} and was in {before:?}")]
    UnitChanged {
        /// The signal.
        signal: SignalName,
        /// Its unit.
        found: Cow<'static, str>,
        /// The unit before.
        before: Cow<'static, str>,
    },
    /// The value was measured before the one that was told last.
    #[error("{signal} is {by:?} older than what was told before")]
    Backwards {
        /// The signal.
        signal: SignalName,
        /// By how much.
        by: Duration,
    },
    /// The value has not moved although a live source would.
    #[error("{signal} has read {value} for {since:?}; a live source moves within {within:?}")]
    Frozen {
        /// The signal.
        signal: SignalName,
        /// What it reads.
        value: f64,
        /// For how long.
        since: Duration,
        /// In what time it should have moved.
        within: Duration,
    },
    /// The probe tells more signals than can be kept.
    #[error("{signal} is one signal too many: a probe may tell {most}")]
    TooMany {
        /// The signal.
        signal: SignalName,
        /// How many it may tell.
        most: usize,
    },
}

impl ReadingError {
    /// The signal that it is about.
    pub fn signal(&self) -> &SignalName {
        match self {
            Self::Name { signal, .. }
            | Self::Scope { signal, .. }
            | Self::Value { signal, .. }
            | Self::Capacity { signal, .. }
            | Self::Unit { signal, .. }
            | Self::Share { signal, .. }
            | Self::Implausible { signal, .. }
            | Self::Duplicate { signal, .. }
            | Self::UnitChanged { signal, .. }
            | Self::Backwards { signal, .. }
            | Self::Frozen { signal, .. }
            | Self::TooMany { signal, .. } => signal,
        }
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
        assert!(Reading::new("network", 1.0, "bytes/s").of(0.0).check().is_err());
        assert!(Reading::new("", 1.0, "bytes").check().is_err());
        let nowhere = Reading::share("cpu", 0.5).scope(Scope::Host("".into()));
        assert!(matches!(nowhere.check(), Err(ReadingError::Scope { .. })));
        assert_eq!(Reading::new("fuel", 1.0, "litres").utilization(), None);
        assert_eq!(Reading::new("fuel", 1.0, "litres").of(4.0).utilization(), Some(0.25));
    }

    #[test]
    fn the_wrong_unit_is_noticed() {
        let percent = Reading::share("cpu", 37.0).check();
        assert!(matches!(percent, Err(ReadingError::Share { .. })), "{percent:?}");
        assert_eq!(Reading::share("psi.io", 1.004).check(), Ok(()));
        let bits = Reading::new("network:eth0", 1.0, "bits/s").check().unwrap_err();
        assert!(bits.to_string().contains("must be in \"bytes/s\""), "{bits}");
        let kib_of_gib = Reading::new("memory", 8_000_000.0, "bytes").of(16.0).check();
        assert!(matches!(kib_of_gib, Err(ReadingError::Implausible { .. })), "{kib_of_gib:?}");
        let wrapped = Reading::new("fuel", u64::MAX as f64, "litres").of(1e9).check();
        assert!(matches!(wrapped, Err(ReadingError::Implausible { .. })), "{wrapped:?}");
    }
}
