//! From which share in use nothing new may start.

use std::collections::BTreeMap;

use sched_core::SignalName;
use serde::{Deserialize, Serialize};

use crate::signal;

/// Two shares in use, with a gap between them so that a gate does not flap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    close_above: f64,
    open_below: f64,
}

impl Threshold {
    /// Closes above one share in use and opens below another.
    ///
    /// # Errors
    /// Unless both are finite, not negative, and `open_below` is less than `close_above`.
    pub fn new(close_above: f64, open_below: f64) -> Result<Self, ThresholdError> {
        let usable = |share: f64| share.is_finite() && share >= 0.0;
        if usable(close_above) && usable(open_below) && open_below < close_above {
            Ok(Self { close_above, open_below })
        } else {
            Err(ThresholdError { close_above, open_below })
        }
    }

    /// The share in use above which the gate closes.
    pub fn close_above(self) -> f64 {
        self.close_above
    }

    /// The share in use below which the gate opens.
    pub fn open_below(self) -> f64 {
        self.open_below
    }

    /// Whether the gate is closed after `utilization` was read; in between it stays as it is.
    pub(crate) fn is_closed(self, was_closed: bool, utilization: f64) -> bool {
        if was_closed { utilization >= self.open_below } else { utilization > self.close_above }
    }
}

/// A threshold that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "a threshold must close above a higher share than it opens below, both at least 0: got close above \
     {close_above}, open below {open_below}"
)]
#[non_exhaustive]
pub struct ThresholdError {
    /// The share to close above.
    pub close_above: f64,
    /// The share to open below.
    pub open_below: f64,
}

/// The threshold of each signal; a signal without one is measured and closes nothing.
///
/// The default closes on what hurts the machine as a whole, whatever the application's latency says:
///
/// | signal | close above | open below | why |
/// |---|---|---|---|
/// | `cpu` | .95 | .85 | no idle time is left to absorb a burst |
/// | `memory` | .92 | .88 | page cache is about to be taken from the database |
/// | `psi.memory` | .20 | .10 | tasks stall on memory; systemd-oomd acts at .60 |
/// | `disk` | .90 | .75 | only where the disk's speed was configured |
/// | `network` | .90 | .75 | only where the link's speed is known or was configured |
///
/// I/O pressure has none: backups themselves cause it, and the rate law is there to limit that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thresholds(BTreeMap<SignalName, Threshold>);

impl Thresholds {
    /// No threshold at all.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// With the threshold of one signal set.
    #[must_use]
    pub fn with(mut self, signal: impl Into<SignalName>, threshold: Threshold) -> Self {
        self.0.insert(signal.into(), threshold);
        self
    }

    /// With no threshold for one signal.
    #[must_use]
    pub fn without(mut self, signal: impl Into<SignalName>) -> Self {
        self.0.remove(&signal.into());
        self
    }

    /// The threshold of a signal: its own, or that of its [`kind`](crate::signal::kind), as `network` for
    /// `network:eth0`.
    pub fn of(&self, signal: &SignalName) -> Option<Threshold> {
        self.0.get(signal).or_else(|| self.0.get(&signal::kind(signal).into())).copied()
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        let defaults = [
            ("cpu", 0.95, 0.85),
            ("memory", 0.92, 0.88),
            ("psi.memory", 0.20, 0.10),
            ("disk", 0.90, 0.75),
            ("network", 0.90, 0.75),
        ];
        let entry = |(signal, close_above, open_below): (&str, f64, f64)| {
            (SignalName::from(signal), Threshold { close_above, open_below })
        };
        Self(defaults.into_iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reversed_and_absurd_thresholds_are_refused() {
        for (close, open) in [(0.5, 0.5), (0.4, 0.5), (f64::NAN, 0.1), (0.5, -0.1), (f64::INFINITY, 0.5)] {
            assert!(Threshold::new(close, open).is_err(), "{close} {open}");
        }
    }

    #[test]
    fn a_kind_of_signal_stands_for_those_without_a_threshold_of_their_own() {
        let own = Threshold::new(0.5, 0.4).unwrap();
        let thresholds = Thresholds::default().with("network:eth1", own);
        assert_eq!(thresholds.of(&"network:eth0".into()), thresholds.of(&"network".into()));
        assert_eq!(thresholds.of(&"network:eth1".into()), Some(own));
        assert_eq!(thresholds.of(&"cpu.steal".into()), None);
    }

    #[test]
    fn between_its_two_shares_a_gate_stays_as_it_is() {
        let threshold = Threshold::new(0.9, 0.7).unwrap();
        assert!(!threshold.is_closed(false, 0.8));
        assert!(threshold.is_closed(true, 0.8));
        assert!(threshold.is_closed(false, 0.91));
        assert!(!threshold.is_closed(true, 0.69));
    }
}
