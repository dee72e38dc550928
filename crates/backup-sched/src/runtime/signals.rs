//! From signals to decisions: readings in, load, capacity and rate out. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{
    CapacityState, Engine, EventKind, LoadLevel, LoadState, MonoTime, Now, Reason, Scope, SignalName,
};
use sched_limits::{
    CapacityJudge, LOST_AFTER_PERIODS, PiConfig, PiLaw, PressureConfig, PressureLaw, ProbeStatus, Rate,
    Reading, Sample, Thresholds, Verdict,
};
use sched_workload::LoadReading;

use super::pressure::Pressure;
use super::rooms::Rooms;
use super::steering::{LawTerms, RateLimit, Steering};

/// A goal is a promise to users, not the healthy latency: it is taken to lie this far above that. With a wider
/// allowance the law counts in larger steps and takes free capacity sooner.
const SLO_OVER_HEALTHY: f64 = 2.0;
/// Readings that steer where nobody tells a latency. Not that of memory: slower backups free none.
const PRESSURE: [&str; 2] = ["psi.cpu", "psi.io"];

/// What a detector was registered with.
pub(crate) struct DetectorTerms {
    pub(crate) name: SignalName,
    pub(crate) scope: Scope,
    pub(crate) period: Duration,
    pub(crate) latency_target: Option<Duration>,
    pub(crate) healthy_latency: Option<Duration>,
}

/// Something to be done.
pub(crate) enum Directive {
    Load(Scope, LoadState),
    Capacity(Scope, CapacityState),
    /// As many jobs have room in a place, at least one.
    Room(Scope, u32),
    Rate(Rate),
    Note(EventKind),
}

/// What probes and detectors said last, and what follows from it.
pub(crate) struct Signals {
    probes: Vec<ProbeTerms>,
    judge: CapacityJudge,
    pressure: Pressure,
    pub(crate) rooms: Rooms,
    detectors: Vec<Detector>,
    published: BTreeMap<Scope, LoadLevel>,
    steering: Steering,
    /// Whether some detector tells a latency: pressure steers only where none does.
    latency_told: bool,
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
}

/// What a probe was registered with.
pub(crate) struct ProbeTerms {
    pub(crate) name: SignalName,
    pub(crate) period: Duration,
}

impl DetectorTerms {
    fn lost_after(&self) -> Duration {
        self.period.saturating_mul(LOST_AFTER_PERIODS)
    }
}

struct Detector {
    terms: DetectorTerms,
    /// When it last gave a usable answer, at first when it was started.
    last: MonoTime,
    lost: bool,
    state: LoadState,
}

impl Signals {
    pub(crate) fn new(now: Now, terms: SignalTerms, rooms: Rooms, limit: RateLimit) -> Self {
        let SignalTerms { thresholds, busy, probes, detectors, laws } = terms;
        let mut judge = CapacityJudge::new(thresholds);
        let mut pressure = Pressure::new(busy);
        for probe in &probes {
            judge.expect(now, probe.name.as_str(), probe.period);
            pressure.expect(now, probe.name.as_str(), probe.period);
        }
        let detectors = detectors.into_iter().map(|terms| Detector::new(now.mono, terms)).collect();
        let mut this = Self {
            probes,
            judge,
            pressure,
            rooms,
            detectors,
            published: BTreeMap::new(),
            steering: Steering::new(now, limit, laws),
            latency_told: false,
        };
        for index in 0..this.detectors.len() {
            if let Some(target) = this.detectors[index].terms.latency_target {
                this.steer_by_latency(now, index, target);
            }
        }
        // A law that has seen nothing yet grants its blind share.
        this.steering.publish(&mut Vec::new());
        this
    }

    /// The rate for all backups together.
    pub(crate) fn rate(&self) -> Rate {
        self.steering.rate()
    }

    /// What is known of the probes.
    pub(crate) fn probes(&self, now: Now) -> Vec<ProbeStatus> {
        self.judge.status(now)
    }

