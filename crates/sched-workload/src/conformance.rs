//! What every load detector has to keep, as a suite that any implementation runs in its own tests.
//!
//! ```
//! use sched_workload::{Gauge, GaugeGoal, conformance};
//!
//! conformance::check(|| {
//!     let depth = |_| Ok::<f64, String>(3.0); // yours asks the queue
//!     Gauge::new("queue", GaugeGoal::below(100.0, "requests"), depth).expect("the goal makes sense")
//! })
//! .unwrap();
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sched_core::{Clock, LoadLevel, ManualClock, NameError, Now, Reason, Scope, SignalName};

use crate::detect::{DetectError, LatencyReading, LoadDetector, LoadReading};

/// Shorter periods are load of their own.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);
/// Longer periods are no protection: a signal is unknown after five of them.
const LONGEST_PERIOD: Duration = Duration::from_secs(3600);

/// Runs the suite with its defaults: six calls of each of two detectors, and for each call the detector's period in real
/// time, but a second at least.
///
/// `make` makes the detector under test; it is called twice, and what both are asked is the same.
///
/// # Errors
/// Everything that the detector does not keep.
pub fn check<D: LoadDetector + 'static>(make: impl FnMut() -> D) -> Result<(), Violations> {
    Suite::default().check(make)
}

/// How to run the suite.
///
/// The detector is asked on a thread of its own, as the scheduler does, with a time that moves on by one period a call,
/// stands still once and leaps by an hour once. No real time passes between the calls.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    calls: u32,
    deadline: Option<Duration>,
    deterministic: bool,
}

impl Default for Suite {
    fn default() -> Self {
        Self { calls: 6, deadline: None, deterministic: true }
    }
}

impl Suite {
    /// How often to ask each detector, at least 4. Default 6.
    #[must_use]
    pub fn calls(mut self, calls: u32) -> Self {
        self.calls = calls.max(4);
        self
    }

    /// How long one call may take, in real time. Default: the detector's period, but a second at least.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// For a detector that measures something real, which need not say the same twice.
    #[must_use]
    pub fn measures(mut self) -> Self {
        self.deterministic = false;
        self
    }

    /// Runs the suite. A detector that hangs keeps its thread.
    ///
    /// # Errors
    /// Everything that the detector does not keep.
    pub fn check<D: LoadDetector + 'static>(&self, mut make: impl FnMut() -> D) -> Result<(), Violations> {
        let mut violations = Vec::new();
        let detector = make();
        let facts = Facts::of(&detector);
        facts.judge(&mut violations);
        let runs = [detector, make()].map(|detector| self.ask(detector, &facts));
        if let [Ok(first), Ok(second)] = &runs {
            // What both say may still differ in how long something took.
            let levels = |said: &[Answer]| said.iter().map(Answer::level).collect::<Vec<_>>();
            if self.deterministic && levels(first) != levels(second) {
                violations.push(Violation::Differs);
            }
        }
        for run in runs {
            match run {
                Ok(answers) => judge(&facts, &answers, &mut violations),
                Err(violation) => violations.push(violation),
            }
        }
        let mut seen = BTreeSet::new();
        violations.retain(|violation| seen.insert(violation.to_string()));
        let detector = facts.name;
        if violations.is_empty() { Ok(()) } else { Err(Violations { detector, violations }) }
    }

    /// Asks a detector on its own thread, which is left behind if it hangs.
    fn ask(&self, detector: impl LoadDetector + 'static, facts: &Facts) -> Result<Vec<Answer>, Violation> {
        let (send, receive) = mpsc::channel();
        let times = times(facts.period, self.calls);
        let asked = times.len();
        let deadline = self.deadline.unwrap_or(facts.period.max(Duration::from_secs(1)));
        let mut detector: Box<dyn LoadDetector> = Box::new(detector);
        let run = move || {
            for now in times {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let result = detector.detect(now);
                    Answer { result, facts: Facts::of(&detector) }
                }));
                if send.send(caught.map_err(|_| Violation::Panics)).is_err() {
                    return;
                }
            }
        };
        let spawned = thread::Builder::new().name("conformance".into()).spawn(run);
        spawned.map_err(|error| Violation::Thread(error.to_string()))?;
        (0..asked).map(|_| receive.recv_timeout(deadline).map_err(|_| Violation::Blocks(deadline))?).collect()
    }
}

/// What a detector says of itself, which must not change.
#[derive(Clone, Debug, PartialEq)]
struct Facts {
    name: String,
    scope: Scope,
    period: Duration,
    target: Option<Duration>,
    healthy: Option<Duration>,
}

struct Answer {
    result: Result<LoadReading, DetectError>,
    facts: Facts,
}

impl Answer {
    fn level(&self) -> Option<LoadLevel> {
        self.result.as_ref().ok().map(|reading| reading.state.level)
    }
}

impl Facts {
    fn of(detector: &impl LoadDetector) -> Self {
        Self {
            name: detector.name().to_owned(),
            scope: detector.scope(),
            period: detector.period(),
            target: detector.latency_target(),
            healthy: detector.healthy_latency(),
        }
    }

    fn judge(&self, violations: &mut Vec<Violation>) {
        if let Err(error) = SignalName::from(self.name.as_str()).check() {
            violations.push(Violation::Name(error));
        }
        if let Err(error) = self.scope.check() {
            violations.push(Violation::Scope(error));
        }
        if !(SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&self.period) {
            violations.push(Violation::Period(self.period));
        }
        if self.target.is_some_and(|target| target.is_zero()) {
            violations.push(Violation::ZeroTarget);
        }
        if let Some(healthy) = self.healthy
            && (healthy.is_zero() || self.target.is_some_and(|target| healthy > target))
        {
            violations.push(Violation::Healthy { healthy, target: self.target });
        }
    }
}

