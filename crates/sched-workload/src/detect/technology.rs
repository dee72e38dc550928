//! Thresholds of single technologies: [`PerTechnology`].

use std::time::Duration;

use sched_core::{LoadState, Now, Reason, TechnologyName};

use super::detector::{DetectError, LoadReading};
use super::hysteresis::{Hysteresis, LevelThresholds, LevelThresholdsError};
use super::refine::Refine;

/// Says how busy single technologies find what a detector measures, each by thresholds of its own.
///
/// What the detector says itself goes on to count for all technologies, so thresholds of one can only hold it back more:
/// make the detector's own those of the technology that bears most. A reading without a pressure says nothing of single
/// technologies, and they are as busy as all.
#[derive(Clone, Debug)]
pub struct PerTechnology {
    dwell: Duration,
    technologies: Vec<(TechnologyName, Hysteresis)>,
}

impl PerTechnology {
    /// Thresholds of no technology yet. A level falls only after a lower one has been asked for during `dwell`.
    pub fn new(dwell: Duration) -> Self {
        Self { dwell, technologies: Vec::new() }
    }

    /// With the thresholds of one technology; the last that are given count.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn with(
        mut self,
        technology: impl Into<TechnologyName>,
        thresholds: LevelThresholds,
    ) -> Result<Self, LevelThresholdsError> {
        let (technology, hysteresis) = (technology.into(), Hysteresis::new(thresholds, self.dwell)?);
        self.technologies.push((technology, hysteresis));
        Ok(self)
    }
}

impl Refine for PerTechnology {
    fn refine(
        &mut self,
        now: Now,
        said: Result<LoadReading, DetectError>,
    ) -> Result<LoadReading, DetectError> {
        let mut reading = said?;
        for (technology, hysteresis) in &mut self.technologies {
            let state = match reading.pressure {
                Some(pressure) => {
                    let level = hysteresis.update(now.mono, pressure);
                    let felt = &reading.state.reason;
                    let mut reason = Reason::new(format!("{}, as {technology} feels it", felt.text));
                    reason.measured.clone_from(&felt.measured);
                    LoadState::new(level, reason)
                }
                None => reading.state.clone(),
            };
            reading.technologies.retain(|(known, _)| known != technology);
            reading.technologies.push((technology.clone(), state));
        }
        Ok(reading)
    }
}

#[cfg(test)]
mod tests {
    use sched_core::LoadLevel::{self, Busy, Calm, Peak};
    use sched_core::{Clock, ManualClock};

    use super::*;

    #[test]
    fn each_technology_has_its_level_by_its_own_thresholds() {
        let frail = LevelThresholds { busy_above: 0.3, busy_below: 0.2, peak_above: 0.6, peak_below: 0.5 };
        let mut refine = PerTechnology::new(Duration::ZERO).with("etcd", LevelThresholds::default()).unwrap();
        refine = refine.with("sqlite", LevelThresholds::default()).unwrap().with("etcd", frail).unwrap();
        let clock = ManualClock::default();
        let mut levels = |pressure: f64| {
            let reading = LoadReading::new(Calm, Reason::new("told")).pressure(pressure);
            let reading = refine.refine(clock.now(), Ok(reading)).unwrap();
            assert_eq!(reading.state.level, Calm, "for all it is what the detector says");
            let level = |name: &str| -> LoadLevel {
                let of: Vec<_> =
                    reading.technologies.iter().filter(|(known, _)| known.as_str() == name).collect();
                assert_eq!(of.len(), 1);
                of[0].1.level
            };
            (level("etcd"), level("sqlite"))
        };
        assert_eq!(levels(0.1), (Calm, Calm));
        assert_eq!(levels(0.7), (Peak, Calm));
        assert_eq!(levels(0.55), (Peak, Calm), "in the gap");
        assert_eq!(levels(1.1), (Peak, Busy));
        assert_eq!(levels(f64::NAN), (Calm, Calm), "no pressure: as busy as all");
        let unknown = refine.refine(clock.now(), Err(DetectError::NoTime));
        assert_eq!(unknown, Err(DetectError::NoTime));
        assert!(
            PerTechnology::new(Duration::ZERO)
                .with("x", LevelThresholds { busy_above: 0.0, ..frail })
                .is_err()
        );
    }
}