    /// When [`tick`](Self::tick) may have something to say although no signal came.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        let detectors = self.detectors.iter().filter(|d| !d.lost);
        let detectors = detectors.map(|d| d.last + d.terms.lost_after());
        let others = [
            self.judge.next_look(),
            self.pressure.next_look(),
            self.rooms.next_look(),
            self.steering.next_look(),
        ];
        detectors.chain(others.into_iter().flatten()).min()
    }

    /// A probe answered. `paced` counts the bytes of all backups so far.
    pub(crate) fn sample(
        &mut self,
        now: Now,
        probe: usize,
        result: Result<Sample, String>,
        paced: u64,
        engine: &mut Engine,
    ) -> Vec<Directive> {
        let Some(ProbeTerms { name, period }) = self.probes.get(probe) else { return vec![] };
        let (name, period) = (name.as_str(), *period);
        let verdicts = match &result {
            Ok(sample) => self.judge.observe(now, name, sample),
            Err(why) => self.judge.failed(now, name, why.clone()),
        };
        self.pressure.sample(now, name, &result);
        let mut directives = self.directives(verdicts);
        if let Ok(sample) = &result {
            directives.extend(self.rooms.sample(now, (probe, period), sample, engine));
            for reading in &sample.readings {
                self.steer_by_reading(now, period, reading, paced);
            }
        }
        self.publish_load(&mut directives);
        self.steering.publish(&mut directives);
        directives.extend(self.rooms.feed(now, self.rate(), paced, engine));
        directives
    }

    fn steer_by_reading(&mut self, now: Now, period: Duration, reading: &Reading, paced: u64) {
        let pressure = !self.latency_told && PRESSURE.contains(&reading.signal.as_str());
        if pressure && !self.steering.hears(&reading.signal) {
            let mut config = PressureConfig::default();
            config.fail_slow.period = period;
            if let Ok(law) = PressureLaw::new(config) {
                self.steering.add(now, reading.signal.clone(), Box::new(law));
            }
        }
        let value = reading.utilization().unwrap_or(reading.value);
        self.steering.hear(now, &reading.signal, period, value, paced);
    }

    /// A detector answered. `paced` counts the bytes of all backups so far.
    pub(crate) fn load(
        &mut self,
        now: Now,
        index: usize,
        result: Result<LoadReading, String>,
        paced: u64,
        engine: &mut Engine,
    ) -> Vec<Directive> {
        let Some(detector) = self.detectors.get_mut(index) else { return vec![] };
        let mut directives = Vec::new();
        match result {
            Ok(reading) => {
                let terms = &detector.terms;
                let (signal, period) = (terms.name.clone(), terms.period);
                detector.last = now.mono;
                if std::mem::take(&mut detector.lost) {
                    directives.push(Directive::Note(EventKind::SignalBack { signal: signal.clone() }));
                }
                detector.state = reading.state;
                if let Some(latency) = reading.latency {
                    self.steer_by_latency(now, index, latency.target);
                    self.steering.hear(now, &signal, period, latency.value.as_secs_f64(), paced);
                }
            }
            Err(why) => {
                directives.extend(detector.miss(now.mono, Reason::new(why)));
                self.steering.miss(now, &detector.terms.name);
            }
        }
        self.publish_load(&mut directives);
        self.steering.publish(&mut directives);
        directives.extend(self.rooms.feed(now, self.rate(), paced, engine));
        directives
    }

    /// Makes sure that a law listens to a detector that tells latencies: the host's own, or the default.
    fn steer_by_latency(&mut self, now: Now, index: usize, target: Duration) {
        self.latency_told = true;
        let terms = &self.detectors[index].terms;
        if self.steering.hears(&terms.name) {
            return;
        }
        let mut config = match terms.healthy_latency {
            Some(healthy) => PiConfig::healthy(healthy),
            None => PiConfig::goal(target, SLO_OVER_HEALTHY),
        };
        config.fail_slow.period = terms.period;
        // A detector of the host's with a target or period of zero cannot be steered by.
        if let Ok(law) = PiLaw::new(config) {
            self.steering.add(now, terms.name.clone(), Box::new(law));
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<Directive> {
        let verdicts = self.judge.tick(now);
        let mut directives = self.directives(verdicts);
        directives.extend(self.rooms.tick(now));
        let relieved = self.pressure.tick(now);
        for detector in &mut self.detectors {
            let limit = detector.terms.lost_after();
            if !detector.lost && now.mono.since(detector.last) >= limit {
                let reason = Reason::new(format!("no answer for {limit:?}"));
                directives.extend(detector.miss(now.mono, reason));
            }
        }
        if relieved || !directives.is_empty() {
            self.publish_load(&mut directives);
        }
        if self.steering.tick(now) {
            self.steering.publish(&mut directives);
        }
        directives
    }

    /// Running jobs were promised this much together: the rate does not fall below it, within the ceiling.
    pub(crate) fn set_floor(&mut self, floor: u64) -> Vec<Directive> {
        let mut directives = Vec::new();
        if self.steering.set_floor(floor) {
            self.steering.publish(&mut directives);
        }
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

    /// Says the worst load of each scope where it has changed.
    fn publish_load(&mut self, directives: &mut Vec<Directive>) {
        let mut worst: BTreeMap<&Scope, &LoadState> = BTreeMap::new();
        let by_detectors = self.detectors.iter().map(|detector| (&detector.terms.scope, &detector.state));
        for (scope, said) in by_detectors.chain(self.pressure.states()) {
            let state = worst.entry(scope).or_insert(said);
            if said.level > state.level {
                *state = said;
            }
        }
        for (scope, state) in worst {
            let before = self.published.insert(scope.clone(), state.level);
            if before.unwrap_or_default() != state.level {
                directives.push(Directive::Load(scope.clone(), state.clone()));
            }
        }
    }
}

impl Detector {
    fn new(now: MonoTime, terms: DetectorTerms) -> Self {
        let state = LoadState { level: LoadLevel::Calm, reason: Reason::new("nothing measured yet") };
        Self { terms, last: now, lost: false, state }
    }

    /// No usable answer. What it said before holds for a while, then is unknown: neither calm nor busy.
    fn miss(&mut self, now: MonoTime, reason: Reason) -> Option<Directive> {
        if self.lost || now.since(self.last) < self.terms.lost_after() {
            return None;
        }
        self.lost = true;
        self.state = LoadState { level: LoadLevel::Calm, reason: Reason::new("unknown: the signal is lost") };
        Some(Directive::Note(EventKind::SignalLost { signal: self.terms.name.clone(), reason }))
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, EngineConfig, ManualClock};
    use sched_limits::{ConcurrencyConfig, ConcurrencyLaw};

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
        };
        let limit = RateLimit { ceiling: Rate::BytesPerSec(1_000), full_scale: 1_000, enforce: true };
        let law = ConcurrencyLaw::new(ConcurrencyConfig::default(), Thresholds::default()).unwrap();
        Signals::new(clock.now(), terms, Rooms::new(law, true), limit)
    }

    /// The levels and states that were published. Judge and room may both close a scope, which is once for the engine.
    fn told(directives: Vec<Directive>) -> Vec<String> {
        let told = directives.into_iter().filter_map(|directive| match directive {
            Directive::Load(_, state) => Some(state.level.to_string()),
            Directive::Capacity(_, CapacityState::Open) => Some("open".into()),
            Directive::Capacity(_, CapacityState::Closed { .. }) => Some("closed".into()),
            Directive::Note(EventKind::SignalLost { signal, .. }) => Some(format!("{signal} lost")),
            Directive::Rate(_) | Directive::Room(..) | Directive::Note(_) => None,
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
        let full = Sample::of(clock.now(), [Reading::share("disk", 1.0)]);
        assert_eq!(told(signals.sample(clock.now(), 0, Ok(full), 0, &mut engine)), ["closed"]);
        let peak = LoadReading::new(LoadLevel::Peak, Reason::new("told by a test"));
        assert_eq!(told(signals.load(clock.now(), 0, Ok(peak), 0, &mut engine)), ["peak"]);
        // Neither answers again.
        let mut news = Vec::new();
        while let Some(at) = signals.next_look().filter(|at| at.since(MonoTime::ZERO) < PERIOD * 10) {
            clock.advance_to(at);
            news.extend(told(signals.tick(clock.now())));
        }
        let gate = news.iter().rfind(|told| ["open", "closed"].contains(&told.as_str()));
        assert_eq!(gate.map(String::as_str), Some("open"), "{news:?}");
        for expected in ["calm", "checkout lost", "disk lost"] {
            assert!(news.iter().any(|told| told == expected), "{expected}: {news:?}");
        }
        assert!(signals.rate() < Rate::BytesPerSec(1_000), "and nothing raises the rate");
    }
}
