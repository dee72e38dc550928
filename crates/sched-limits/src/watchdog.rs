//! Which readings of a probe can be believed, given what it said before: [`Watchdog`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sched_core::{MonoTime, Scope, SignalName};

use crate::reading::{Reading, ReadingError};
use crate::sample::Sample;

/// The most signals that one probe may tell.
pub const MAX_SIGNALS: usize = 1024;
/// A signal that was not told for so many periods is forgotten.
const FORGOTTEN_AFTER_PERIODS: u32 = 100;

/// Looks at everything that one probe says, and lets through what can be believed.
///
/// Rejected are readings that fail [`Reading::check`], come twice in one sample, change their unit, are older than
/// what was told before, stay the same for longer than their source can
/// ([`moves_within`](Reading::moves_within)), or are of more than [`MAX_SIGNALS`] signals. Pure: no clock, no I/O.
#[derive(Clone, Debug)]
pub struct Watchdog {
    period: Duration,
    seen: BTreeMap<(Scope, SignalName), Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    last: Reading,
    /// When the last value was measured.
    taken: MonoTime,
    /// When a value like the last one was first measured.
    same_since: MonoTime,
}

/// What can be believed of a sample, with the time at which it was measured, and what cannot, with the reason.
pub type Examined<'a> = (Vec<(&'a Reading, MonoTime)>, Vec<(&'a Reading, ReadingError)>);

impl Watchdog {
    /// A watchdog over a probe that is asked once a `period`.
    pub fn new(period: Duration) -> Self {
        Self { period, seen: BTreeMap::new() }
    }

    /// Divides a sample into what can be believed and what cannot.
    pub fn examine<'a>(&mut self, sample: &'a Sample) -> Examined<'a> {
        let asked = sample.taken.mono;
        let forgotten = self.period.saturating_mul(FORGOTTEN_AFTER_PERIODS);
        self.seen.retain(|_, seen| asked.since(seen.taken) <= forgotten);
        let (mut good, mut bad) = (Vec::with_capacity(sample.readings.len()), Vec::new());
        let mut told = BTreeSet::new();
        for reading in &sample.readings {
            let taken = asked - reading.age;
            let once = if told.insert((&reading.scope, &reading.signal)) {
                Ok(())
            } else {
                Err(ReadingError::Duplicate { signal: reading.signal.clone(), scope: reading.scope.clone() })
            };
            match once.and_then(|()| reading.check()).and_then(|()| self.follow(reading, taken)) {
                Ok(()) => good.push((reading, taken)),
                Err(error) => bad.push((reading, error)),
            }
        }
        (good, bad)
    }

    /// Holds a reading against the one before.
    fn follow(&mut self, reading: &Reading, taken: MonoTime) -> Result<(), ReadingError> {
        let signal = || reading.signal.clone();
        let key = (reading.scope.clone(), reading.signal.clone());
        let Some(seen) = self.seen.get_mut(&key) else {
            if self.seen.len() >= MAX_SIGNALS {
                return Err(ReadingError::TooMany { signal: signal(), most: MAX_SIGNALS });
            }
            self.seen.insert(key, Seen { last: reading.clone(), taken, same_since: taken });
            return Ok(());
        };
        if seen.last.unit != reading.unit {
            let before = std::mem::replace(&mut seen.last, reading.clone()).unit;
            return Err(ReadingError::UnitChanged { signal: signal(), found: reading.unit.clone(), before });
        }
        // Two clocks and a network lie between a remote value and its age: less than a period is no going back.
        let by = seen.taken.since(taken);
        if by > self.period {
            return Err(ReadingError::Backwards { signal: signal(), by });
        }
        seen.taken = seen.taken.max(taken);
        if seen.last.value != reading.value {
            seen.same_since = taken;
        }
        seen.last = reading.clone();
        let since = taken.since(seen.same_since);
        match reading.moves_within {
            Some(within) if since > within => {
                Err(ReadingError::Frozen { signal: signal(), value: reading.value, since, within })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sched_core::{Clock, ManualClock, Now};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Now {
        ManualClock::default().now().plus(Duration::from_secs(seconds))
    }

    /// What a watchdog rejects of samples that come once a period, by period.
    fn rejected(samples: impl IntoIterator<Item = Vec<Reading>>) -> Vec<Vec<ReadingError>> {
        let mut watchdog = Watchdog::new(PERIOD);
        let mut errors =
            |sample: Sample| watchdog.examine(&sample).1.into_iter().map(|(_, error)| error).collect();
        samples.into_iter().zip(1000..).map(|(readings, t)| errors(Sample::of(at(t), readings))).collect()
    }

    #[test]
    fn one_bad_reading_does_not_spoil_the_others() {
        let mut watchdog = Watchdog::new(PERIOD);
        let readings = [Reading::share("cpu", f64::NAN), Reading::share("psi.io", 0.5)];
        let sample = Sample::of(at(0), readings);
        let (good, bad) = watchdog.examine(&sample);
        assert_eq!(good, [(&sample.readings[1], at(0).mono)]);
        assert!(matches!(&bad[..], [(_, ReadingError::Value { .. })]));
    }

    #[test]
    fn the_same_signal_twice_is_believed_once_a_scope() {
        let db = Scope::Host("db".into());
        let one = || Reading::share("cpu", 0.5);
        let errors = rejected([vec![one(), one().scope(db.clone()), one().scope(db)]]);
        assert!(matches!(&errors[0][..], [ReadingError::Duplicate { scope: Scope::Host(_), .. }]));
    }

    #[test]
    fn a_change_of_unit_is_rejected_once() {
        let errors = rejected([
            vec![Reading::new("fuel", 1.0, "litres")],
            vec![Reading::new("fuel", 1.0, "gallons")],
            vec![Reading::new("fuel", 1.0, "gallons")],
        ]);
        assert!(matches!(&errors[1][..], [ReadingError::UnitChanged { .. }]));
        assert!(errors[2].is_empty());
    }

    #[test]
    fn values_that_grow_older_are_rejected_and_small_jitter_is_not() {
        let aged = |seconds: f64| vec![Reading::share("cpu", 0.5).aged(Duration::from_secs_f64(seconds))];
        let errors = rejected([aged(0.0), aged(1.9), aged(7.0), aged(0.0)]);
        assert!(errors[1].is_empty());
        assert!(matches!(&errors[2][..], [ReadingError::Backwards { .. }]), "{errors:?}");
        assert!(errors[3].is_empty());
    }

    #[test]
    fn a_frozen_value_is_rejected_until_it_moves() {
        let read = |v: f64| vec![Reading::new("fuel", v, "l").moves_within(PERIOD * 3)];
        let errors = rejected([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0].map(read));
        let frozen: Vec<_> = errors.iter().map(|e| matches!(&e[..], [ReadingError::Frozen { .. }])).collect();
        assert_eq!(frozen, [false, false, false, false, true, true, false, false]);
        let still = vec![Reading::new("quota", 1.0, "l")];
        assert!(rejected(vec![still; 50]).iter().all(Vec::is_empty), "may stay as it is");
    }

    #[test]
    fn ever_new_signals_are_bounded_and_old_ones_forgotten() {
        let many = |at: Now, from: usize| {
            let names = (from..from + 600).map(|n| format!("x{n}"));
            Sample::of(at, names.map(|name| Reading::share(name, 0.0)).collect::<Vec<_>>())
        };
        let mut watchdog = Watchdog::new(PERIOD);
        assert!(watchdog.examine(&many(at(0), 0)).1.is_empty());
        let more = many(at(1), 600);
        let (good, bad) = watchdog.examine(&more);
        assert_eq!((good.len(), bad.len()), (MAX_SIGNALS - 600, 1200 - MAX_SIGNALS));
        assert!(watchdog.examine(&many(at(500), 1200)).1.is_empty());
    }

    proptest! {
        #[test]
        fn what_passes_is_sane_whatever_comes(
            samples in prop::collection::vec(prop::collection::vec(
                (0..3_usize, any::<f64>(), prop::option::of(any::<f64>()), any::<u64>(), any::<Option<u16>>()), 0..6,
            ), 1..20),
        ) {
            let mut watchdog = Watchdog::new(PERIOD);
            for (t, sample) in samples.into_iter().enumerate() {
                let readings: Vec<_> = sample.into_iter().map(|(name, value, capacity, age, within)| {
                    let mut reading = Reading::new(["cpu", "fuel", ""][name], value, ["share", "l", "x"][name]);
                    reading.capacity = capacity;
                    reading.moves_within = within.map(|s| Duration::from_millis(s.into()));
                    reading.aged(Duration::from_nanos(age))
                }).collect();
                let sample = Sample::of(at(t as u64), readings);
                let (good, bad) = watchdog.examine(&sample);
                prop_assert_eq!(good.len() + bad.len(), sample.readings.len());
                for (reading, taken) in good {
                    prop_assert!(reading.check().is_ok());
                    prop_assert!(taken <= sample.taken.mono);
                }
            }
        }
    }
}
