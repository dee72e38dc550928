//! Which laws steer which places: [`Helm`]. A signal steers the place that it is measured at, and nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sched_core::{MonoTime, Now, Reason, Scope, SignalName};
use sched_limits::{PiConfig, PiLaw, PressureConfig, PressureLaw, Rate, Reading};
use sched_workload::{LatencyReading, LatencySpread, LatencyWindow};

use super::detectors::DetectorTerms;
use super::rates::Rates;
use super::signals::Directive;
use super::steering::{Heard, LawTerms, Promised, Scale, Steering};

/// A goal is a promise to users, not the healthy latency: it is taken to lie this far above that. With a wider
/// allowance the law counts in larger steps and takes free capacity sooner.
const SLO_OVER_HEALTHY: f64 = 2.0;
/// A goal is kept when it is hardly ever reached: what is aimed at lies a twentieth below it.
const WITHIN_GOAL: f64 = 0.95;
/// Readings that steer where nobody tells a latency. Not that of memory: slower backups free none.
const PRESSURE: [&str; 2] = ["psi.cpu", "psi.io"];

/// The laws of all places.
pub(crate) struct Helm {
    places: BTreeMap<Scope, Steering>,
    /// Where some detector tells a latency: there and below pressure does not steer.
    told: BTreeSet<Scope>,
    fleet: Scale,
    /// Rates at which a share is 1, where it is not that of the fleet.
    full: BTreeMap<Scope, u64>,
    /// By how much latencies may grow where backups run.
    growth: BTreeMap<Scope, f64>,
    /// What running jobs were promised where they run.
    promised: BTreeMap<Scope, Promised>,
    /// Detectors whose latency the default law hears. A host's own law gets it as it is …
    by_default: BTreeSet<SignalName>,
    /// … and the default one as it counts over minutes.
    spreads: BTreeMap<SignalName, LatencySpread>,
}

impl Helm {
    /// The host's laws, and the default ones of detectors that say before they are asked that they tell a latency.
    pub(crate) fn new(
        now: Now,
        laws: Vec<LawTerms>,
        detectors: &[DetectorTerms],
        (fleet, full): (Scale, BTreeMap<Scope, u64>),
    ) -> Self {
        let mut this = Self {
            places: BTreeMap::new(),
            told: BTreeSet::new(),
            fleet,
            full,
            growth: BTreeMap::new(),
            promised: BTreeMap::new(),
            by_default: BTreeSet::new(),
            spreads: BTreeMap::new(),
        };
        for LawTerms { place, signal, law } in laws {
            let detector = detectors.iter().find(|detector| detector.name == signal);
            let at = place.clone().or_else(|| detector.map(|detector| steered(&detector.scope)));
            this.at(at.unwrap_or(Scope::Fleet)).add(now, (signal, place), law);
        }
        for detector in detectors {
            if let Some(target) = detector.latency_target {
                this.steer_by_latency(now, detector, target);
            }
        }
        this
    }

    /// Why a place's rate is no higher, by the newest values.
    pub(crate) fn why(&self, place: &Scope) -> Option<Reason> {
        self.places.get(place)?.reason()
    }

    /// Whether some law has stopped backups for a look at the foreground alone.
    pub(crate) fn pauses(&self) -> bool {
        self.places.values().any(Steering::pauses)
    }

    /// The places where a law has stopped backups for that.
    pub(crate) fn paused_places(&self) -> impl Iterator<Item = &Scope> {
        self.places.iter().filter(|(_, steering)| steering.pauses()).map(|(place, _)| place)
    }

    /// A probe read something.
    pub(crate) fn reading(&mut self, now: Now, period: Duration, reading: &Reading, rates: &Rates) {
        let (signal, place) = (&reading.signal, steered(&reading.scope));
        if PRESSURE.contains(&signal.as_str())
            && !self.hears(signal, &place)
            && !rates.path(&place).any(|above| self.told.contains(&above))
        {
            let mut config = PressureConfig::default();
            config.fail_slow.period = period;
            if let Ok(law) = PressureLaw::new(config) {
                self.at(place.clone()).add(now, (signal.clone(), Some(place.clone())), Box::new(law));
            }
        }
        let value = reading.utilization().unwrap_or(reading.value);
        self.hear(now, Heard { signal, of: &place, period, value }, rates);
    }

    /// A detector told a latency, and perhaps the requests that it is from.
    pub(crate) fn latency(
        &mut self,
        now: Now,
        terms: &DetectorTerms,
        (latency, window): (&LatencyReading, Option<&LatencyWindow>),
        rates: &Rates,
    ) {
        self.steer_by_latency(now, terms, latency.target);
        let mut value = latency.value.as_secs_f64();
        // A reading of several windows together is one of a longer time already.
        let alone = window.filter(|window| window.samples() >= latency.samples);
        if let Some(window) = alone.filter(|_| self.by_default.contains(&terms.name)) {
            let spread = self.spreads.entry(terms.name.clone());
            let spread = spread.or_insert_with(|| LatencySpread::new(latency.quantile));
            value *= spread.observe(window);
        }
        let of = &steered(&terms.scope);
        self.hear(now, Heard { signal: &terms.name, of, period: terms.period, value }, rates);
    }

    /// A detector has no usable value.
    pub(crate) fn miss(&mut self, now: Now, terms: &DetectorTerms) {
        let of = steered(&terms.scope);
        self.places.values_mut().for_each(|steering| steering.miss(now, &terms.name, &of));
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Now) {
        self.places.values_mut().for_each(|steering| steering.tick(now));
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        self.places.values().filter_map(Steering::next_look).min()
    }