/// Times a period apart, from a full day after the clock's origin; one stands still, one leaps.
fn times(period: Duration, calls: u32) -> Vec<Now> {
    let mut now = ManualClock::default().now().plus(Duration::from_secs(24 * 3600));
    let mut step = |n| {
        now = now.plus(match n {
            0 | 2 => Duration::ZERO,
            n if n + 1 == calls => Duration::from_secs(3600),
            _ => period.clamp(SHORTEST_PERIOD, LONGEST_PERIOD),
        });
        now
    };
    (0..calls).map(&mut step).collect()
}

fn judge(facts: &Facts, answers: &[Answer], violations: &mut Vec<Violation>) {
    for answer in answers {
        if answer.facts != *facts {
            violations.push(Violation::Changes);
        }
        match &answer.result {
            Ok(reading) => judge_reading(reading, violations),
            Err(error) if error.to_string().trim().is_empty() => violations.push(Violation::Reasonless),
            Err(_) => {}
        }
    }
    let told = answers.iter().any(|answer| answer.result.is_ok());
    let last = answers.iter().rev().find_map(|answer| answer.result.as_ref().err());
    if let Some(error) = last.filter(|_| !told) {
        violations.push(Violation::Silent(error.to_string()));
    }
}

fn judge_reading(reading: &LoadReading, violations: &mut Vec<Violation>) {
    let states = [&reading.state].into_iter().chain(reading.technologies.iter().map(|(_, state)| state));
    for Reason { text, measured, .. } in states.map(|state| &state.reason) {
        if text.trim().is_empty() {
            violations.push(Violation::Reasonless);
        }
        if let Some(measured) = measured
            && !(measured.value.is_finite() && measured.threshold.is_finite())
        {
            violations.push(Violation::Measured { value: measured.value, threshold: measured.threshold });
        }
    }
    if let Some(pressure) = reading.pressure.filter(|pressure| !(pressure.is_finite() && *pressure >= 0.0)) {
        violations.push(Violation::Pressure(pressure));
    }
    let mut seen = BTreeSet::new();
    for (technology, _) in &reading.technologies {
        if let Err(error) = technology.check() {
            violations.push(Violation::Technology(error));
        }
        if !seen.insert(technology) {
            violations.push(Violation::Twice(technology.to_string()));
        }
    }
    let sane = |latency: &LatencyReading| {
        !latency.target.is_zero() && (0.0..=1.0).contains(&latency.quantile) && latency.samples > 0
    };
    if let Some(latency) = reading.latency.filter(|latency| !sane(latency)) {
        violations.push(Violation::Latency(latency));
    }
}

/// Everything that a detector does not keep.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Violations {
    /// The detector.
    pub detector: String,
    /// What it does not keep, at least one.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the detector {:?} does not keep the contract:", self.detector)?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n- {violation}"))
    }
}

/// One thing that a detector does not keep.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Its name cannot be used.
    #[error("its name cannot be used: {0}")]
    Name(NameError),
    /// Its scope cannot be used.
    #[error("the name in its scope cannot be used: {0}")]
    Scope(NameError),
    /// Its period is too short or too long.
    #[error("its period is {0:?}; right is {SHORTEST_PERIOD:?} to {LONGEST_PERIOD:?}")]
    Period(Duration),
    /// It wants a latency of zero.
    #[error("its latency target is zero; no request takes no time")]
    ZeroTarget,
    /// Its healthy latency is zero or above its target.
    #[error("its healthy latency of {healthy:?} is not over zero and at most its target of {target:?}")]
    Healthy {
        /// The healthy latency.
        healthy: Duration,
        /// The target, where it has one.
        target: Option<Duration>,
    },
    /// What it says of itself is not the same at every call.
    #[error("its name, scope, period, latency target or healthy latency changes")]
    Changes,
    /// Two that were asked the same at the same times said different levels.
    #[error(
        "asked the same at the same times it says different levels; take the time from the argument, or say \
         `Suite::measures`"
    )]
    Differs,
    /// It panicked.
    #[error("it panics; an error says what cannot be known")]
    Panics,
    /// It gave no answer in time.
    #[error("it gives no answer within {0:?}; give what it waits for a time-out")]
    Blocks(Duration),
    /// It never said anything.
    #[error("it never said anything: {0}")]
    Silent(String),
    /// A level or an error without a reason.
    #[error("it gives no reason; nobody could tell why backups wait")]
    Reasonless,
    /// The measurement in a reason is not finite.
    #[error("its reason has {value} beside {threshold}; right are finite numbers")]
    Measured {
        /// The value.
        value: f64,
        /// What it was held against.
        threshold: f64,
    },
    /// The pressure is negative or not finite.
    #[error("its pressure is {0}; right is a number that is finite and not negative")]
    Pressure(f64),
    /// The name of a technology cannot be used.
    #[error("the name of a technology cannot be used: {0}")]
    Technology(NameError),
    /// It says two levels of one technology.
    #[error("it says two levels of the technology {0}")]
    Twice(String),
    /// The latency makes no sense.
    #[error(
        "its latency makes no sense; right are a target over zero, a quantile from 0 to 1 and samples: {0:?}"
    )]
    Latency(LatencyReading),
    /// The suite could not start its thread.
    #[error("the suite could not start a thread: {0}")]
    Thread(String),
}

#[cfg(test)]
mod tests;
