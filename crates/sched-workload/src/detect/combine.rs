//! One level from several detectors: [`Combined`].

use std::fmt;
use std::time::Duration;

use sched_core::{LoadLevel, LoadState, MonoTime, Now, Reason, Scope};

use super::detector::{DetectError, LoadDetector, LoadReading};
use super::hysteresis::{Hysteresis, LevelThresholds, LevelThresholdsError};

/// How levels become one. What is unknown is neither busy nor calm.
#[derive(Clone, Debug)]
enum Rule {
    Any,
    All,
    WorstOf,
    /// Levels come from the mean pressure.
    Weighted(Hysteresis),
}

/// Several detectors as one.
///
/// | | level | a part is unknown |
/// |---|---|---|
/// | [`any`](Self::any) | the highest | busy if a known part is; else unknown, as the other may be busy |
/// | [`all`](Self::all) | the lowest | calm if a known part is; else unknown, as the other may be calm |
/// | [`worst_of`](Self::worst_of) | the highest | only known parts count |
/// | [`weighted`](Self::weighted) | by the mean pressure | known parts count, if they have half of the weight |
///
/// Each part is asked once in its own period, and its answer, unknown too, holds until then; the combination is asked once in
/// the shortest of these. All run on one thread: one that blocks or panics keeps or takes the others with it. The
/// latency of the first part that has a target is passed on. Levels of single technologies are not: refine the
/// combination by [`PerTechnology`](super::PerTechnology).
pub struct Combined {
    name: String,
    scope: Option<Scope>,
    rule: Rule,
    parts: Vec<Part>,
}

struct Part {
    detector: Box<dyn LoadDetector>,
    weight: f64,
    due: MonoTime,
    said: Result<LoadReading, DetectError>,
}

/// A weight that is zero, negative or not finite.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a weight of {0}; right is a finite number over zero")]
#[non_exhaustive]
pub struct WeightError(pub f64);

impl Combined {
    fn new(name: impl Into<String>, rule: Rule) -> Self {
        Self { name: name.into(), scope: None, rule, parts: Vec::new() }
    }

    /// Busy as soon as one is; calm only when all are known to be.
    pub fn any(name: impl Into<String>) -> Self {
        Self::new(name, Rule::Any)
    }

    /// Busy only when all are.
    pub fn all(name: impl Into<String>) -> Self {
        Self::new(name, Rule::All)
    }

    /// The worst of what is known.
    pub fn worst_of(name: impl Into<String>) -> Self {
        Self::new(name, Rule::WorstOf)
    }

    /// By the weighted mean of the parts' [strength](LoadReading::strength). The level falls only after a lower one has
    /// been asked for during `dwell`.
    ///
    /// # Errors
    /// When the thresholds contradict each other.
    pub fn weighted(
        name: impl Into<String>,
        thresholds: LevelThresholds,
        dwell: Duration,
    ) -> Result<Self, LevelThresholdsError> {
        Ok(Self::new(name, Rule::Weighted(Hysteresis::new(thresholds, dwell)?)))
    }

    /// Sets whom it concerns. Default: whom all parts concern if that is the same, else the whole fleet.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// With another part, of weight 1.
    #[must_use]
    pub fn of(self, detector: impl LoadDetector + 'static) -> Self {
        self.part(1.0, Box::new(detector))
    }

    /// With another part of some weight, which counts only in [`weighted`](Self::weighted).
    ///
    /// # Errors
    /// When the weight is not a finite number over zero.
    pub fn of_weight(self, weight: f64, detector: impl LoadDetector + 'static) -> Result<Self, WeightError> {
        let usable = weight.is_finite() && weight > 0.0;
        if usable { Ok(self.part(weight, Box::new(detector))) } else { Err(WeightError(weight)) }
    }

    fn part(mut self, weight: f64, detector: Box<dyn LoadDetector>) -> Self {
        self.parts.push(Part { detector, weight, due: MonoTime::ZERO, said: Err(DetectError::NoTime) });
        self
    }

    /// The part whose latency is passed on.
    fn leader(&self) -> Option<&Part> {
        self.parts.iter().find(|part| part.detector.latency_target().is_some())
    }

    fn known(&self) -> impl Iterator<Item = (&Part, &LoadReading)> {
        self.parts.iter().filter_map(|part| Some((part, part.said.as_ref().ok()?)))
    }

