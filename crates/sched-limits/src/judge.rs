//! From readings to open and closed scopes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sched_core::{CapacityState, Measured, MonoTime, Now, Reason, Scope, SignalName};

use crate::reading::{Reading, ReadingError};
use crate::sample::{Cost, Sample};
use crate::status::{Freshness, LOST_AFTER_PERIODS, ProbeStatus, SignalStatus};
use crate::threshold::Thresholds;
use crate::watchdog::{MAX_SIGNALS, Watchdog};

/// Signals that are lost for so many periods are forgotten.
const FORGOTTEN_AFTER_PERIODS: u32 = 100;
/// The period of a probe that answers though nobody expected it.
const USUAL_PERIOD: Duration = Duration::from_secs(1);

/// What follows from readings.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A scope ran short, or has room again.
    Capacity {
        /// Whom it concerns.
        scope: Scope,
        /// Its new state.
        state: CapacityState,
    },
    /// A probe, or one of its signals, gives no usable values.
    Lost {
        /// The probe or signal.
        signal: SignalName,
        /// What is wrong.
        reason: Reason,
    },
    /// A lost probe or signal gives usable values again.
    Back {
        /// The probe or signal.
        signal: SignalName,
    },
}

/// Holds readings against thresholds, with hysteresis.
///
/// A scope is closed while any signal of any probe is over its threshold. A lost signal is unknown: it neither opens a
/// scope that another signal closes, nor keeps one closed. What a signal said before it was lost holds until it is
/// [`LOST_AFTER_PERIODS`] old.
#[derive(Debug)]
pub struct CapacityJudge {
    thresholds: Thresholds,
    probes: BTreeMap<SignalName, ProbeState>,
    /// Signals over their threshold by scope, probe and signal, with the reason.
    over: BTreeMap<(Scope, SignalName, SignalName), Over>,
    closed: BTreeSet<Scope>,
}

#[derive(Debug)]
struct ProbeState {
    period: Duration,
    watchdog: Watchdog,
    /// When it last gave anything usable, at first when it was started.
    last: MonoTime,
    lost: Option<Reason>,
    signals: BTreeMap<(Scope, SignalName), Signal>,
    answers: u64,
    failures: u64,
    rejected: u64,
    cost: Cost,
    total_cost: Cost,
    /// When the next of its signals, or itself, may be lost.
    next_look: Option<MonoTime>,
}

/// The last believed value of a signal. One that was only ever rejected has none.
#[derive(Debug)]
struct Signal {
    reading: Option<Reading>,
    taken: MonoTime,
    /// Said to be lost.
    lost: bool,
    /// Its value is too old to count.
    expired: bool,
}

#[derive(Debug)]
struct Over {
    /// How far over its threshold, as a ratio: the worst signal gives a scope's reason.
    by: f64,
    reason: Reason,
}

