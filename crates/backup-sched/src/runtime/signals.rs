//! From signals to decisions: readings in, load, capacity and rate out. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sched_core::{
    Calendar, CalendarName, CapacityState, Engine, EventKind, LoadState, MonoTime, Now, Reason, Scope,
    SensitivityName, SignalName, TechnologyName,
};
use sched_limits::{CapacityJudge, ProbeStatus, Rate, Sample, Thresholds, Verdict};
use sched_policy::{Policies, Sensitivity};
use sched_workload::LoadReading;

use super::business::BusinessHours;
use super::detectors::{Detector, DetectorTerms};
use super::helm::Helm;
use super::limits::{LoadLimits, Told};
use super::loads::{Loads, Source, calm};
use super::pressure::Pressure;
use super::rates::Rates;
use super::rooms::{Fed, Rooms};
use super::steering::{LawTerms, Promised, Scale};

/// Something to be done.
pub(crate) enum Directive {
    /// How busy a scope is, for all or as one technology feels it.
    Load(Scope, Option<TechnologyName>, LoadState),
    /// How busy a scope is for jobs that are kept back by these signals.
    LoadOf(Scope, SensitivityName, LoadState),
    Capacity(Scope, CapacityState),
    /// As many jobs have room in a place, at least one, and what leaves room for no more.
    Room(Scope, u32, Reason),
    /// What control laws choose for all backups at a place.
    Rate(Scope, Rate),
    /// While some backup at a place must not be slowed: what the laws choose for all others there together. `None`: no
    /// longer.
    Others(Scope, Option<Rate>),
    Note(EventKind),
}

/// What probes and detectors said last, and what follows from it.
pub(crate) struct Signals {
    probes: Vec<ProbeTerms>,
    judge: CapacityJudge,
    pressure: Pressure,
    limits: LoadLimits,
    business: BusinessHours,
    pub(crate) rooms: Rooms,
    detectors: Vec<Detector>,
    loads: Loads,
    helm: Helm,
}

/// What probes and detectors were registered with, what their values are held against, and the host's laws.
pub(crate) struct SignalTerms {
    /// Over these, nothing new starts.
    pub(crate) thresholds: Thresholds,
    /// Over these, what can wait does.
    pub(crate) busy: Thresholds,
    pub(crate) probes: Vec<ProbeTerms>,
    pub(crate) detectors: Vec<DetectorTerms>,
    pub(crate) laws: Vec<LawTerms>,
    pub(crate) policies: PolicySignals,
    /// What a law's share means at the fleet, and at other places where it means something else.
    pub(crate) scales: (Scale, BTreeMap<Scope, u64>),
}

/// What policies make of signals and of the time.
#[derive(Default)]
pub(crate) struct PolicySignals {
    sensitivities: Vec<Sensitivity>,
    business_hours: Vec<(CalendarName, Arc<dyn Calendar>)>,
}

impl PolicySignals {
    pub(crate) fn of(policies: &Policies) -> Self {
        let business_hours = policies.business_hours().collect();
        Self { sensitivities: policies.sensitivities(), business_hours }
    }
}

/// What a probe was registered with.
pub(crate) struct ProbeTerms {
    pub(crate) name: SignalName,
    pub(crate) period: Duration,
}

impl Signals {
    pub(crate) fn new(now: Now, terms: SignalTerms, rooms: Rooms) -> Self {
        let SignalTerms { thresholds, busy, probes, detectors, laws, policies, scales } = terms;
        let mut judge = CapacityJudge::new(thresholds);
        let mut pressure = Pressure::new(busy);
        for probe in &probes {
            judge.expect(now, probe.name.as_str(), probe.period);
            pressure.expect(now, probe.name.as_str(), probe.period);
        }
        let helm = Helm::new(now, laws, &detectors, scales);
        let detectors = detectors.into_iter().map(|terms| Detector::new(now.mono, terms)).collect();
        let limits = LoadLimits::new(policies.sensitivities);
        let business = BusinessHours::new(now, policies.business_hours);
        let loads = Loads::default();
        Self { probes, judge, pressure, limits, business, rooms, detectors, loads, helm }
    }

    /// Other policies are in force from now on.
    pub(crate) fn follow_policies(&mut self, now: Now, policies: PolicySignals) -> Vec<Directive> {
        let mut directives = Vec::new();
        self.limits.replace(policies.sensitivities, &mut directives);
        let mut business = BusinessHours::new(now, policies.business_hours);
        business.tick(now);
        let before = std::mem::replace(&mut self.business, business);
        let gone =
            before.states().filter(|(scope, _)| self.business.states().all(|(other, _)| other != *scope));
        let nobody = calm("no policy has its business hours any more");
        let gone = gone.map(|(scope, _)| (scope, &nobody));
        for (scope, state) in self.business.states().chain(gone) {
            self.loads.say(Source::Hours, (scope.clone(), None), state, &mut directives);
        }
        directives
    }

