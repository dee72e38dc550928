//! Latency against what is usual: [`AgainstHealthy`].

use std::time::Duration;

use sched_core::{LoadState, MonoTime, Now, Reason};

use super::detector::{DetectError, LatencyReading, LoadReading};
use super::goal::GoalError;
use super::hysteresis::{Hysteresis, LevelThresholds};
use super::refine::Refine;

/// The quantile of the readings that is taken for healthy: what is raised for less than three quarters of the time does
/// not move it.
const QUANTILE: f64 = 0.25;
/// In which time the level rises by [`QUANTILE`], and falls by one less that, in logarithms.
const DAY: f64 = 86_400.0;
/// Readings until it is believed.
const WARM: u64 = 30;
/// Readings further apart tell no more than these: nobody knows what was in between.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// Learns the latency that is healthy, and calls the load busy when it is so many times that.
///
/// For detectors that tell a latency where nobody can say what it should be. The lower quartile of the readings is
/// learned, by steps that the quartile balances (Robbins and Monro, 1951): it rises by 28 % a day at most and
/// falls three times as fast. A backup of six hours moves it by 6 %, until the morning; twice the latency is accepted
/// after two or three days.
/// What the detector says itself goes on to count: the worse of both holds, so give it a generous target.
///
/// ```
/// use sched_workload::{AgainstHealthy, ForegroundDetector, ForegroundLatency, LatencyGoal, LoadDetectorExt};
/// use std::time::Duration;
///
/// let goal = LatencyGoal::p99(Duration::from_millis(500)).quantile(0.9);
/// let detector = ForegroundDetector::new(ForegroundLatency::new(), goal)?.refined(AgainstHealthy::times(1.5)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AgainstHealthy {
    times: f64,
    hysteresis: Hysteresis,
    readings: u64,
    /// Seconds; only meaningful after the first reading.
    healthy: f64,
    last: MonoTime,
}

impl AgainstHealthy {
    /// Busy over so many times the healthy latency, more than 1; a peak over twice that.
    ///
    /// # Errors
    /// When `times` is not a finite number over 1.
    pub fn times(times: f64) -> Result<Self, GoalError> {
        if !(times.is_finite() && times > 1.0) {
            return Err(GoalError::Times(times));
        }
        let hysteresis = Hysteresis::new(LevelThresholds::default(), Duration::from_secs(2))?;
        Ok(Self { times, hysteresis, readings: 0, healthy: 0.0, last: MonoTime::ZERO })
    }

    /// The healthy latency; `None` until 30 readings were seen.
    pub fn healthy(&self) -> Option<Duration> {
        (self.readings >= WARM).then(|| Duration::try_from_secs_f64(self.healthy).ok()).flatten()
    }

    fn learn(&mut self, now: MonoTime, seconds: f64) {
        let passed = if self.readings == 0 { Duration::ZERO } else { now.since(self.last).min(LONGEST_STEP) };
        self.last = now;
        self.readings = self.readings.saturating_add(1);
        if self.readings == 1 {
            self.healthy = seconds;
            return;
        }
        // In logarithms, so that it stays positive; the first steps are long, to find the scale.
        let first = if self.readings <= 2 * WARM { 2.0 / self.readings as f64 } else { 0.0 };
        let step = (passed.as_secs_f64() / DAY).max(first);
        let direction = if seconds < self.healthy { QUANTILE - 1.0 } else { QUANTILE };
        let moved = self.healthy * (step * direction).exp();
        // No step leads past what was seen.
        self.healthy = if direction > 0.0 { moved.min(seconds) } else { moved.max(seconds) };
    }
}