impl CapacityJudge {
    /// A judge that has seen nothing.
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, probes: BTreeMap::new(), over: BTreeMap::new(), closed: BTreeSet::new() }
    }

    /// A probe was started, and is expected to answer once a `period`: one that never does is lost as well.
    pub fn expect(&mut self, now: Now, probe: &str, period: Duration) {
        self.probes.insert(probe.into(), ProbeState::new(now.mono, period));
    }

    /// A probe answered. Readings that cannot be believed are lost signals; an answer of nothing else is a lost probe.
    pub fn observe(&mut self, now: Now, probe: &str, sample: &Sample) -> Vec<Verdict> {
        let name = SignalName::from(probe);
        let state =
            self.probes.entry(name.clone()).or_insert_with(|| ProbeState::new(now.mono, USUAL_PERIOD));
        state.answers += 1;
        state.cost = sample.cost;
        state.total_cost += sample.cost;
        let (good, bad) = state.watchdog.examine(sample);
        state.rejected += bad.len() as u64;
        if let (true, Some((_, error))) = (good.is_empty(), bad.first()) {
            let why = error.to_string();
            return self.probe_lost(now, name, why);
        }
        let mut verdicts = Vec::new();
        state.last = now.mono;
        if state.lost.take().is_some() {
            verdicts.push(Verdict::Back { signal: name.clone() });
            state.signals.values_mut().for_each(|signal| signal.lost = false);
        }
        for (reading, error) in &bad {
            verdicts.extend(state.reject(now.mono, &name, reading, error));
        }
        for (reading, taken) in good {
            let fresh = Freshness::of(now.mono, taken, state.period) != Freshness::Lost;
            if state.keep(reading, taken, fresh) {
                verdicts.push(Verdict::Back { signal: reading.signal.clone() });
            }
            if !fresh {
                continue;
            }
            let key = (reading.scope.clone(), name.clone(), reading.signal.clone());
            match judge(&self.thresholds, self.over.contains_key(&key), reading) {
                Some(over) => drop(self.over.insert(key, over)),
                None => drop(self.over.remove(&key)),
            }
        }
        state.plan();
        verdicts.extend(self.tick(now));
        verdicts
    }

    /// A probe failed. What it said before counts until it is too old.
    pub fn failed(&mut self, now: Now, probe: &str, why: String) -> Vec<Verdict> {
        let name = SignalName::from(probe);
        let state =
            self.probes.entry(name.clone()).or_insert_with(|| ProbeState::new(now.mono, USUAL_PERIOD));
        state.failures += 1;
        self.probe_lost(now, name, why)
    }

    /// Time has passed: signals may have become too old.
    pub fn tick(&mut self, now: Now) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (name, state) in &mut self.probes {
            if state.next_look.is_some_and(|look| look <= now.mono) {
                let over = &mut self.over;
                let let_go = |scope: &Scope, signal: &SignalName| {
                    over.remove(&(scope.clone(), name.clone(), signal.clone()));
                };
                state.expire(now.mono, name, let_go, &mut verdicts);
                state.plan();
            }
        }
        self.publish(&mut verdicts);
        verdicts
    }

    /// When [`tick`](Self::tick) may have something to say.
    pub fn next_look(&self) -> Option<MonoTime> {
        self.probes.values().filter_map(|state| state.next_look).min()
    }

    /// What is known of every probe, by name.
    pub fn status(&self, now: Now) -> Vec<ProbeStatus> {
        self.probes.iter().map(|(name, state)| state.status(now.mono, name)).collect()
    }

    fn probe_lost(&mut self, now: Now, name: SignalName, why: String) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        if let Some(state) = self.probes.get_mut(&name) {
            let told_before = state.lost.replace(Reason::new(why.clone())).is_some();
            if !told_before {
                verdicts.push(Verdict::Lost { signal: name, reason: Reason::new(why) });
            }
            state.plan();
        }
        verdicts.extend(self.tick(now));
        verdicts
    }

    /// Says which scopes are closed now and were not, and the other way round.
    fn publish(&mut self, verdicts: &mut Vec<Verdict>) {
        let mut worst: BTreeMap<&Scope, &Over> = BTreeMap::new();
        for ((scope, ..), over) in &self.over {
            let entry = worst.entry(scope).or_insert(over);
            if over.by > entry.by {
                *entry = over;
            }
        }
        let opened = self.closed.iter().filter(|scope| !worst.contains_key(scope));
        verdicts.extend(
            opened.map(|scope| Verdict::Capacity { scope: scope.clone(), state: CapacityState::Open }),
        );
        for (scope, over) in &worst {
            if !self.closed.contains(*scope) {
                let state = CapacityState::Closed { reason: over.reason.clone() };
                verdicts.push(Verdict::Capacity { scope: (*scope).clone(), state });
            }
        }
        self.closed = worst.into_keys().cloned().collect();
    }
}

/// How far a reading is over its threshold; `None` when it is not.
fn judge(thresholds: &Thresholds, was_over: bool, reading: &Reading) -> Option<Over> {
    let threshold = thresholds.of(&reading.signal)?;
    let utilization = reading.utilization()?;
    if !threshold.is_closed(was_over, utilization) {
        return None;
    }
    // Opens below the lower share: that is what has to be reached now.
    let measured = Measured {
        signal: reading.signal.clone(),
        value: utilization,
        threshold: threshold.open_below(),
        unit: "share".into(),
    };
    let text = format!("{} of {} is {:.0} % in use", reading.signal, reading.scope, utilization * 100.0);
    let by = utilization / threshold.close_above().max(f64::MIN_POSITIVE);
    Some(Over { by, reason: Reason::measured(text, measured) })
}

