//! Levels that have to last: [`Lasting`], [`Steady`].

use std::time::Duration;

use sched_core::{LoadLevel, MonoTime, Now};

use super::detector::{DetectError, LoadReading};
use super::hysteresis::{Hysteresis, LevelThresholds, LevelThresholdsError};
use super::refine::Refine;

/// Believes a level only once it, or a higher one, was seen without a break for a while.
///
/// A lower level counts at once. An unknown reading is a break: nobody knows what was in between.
#[derive(Clone, Copy, Debug)]
pub struct Lasting {
    least: Duration,
    /// Since when the load was at least busy, and at least a peak.
    since: [Option<MonoTime>; 2],
}

impl Lasting {
    /// Believes what has lasted for `least`. Zero believes everything.
    pub fn new(least: Duration) -> Self {
        Self { least, since: [None; 2] }
    }

    fn believed(&mut self, now: MonoTime, seen: LoadLevel) -> LoadLevel {
        let mut believed = LoadLevel::Calm;
        for (since, level) in self.since.iter_mut().zip([LoadLevel::Busy, LoadLevel::Peak]) {
            *since = (seen >= level).then(|| since.unwrap_or(now));
            if since.is_some_and(|since| now.since(since) >= self.least) {
                believed = level;
            }
        }
        believed
    }
}

impl Refine for Lasting {
    fn refine(
        &mut self,
        now: Now,
        said: Result<LoadReading, DetectError>,
    ) -> Result<LoadReading, DetectError> {
        let mut reading = said.inspect_err(|_| self.since = [None; 2])?;
        let (seen, believed) = (reading.state.level, self.believed(now.mono, reading.state.level));
        if believed < seen {
            let text = &reading.state.reason.text;
            reading.state.reason.text = format!("{text}; {seen} for less than {:?}", self.least).into();
            reading.state.level = believed;
            // Whoever makes levels of the pressure has to wait as well.
            reading.pressure = None;
        }
        Ok(reading)
    }
}

/// Makes the level of a detector anew from its pressure, by thresholds with a gap, and holds it for a while.
///
/// For detectors without hysteresis of their own. A reading without a pressure counts by its level, as
/// [`LoadReading::strength`] says. An unknown reading changes nothing.
#[derive(Clone, Debug)]
pub struct Steady(Hysteresis);

impl Steady {
    /// The level falls only after a lower one has been asked for during `dwell`.
    ///
    /// # Errors
    /// When the thresholds contradict each other.
    pub fn new(thresholds: LevelThresholds, dwell: Duration) -> Result<Self, LevelThresholdsError> {
        Ok(Self(Hysteresis::new(thresholds, dwell)?))
    }
}

impl Refine for Steady {
    fn refine(
        &mut self,
        now: Now,
        said: Result<LoadReading, DetectError>,
    ) -> Result<LoadReading, DetectError> {
        let mut reading = said?;
        reading.state.level = self.0.update(now.mono, reading.strength());
        Ok(reading)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sched_core::{Clock, ManualClock, Reason};

    use super::*;

    const LEVELS: [LoadLevel; 3] = [LoadLevel::Calm, LoadLevel::Busy, LoadLevel::Peak];

    fn said(level: Option<LoadLevel>) -> Result<LoadReading, DetectError> {
        level.map(|level| LoadReading::new(level, Reason::new("told"))).ok_or(DetectError::NoTime)
    }

    proptest! {
        #[test]
        fn a_level_is_believed_exactly_when_it_was_seen_all_the_time(
            history in prop::collection::vec((0..20_u64, prop::option::of(0..3_usize)), 1..60), least in 0..40_u64
        ) {
            let clock = ManualClock::default();
            let mut lasting = Lasting::new(Duration::from_secs(least));
            let mut seen: Vec<(MonoTime, Option<LoadLevel>)> = vec![];
            for (wait, level) in history {
                clock.advance(Duration::from_secs(wait));
                let (now, level) = (clock.now(), level.map(|level| LEVELS[level]));
                seen.push((now.mono, level));
                let naive = level.map(|_| {
                    let lasted = |level| {
                        let run = seen.iter().rev().take_while(|(_, seen)| seen.is_some_and(|seen| seen >= level));
                        run.last().is_some_and(|(first, _)| now.mono.since(*first) >= Duration::from_secs(least))
                    };
                    LEVELS.into_iter().filter(|level| *level == LoadLevel::Calm || lasted(*level)).max().unwrap()
                });
                let found = lasting.refine(now, said(level)).ok().map(|reading| reading.state.level);
                prop_assert_eq!(found, naive);
            }
        }
    }

    #[test]
    fn what_is_not_believed_yet_says_so_and_has_no_pressure() {
        let now = ManualClock::default().now();
        let peak = said(Some(LoadLevel::Peak)).map(|reading| reading.pressure(3.0));
        let reading = Lasting::new(Duration::from_secs(5)).refine(now, peak).unwrap();
        assert_eq!(reading.state.reason.to_string(), "told; peak for less than 5s");
        assert_eq!((reading.state.level, reading.pressure), (LoadLevel::Calm, None));
    }

    #[test]
    fn a_steady_level_stays_within_the_gap_and_through_the_unknown() {
        let clock = ManualClock::default();
        let mut steady = Steady::new(LevelThresholds::default(), Duration::ZERO).unwrap();
        let mut level = |pressure: Option<f64>| {
            clock.advance(Duration::from_secs(1));
            let reading = pressure.map(|p| LoadReading::new(LoadLevel::Calm, Reason::new("")).pressure(p));
            steady.refine(clock.now(), reading.ok_or(DetectError::NoTime)).ok().map(|r| r.state.level)
        };
        assert_eq!(level(Some(0.9)), Some(LoadLevel::Calm));
        assert_eq!(level(Some(1.1)), Some(LoadLevel::Busy));
        assert_eq!(level(None), None);
        assert_eq!(level(Some(0.9)), Some(LoadLevel::Busy));
        assert_eq!(level(Some(0.7)), Some(LoadLevel::Calm));
    }
}