impl Refine for AgainstHealthy {
    fn refine(
        &mut self,
        now: Now,
        said: Result<LoadReading, DetectError>,
    ) -> Result<LoadReading, DetectError> {
        let mut reading = said?;
        let Some(latency) = reading.latency else { return Ok(reading) };
        // Less than a nanosecond is not measured, and would be learned for ever.
        self.learn(now.mono, latency.value.as_secs_f64().max(1e-9));
        let Some(healthy) = self.healthy() else { return Ok(reading) };
        let target = healthy.mul_f64(self.times.min(1e6));
        let beside = LatencyReading { target, ..latency };
        let ratio = latency.value.as_secs_f64() / (self.healthy * self.times);
        let level = self.hysteresis.update(now.mono, ratio);
        if level > reading.state.level {
            let text = format!("{}; {healthy:.1?} is healthy", reading.state.reason.text);
            let signal =
                reading.state.reason.measured.as_ref().map_or("latency".into(), |m| m.signal.to_string());
            let reason = Reason::measured(text, beside.measured(&signal));
            reading.state = LoadState::new(level, reason);
        }
        let pressure = reading.strength().max(ratio);
        Ok(reading.pressure(pressure))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sched_core::{Clock, LoadLevel, ManualClock};

    use super::*;

    fn reading(seconds: f64) -> LoadReading {
        let value = Duration::from_secs_f64(seconds);
        let latency = LatencyReading { value, target: Duration::from_secs(60), quantile: 0.99, samples: 100 };
        LoadReading::new(LoadLevel::Calm, Reason::new("p99")).latency(latency)
    }

    /// Ten seconds apart, so many hours long.
    fn hours(
        clock: &ManualClock,
        refine: &mut AgainstHealthy,
        hours: u64,
        seconds: impl Fn(u64) -> f64,
    ) -> Vec<LoadLevel> {
        let look = |n| {
            clock.advance(Duration::from_secs(10));
            refine.refine(clock.now(), Ok(reading(seconds(n)))).unwrap().state.level
        };
        (0..hours * 360).map(look).collect()
    }

    #[test]
    fn an_incident_of_hours_is_seen_all_the_time_and_a_new_level_is_accepted() {
        let (clock, mut refine) = (ManualClock::default(), AgainstHealthy::times(1.5).unwrap());
        let noisy = |base: f64| move |n: u64| base * (1.0 + 0.05 * ((n * 7919 % 100) as f64 / 100.0));
        let usual = hours(&clock, &mut refine, 48, noisy(0.010));
        assert!(usual.iter().all(|level| *level == LoadLevel::Calm));
        let incident = hours(&clock, &mut refine, 6, noisy(0.040));
        assert!(incident.iter().all(|level| *level >= LoadLevel::Busy));
        hours(&clock, &mut refine, 48, noisy(0.010));
        let healthy = refine.healthy().unwrap().as_secs_f64();
        assert!((0.0095..0.0106).contains(&healthy), "{healthy}");
        let shifted = hours(&clock, &mut refine, 72, noisy(0.020));
        assert_eq!(shifted[1], LoadLevel::Busy);
        assert_eq!(shifted.last(), Some(&LoadLevel::Calm));
    }

    #[test]
    fn a_backup_of_half_the_night_teaches_nothing() {
        let (clock, mut refine) = (ManualClock::default(), AgainstHealthy::times(1.3).unwrap());
        // Each day six hours of twice the latency.
        for _ in 0..10 {
            hours(&clock, &mut refine, 18, |n| 0.010 + (n % 10) as f64 * 1e-5);
            let raised = hours(&clock, &mut refine, 6, |_| 0.020);
            assert!(raised.iter().all(|level| *level == LoadLevel::Busy));
        }
        assert!(refine.healthy().unwrap() < Duration::from_micros(10_800));
    }

    #[test]
    fn the_detectors_own_goal_counts_and_unknown_stays_unknown() {
        let (clock, mut refine) = (ManualClock::default(), AgainstHealthy::times(1.5).unwrap());
        hours(&clock, &mut refine, 1, |_| 0.1);
        let healthy = refine.healthy().unwrap();
        assert_eq!(healthy, Duration::from_millis(100), "what never changes is learned as it is");
        let now = clock.now();
        let mut peak = reading(0.1);
        peak.state.level = LoadLevel::Peak;
        assert_eq!(refine.refine(now, Ok(peak)).unwrap().state.level, LoadLevel::Peak);
        assert_eq!(refine.refine(now, Err(DetectError::NoTime)), Err(DetectError::NoTime));
        for times in [1.0, 0.0, f64::NAN, f64::INFINITY] {
            assert!(AgainstHealthy::times(times).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_healthy_was_seen(seen in prop::collection::vec((0..100_000_u64, 0..2_000_000_000_u64), 30..200)) {
            let (clock, mut refine) = (ManualClock::default(), AgainstHealthy::times(2.0).unwrap());
            let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
            for (wait, nanos) in seen {
                clock.advance(Duration::from_millis(wait));
                let seconds = nanos as f64 / 1e9;
                (least, most) = (least.min(seconds.max(1e-9)), most.max(seconds.max(1e-9)));
                let reading = refine.refine(clock.now(), Ok(reading(seconds))).unwrap();
                prop_assert!(reading.pressure.is_some_and(|pressure| pressure.is_finite() && pressure >= 0.0));
            }
            let healthy = refine.healthy().unwrap().as_secs_f64();
            prop_assert!(healthy >= least - 1e-9 && healthy <= most + 1e-9, "{healthy} in {least}..{most}");
        }
    }
}