impl ProbeState {
    fn new(now: MonoTime, period: Duration) -> Self {
        let mut this = Self {
            period,
            watchdog: Watchdog::new(period),
            last: now,
            lost: None,
            signals: BTreeMap::new(),
            answers: 0,
            failures: 0,
            rejected: 0,
            cost: Cost::default(),
            total_cost: Cost::default(),
            next_look: None,
        };
        this.plan();
        this
    }

    fn limit(&self) -> Duration {
        self.period.saturating_mul(LOST_AFTER_PERIODS)
    }

    /// Keeps a believed reading; `true` when its signal was said to be lost and is back, which a value that is too old
    /// does not bring about.
    fn keep(&mut self, reading: &Reading, taken: MonoTime, fresh: bool) -> bool {
        let key = (reading.scope.clone(), reading.signal.clone());
        let signal = self.signals.entry(key).or_insert_with(|| Signal::never(taken));
        signal.reading = Some(reading.clone());
        signal.taken = taken;
        fresh && {
            signal.expired = false;
            std::mem::take(&mut signal.lost)
        }
    }

    /// A reading could not be believed: its signal is lost, which is said once.
    fn reject(
        &mut self,
        now: MonoTime,
        probe: &SignalName,
        bad: &Reading,
        error: &ReadingError,
    ) -> Option<Verdict> {
        let key = (bad.scope.clone(), bad.signal.clone());
        if self.signals.len() >= MAX_SIGNALS && !self.signals.contains_key(&key) {
            return None;
        }
        let signal = self.signals.entry(key).or_insert_with(|| Signal::never(now));
        if std::mem::replace(&mut signal.lost, true) {
            return None;
        }
        let reason = Reason::new(format!("probe {probe}: {error}"));
        Some(Verdict::Lost { signal: bad.signal.clone(), reason })
    }

    /// Lets go of values that are too old, and says which signals are lost; when the probe is lost, that says it all.
    fn expire(
        &mut self,
        now: MonoTime,
        probe: &SignalName,
        mut let_go: impl FnMut(&Scope, &SignalName),
        verdicts: &mut Vec<Verdict>,
    ) {
        let limit = self.limit();
        if self.lost.is_none() && now >= self.last + limit {
            let why = format!("no answer for {LOST_AFTER_PERIODS} periods of {:?}", self.period);
            let reason = self.lost.insert(Reason::new(why)).clone();
            verdicts.push(Verdict::Lost { signal: probe.clone(), reason });
        }
        for ((scope, name), signal) in &mut self.signals {
            if now < signal.taken + limit || (signal.lost && signal.expired) {
                continue;
            }
            signal.expired = true;
            let_go(scope, name);
            if !std::mem::replace(&mut signal.lost, true) && self.lost.is_none() {
                let why = format!("probe {probe} has told no value of {scope} for {limit:?}");
                verdicts.push(Verdict::Lost { signal: name.clone(), reason: Reason::new(why) });
            }
        }
        let forgotten = self.period.saturating_mul(FORGOTTEN_AFTER_PERIODS);
        self.signals.retain(|_, signal| !signal.expired || now.since(signal.taken) <= forgotten);
    }

    /// Sets when to look again.
    fn plan(&mut self) {
        let limit = self.limit();
        let waited_for = self.signals.values().filter(|signal| !(signal.lost && signal.expired));
        let probe = self.lost.is_none().then_some(self.last);
        self.next_look =
            waited_for.map(|signal| signal.taken).chain(probe).min().map(|oldest| oldest + limit);
    }

    fn status(&self, now: MonoTime, name: &SignalName) -> ProbeStatus {
        let signals = self.signals.values().filter_map(|signal| {
            let freshness = Freshness::of(now, signal.taken, self.period);
            let reading = signal.reading.clone()?;
            Some(SignalStatus { reading, age: now.since(signal.taken), freshness })
        });
        let answers = u32::try_from(self.answers).unwrap_or(u32::MAX).max(1);
        let mean = Cost { wall: self.total_cost.wall / answers, cpu: self.total_cost.cpu / answers };
        ProbeStatus {
            probe: name.clone(),
            period: self.period,
            lost: self.lost.clone(),
            answers: self.answers,
            failures: self.failures,
            rejected: self.rejected,
            cost: self.cost,
            cpu_per_sec: mean.cpu_per_sec(self.period),
            signals: signals.collect(),
        }
    }
}

