//! A number against a target: [`Gauge`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sched_core::{Measured, MonoTime, Now, Reason, Scope};

use super::detector::{DetectError, LoadDetector, LoadReading};
use super::goal::GoalError;
use super::hysteresis::{Hysteresis, LevelThresholds};

/// What a number is held against, and how it is watched.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GaugeGoal {
    /// The value to stay below, finite and over zero.
    pub target: f64,
    /// The unit of target and values, such as `requests/s`, for people.
    pub unit: Cow<'static, str>,
    /// How often it is looked at. Default 1 s.
    pub period: Duration,
    /// At which ratios of measured to target the load counts as busy and as a peak.
    pub levels: LevelThresholds,
    /// How long a lower load must last before it is believed. Default two periods.
    pub dwell: Option<Duration>,
    /// How old a value may be. Default five periods.
    pub max_age: Option<Duration>,
}

impl GaugeGoal {
    /// Stay below a value.
    pub fn below(target: f64, unit: impl Into<Cow<'static, str>>) -> Self {
        let period = Duration::from_secs(1);
        let levels = LevelThresholds::default();
        Self { target, unit: unit.into(), period, levels, dwell: None, max_age: None }
    }

    /// Sets how often it is looked at.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// Sets the ratios of the levels.
    #[must_use]
    pub fn levels(mut self, levels: LevelThresholds) -> Self {
        self.levels = levels;
        self
    }

    /// Sets how old a value may be.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Whether the goal makes sense.
    ///
    /// # Errors
    /// The first field that does not, with what would be right.
    pub fn check(&self) -> Result<(), GoalError> {
        if !(self.target.is_finite() && self.target > 0.0) {
            return Err(GoalError::Target(self.target));
        }
        if self.period.is_zero() {
            return Err(GoalError::ZeroPeriod);
        }
        Ok(self.levels.check()?)
    }
}

/// Makes readings of values that have a goal.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) name: String,
    pub(super) goal: GaugeGoal,
    hysteresis: Hysteresis,
}

impl Meter {
    pub(super) fn new(name: impl Into<String>, goal: GaugeGoal) -> Result<Self, GoalError> {
        goal.check()?;
        let dwell = goal.dwell.unwrap_or(goal.period.saturating_mul(2));
        Ok(Self { name: name.into(), hysteresis: Hysteresis::new(goal.levels, dwell)?, goal })
    }

    pub(super) fn read(
        &mut self,
        now: MonoTime,
        value: f64,
        text: impl Into<Cow<'static, str>>,
    ) -> Result<LoadReading, DetectError> {
        if !(value.is_finite() && value >= 0.0) {
            return Err(DetectError::Value { signal: self.name.clone(), value });
        }
        // A target next to nothing must not make an infinite pressure.
        let pressure = (value / self.goal.target).min(f64::MAX);
        let level = self.hysteresis.update(now, pressure);
        let (signal, unit) = (self.name.as_str(), self.goal.unit.clone());
        let measured = Measured::new(signal, value, self.goal.target, unit);
        Ok(LoadReading::new(level, Reason::measured(text, measured)).pressure(pressure))
    }
}

/// A value, and how old it is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GaugeValue {
    /// The value.
    pub value: f64,
    /// How long ago it was measured.
    pub age: Duration,
}

impl GaugeValue {
    /// A value that was measured so long ago.
    pub fn new(value: f64, age: Duration) -> Self {
        Self { value, age }
    }
}

impl From<f64> for GaugeValue {
    /// A value that was measured just now.
    fn from(value: f64) -> Self {
        Self { value, age: Duration::ZERO }
    }
}

/// Asks a closure for a number once a period and holds it against a target: a queue's depth, what a query to a metrics
/// server says, a share of CPU.
///
/// The closure gives an `f64`, or a [`GaugeValue`] if the value has an age. An error, a value that is negative or not
/// finite, and one older than the goal allows are an unknown load.
///
/// ```
/// use sched_core::{Clock, LoadLevel, ManualClock};
/// use sched_workload::{Gauge, GaugeGoal, LoadDetector};
///
/// let queued = || Ok::<f64, std::io::Error>(130.0);
/// let mut gauge = Gauge::new("queue", GaugeGoal::below(100.0, "requests"), move |_| queued())?;
/// let reading = gauge.detect(ManualClock::default().now())?;
/// assert_eq!((reading.state.level, reading.pressure), (LoadLevel::Busy, Some(1.3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Gauge<F> {
    meter: Meter,
    scope: Scope,
    ask: F,
}

