//! From readings to open and closed scopes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sched_core::{CapacityState, Measured, MonoTime, Now, Reason, Scope, SignalName};

use crate::reading::Reading;
use crate::sample::Sample;
use crate::status::ProbeStatus;
use crate::threshold::Thresholds;
use crate::track::ProbeTrack;

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
/// [`LOST_AFTER_PERIODS`](crate::LOST_AFTER_PERIODS) old.
#[derive(Debug)]
pub struct CapacityJudge {
    thresholds: Thresholds,
    probes: BTreeMap<SignalName, ProbeTrack>,
    /// Signals over their threshold by scope, probe and signal, with the reason.
    over: BTreeMap<(Scope, SignalName, SignalName), Over>,
    closed: BTreeSet<Scope>,
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
        self.probes.insert(probe.into(), ProbeTrack::new(now.mono, period));
    }

    /// A probe answered. Readings that cannot be believed are lost signals; an answer of nothing else is a lost probe.
    pub fn observe(&mut self, now: Now, probe: &str, sample: &Sample) -> Vec<Verdict> {
        let name = SignalName::from(probe);
        let probe =
            self.probes.entry(name.clone()).or_insert_with(|| ProbeTrack::new(now.mono, USUAL_PERIOD));
        let mut verdicts = Vec::new();
        let usable = match probe.hear(now.mono, &name, sample, &mut verdicts) {
            Ok(usable) => usable,
            Err(error) => return self.probe_lost(now, name, error.to_string()),
        };
        for reading in usable {
            let key = (reading.scope.clone(), name.clone(), reading.signal.clone());
            match judge(&self.thresholds, self.over.contains_key(&key), reading) {
                Some(over) => drop(self.over.insert(key, over)),
                None => drop(self.over.remove(&key)),
            }
        }
        verdicts.extend(self.tick(now));
        verdicts
    }

    /// A probe failed. What it said before counts until it is too old.
    pub fn failed(&mut self, now: Now, probe: &str, why: String) -> Vec<Verdict> {
        let name = SignalName::from(probe);
        let probe =
            self.probes.entry(name.clone()).or_insert_with(|| ProbeTrack::new(now.mono, USUAL_PERIOD));
        probe.count_failure();
        self.probe_lost(now, name, why)
    }

    /// Time has passed: signals may have become too old.
    pub fn tick(&mut self, now: Now) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let over = &mut self.over;
        for (name, probe) in &mut self.probes {
            let let_go = |scope: &Scope, signal: &SignalName| {
                over.remove(&(scope.clone(), name.clone(), signal.clone()));
            };
            probe.expire(now.mono, name, let_go, &mut verdicts);
        }
        self.publish(&mut verdicts);
        verdicts
    }

    /// What a probe has told that can be believed, and from when on it counts no more.
    pub fn believed(&self, probe: &str) -> impl Iterator<Item = (&Reading, MonoTime)> {
        self.probes.get(&SignalName::from(probe)).into_iter().flat_map(ProbeTrack::believed)
    }

    /// When [`tick`](Self::tick) may have something to say.
    pub fn next_look(&self) -> Option<MonoTime> {
        self.probes.values().filter_map(ProbeTrack::next_look).min()
    }

    /// What is known of every probe, by name.
    pub fn status(&self, now: Now) -> Vec<ProbeStatus> {
        self.probes.iter().map(|(name, probe)| probe.status(now.mono, name)).collect()
    }

    fn probe_lost(&mut self, now: Now, name: SignalName, why: String) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        if let Some(probe) = self.probes.get_mut(&name) {
            verdicts.extend(probe.lose(&name, why));
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
    let measured = Measured::new(reading.signal.clone(), utilization, threshold.open_below(), "share");
    let text = format!("{} of {} is {:.0} % in use", reading.signal, reading.scope, utilization * 100.0);
    let by = utilization / threshold.close_above().max(f64::MIN_POSITIVE);
    Some(Over { by, reason: Reason::measured(text, measured) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sched_core::{Clock, ManualClock};

    use super::*;
    use crate::sample::Cost;
    use crate::status::{Freshness, LOST_AFTER_PERIODS};

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
    fn what_is_believed_is_told_with_its_end() {
        let clock = ManualClock::default();
        let mut judge = expecting(clock.now());
        assert_eq!(judge.believed("host").count(), 0);
        let read = |cpu| {
            let aged = Reading::share("memory", 0.5).aged(PERIOD);
            Sample::of(clock.now(), [Reading::share("cpu", cpu), aged])
        };
        clock.advance(PERIOD);
        judge.observe(clock.now(), "host", &read(0.25));
        let believed = |judge: &CapacityJudge| {
            let told = judge.believed("host").map(|(reading, end)| (reading.value, end));
            told.collect::<Vec<_>>()
        };
        let now = clock.now().mono;
        assert_eq!(believed(&judge), [(0.25, now + PERIOD * 5), (0.5, now + PERIOD * 4)]);
        judge.observe(clock.now(), "host", &read(f64::NAN));
        assert_eq!(believed(&judge), [(0.5, now + PERIOD * 4)], "what cannot be believed is left out");
        clock.advance(PERIOD * 5);
        judge.tick(clock.now());
        assert!(believed(&judge).is_empty());
        assert_eq!(judge.believed("nobody").count(), 0);
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
        let again = judge.observe(clock.now(), "host", &sample(clock.now(), 0.2));
        assert!(again.is_empty(), "back is told once: {again:?}");
        let status = &judge.status(clock.now())[0];
        assert_eq!((status.answers, status.rejected, status.failures), (4, 2, 0));
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
    fn the_worst_signal_gives_the_reason() {
        let now = ManualClock::default().now();
        for (cpu, memory, worst) in [(0.951, 0.999, "memory"), (1.0, 0.921, "cpu")] {
            let mut judge = expecting(now);
            let sample = Sample::of(now, [Reading::share("cpu", cpu), Reading::share("memory", memory)]);
            let verdicts = judge.observe(now, "host", &sample);
            let [Verdict::Capacity { state: CapacityState::Closed { reason }, .. }] = &verdicts[..] else {
                panic!("{verdicts:?}")
            };
            assert!(reason.text.starts_with(worst), "{reason}");
        }
    }

    #[test]
    fn a_frozen_signal_is_lost_and_lets_go() {
        let clock = ManualClock::default();
        let mut judge = expecting(clock.now());
        let frozen = Reading::share("memory", 0.99).moves_within(PERIOD * 3);
        let sample = |at| Sample::of(at, [Reading::share("cpu", 0.5), frozen.clone()]);
        assert!(closes(&judge.observe(clock.now(), "host", &sample(clock.now()))));
        let mut all = Vec::new();
        for _ in 0..12 {
            clock.advance(PERIOD);
            all.extend(judge.observe(clock.now(), "host", &sample(clock.now())));
        }
        assert_eq!(
            lost(&all),
            ["memory: probe host: memory has read 0.99 for 4s; a live source moves within 3s"]
        );
        assert!(opens(&all[1..]), "what it said last is too old: {all:?}");
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

    #[test]
    fn a_probe_that_tells_nothing_at_all_is_lost() {
        let clock = ManualClock::default();
        let mut judge = expecting(clock.now());
        let mut all = Vec::new();
        for _ in 0..8 {
            all.extend(judge.observe(clock.now(), "host", &Sample::of(clock.now(), [])));
            clock.advance(PERIOD);
        }
        assert_eq!(lost(&all), ["host: no usable answer for 5 periods of 1s"]);
        let back = judge.observe(clock.now(), "host", &cpu(clock.now(), 0.5));
        assert!(matches!(&back[..], [Verdict::Back { .. }]));
    }

    /// What a verdict switches, and whether on.
    fn switch(verdict: &Verdict) -> (String, bool) {
        match verdict {
            Verdict::Capacity { scope, state } => (scope.to_string(), *state != CapacityState::Open),
            Verdict::Lost { signal, .. } => (signal.to_string(), true),
            Verdict::Back { signal } => (signal.to_string(), false),
        }
    }

    proptest! {
        /// Probes `a` and `b` answer with signals of their own, some nonsense and some old, fail, or are silent.
        #[test]
        fn every_verdict_is_a_change_and_silence_opens_everything(
            steps in prop::collection::vec(
                (0..2_usize, prop::option::of(prop::collection::vec((0..3_usize, -0.1..1.2_f64, 0..8_u64), 0..4)), 0..3_u64),
                1..80,
            ),
        ) {
            let clock = ManualClock::default();
            clock.advance(Duration::from_secs(3600));
            let threshold = crate::threshold::Threshold::new(0.9, 0.5).unwrap();
            let names = [["a1", "a2", "a3"], ["b1", "b2", "b3"]];
            let thresholds = names.iter().flatten().fold(Thresholds::none(), |t, name| t.with(*name, threshold));
            let mut judge = CapacityJudge::new(thresholds);
            for probe in ["a", "b"] {
                judge.expect(clock.now(), probe, PERIOD);
            }
            let mut on: BTreeMap<String, bool> = BTreeMap::new();
            let mut check = |verdicts: Vec<Verdict>| {
                for verdict in verdicts {
                    let (what, now_on) = switch(&verdict);
                    let was_on = on.insert(what, now_on).unwrap_or(false);
                    // A probe that is back says so of itself, and not of each of its signals; one that is lost neither.
                    let of_signal = !matches!(verdict, Verdict::Capacity { .. }) && switch(&verdict).0.len() == 2;
                    prop_assert!(of_signal || was_on != now_on, "{:?}", verdict);
                }
                Ok(on.clone())
            };
            for (probe, answer, pause) in steps {
                let (now, name) = (clock.now(), ["a", "b"][probe]);
                let verdicts = match answer {
                    None => judge.failed(now, name, "no".into()),
                    Some(readings) => {
                        let reading = |(n, value, age): (usize, f64, u64)| {
                            Reading::share(names[probe][n], value).aged(Duration::from_secs(age))
                        };
                        let sample = Sample::of(now, readings.into_iter().map(reading).collect::<Vec<_>>());
                        judge.observe(now, name, &sample)
                    }
                };
                check(verdicts)?;
                clock.advance(PERIOD.mul_f64(pause as f64));
                check(judge.tick(clock.now()))?;
            }
            clock.advance(PERIOD * LOST_AFTER_PERIODS);
            let on = check(judge.tick(clock.now()))?;
            prop_assert_eq!(on.get("fleet").copied().unwrap_or(false), false, "nothing is closed for ever");
            prop_assert!(on["a"] && on["b"], "both are lost: {:?}", on);
            prop_assert_eq!(judge.next_look(), None);
        }
    }
}