    /// Says that too much is unknown, or that too little happens everywhere.
    fn unknown(&self) -> DetectError {
        let idle = |part: &Part| matches!(part.said, Err(DetectError::TooFew { .. }));
        if let Some(Part { said: Err(few), .. }) = self.parts.first().filter(|_| self.parts.iter().all(idle))
        {
            return few.clone();
        }
        let unknown = self.parts.len() - self.known().count();
        let failed = self.parts.iter().find_map(|part| Some((part, part.said.as_ref().err()?)));
        let example = failed.map(|(part, error)| format!("{}: {error}", part.detector.name()));
        let example = example.unwrap_or_else(|| "it has no parts".into());
        DetectError::Parts { unknown, parts: self.parts.len(), example }
    }

    /// What the lowest or highest of the known parts says, if the unknown ones cannot change it.
    fn extreme(&self) -> Option<LoadReading> {
        let order = |(_, a): &(&Part, &LoadReading), (_, b): &(&Part, &LoadReading)| {
            let by_level = a.state.level.cmp(&b.state.level);
            by_level.then(a.strength().total_cmp(&b.strength()))
        };
        let lowest = matches!(self.rule, Rule::All);
        let (part, reading) = if lowest { self.known().min_by(order) } else { self.known().max_by(order) }?;
        let LoadState { level, reason, .. } = &reading.state;
        let decided = match self.rule {
            Rule::Any => *level > LoadLevel::Calm,
            Rule::All => *level == LoadLevel::Calm,
            Rule::WorstOf | Rule::Weighted(_) => true,
        };
        let mut why = Reason::new(format!("{}: {}", part.detector.name(), reason.text));
        why.measured.clone_from(&reason.measured);
        let mut found = LoadReading::new(*level, why);
        found.pressure = reading.pressure;
        (decided || self.known().count() == self.parts.len()).then_some(found)
    }

    fn mean(&mut self, now: MonoTime) -> Option<LoadReading> {
        let (mut weight, mut sum) = (0.0, 0.0);
        for (part, reading) in self.known() {
            weight += part.weight;
            sum += part.weight * reading.strength();
        }
        let all: f64 = self.parts.iter().map(|part| part.weight).sum();
        let (known, parts) = (self.known().count(), self.parts.len());
        let Rule::Weighted(hysteresis) = &mut self.rule else { return None };
        if known == 0 || weight < all / 2.0 {
            return None;
        }
        let pressure = sum / weight;
        let level = hysteresis.update(now, pressure);
        let text = format!("the weighted mean of {known} of {parts} parts is {pressure:.2} of its target");
        Some(LoadReading::new(level, Reason::new(text)).pressure(pressure))
    }
}

impl LoadDetector for Combined {
    fn name(&self) -> &str {
        &self.name
    }

    fn scope(&self) -> Scope {
        let mut scopes = self.parts.iter().map(|part| part.detector.scope());
        let first = scopes.next().filter(|first| scopes.all(|scope| scope == *first));
        self.scope.clone().or(first).unwrap_or_default()
    }

    fn period(&self) -> Duration {
        let periods = self.parts.iter().map(|part| part.detector.period());
        periods.min().unwrap_or(Duration::from_secs(1))
    }

    fn latency_target(&self) -> Option<Duration> {
        self.leader()?.detector.latency_target()
    }

    fn healthy_latency(&self) -> Option<Duration> {
        self.leader()?.detector.healthy_latency()
    }

    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError> {
        for part in &mut self.parts {
            if now.mono >= part.due {
                part.said = part.detector.detect(now);
                part.due = now.mono + part.detector.period();
            }
        }
        let found = match self.rule {
            Rule::Weighted(_) => self.mean(now.mono),
            Rule::Any | Rule::All | Rule::WorstOf => self.extreme(),
        };
        let mut found = found.ok_or_else(|| self.unknown())?;
        found.latency = self.leader().and_then(|part| part.said.as_ref().ok()?.latency);
        Ok(found)
    }
}