impl<F, V, E> Gauge<F>
where
    F: FnMut(Now) -> Result<V, E> + Send,
    V: Into<GaugeValue>,
    E: fmt::Display,
{
    /// A detector that asks `ask` once in the goal's period.
    ///
    /// # Errors
    /// When the goal makes no sense.
    pub fn new(name: impl Into<String>, goal: GaugeGoal, ask: F) -> Result<Self, GoalError> {
        Ok(Self { meter: Meter::new(name, goal)?, scope: Scope::Fleet, ask })
    }

    /// Sets whom it concerns. Default: the whole fleet.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

impl<F, V, E> LoadDetector for Gauge<F>
where
    F: FnMut(Now) -> Result<V, E> + Send,
    V: Into<GaugeValue>,
    E: fmt::Display,
{
    fn name(&self) -> &str {
        &self.meter.name
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn period(&self) -> Duration {
        self.meter.goal.period
    }

    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError> {
        let asked = (self.ask)(now).map_err(|error| DetectError::Failed(error.to_string()))?;
        let GaugeValue { value, age } = asked.into();
        let goal = &self.meter.goal;
        let most = goal.max_age.unwrap_or(goal.period.saturating_mul(5));
        if age > most {
            return Err(DetectError::Stale { age, most });
        }
        self.meter.read(now.mono, value, "measured")
    }
}

impl<F> fmt::Debug for Gauge<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge")
            .field("meter", &self.meter)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// Where whoever has values hands in the newest one: for a [`Gauge`] of signals that come by themselves, as a host's do.
/// Clones are the same place.
///
/// ```
/// use sched_core::{Clock, ManualClock};
/// use sched_workload::{Gauge, GaugeGoal, LatestValue, LoadDetector};
///
/// let (clock, cpu) = (ManualClock::default(), LatestValue::new());
/// let mut gauge = Gauge::new("cpu", GaugeGoal::below(0.7, "share"), cpu.reader())?;
/// assert!(gauge.detect(clock.now()).is_err(), "nothing was handed in");
/// cpu.set(clock.now(), 0.35);
/// assert_eq!(gauge.detect(clock.now())?.pressure, Some(0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct LatestValue(Arc<Mutex<Option<(MonoTime, f64)>>>);

impl LatestValue {
    /// Nothing handed in yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands in a value that was measured at `at`. One that is older than the last is ignored.
    pub fn set(&self, at: Now, value: f64) {
        let mut newest = self.0.lock();
        if newest.is_none_or(|(known, _)| known <= at.mono) {
            *newest = Some((at.mono, value));
        }
    }

    /// What a [`Gauge`] asks.
    pub fn reader(&self) -> impl FnMut(Now) -> Result<GaugeValue, DetectError> + Send + use<> {
        let this = self.clone();
        move |now| {
            let (at, value) =
                this.0.lock().ok_or_else(|| DetectError::Failed("no value was handed in".into()))?;
            Ok(GaugeValue { value, age: now.mono.since(at) })
        }
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, LoadLevel, ManualClock};

    use super::*;

    type Answer = Result<GaugeValue, String>;

    fn gauge(goal: GaugeGoal, answers: Vec<Answer>) -> impl FnMut(u64) -> Result<LoadReading, DetectError> {
        let clock = ManualClock::default();
        let mut answers = answers.into_iter();
        let ask = move |_: Now| answers.next().unwrap_or_else(|| Err("over".into()));
        let mut gauge = Gauge::new("queue", goal, ask).unwrap();
        move |secs| {
            clock.advance(Duration::from_secs(secs));
            gauge.detect(clock.now())
        }
    }

    #[test]
    fn the_level_follows_the_target_and_falls_after_the_dwell() {
        let values = [50.0, 100.0, 101.0, 201.0, 10.0, 10.0, 10.0];
        let mut look = gauge(GaugeGoal::below(100.0, "requests"), values.map(|v| Ok(v.into())).to_vec());
        let levels = values.map(|_| look(1).unwrap().state.level);
        use LoadLevel::{Busy, Calm, Peak};
        assert_eq!(levels, [Calm, Calm, Busy, Peak, Peak, Peak, Calm]);
    }

    #[test]
    fn what_is_no_load_is_unknown_and_says_why() {
        let aged = GaugeValue { value: 1.0, age: Duration::from_secs(6) };
        let answers = [f64::NAN, f64::INFINITY, -1.0].map(|v| Ok(v.into())).into_iter();
        let answers = answers.chain([Ok(aged), Err("no route".into())]).collect();
        let mut look = gauge(GaugeGoal::below(100.0, "requests"), answers);
        for _ in 0..3 {
            assert!(matches!(look(1), Err(DetectError::Value { .. })));
        }
        let most = Duration::from_secs(5);
        assert_eq!(look(1), Err(DetectError::Stale { age: aged.age, most }));
        assert_eq!(look(1).unwrap_err().to_string(), "no route");
    }

    #[test]
    fn nonsense_goals_are_refused_and_extremes_stay_finite() {
        for target in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(GaugeGoal::below(target, "x").check(), Err(GoalError::Target(_))), "{target}");
        }
        let zero = GaugeGoal::below(1.0, "x").period(Duration::ZERO);
        assert_eq!(zero.check(), Err(GoalError::ZeroPeriod));
        let mut look = gauge(GaugeGoal::below(f64::MIN_POSITIVE, "x"), vec![Ok(f64::MAX.into())]);
        let reading = look(1).unwrap();
        assert_eq!((reading.state.level, reading.pressure), (LoadLevel::Peak, Some(f64::MAX)));
    }

    #[test]
    fn the_newest_value_counts_until_it_is_stale() {
        let (clock, latest) = (ManualClock::default(), LatestValue::new());
        let goal = GaugeGoal::below(10.0, "x").max_age(Duration::from_secs(2));
        let mut gauge = Gauge::new("host", goal, latest.reader()).unwrap();
        let earlier = clock.now();
        clock.advance(Duration::from_secs(1));
        latest.set(clock.now(), 20.0);
        latest.set(earlier, 1.0);
        clock.advance(Duration::from_secs(2));
        assert_eq!(gauge.detect(clock.now()).unwrap().pressure, Some(2.0));
        clock.advance(Duration::from_secs(1));
        assert!(matches!(gauge.detect(clock.now()), Err(DetectError::Stale { .. })));
    }
}