    /// What running jobs were promised at each place.
    pub(crate) fn promise(&mut self, promised: BTreeMap<Scope, Promised>) {
        for (place, steering) in &mut self.places {
            steering.promise(promised.get(place).copied().unwrap_or_default());
        }
        self.promised = promised;
    }

    /// By how much latencies may grow at each place where backups run: as their policies say.
    pub(crate) fn allow(&mut self, growth: BTreeMap<Scope, f64>) {
        if self.growth == growth {
            return;
        }
        self.growth = growth;
        for (place, steering) in &mut self.places {
            steering.allow(self.growth.get(place).copied());
        }
    }

    /// Says every rate that has changed.
    pub(crate) fn publish(&mut self, directives: &mut Vec<Directive>) {
        self.places.values_mut().for_each(|steering| steering.publish(directives));
    }

    /// Makes sure that a law listens to a detector that tells latencies: the host's own, or the default.
    fn steer_by_latency(&mut self, now: Now, terms: &DetectorTerms, target: Duration) {
        let place = steered(&terms.scope);
        self.told.insert(place.clone());
        if self.hears(&terms.name, &place) {
            return;
        }
        let mut config = match terms.healthy_latency {
            Some(healthy) => {
                let mut config = PiConfig::healthy(healthy);
                config.at_most = Some(target);
                config
            }
            None => PiConfig::goal(target.mul_f64(WITHIN_GOAL), SLO_OVER_HEALTHY),
        };
        config.fail_slow.period = terms.period;
        // A detector of the host's with a target or period of zero cannot be steered by.
        if let Ok(law) = PiLaw::new(config) {
            self.at(place.clone()).add(now, (terms.name.clone(), Some(place)), Box::new(law));
            self.by_default.insert(terms.name.clone());
        }
    }

    /// Whether some law, of whichever place, listens to the signal of a place.
    fn hears(&self, signal: &SignalName, of: &Scope) -> bool {
        self.places.values().any(|steering| steering.hears(signal, of))
    }

    fn hear(&mut self, now: Now, heard: Heard<'_>, rates: &Rates) {
        for (place, steering) in &mut self.places {
            if steering.hears(heard.signal, heard.of) {
                steering.hear(now, heard, rates.moved(place));
            }
        }
    }

    fn at(&mut self, place: Scope) -> &mut Steering {
        let full = self.full.get(&place).copied();
        let scale = match full.filter(|_| place != Scope::Fleet) {
            Some(full) => Scale { full, ceiling: Rate::BytesPerSec(full) },
            None => self.fleet,
        };
        let growth = self.growth.get(&place).copied();
        let promised = self.promised.get(&place).copied().unwrap_or_default();
        self.places.entry(place.clone()).or_insert_with(|| {
            let mut steering = Steering::new(place, scale, growth);
            steering.promise(promised);
            steering
        })
    }
}

/// Whose rate a signal steers: the place's that it concerns. What is no place has no rate of its own, so all backups
/// heed it.
fn steered(scope: &Scope) -> Scope {
    if scope.is_place() && scope.check().is_ok() { scope.clone() } else { Scope::Fleet }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sched_core::{Clock, ManualClock};
    use sched_workload::ForegroundLatency;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const REQUESTS: u64 = 1_000;

    /// A second in which so many requests took `slow`, and the others 1 ms.
    fn second(slow: Duration, count: u64) -> LatencyWindow {
        let latency = ForegroundLatency::new();
        (0..REQUESTS - count).for_each(|_| latency.record(Duration::from_millis(1)));
        (0..count).for_each(|_| latency.record(slow));
        latency.drain()
    }

    /// The rate after five minutes of such seconds under a goal of 10 ms.
    fn rate(window: impl Fn(u64) -> LatencyWindow) -> u64 {
        let clock = ManualClock::default();
        let terms = DetectorTerms {
            name: "foreground".into(),
            scope: Scope::Fleet,
            period: SECOND,
            latency_target: Some(Duration::from_millis(10)),
            healthy_latency: None,
        };
        let full = 1_000_000;
        let scale = Scale { full, ceiling: Rate::BytesPerSec(full) };
        let rates = Rates::new(Arc::new(clock.clone()), Some(full), true);
        let mut helm = Helm::new(clock.now(), vec![], std::slice::from_ref(&terms), (scale, BTreeMap::new()));
        let mut rate = 0;
        for at in 0..300 {
            clock.advance(SECOND);
            let window = window(at);
            let value = window.quantile(0.99);
            let latency = LatencyReading::new(value, Duration::from_millis(10), 0.99, window.samples());
            helm.latency(clock.now(), &terms, (&latency, Some(&window)), &rates);
            let mut directives = Vec::new();
            helm.publish(&mut directives);
            for directive in directives {
                if let Directive::Rate(_, Rate::BytesPerSec(new)) = directive {
                    rate = new;
                }
            }
        }
        rate
    }

    #[test]
    fn a_goal_is_kept_as_it_counts_over_minutes() {
        let even = rate(|_| second(Duration::from_millis(9), 30));
        assert!(even > 0, "9 ms are within 10");
        // Half of the seconds have a p99 of 13 ms, half of 6.2: 9 ms in the mean of logarithms, 13 over a minute.
        let uneven = rate(|at| second(Duration::from_micros(if at % 2 == 0 { 13_000 } else { 6_200 }), 60));
        assert_eq!(uneven, 0);
    }

    #[test]
    fn a_goal_is_aimed_at_from_below() {
        assert_eq!(rate(|_| second(Duration::from_micros(9_700), 30)), 0);
    }
}
