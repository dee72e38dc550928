//! A level that does not flap.

use std::time::Duration;

use sched_core::{LoadLevel, MonoTime};
use serde::{Deserialize, Serialize};

/// At which ratio of measured to target each level begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelThresholds {
    /// Busy above this ratio. Default 1.0: the target is missed.
    pub busy_above: f64,
    /// No longer busy below this ratio. Default .8.
    pub busy_below: f64,
    /// Peak above this ratio. Default 2.0: twice the target.
    pub peak_above: f64,
    /// No longer peak below this ratio. Default 1.2.
    pub peak_below: f64,
}

impl Default for LevelThresholds {
    fn default() -> Self {
        Self { busy_above: 1.0, busy_below: 0.8, peak_above: 2.0, peak_below: 1.2 }
    }
}

/// Thresholds that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "levels must satisfy 0 <= busy_below < busy_above <= peak_above and busy_below <= peak_below < peak_above; \
     got {0:?}"
)]
#[non_exhaustive]
pub struct LevelThresholdsError(pub LevelThresholds);

impl LevelThresholds {
    /// Whether they make sense together.
    ///
    /// # Errors
    /// When one is not finite, or they are out of order.
    pub fn check(self) -> Result<(), LevelThresholdsError> {
        let Self { busy_above, busy_below, peak_above, peak_below } = self;
        let finite = [busy_above, busy_below, peak_above, peak_below].iter().all(|x| x.is_finite());
        let ordered = 0.0 <= busy_below
            && busy_below < busy_above
            && busy_above <= peak_above
            && busy_below <= peak_below
            && peak_below < peak_above;
        if finite && ordered { Ok(()) } else { Err(LevelThresholdsError(self)) }
    }
}

/// Turns ratios into a level that rises at once, and falls when a lower ratio has lasted.
#[derive(Clone, Debug)]
pub struct Hysteresis {
    thresholds: LevelThresholds,
    dwell: Duration,
    level: LoadLevel,
    /// Since when the ratio asks for a lower level.
    lower_since: Option<MonoTime>,
}

impl Hysteresis {
    /// Starts calm. A level falls only after a lower one has been asked for during `dwell`.
    ///
    /// # Errors
    /// When the thresholds contradict each other.
    pub fn new(thresholds: LevelThresholds, dwell: Duration) -> Result<Self, LevelThresholdsError> {
        thresholds.check()?;
        Ok(Self { thresholds, dwell, level: LoadLevel::Calm, lower_since: None })
    }

    /// The present level.
    pub fn level(&self) -> LoadLevel {
        self.level
    }

    /// The level after a ratio of measured to target. One that is not a number changes nothing.
    pub fn update(&mut self, now: MonoTime, ratio: f64) -> LoadLevel {
        if ratio.is_nan() {
            return self.level;
        }
        let asked = self.asked(ratio);
        if asked >= self.level {
            self.level = asked;
            self.lower_since = None;
        } else {
            let since = *self.lower_since.get_or_insert(now);
            if now.since(since) >= self.dwell {
                self.level = asked;
                self.lower_since = None;
            }
        }
        self.level
    }

    fn asked(&self, ratio: f64) -> LoadLevel {
        let LevelThresholds { busy_above, busy_below, peak_above, peak_below } = self.thresholds;
        let stays_peak = self.level == LoadLevel::Peak && ratio >= peak_below;
        let stays_busy = self.level >= LoadLevel::Busy && ratio >= busy_below;
        if ratio > peak_above || stays_peak {
            LoadLevel::Peak
        } else if ratio > busy_above || stays_busy {
            LoadLevel::Busy
        } else {
            LoadLevel::Calm
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hysteresis(dwell: u64) -> Hysteresis {
        Hysteresis::new(LevelThresholds::default(), Duration::from_secs(dwell)).unwrap()
    }

    fn at(secs: u64) -> MonoTime {
        MonoTime::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn rises_at_once_and_falls_after_the_dwell() {
        let mut h = hysteresis(3);
        assert_eq!(h.update(at(0), 2.5), LoadLevel::Peak);
        assert_eq!(h.update(at(1), 0.1), LoadLevel::Peak);
        assert_eq!(h.update(at(2), 1.5), LoadLevel::Peak, "back in the band: the count starts anew");
        assert_eq!(h.update(at(3), 0.1), LoadLevel::Peak);
        assert_eq!(h.update(at(5), 0.1), LoadLevel::Peak);
        assert_eq!(h.update(at(6), 0.1), LoadLevel::Calm);
    }

    #[test]
    fn contradictions_are_refused() {
        let with = |change: fn(&mut LevelThresholds)| {
            let mut t = LevelThresholds::default();
            change(&mut t);
            t.check()
        };
        assert!(with(|t| t.busy_below = 1.0).is_err());
        assert!(with(|t| t.peak_above = 0.9).is_err());
        assert!(with(|t| t.peak_below = f64::NAN).is_err());
        assert!(with(|_| {}).is_ok());
    }

    proptest! {
        #[test]
        fn within_the_band_nothing_flaps(ratios in prop::collection::vec(0.81..0.99_f64, 1..100), busy in any::<bool>()) {
            let mut h = hysteresis(0);
            let start = h.update(at(0), if busy { 1.1 } else { 0.5 });
            for (t, ratio) in ratios.into_iter().enumerate() {
                prop_assert_eq!(h.update(at(t as u64), ratio), start);
            }
        }

        #[test]
        fn a_higher_ratio_never_gives_a_lower_level(
            history in prop::collection::vec(0.0..4.0_f64, 0..20), a in 0.0..4.0_f64, b in 0.0..4.0_f64
        ) {
            let mut h = hysteresis(2);
            for (t, ratio) in history.iter().enumerate() {
                h.update(at(t as u64), *ratio);
            }
            let next = |ratio| h.clone().update(at(50), ratio);
            prop_assert!(next(a.max(b)) >= next(a.min(b)));
            prop_assert_eq!(next(f64::NAN), h.level());
        }
    }
}
