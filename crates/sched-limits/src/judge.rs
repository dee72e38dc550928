//! From readings to open and closed scopes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sched_core::{CapacityState, Measured, MonoTime, Now, Reason, Scope, SignalName};

use crate::probe::Reading;
use crate::threshold::Thresholds;

/// A signal that is older than this many of its periods is unknown.
pub const LOST_AFTER_PERIODS: u32 = 5;

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
    /// A probe gives no usable values.
    Lost {
        /// The probe.
        signal: SignalName,
        /// What is wrong.
        reason: Reason,
    },
    /// A lost probe gives usable values again.
    Back {
        /// The probe.
        signal: SignalName,
    },
}

/// Holds readings against thresholds, with hysteresis.
///
/// A scope is closed while any of its signals is over its threshold. A lost signal is unknown: it neither opens a
/// scope that another signal closes, nor keeps one closed.
#[derive(Debug)]
pub struct CapacityJudge {
    thresholds: Thresholds,
    probes: BTreeMap<SignalName, ProbeState>,
    /// Signals over their threshold, with the reason.
    over: BTreeMap<(Scope, SignalName), Over>,
    closed: BTreeSet<Scope>,
}

#[derive(Debug)]
struct ProbeState {
    period: Duration,
    last: MonoTime,
    lost: bool,
}

#[derive(Debug)]
struct Over {
    probe: SignalName,
    /// How far over its threshold, as a ratio: the worst signal gives a scope's reason.
    by: f64,
    reason: Reason,
}