    /// By how much the foreground's latency may grow while those run that run now, at each place where some do.
    pub(crate) fn allow(&mut self, growth: BTreeMap<Scope, f64>) {
        self.helm.allow(growth);
    }

    /// Why the laws of a place choose no higher rate, by the newest values.
    pub(crate) fn why(&self, place: &Scope) -> Option<Reason> {
        self.helm.why(place)
    }

    /// The places where a law has stopped backups for a look at the foreground alone.
    pub(crate) fn paused_places(&self) -> impl Iterator<Item = &Scope> {
        self.helm.paused_places()
    }

    /// How often somebody is asked, by the order of the samplers: probes first, then detectors.
    pub(crate) fn period(&self, asked: usize) -> Duration {
        let detector = || self.detectors.get(asked.checked_sub(self.probes.len())?);
        let probe = self.probes.get(asked).map(|terms| terms.period);
        probe.or_else(|| detector().map(|detector| detector.terms.period)).unwrap_or_default()
    }

    /// Where a detector is in that order.
    pub(crate) fn asked_as(&self, detector: usize) -> usize {
        self.probes.len() + detector
    }

    /// What is known of the probes.
    pub(crate) fn probes(&self, now: Now) -> Vec<ProbeStatus> {
        self.judge.status(now)
    }