impl fmt::Debug for Combined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.parts.iter().map(|part| (part.detector.name(), &part.said)).collect();
        f.debug_struct("Combined")
            .field("name", &self.name)
            .field("rule", &self.rule)
            .field("parts", &parts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use proptest::prelude::*;
    use sched_core::{Clock, LoadLevel::*, ManualClock};

    use super::*;
    use crate::{Gauge, GaugeGoal, LatencyReading, TimeHint};

    /// Says what it is told to, and counts how often it was asked.
    struct Told {
        name: &'static str,
        period: Duration,
        scope: Scope,
        said: Arc<Mutex<(Result<LoadReading, DetectError>, u32)>>,
    }

    impl LoadDetector for Told {
        fn name(&self) -> &str {
            self.name
        }
        fn scope(&self) -> Scope {
            self.scope.clone()
        }
        fn period(&self) -> Duration {
            self.period
        }
        fn detect(&mut self, _: Now) -> Result<LoadReading, DetectError> {
            let mut said = self.said.lock();
            said.1 += 1;
            said.0.clone()
        }
    }

    fn told(level: Option<LoadLevel>) -> Told {
        let reading =
            level.map(|level| LoadReading::new(level, Reason::new("told"))).ok_or(DetectError::NoTime);
        let said = Arc::new(Mutex::new((reading, 0)));
        Told { name: "told", period: Duration::from_secs(1), scope: Scope::Fleet, said }
    }

    fn now() -> Now {
        ManualClock::default().now()
    }

    fn level(mut combined: Combined, parts: &[Option<LoadLevel>]) -> Option<LoadLevel> {
        for part in parts {
            combined = combined.of(told(*part));
        }
        combined.detect(now()).ok().map(|reading| reading.state.level)
    }

    /// All levels that a combination may have: one for each way in which the unknown parts may be.
    fn possible(parts: &[Option<LoadLevel>], of: fn(&[LoadLevel]) -> LoadLevel) -> Vec<LoadLevel> {
        let mut ways = vec![vec![]];
        for part in parts {
            let may_be = part.map_or(vec![Calm, Busy, Peak], |known| vec![known]);
            let with = |way: &Vec<LoadLevel>| {
                may_be.iter().map(|level| [&way[..], &[*level]].concat()).collect::<Vec<_>>()
            };
            ways = ways.iter().flat_map(with).collect();
        }
        ways.iter().map(|way| of(way)).collect()
    }

    fn part() -> impl Strategy<Value = Option<LoadLevel>> {
        prop::sample::select(vec![None, Some(Calm), Some(Busy), Some(Peak)])
    }

    #[test]
    fn where_all_parts_are_idle_the_whole_is() {
        let few = DetectError::TooFew { found: 3, needed: 50, window: Duration::from_secs(5) };
        let (one, two) = (told(None), told(None));
        let said = [one.said.clone(), two.said.clone()];
        let mut combined = Combined::any("any").of(one).of(two);
        said[0].lock().0 = Err(few.clone());
        assert!(matches!(combined.detect(now()), Err(DetectError::Parts { unknown: 2, .. })));
        said[1].lock().0 = Err(few.clone());
        assert_eq!(combined.detect(now().plus(Duration::from_secs(1))), Err(few));
    }

    proptest! {
        #[test]
        fn any_and_all_say_what_holds_whatever_the_unknown_parts_are(parts in prop::collection::vec(part(), 1..6)) {
            let highest = possible(&parts, |way| way.iter().copied().max().unwrap());
            // It may be worse than said, never better; and calm only if it surely is.
            let least = highest.iter().copied().min().unwrap();
            let sure = highest.iter().all(|level| *level == least);
            prop_assert_eq!(level(Combined::any("any"), &parts), (sure || least > Calm).then_some(least));
            let lowest = possible(&parts, |way| way.iter().copied().min().unwrap());
            let sure = lowest.iter().all(|level| *level == lowest[0]);
            prop_assert_eq!(level(Combined::all("all"), &parts), sure.then_some(lowest[0]));
        }

        #[test]
        fn the_worst_known_part_counts(parts in prop::collection::vec(part(), 1..6)) {
            let worst = parts.iter().flatten().copied().max();
            prop_assert_eq!(level(Combined::worst_of("worst"), &parts), worst);
        }

        #[test]
        fn a_weighted_mean_is_that_of_known_parts_with_half_of_the_weight(
            parts in prop::collection::vec((0.1..9.0_f64, prop::option::of(0.0..5.0_f64)), 1..6)
        ) {
            let mut combined = Combined::weighted("mean", LevelThresholds::default(), Duration::ZERO).unwrap();
            let (mut all, mut known, mut sum) = (0.0, 0.0, 0.0);
            for (weight, pressure) in &parts {
                let part = told(pressure.map(|_| Calm));
                if let (Some(pressure), Ok(reading)) = (pressure, &mut part.said.lock().0) {
                    reading.pressure = Some(*pressure);
                    (known, sum) = (known + weight, sum + weight * pressure);
                }
                all += weight;
                combined = combined.of_weight(*weight, part).unwrap();
            }
            let found = combined.detect(now());
            prop_assert_eq!(found.is_ok(), known > 0.0 && known >= all / 2.0);
            if let Ok(found) = found {
                let (mean, pressure) = (sum / known, found.pressure.unwrap());
                prop_assert!((mean - pressure).abs() < 1e-9, "{} is not {}", pressure, mean);
                let expected = if pressure > 2.0 { Peak } else if pressure > 1.0 { Busy } else { Calm };
                prop_assert_eq!(found.state.level, expected);
            }
        }
    }

    #[test]
    fn parts_are_asked_in_their_own_period_and_their_answers_hold_until_then() {
        let clock = ManualClock::default();
        let (fast, mut slow) = (told(Some(Calm)), told(Some(Busy)));
        slow.period = Duration::from_secs(10);
        let (asked, slow_said) = (fast.said.clone(), slow.said.clone());
        let mut combined = Combined::worst_of("both").of(fast).of(slow);
        assert_eq!(combined.period(), Duration::from_secs(1));
        for second in 0..20 {
            assert!(combined.detect(clock.now()).is_ok());
            if second == 0 {
                slow_said.lock().0 = Err(DetectError::NoTime);
            }
            let level = combined.detect(clock.now()).unwrap().state.level;
            assert_eq!(level, if second < 10 { Busy } else { Calm }, "{second}");
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!((asked.lock().1, slow_said.lock().1), (20, 2));
    }

    #[test]
    fn it_names_the_part_that_decided_or_that_is_unknown() {
        let queue =
            Gauge::new("queue", GaugeGoal::below(10.0, "requests"), |_| Ok::<_, String>(15.0)).unwrap();
        let mut combined = Combined::any("load").of(told(None)).of(queue);
        let reading = combined.detect(now()).unwrap();
        assert_eq!(reading.state.reason.to_string(), "queue: measured (queue 15 requests, threshold 10)");
        assert_eq!(reading.pressure, Some(1.5));
        let mut unknown = Combined::any("load").of(told(Some(Calm))).of(told(None));
        let text = unknown.detect(now()).unwrap_err().to_string();
        assert_eq!(
            text,
            "1 of 2 parts are unknown, such as told: no time has passed yet to measure a rate over"
        );
        assert!(Combined::worst_of("nothing").detect(now()).is_err());
    }

    #[test]
    fn scope_and_latency_are_the_parts() {
        let on = |scope: &Scope| TimeHint::new("hint", |_| None).scope(scope.clone());
        let (a, b) = (Scope::Host("a".into()), Scope::Host("b".into()));
        assert_eq!(LoadDetector::scope(&Combined::any("x").of(on(&a)).of(on(&a))), a);
        assert_eq!(LoadDetector::scope(&Combined::any("x").of(on(&a)).of(on(&b))), Scope::Fleet);
        let ms = Duration::from_millis;
        let latency = LatencyReading { value: ms(5), target: ms(10), quantile: 0.99, samples: 100 };
        struct Latency(LatencyReading);
        impl LoadDetector for Latency {
            fn name(&self) -> &str {
                "latency"
            }
            fn latency_target(&self) -> Option<Duration> {
                Some(self.0.target)
            }
            fn detect(&mut self, _: Now) -> Result<LoadReading, DetectError> {
                Ok(LoadReading::new(Calm, Reason::new("fine")).latency(self.0))
            }
        }
        let mut combined = Combined::worst_of("x").of(told(Some(Peak))).of(Latency(latency));
        let reading = combined.detect(now()).unwrap();
        assert_eq!((reading.state.level, reading.latency), (Peak, Some(latency)));
        assert_eq!(combined.latency_target(), Some(ms(10)));
    }

    #[test]
    fn nonsense_weights_are_refused() {
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let combined = Combined::weighted("x", LevelThresholds::default(), Duration::ZERO).unwrap();
            assert!(combined.of_weight(weight, told(None)).is_err(), "{weight}");
        }
    }
}
