use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::tz::TimeZone;
use sched_core::{LoadState, Measured};

use super::*;
use crate::{
    AgainstHealthy, BusyEvent, BusyHours, Canary, Combined, ErrorRate, ForegroundDetector, ForegroundLatency,
    Gauge, GaugeGoal, Lasting, LatencyGoal, LevelThresholds, LoadDetectorExt, PerTechnology, RequestCounter,
    RequestRate, Steady, TimeHint,
};

/// A machine under load may take long to print a panic.
const LONG: Duration = Duration::from_secs(60);

/// A detector that is good but for what a test changes.
#[derive(Clone)]
struct Bad {
    facts: Facts,
    said: Result<LoadReading, DetectError>,
}

fn good() -> Bad {
    let facts = Facts {
        name: "good".into(),
        scope: Scope::Fleet,
        period: Duration::from_secs(1),
        target: None,
        healthy: None,
    };
    Bad { facts, said: Ok(LoadReading::new(LoadLevel::Busy, Reason::new("told by a test"))) }
}

impl LoadDetector for Bad {
    fn name(&self) -> &str {
        &self.facts.name
    }
    fn scope(&self) -> Scope {
        self.facts.scope.clone()
    }
    fn period(&self) -> Duration {
        self.facts.period
    }
    fn latency_target(&self) -> Option<Duration> {
        self.facts.target
    }
    fn healthy_latency(&self) -> Option<Duration> {
        self.facts.healthy
    }
    fn detect(&mut self, _: Now) -> Result<LoadReading, DetectError> {
        self.said.clone()
    }
}

fn found<D: LoadDetector + 'static>(make: impl FnMut() -> D) -> Vec<Violation> {
    Suite::default().deadline(LONG).check(make).expect_err("a bad detector fails").violations
}

/// What a detector violates in which one thing is wrong: exactly that.
fn violation(change: impl Fn(&mut Bad)) -> Violation {
    let mut violations = found(|| {
        let mut bad = good();
        change(&mut bad);
        bad
    });
    assert_eq!(violations.len(), 1, "{violations:?}");
    violations.remove(0)
}

fn reading(change: impl Fn(&mut LoadReading)) -> Violation {
    violation(|bad| change(bad.said.as_mut().unwrap()))
}

/// Does something else at each call.
struct FnDetector<F>(F, u32);

impl<F: FnMut(u32) -> LoadLevel + Send> LoadDetector for FnDetector<F> {
    fn name(&self) -> &str {
        "fn"
    }
    fn period(&self) -> Duration {
        Duration::from_secs(10)
    }
    fn detect(&mut self, _: Now) -> Result<LoadReading, DetectError> {
        self.1 += 1;
        Ok(LoadReading::new((self.0)(self.1), Reason::new("told by a test")))
    }
}

#[test]
fn ready_made_detectors_keep_the_contract() {
    let suite = Suite::default().deadline(LONG);
    let goal = || GaugeGoal::below(10.0, "x");
    let gauge = move || Gauge::new("gauge", goal(), |_| Ok::<_, String>(11.0)).unwrap();
    suite.check(good).unwrap();
    suite.check(gauge).unwrap();
    suite.check(move || RequestRate::new(RequestCounter::new(), goal()).unwrap()).unwrap();
    let errors = move || {
        let counter = RequestCounter::new();
        let detector = ErrorRate::new(counter.clone(), goal()).unwrap();
        counter.add(100, 3);
        detector
    };
    suite.check(errors).unwrap();
    let foreground = || {
        let latency = ForegroundLatency::new();
        (0..100).for_each(|_| latency.record(Duration::from_millis(3)));
        let goal = LatencyGoal::p99(Duration::from_millis(10)).healthy(Duration::from_millis(2));
        ForegroundDetector::new(latency, goal).unwrap()
    };
    suite.check(foreground).unwrap();
    suite.check(move || foreground().refined(AgainstHealthy::times(1.5).unwrap())).unwrap();
    let canary = || {
        let goal = LatencyGoal::p99(Duration::from_millis(10));
        Canary::new("canary", goal, Arc::new(ManualClock::default()), || Ok::<_, String>(())).unwrap()
    };
    suite.check(canary).unwrap();
    let hours = BusyHours::new(jiff::civil::time(8, 0, 0, 0), jiff::civil::time(18, 0, 0, 0));
    suite.check(move || TimeHint::hours("hours", TimeZone::UTC, [hours.clone()])).unwrap();
    suite.check(|| TimeHint::events("events", Vec::<BusyEvent>::new())).unwrap();
    suite.check(move || gauge().refined(Lasting::new(LONG))).unwrap();
    let steady = Steady::new(LevelThresholds::default(), Duration::ZERO).unwrap();
    suite.check(move || gauge().refined(steady.clone())).unwrap();
    let etcd = PerTechnology::new(LONG).with("etcd", LevelThresholds::default()).unwrap();
    suite.check(move || gauge().refined(etcd.clone())).unwrap();
    let combined = move || Combined::worst_of("worst").of(gauge()).of(foreground());
    suite.check(combined).unwrap();
    let weighted = move || {
        let combined = Combined::weighted("mean", LevelThresholds::default(), LONG).unwrap();
        combined.of_weight(2.0, gauge()).unwrap().of(canary())
    };
    suite.check(weighted).unwrap();
}