impl Signal {
    /// A signal of which nothing was believed yet.
    fn never(at: MonoTime) -> Self {
        Self { reading: None, taken: at, lost: false, expired: false }
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, ManualClock};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    fn expecting(now: Now) -> CapacityJudge {
        let mut judge = CapacityJudge::new(Thresholds::default());
        judge.expect(now, "host", PERIOD);
        judge
    }

    fn cpu(at: Now, value: f64) -> Sample {
        Sample::of(at, [Reading::share("cpu", value)])
    }

    fn closes(verdicts: &[Verdict]) -> bool {
        matches!(verdicts, [Verdict::Capacity { state: CapacityState::Closed { .. }, .. }])
    }

    fn opens(verdicts: &[Verdict]) -> bool {
        matches!(verdicts, [Verdict::Capacity { state: CapacityState::Open, .. }])
    }

    #[test]
    fn a_scope_is_closed_while_any_signal_is_over() {
        let now = ManualClock::default().now();
        let mut judge = expecting(now);
        let read =
            |cpu, memory| Sample::of(now, [Reading::share("cpu", cpu), Reading::share("memory", memory)]);
        assert!(judge.observe(now, "host", &read(0.5, 0.5)).is_empty());
        assert!(closes(&judge.observe(now, "host", &read(0.99, 0.5))));
        assert!(judge.observe(now, "host", &read(0.99, 0.95)).is_empty());
        assert!(judge.observe(now, "host", &read(0.10, 0.90)).is_empty(), "memory keeps it closed");
        assert!(opens(&judge.observe(now, "host", &read(0.10, 0.50))));
    }

    #[test]
    fn nonsense_is_a_lost_signal_and_never_idle() {
        let clock = ManualClock::default();
        let mut judge = expecting(clock.now());
        assert!(closes(&judge.observe(clock.now(), "host", &cpu(clock.now(), 1.0))));
        let verdicts = judge.observe(clock.now(), "host", &cpu(clock.now(), f64::NAN));
        assert!(matches!(&verdicts[..], [Verdict::Lost { reason, .. }] if reason.text.contains("NaN")));
        let back = judge.observe(clock.now(), "host", &cpu(clock.now(), 1.0));
        assert!(matches!(&back[..], [Verdict::Back { .. }]));
    }

    #[test]
    fn a_silent_probe_keeps_nothing_closed_for_ever() {
        let clock = ManualClock::default();
        let mut judge = expecting(clock.now());
        assert!(closes(&judge.observe(clock.now(), "host", &cpu(clock.now(), 1.0))));
        assert_eq!(judge.next_look(), Some(clock.now().mono + PERIOD * 5));
        clock.advance(PERIOD * 5 - Duration::from_nanos(1));
        assert!(judge.tick(clock.now()).is_empty());
        clock.advance(Duration::from_nanos(1));
        let verdicts = judge.tick(clock.now());
        assert!(matches!(verdicts[0], Verdict::Lost { .. }));
        assert!(opens(&verdicts[1..]));
        assert_eq!(judge.next_look(), None);
        assert!(judge.tick(clock.now()).is_empty(), "said once");
    }

    #[test]
    fn a_probe_that_never_answers_is_lost() {
        let clock = ManualClock::default();
        let mut judge = expecting(clock.now());
        judge.expect(clock.now(), "host", PERIOD);
        clock.advance_to(judge.next_look().unwrap());
        assert!(matches!(&judge.tick(clock.now())[..], [Verdict::Lost { .. }]));
        judge.expect(clock.now(), "slow", Duration::MAX);
        assert_eq!(judge.next_look(), Some(MonoTime::MAX), "absurd periods do no harm");
    }

    #[test]
    fn a_failing_probe_is_told_once_and_lets_go_in_time() {
        let clock = ManualClock::default();
        let mut judge = expecting(clock.now());
        judge.observe(clock.now(), "host", &cpu(clock.now(), 1.0));
        let mut all = Vec::new();
        for _ in 0..10 {
            clock.advance(PERIOD);
            all.extend(judge.failed(clock.now(), "host", "boom".into()));
        }
        assert!(matches!(all[0], Verdict::Lost { .. }));
        assert!(opens(&all[1..]), "{all:?}");
    }

    fn lost(verdicts: &[Verdict]) -> Vec<String> {
        let text = |v: &Verdict| match v {
            Verdict::Lost { signal, reason } => Some(format!("{signal}: {reason}")),
            _ => None,
        };
        verdicts.iter().filter_map(text).collect()
    }