impl CapacityJudge {
    /// A judge that has seen nothing.
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, probes: BTreeMap::new(), over: BTreeMap::new(), closed: BTreeSet::new() }
    }

    /// A probe was started, and is expected to answer: one that never does is lost as well.
    pub fn expect(&mut self, now: Now, probe: &str, period: Duration) {
        self.probes.insert(probe.into(), ProbeState { period, last: now.mono, lost: false });
    }

    /// A probe answered.
    pub fn observe(&mut self, now: Now, probe: &str, period: Duration, readings: &[Reading]) -> Vec<Verdict> {
        if let Some(error) = readings.iter().find_map(|reading| reading.check().err()) {
            return self.lost(now, probe, period, error.to_string());
        }
        let name = SignalName::from(probe);
        let state = ProbeState { period, last: now.mono, lost: false };
        let before = self.probes.insert(name.clone(), state);
        let mut verdicts = Vec::new();
        if before.is_some_and(|state| state.lost) {
            verdicts.push(Verdict::Back { signal: name.clone() });
        }
        for reading in readings {
            self.judge(&name, reading);
        }
        self.publish(&mut verdicts);
        verdicts
    }

    /// A probe failed, or answered with nonsense. What it said before counts until it is too old.
    pub fn lost(&mut self, now: Now, probe: &str, period: Duration, why: String) -> Vec<Verdict> {
        let name = SignalName::from(probe);
        let state =
            self.probes.entry(name.clone()).or_insert(ProbeState { period, last: now.mono, lost: false });
        if std::mem::replace(&mut state.lost, true) {
            return self.tick(now);
        }
        let mut verdicts = vec![Verdict::Lost { signal: name, reason: Reason::new(why) }];
        verdicts.extend(self.tick(now));
        verdicts
    }

    /// Time has passed: signals may have become too old.
    pub fn tick(&mut self, now: Now) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (name, state) in &mut self.probes {
            if now.mono < state.last + state.period.saturating_mul(LOST_AFTER_PERIODS) {
                continue;
            }
            if !std::mem::replace(&mut state.lost, true) {
                let reason =
                    Reason::new(format!("no answer for {LOST_AFTER_PERIODS} periods of {:?}", state.period));
                verdicts.push(Verdict::Lost { signal: name.clone(), reason });
            }
            self.over.retain(|_, over| over.probe != *name);
        }
        self.publish(&mut verdicts);
        verdicts
    }

    /// When [`tick`](Self::tick) may have something to say.
    pub fn next_look(&self) -> Option<MonoTime> {
        let holds = |name: &SignalName| self.over.values().any(|over| over.probe == *name);
        let waited_for = self.probes.iter().filter(|(name, state)| !state.lost || holds(name));
        waited_for.map(|(_, state)| state.last + state.period.saturating_mul(LOST_AFTER_PERIODS)).min()
    }

    fn judge(&mut self, probe: &SignalName, reading: &Reading) {
        let (Some(threshold), Some(utilization)) =
            (self.thresholds.of(&reading.signal), reading.utilization())
        else {
            return;
        };
        let key = (reading.scope.clone(), reading.signal.clone());
        if !threshold.is_closed(self.over.contains_key(&key), utilization) {
            self.over.remove(&key);
            return;
        }
        // Opens below the lower share: that is what has to be reached now.
        let measured = Measured {
            signal: reading.signal.clone(),
            value: utilization,
            threshold: threshold.open_below(),
            unit: "share".into(),
        };
        let text = format!("{} of {} is {:.0} % in use", reading.signal, reading.scope, utilization * 100.0);
        let reason = Reason::measured(text, measured);
        let by = utilization / threshold.close_above().max(f64::MIN_POSITIVE);
        self.over.insert(key, Over { probe: probe.clone(), by, reason });
    }

    fn publish(&mut self, verdicts: &mut Vec<Verdict>) {
        let mut worst: BTreeMap<&Scope, &Over> = BTreeMap::new();
        for ((scope, _), over) in &self.over {
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

#[cfg(test)]
mod tests {
    use sched_core::{Clock, ManualClock};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    fn closes(verdicts: &[Verdict]) -> bool {
        matches!(verdicts, [Verdict::Capacity { state: CapacityState::Closed { .. }, .. }])
    }

    fn opens(verdicts: &[Verdict]) -> bool {
        matches!(verdicts, [Verdict::Capacity { state: CapacityState::Open, .. }])
    }

    #[test]
    fn a_scope_is_closed_while_any_signal_is_over() {
        let now = ManualClock::default().now();
        let mut judge = CapacityJudge::new(Thresholds::default());
        let read = |cpu, memory| [Reading::share("cpu", cpu), Reading::share("memory", memory)];
        assert!(judge.observe(now, "host", PERIOD, &read(0.5, 0.5)).is_empty());
        assert!(closes(&judge.observe(now, "host", PERIOD, &read(0.99, 0.5))));
        assert!(judge.observe(now, "host", PERIOD, &read(0.99, 0.95)).is_empty());
        assert!(judge.observe(now, "host", PERIOD, &read(0.10, 0.90)).is_empty(), "memory keeps it closed");
        assert!(opens(&judge.observe(now, "host", PERIOD, &read(0.10, 0.50))));
    }

    #[test]
    fn nonsense_is_a_lost_signal_and_never_idle() {
        let clock = ManualClock::default();
        let mut judge = CapacityJudge::new(Thresholds::default());
        assert!(closes(&judge.observe(clock.now(), "host", PERIOD, &[Reading::share("cpu", 1.0)])));
        let verdicts = judge.observe(clock.now(), "host", PERIOD, &[Reading::share("cpu", f64::NAN)]);
        assert!(matches!(&verdicts[..], [Verdict::Lost { reason, .. }] if reason.text.contains("NaN")));
        let back = judge.observe(clock.now(), "host", PERIOD, &[Reading::share("cpu", 1.0)]);
        assert!(matches!(&back[..], [Verdict::Back { .. }]));
    }

    #[test]
    fn a_silent_probe_keeps_nothing_closed_for_ever() {
        let clock = ManualClock::default();
        let mut judge = CapacityJudge::new(Thresholds::default());
        assert!(closes(&judge.observe(clock.now(), "host", PERIOD, &[Reading::share("cpu", 1.0)])));
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
        let mut judge = CapacityJudge::new(Thresholds::default());
        judge.expect(clock.now(), "host", PERIOD);
        clock.advance_to(judge.next_look().unwrap());
        assert!(matches!(&judge.tick(clock.now())[..], [Verdict::Lost { .. }]));
        judge.expect(clock.now(), "slow", Duration::MAX);
        assert_eq!(judge.next_look(), Some(MonoTime::MAX), "absurd periods do no harm");
    }

    #[test]
    fn a_failing_probe_is_told_once_and_lets_go_in_time() {
        let clock = ManualClock::default();
        let mut judge = CapacityJudge::new(Thresholds::default());
        judge.observe(clock.now(), "host", PERIOD, &[Reading::share("cpu", 1.0)]);
        let mut all = Vec::new();
        for _ in 0..10 {
            clock.advance(PERIOD);
            all.extend(judge.lost(clock.now(), "host", PERIOD, "boom".into()));
        }
        assert!(matches!(all[0], Verdict::Lost { .. }));
        assert!(opens(&all[1..]), "{all:?}");
    }
}