    /// When [`tick`](Self::tick) may have something to say although no signal came.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        let detectors = self.detectors.iter().filter_map(Detector::next_look);
        let others = [
            self.judge.next_look(),
            self.pressure.next_look(),
            self.limits.next_look(),
            self.business.next_look(),
            self.rooms.next_look(),
            self.helm.next_look(),
        ];
        detectors.chain(others.into_iter().flatten()).min()
    }

    /// A probe answered.
    pub(crate) fn sample(
        &mut self,
        now: Now,
        probe: usize,
        result: Result<Sample, String>,
        rates: &Rates,
        engine: &mut Engine,
    ) -> Vec<Directive> {
        let Some(ProbeTerms { name, period }) = self.probes.get(probe) else { return vec![] };
        let (name, period) = (name.as_str(), *period);
        let verdicts = match &result {
            Ok(sample) => self.judge.observe(now, name, sample),
            Err(why) => self.judge.failed(now, name, why.clone()),
        };
        let pressure = self.pressure.sample(now, name, &result);
        let mut directives = self.directives(verdicts);
        self.loads.say_all(Source::Probes, pressure, &mut directives);
        if let Ok(sample) = &result {
            let source = &self.probes[probe].name;
            for (reading, lost) in self.judge.believed(source.as_str()) {
                let (signal, scope, unit) = (&reading.signal, &reading.scope, &*reading.unit);
                let value = reading.utilization().unwrap_or(reading.value);
                self.limits.hear(Told { source, signal, scope, value, unit, lost }, &mut directives);
            }
            directives.extend(self.rooms.sample(now, (probe, period), sample, engine));
            for reading in &sample.readings {
                self.helm.reading(now, period, reading, rates);
            }
        }
        self.helm.publish(&mut directives);
        directives
    }

    /// A detector answered.
    pub(crate) fn load(
        &mut self,
        now: Now,
        index: usize,
        result: Result<LoadReading, String>,
        rates: &Rates,
    ) -> Vec<Directive> {
        let Some(detector) = self.detectors.get_mut(index) else { return vec![] };
        let mut directives = Vec::new();
        match result {
            Ok(LoadReading { state, technologies, latency, window, .. }) => {
                directives.extend(detector.heard(now.mono));
                let terms = &detector.terms;
                if let Some(measured) = &state.reason.measured
                    && measured.signal == terms.name
                {
                    let (signal, scope, unit) = (&terms.name, &terms.scope, &*measured.unit);
                    let (value, lost) = (measured.value, now.mono + terms.lost_after());
                    let told = Told { source: signal, signal, scope, value, unit, lost };
                    self.limits.hear(told, &mut directives);
                }
                if let Some(latency) = latency {
                    self.helm.latency(now, terms, (&latency, window.as_ref()), rates);
                }
                let said = detector.say(state, technologies);
                self.loads.say_all(Source::Detector(index), said, &mut directives);
            }
            Err(why) => {
                if let Some(lost) = detector.miss(now.mono, || Reason::new(why)) {
                    directives.push(lost);
                    self.loads.say_all(Source::Detector(index), detector.unknown(), &mut directives);
                }
                self.helm.miss(now, &detector.terms);
            }
        }
        self.helm.publish(&mut directives);
        directives
    }

    /// How the load of a scope stands to what is usual there; `None`: that is not known. The worst of this and what detectors
    /// and probes say counts.
    pub(crate) fn set_peak(&mut self, scope: Scope, state: Option<LoadState>) -> Vec<Directive> {
        let mut directives = Vec::new();
        let state = state.unwrap_or_else(|| calm("unknown: nobody tells the load any more"));
        self.loads.say(Source::Usual, (scope, None), &state, &mut directives);
        directives
    }

    /// Holds the number of jobs against what the rates by now can feed. In a pause, which is to show the foreground
    /// alone, that is what the rates were before, and so it is while one gives way, when most are held to another.
    pub(crate) fn feed(&mut self, now: Now, rates: &Rates, engine: &mut Engine) -> Vec<Directive> {
        if self.helm.pauses() || rates.gives_way() {
            self.rooms.starve();
            return vec![];
        }
        let fed =
            |(place, rate): (&Scope, Rate)| Fed { scope: place.clone(), rate, moved: rates.moved(place) };
        self.rooms.feed(now, rates.all().map(fed).collect(), engine)
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<Directive> {
        let verdicts = self.judge.tick(now);
        let mut directives = self.directives(verdicts);
        directives.extend(self.rooms.tick(now));
        self.limits.tick(now, &mut directives);
        self.loads.say_all(Source::Probes, self.pressure.tick(now), &mut directives);
        self.loads.say_all(Source::Hours, self.business.tick(now), &mut directives);
        for (index, detector) in self.detectors.iter_mut().enumerate() {
            let limit = detector.terms.lost_after();
            let reason = || Reason::new(format!("no answer for {limit:?}"));
            if let Some(lost) = detector.miss(now.mono, reason) {
                directives.push(lost);
                self.loads.say_all(Source::Detector(index), detector.unknown(), &mut directives);
            }
        }
        self.helm.tick(now);
        self.helm.publish(&mut directives);
        directives
    }

    /// Running jobs were promised this much at each place: its rate does not fall below that, within the ceiling.
    pub(crate) fn promise(&mut self, promised: BTreeMap<Scope, Promised>) {
        self.helm.promise(promised);
    }

    /// Every rate that has changed.
    pub(crate) fn publish(&mut self) -> Vec<Directive> {
        let mut directives = Vec::new();
        self.helm.publish(&mut directives);
        directives
    }

    fn directives(&mut self, verdicts: Vec<Verdict>) -> Vec<Directive> {
        let directive = |verdict| match verdict {
            Verdict::Capacity { scope, state } => self.rooms.judged(scope, state),
            Verdict::Lost { signal, reason } => Directive::Note(EventKind::SignalLost { signal, reason }),
            Verdict::Back { signal } => Directive::Note(EventKind::SignalBack { signal }),
        };
        verdicts.into_iter().map(directive).collect()
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, EngineConfig, LoadLevel, ManualClock};
    use sched_limits::{ConcurrencyConfig, ConcurrencyLaw, Reading};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn signals(clock: &ManualClock) -> Signals {
        let detector = DetectorTerms {
            name: "checkout".into(),
            scope: Scope::Fleet,
            period: PERIOD,
            latency_target: Some(Duration::from_millis(100)),
            healthy_latency: None,
        };
        let terms = SignalTerms {
            thresholds: Thresholds::default(),
            busy: Thresholds::none(),
            probes: vec![ProbeTerms { name: "disk".into(), period: PERIOD }],
            detectors: vec![detector],
            laws: vec![],
            policies: PolicySignals::default(),
            scales: (Scale { ceiling: Rate::BytesPerSec(1_000), full: 1_000 }, BTreeMap::new()),
        };
        let law = ConcurrencyLaw::new(ConcurrencyConfig::default(), Thresholds::default()).unwrap();
        Signals::new(clock.now(), terms, Rooms::new(law, true))
    }

    /// The levels and states that were published, and the rates that were chosen put in force. Judge and room may both
    /// close a scope, which is once for the engine.
    fn told(rates: &mut Rates, directives: Vec<Directive>) -> Vec<String> {
        let told = directives.into_iter().filter_map(|directive| match directive {
            Directive::Load(_, None, state) => Some(state.level.to_string()),
            Directive::Load(_, Some(technology), state) => Some(format!("{technology} {}", state.level)),
            Directive::Capacity(_, CapacityState::Open) => Some("open".into()),
            Directive::Capacity(_, CapacityState::Closed { .. }) => Some("closed".into()),
            Directive::Note(EventKind::SignalLost { signal, .. }) => Some(format!("{signal} lost")),
            Directive::Rate(place, rate) => {
                rates.steer(&place, rate);
                None
            }
            Directive::LoadOf(..) | Directive::Room(..) | Directive::Others(..) | Directive::Note(_) => None,
        });
        let mut told: Vec<_> = told.collect();
        told.dedup();
        told
    }

    #[test]
    fn a_stale_signal_freezes_nothing() {
        let clock = ManualClock::default();
        let mut engine = Engine::new(EngineConfig::default(), clock.now());
        let mut signals = signals(&clock);
        let mut rates = Rates::new(std::sync::Arc::new(clock.clone()), Some(1_000), true);
        let full = Sample::of(clock.now(), [Reading::share("disk", 1.0)]);
        let closed = signals.sample(clock.now(), 0, Ok(full), &rates, &mut engine);
        assert_eq!(told(&mut rates, closed), ["closed"]);
        let peak = LoadReading::new(LoadLevel::Peak, Reason::new("told by a test"));
        let peak = signals.load(clock.now(), 0, Ok(peak), &rates);
        assert_eq!(told(&mut rates, peak), ["peak"]);
        // Neither answers again.
        let mut news = Vec::new();
        while let Some(at) = signals.next_look().filter(|at| at.since(MonoTime::ZERO) < PERIOD * 10) {
            clock.advance_to(at);
            news.extend(told(&mut rates, signals.tick(clock.now())));
        }
        let gate = news.iter().rfind(|told| ["open", "closed"].contains(&told.as_str()));
        assert_eq!(gate.map(String::as_str), Some("open"), "{news:?}");
        for expected in ["calm", "checkout lost", "disk lost"] {
            assert!(news.iter().any(|told| told == expected), "{expected}: {news:?}");
        }
        assert!(rates.rate(&Scope::Fleet) < Rate::BytesPerSec(1_000), "and nothing raises the rate");
    }

    #[test]
    fn other_policies_take_their_limits_and_business_hours_along() {
        let clock = ManualClock::new("2026-01-05T09:00:00Z".parse().unwrap());
        let mut signals = signals(&clock);
        let of = |file: &str| PolicySignals::of(&Policies::builtin().with_toml("p.toml", file).unwrap());
        let limits = "[technologies.a]\nload.lag = { close_above = 2.0, open_below = 1.0 }\n";
        let hours = "[calendars.shop]\nbusiness_hours = ['mon-fri 08:00-18:00']\n";
        let text = |directives: Vec<Directive>| {
            let text = |directive| match directive {
                Directive::Load(scope, _, state) => Some(format!("{scope} {}", state.level)),
                Directive::LoadOf(_, sensitivity, state) => Some(format!("{sensitivity} {}", state.level)),
                _ => None,
            };
            directives.into_iter().filter_map(text).collect::<Vec<_>>()
        };
        assert_eq!(
            text(signals.follow_policies(clock.now(), of(&format!("{limits}{hours}")))),
            ["calendar shop busy"]
        );
        let (mut engine, rates) = (
            Engine::new(EngineConfig::default(), clock.now()),
            Rates::new(Arc::new(clock.clone()), Some(1_000), true),
        );
        let lag = Sample::of(clock.now(), [Reading::new("lag", 3.0, "s")]);
        assert_eq!(text(signals.sample(clock.now(), 0, Ok(lag), &rates, &mut engine)), ["lag 2/1 busy"]);
        assert_eq!(text(signals.follow_policies(clock.now(), of(hours))), ["lag 2/1 calm"]);
        assert_eq!(text(signals.follow_policies(clock.now(), of(limits))), ["calendar shop calm"]);
    }

    #[test]
    fn what_single_technologies_feel_is_told_until_nobody_does() {
        let clock = ManualClock::default();
        let mut signals = signals(&clock);
        let mut rates = Rates::new(std::sync::Arc::new(clock.clone()), Some(1_000), true);
        let mut say = |signals: &mut Signals, feels: &[(&str, LoadLevel)]| {
            let state = |level| LoadState::new(level, Reason::new("told by a test"));
            let mut reading = LoadReading::new(LoadLevel::Calm, Reason::new("told by a test"));
            reading.technologies =
                feels.iter().map(|(name, level)| ((*name).into(), state(*level))).collect();
            let directives = signals.load(clock.now(), 0, Ok(reading), &rates);
            told(&mut rates, directives)
        };
        let busy = [("etcd", LoadLevel::Peak), ("sqlite", LoadLevel::Calm)];
        assert_eq!(say(&mut signals, &busy), ["etcd peak"]);
        assert!(say(&mut signals, &busy).is_empty(), "once");
        assert_eq!(say(&mut signals, &[("etcd", LoadLevel::Busy)]), ["etcd busy"]);
        assert_eq!(say(&mut signals, &[]), ["etcd calm"]);
        say(&mut signals, &busy);
        let mut news = Vec::new();
        while let Some(at) = signals.next_look().filter(|at| at.since(MonoTime::ZERO) < PERIOD * 10) {
            clock.advance_to(at);
            news.extend(told(&mut rates, signals.tick(clock.now())));
        }
        assert!(news.contains(&"etcd calm".to_owned()), "a lost signal holds nobody back: {news:?}");
    }
}
