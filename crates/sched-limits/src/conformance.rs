//! What every capacity probe has to keep, as a suite that any implementation runs in its own tests.
//!
//! ```
//! use sched_limits::{FixedProbe, Reading, conformance};
//!
//! let quota = FixedProbe::new("quota", [Reading::new("quota", 3.0, "TB").of(10.0)]);
//! conformance::check(quota).unwrap();
//! ```

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sched_core::{Clock, ManualClock, NameError, Now, SignalName};

use crate::probe::{CapacityProbe, ProbeError};
use crate::reading::{Reading, ReadingError};
use crate::sample::Sample;
use crate::watchdog::Watchdog;

/// Shorter periods are load of their own.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);
/// Longer periods are no protection: a signal is unknown after five of them.
const LONGEST_PERIOD: Duration = Duration::from_secs(3600);

/// Runs the suite with its defaults: six samples, and five seconds for each.
///
/// # Errors
/// Everything that the probe does not keep.
pub fn check(probe: impl CapacityProbe + 'static) -> Result<(), Violations> {
    Suite::default().check(probe)
}

/// How to run the suite.
///
/// The probe is asked on a thread of its own, as the scheduler does, with a time that moves on by one period a call,
/// stands still once and leaps by an hour once. No real time passes between the calls.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    samples: u32,
    deadline: Duration,
}

impl Default for Suite {
    fn default() -> Self {
        Self { samples: 6, deadline: Duration::from_secs(5) }
    }
}

impl Suite {
    /// How many samples to take, at least 4. Default 6. A script has to be that long.
    #[must_use]
    pub fn samples(mut self, samples: u32) -> Self {
        self.samples = samples.max(4);
        self
    }

    /// How long one sample may take, in real time. Default 5 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs the suite. A probe that hangs keeps its thread.
    ///
    /// # Errors
    /// Everything that the probe does not keep.
    pub fn check(&self, probe: impl CapacityProbe + 'static) -> Result<(), Violations> {
        let mut violations = Vec::new();
        let name = probe.name().to_owned();
        let period = probe.period();
        if let Err(error) = SignalName::from(name.as_str()).check() {
            violations.push(Violation::Name(error));
        }
        if !(SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&period) {
            violations.push(Violation::Period(period));
        }
        match self.ask(probe, times(period, self.samples)) {
            Ok(answers) => judge(&name, period, answers, &mut violations),
            Err(failure) => violations.push(failure),
        }
        if violations.is_empty() { Ok(()) } else { Err(Violations { probe: name, violations }) }
    }

    /// Asks the probe on its own thread, which is left behind if it hangs.
    fn ask(&self, probe: impl CapacityProbe + 'static, times: Vec<Now>) -> Result<Vec<Answer>, Violation> {
        let (send, receive) = mpsc::channel();
        let asked = times.len();
        let mut probe: Box<dyn CapacityProbe> = Box::new(probe);
        let run = move || {
            for now in times {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let result = probe.sample(now);
                    Answer { now, result, name: probe.name().to_owned(), period: probe.period() }
                }));
                if send.send(caught.map_err(|_| Violation::Panics)).is_err() {
                    return;
                }
            }
        };
        let spawned = thread::Builder::new().name("conformance".into()).spawn(run);
        spawned.map_err(|error| Violation::Thread(error.to_string()))?;
        (0..asked)
            .map(|_| receive.recv_timeout(self.deadline).map_err(|_| Violation::Blocks(self.deadline))?)
            .collect()
    }
}

struct Answer {
    now: Now,
    result: Result<Vec<Reading>, ProbeError>,
    name: String,
    period: Duration,
}

/// Times a period apart, from a full day after the clock's origin; one stands still, one leaps.
fn times(period: Duration, samples: u32) -> Vec<Now> {
    let mut now = ManualClock::default().now().plus(Duration::from_secs(24 * 3600));
    let mut step = |n| {
        now = now.plus(match n {
            0 | 2 => Duration::ZERO,
            n if n + 1 == samples => Duration::from_secs(3600),
            _ => period.clamp(SHORTEST_PERIOD, LONGEST_PERIOD),
        });
        now
    };
    (0..samples).map(&mut step).collect()
}