    #[test]
    fn a_signal_that_is_told_no_more_lets_go_and_says_so() {
        let clock = ManualClock::default();
        let mut judge = expecting(clock.now());
        let both = |at| Sample::of(at, [Reading::share("cpu", 0.5), Reading::share("memory", 0.99)]);
        assert!(closes(&judge.observe(clock.now(), "host", &both(clock.now()))));
        let mut all = Vec::new();
        for _ in 0..8 {
            clock.advance(PERIOD);
            all.extend(judge.observe(clock.now(), "host", &cpu(clock.now(), 0.5)));
        }
        assert_eq!(lost(&all), ["memory: probe host has told no value of fleet for 5s"]);
        assert!(opens(&all[1..]), "{all:?}");
        let back = judge.observe(clock.now(), "host", &both(clock.now()));
        assert!(
            matches!(&back[..], [Verdict::Back { signal }, _] if signal.as_str() == "memory"),
            "{back:?}"
        );
        assert!(closes(&back[1..]));
    }

    #[test]
    fn one_bad_reading_is_a_lost_signal_beside_good_ones() {
        let clock = ManualClock::default();
        let mut judge = expecting(clock.now());
        let sample = |at, cpu| Sample::of(at, [Reading::share("cpu", cpu), Reading::share("memory", 0.99)]);
        let verdicts = judge.observe(clock.now(), "host", &sample(clock.now(), 37.0));
        assert_eq!(lost(&verdicts).len(), 1, "{verdicts:?}");
        assert!(lost(&verdicts)[0].starts_with("cpu: probe host: cpu reads 37 as a share"), "{verdicts:?}");
        assert!(closes(&verdicts[1..]), "memory is judged all the same");
        clock.advance(PERIOD);
        assert!(judge.observe(clock.now(), "host", &sample(clock.now(), -1.0)).is_empty(), "told once");
        let back = judge.observe(clock.now(), "host", &sample(clock.now(), 0.2));
        assert!(matches!(&back[..], [Verdict::Back { signal }] if signal.as_str() == "cpu"), "{back:?}");
        let status = &judge.status(clock.now())[0];
        assert_eq!((status.answers, status.rejected, status.failures), (3, 2, 0));
    }

    #[test]
    fn a_remote_value_ages_by_its_own_time_stamp() {
        let clock = ManualClock::default();
        let scrape = Duration::from_secs(15);
        let mut judge = CapacityJudge::new(Thresholds::default());
        judge.expect(clock.now(), "remote", scrape);
        let aged = |at, seconds| {
            let reading = Reading::share("memory", 0.99).aged(Duration::from_secs(seconds));
            Sample::of(at, [reading])
        };
        clock.advance(scrape * 10);
        assert!(closes(&judge.observe(clock.now(), "remote", &aged(clock.now(), 16))));
        let mut all = Vec::new();
        for n in 1..10 {
            clock.advance(scrape);
            all.extend(judge.observe(clock.now(), "remote", &aged(clock.now(), 16 + 15 * n)));
        }
        assert_eq!(lost(&all).len(), 1, "answers of old values do not keep a signal alive: {all:?}");
        assert!(opens(&all[1..]));
        assert_eq!(judge.status(clock.now())[0].signals[0].freshness, Freshness::Lost);
    }

    #[test]
    fn two_probes_may_tell_the_same_signal_and_the_worse_counts() {
        let now = ManualClock::default().now();
        let mut judge = expecting(now);
        judge.expect(now, "container", PERIOD);
        assert!(closes(&judge.observe(now, "host", &cpu(now, 0.99))));
        assert!(judge.observe(now, "container", &cpu(now, 0.1)).is_empty());
        assert!(opens(&judge.observe(now, "host", &cpu(now, 0.1))));
    }

    #[test]
    fn the_cost_of_a_probe_is_told_a_second() {
        let now = ManualClock::default().now();
        let mut judge = CapacityJudge::new(Thresholds::none());
        judge.expect(now, "host", PERIOD * 2);
        let cost = Cost { wall: Duration::from_millis(1), cpu: Duration::from_micros(100) };
        judge.observe(now, "host", &Sample { cost, ..cpu(now, 0.5) });
        let status = &judge.status(now)[0];
        assert_eq!((status.cost, status.cpu_per_sec), (cost, Duration::from_micros(50)));
    }
}