#[test]
fn what_it_says_of_itself_is_checked() {
    assert_eq!(violation(|bad| bad.facts.name = " ".into()), Violation::Name(NameError::Empty));
    let nameless = Scope::Host("".into());
    assert_eq!(violation(|bad| bad.facts.scope = nameless.clone()), Violation::Scope(NameError::Empty));
    for period in [Duration::ZERO, Duration::MAX] {
        assert_eq!(violation(|bad| bad.facts.period = period), Violation::Period(period));
    }
    assert_eq!(violation(|bad| bad.facts.target = Some(Duration::ZERO)), Violation::ZeroTarget);
    let healthy = |healthy: u64, target| {
        violation(move |bad| {
            (bad.facts.healthy, bad.facts.target) = (Some(Duration::from_millis(healthy)), target)
        })
    };
    assert!(matches!(healthy(0, None), Violation::Healthy { .. }));
    assert!(matches!(healthy(6, Some(Duration::from_millis(5))), Violation::Healthy { .. }));
}

#[test]
fn what_it_reads_is_checked() {
    assert_eq!(reading(|reading| reading.state.reason.text = "".into()), Violation::Reasonless);
    assert_eq!(reading(|reading| reading.pressure = Some(-1.0)), Violation::Pressure(-1.0));
    assert!(matches!(reading(|r| r.pressure = Some(f64::NAN)), Violation::Pressure(_)));
    let measured = Measured::new("x", 1.0, f64::INFINITY, "x");
    let infinite = reading(|reading| reading.state.reason.measured = Some(measured.clone()));
    assert!(matches!(infinite, Violation::Measured { .. }));
    let ms = Duration::from_millis(10);
    let sane = LatencyReading { value: ms, target: ms, quantile: 0.99, samples: 1 };
    for wrong in [
        LatencyReading { target: Duration::ZERO, ..sane },
        LatencyReading { quantile: 99.0, ..sane },
        LatencyReading { samples: 0, ..sane },
    ] {
        assert_eq!(reading(|reading| reading.latency = Some(wrong)), Violation::Latency(wrong));
    }
    let calm = LoadState::new(LoadLevel::Calm, Reason::new("calm"));
    let of = |name: &str| (name.into(), calm.clone());
    assert_eq!(reading(|r| r.technologies = vec![of("")]), Violation::Technology(NameError::Empty));
    assert_eq!(reading(|r| r.technologies = vec![of("a"), of("a")]), Violation::Twice("a".into()));
}

#[test]
fn silence_is_told_with_its_last_error() {
    let failed = |text: &str| Err(DetectError::Failed(text.into()));
    let silent = violation(|bad| bad.said = failed("no route"));
    assert_eq!(silent, Violation::Silent("no route".into()));
    let mut bad = good();
    bad.said = failed(" ");
    assert!(found(|| bad.clone()).contains(&Violation::Reasonless));
}

#[test]
fn panics_hangs_and_moods_fail() {
    let panics = |call| if call == 3 { panic!("on purpose") } else { LoadLevel::Calm };
    assert_eq!(found(|| FnDetector(panics, 0)), [Violation::Panics]);
    let short = Duration::from_millis(50);
    let mut releases = Vec::new();
    let hangs = || {
        let (release, blocked) = mpsc::channel::<()>();
        releases.push(release);
        FnDetector(move |_| if blocked.recv().is_err() { LoadLevel::Calm } else { LoadLevel::Busy }, 0)
    };
    let told = Suite::default().deadline(short).check(hangs).unwrap_err();
    assert_eq!(told.violations, [Violation::Blocks(short)]);
    drop(releases);
    let made = AtomicU32::new(0);
    let moody = || {
        let level = if made.fetch_add(1, Ordering::Relaxed) == 0 { LoadLevel::Calm } else { LoadLevel::Peak };
        FnDetector(move |_| level, 0)
    };
    assert_eq!(found(moody), [Violation::Differs]);
    made.store(0, Ordering::Relaxed);
    Suite::default().measures().deadline(LONG).check(moody).unwrap();
}

#[test]
fn what_changes_from_call_to_call_fails() {
    struct Restless(u64);
    impl LoadDetector for Restless {
        fn name(&self) -> &str {
            "restless"
        }
        fn period(&self) -> Duration {
            Duration::from_secs(1 + self.0)
        }
        fn detect(&mut self, _: Now) -> Result<LoadReading, DetectError> {
            self.0 += 1;
            Ok(LoadReading::new(LoadLevel::Calm, Reason::new("told")))
        }
    }
    assert_eq!(found(|| Restless(0)), [Violation::Changes]);
}

#[test]
fn violations_are_listed_under_the_detectors_name() {
    let text = Suite::default().check(|| {
        let mut bad = good();
        bad.facts.name = "a\nb".into();
        bad
    });
    let text = text.unwrap_err().to_string();
    assert!(
        text.starts_with("the detector \"a\\nb\" does not keep the contract:\n- its name cannot"),
        "{text}"
    );
}