fn judge(name: &str, period: Duration, answers: Vec<Answer>, violations: &mut Vec<Violation>) {
    let mut watchdog = Watchdog::new(period);
    let mut told = false;
    let mut failure = None;
    for answer in answers {
        if answer.name != name || answer.period != period {
            violations.push(Violation::Changes);
        }
        match answer.result {
            Ok(readings) => {
                told |= !readings.is_empty();
                let sample = Sample::of(answer.now, readings);
                let (_, bad) = watchdog.examine(&sample);
                violations.extend(bad.into_iter().map(|(_, error)| Violation::Reading(error)));
            }
            Err(error) => failure = Some(error.to_string()),
        }
    }
    if !told {
        let why = failure.unwrap_or_else(|| "every sample was empty".into());
        violations.push(Violation::Silent(why));
    }
    violations.dedup();
}

/// Everything that a probe does not keep.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Violations {
    /// The probe.
    pub probe: String,
    /// What it does not keep, at least one.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the probe {:?} does not keep the contract:", self.probe)?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n- {violation}"))
    }
}

/// One thing that a probe does not keep.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Its name cannot be used.
    #[error("its name cannot be used: {0}")]
    Name(NameError),
    /// Its period is too short or too long.
    #[error("its period is {0:?}; right is {SHORTEST_PERIOD:?} to {LONGEST_PERIOD:?}")]
    Period(Duration),
    /// Its name or period is not the same at every call.
    #[error("its name or period changes")]
    Changes,
    /// It panicked.
    #[error("it panics; an error says what cannot be measured")]
    Panics,
    /// It gave no answer in time.
    #[error("it gives no answer within {0:?}; give what it waits for a time-out")]
    Blocks(Duration),
    /// It never measured anything.
    #[error("it never measured anything: {0}")]
    Silent(String),
    /// A reading cannot be believed.
    #[error(transparent)]
    Reading(ReadingError),
    /// The suite could not start its thread.
    #[error("the suite could not start a thread: {0}")]
    Thread(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::given::{FixedProbe, FnProbe, ScriptedProbe};

    /// A machine under load may take long to print a panic.
    const LONG: Duration = Duration::from_secs(60);

    fn violations(
        sample: impl FnMut(Now) -> Result<Vec<Reading>, ProbeError> + Send + 'static,
    ) -> Vec<Violation> {
        let probe = FnProbe::new("bad", Duration::from_secs(1), sample);
        Suite::default().deadline(LONG).check(probe).expect_err("a bad probe fails").violations
    }

    fn rejects(readings: impl Into<Vec<Reading>>) -> Vec<ReadingError> {
        let readings = readings.into();
        let all = violations(move |_| Ok(readings.clone()));
        let error = |violation| match violation {
            Violation::Reading(error) => error,
            other => panic!("{other:?}"),
        };
        all.into_iter().map(error).collect()
    }

    #[test]
    fn given_probes_keep_the_contract() {
        check(FixedProbe::new("fixed", [Reading::share("cpu", 0.5)])).unwrap();
        let answer = |n: u32| Ok(vec![Reading::share("cpu", f64::from(n) / 10.0)]);
        check(ScriptedProbe::new("scripted", Duration::from_secs(1), (0..6).map(answer))).unwrap();
        let mut calls = 0;
        let sometimes = move |_: Now| {
            calls += 1;
            match calls {
                1 => Ok(vec![]),
                2 => Err(ProbeError::unavailable("not now")),
                _ => Ok(vec![Reading::new("fuel", 1.0, "l").of(2.0)]),
            }
        };
        check(FnProbe::new("sometimes", Duration::from_secs(1), sometimes)).unwrap();
    }

    #[test]
    fn nonsense_in_a_reading_fails() {
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(matches!(rejects([Reading::new("fuel", value, "l")])[0], ReadingError::Value { .. }));
        }
        assert!(matches!(rejects([Reading::share("cpu", 37.0)])[0], ReadingError::Share { .. }));
        let percent = Reading::new("cpu", 37.0, "%").of(100.0);
        assert!(matches!(rejects([percent])[0], ReadingError::Unit { .. }));
        let wrapped = Reading::new("fuel", 1.8e19, "l").of(100.0);
        assert!(matches!(rejects([wrapped])[0], ReadingError::Implausible { .. }));
        let unknown = Reading::new("fuel", 1.0, "l").of(0.0);
        assert!(matches!(rejects([unknown])[0], ReadingError::Capacity { .. }));
        let twice = Reading::share("cpu", 0.5);
        assert!(matches!(rejects([twice.clone(), twice])[0], ReadingError::Duplicate { .. }));
        let frozen = Reading::new("fuel", 1.0, "l").moves_within(Duration::from_secs(1));
        assert!(matches!(rejects([frozen])[0], ReadingError::Frozen { .. }));
    }

    #[test]
    fn values_that_grow_older_fail() {
        let mut age = Duration::ZERO;
        let all = violations(move |_| {
            age += Duration::from_secs(10);
            Ok(vec![Reading::share("cpu", 0.5).aged(age)])
        });
        assert!(matches!(all[0], Violation::Reading(ReadingError::Backwards { .. })), "{all:?}");
    }

    #[test]
    fn a_probe_that_divides_by_no_time_fails() {
        let mut last: Option<Now> = None;
        let all = violations(move |now| {
            let passed = last.replace(now).map(|last| now.mono.since(last.mono).as_secs_f64());
            Ok(passed.map(|passed| Reading::new("fuel", 1.0 / passed, "l/s")).into_iter().collect())
        });
        assert!(matches!(all[..], [Violation::Reading(ReadingError::Value { .. })]), "{all:?}");
    }

    #[test]
    fn panics_hangs_and_silence_fail() {
        assert_eq!(violations(|_| panic!("on purpose")), [Violation::Panics]);
        let (release, blocked) = mpsc::channel::<()>();
        let hangs = FnProbe::new("hangs", Duration::from_secs(1), move |_| {
            let _ = blocked.recv();
            Ok(vec![])
        });
        let short = Duration::from_millis(50);
        let told = Suite::default().deadline(short).check(hangs).unwrap_err();
        assert_eq!(told.violations, [Violation::Blocks(short)]);
        drop(release);
        assert!(matches!(&violations(|_| Ok(vec![]))[..], [Violation::Silent(_)]));
        let fails = violations(|_| Err(ProbeError::unavailable("no route")));
        assert_eq!(fails, [Violation::Silent("no route".into())]);
    }

    #[test]
    fn names_and_periods_are_checked() {
        let with = |name: &str, period| {
            let probe = FnProbe::new(name, period, |_| Ok(vec![Reading::share("cpu", 0.5)]));
            check(probe).unwrap_err()
        };
        assert!(matches!(with("", Duration::from_secs(1)).violations[..], [Violation::Name(_)]));
        assert!(matches!(with("hasty", Duration::ZERO).violations[..], [Violation::Period(_)]));
        let told = with("idle", Duration::MAX).to_string();
        assert!(told.contains("the probe \"idle\" does not keep the contract:\n- its period is"), "{told}");
    }

    #[test]
    fn a_period_that_changes_fails() {
        struct Restless(u64);
        impl CapacityProbe for Restless {
            fn name(&self) -> &str {
                "restless"
            }
            fn period(&self) -> Duration {
                Duration::from_secs(1 + self.0)
            }
            fn sample(&mut self, _: Now) -> Result<Vec<Reading>, ProbeError> {
                self.0 += 1;
                Ok(vec![Reading::share("cpu", 0.5)])
            }
        }
        assert_eq!(check(Restless(0)).unwrap_err().violations, [Violation::Changes]);
    }
}
