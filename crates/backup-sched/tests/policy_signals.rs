//! Values of policies that meet signals and the time: for each a decision that differs because of it.

use std::time::Duration;

use backup_sched::core::Measured;
use backup_sched::limits::{PiConfig, PiLaw};
use backup_sched::workload::{Gauge, GaugeGoal, LatestValue};
use backup_sched::{
    BackupKind, Clock, EventKind, Gate, JobHandle, JobSpec, JobState, LoadLevel, ManualClock, Policies,
    Reading, RunContext, Scheduler, Scope,
};

mod rig;

use rig::{LONG, Rig, SECOND, local};

const HOUR: Duration = Duration::from_secs(3600);

fn policies(file: &str) -> Policies {
    Policies::builtin().with_toml("policy.toml", file).unwrap()
}

fn governed(file: &str) -> Rig {
    let policies = policies(file);
    Rig::new(SECOND, |builder| builder.policies(policies))
}

fn submit(rig: &Rig, instance: &str) -> JobHandle {
    rig.scheduler.submit(JobSpec::new(instance, "sqlite").host(format!("host-of-{instance}"))).unwrap()
}

fn wal(mib: f64, of: Scope) -> Reading {
    Reading::new("wal_mib", mib, "MiB").scope(of)
}

fn instance(name: &str) -> Scope {
    Scope::Instance(name.into())
}

/// SQLite's own limit is 512 MiB, and 64 to open again.
const LIMITS: &str = "[labels.gold]\nload.wal_mib = { close_above = 100.0, open_below = 50.0 }\n\
    [instances.gold]\ntechnology = 'sqlite'\nlabels = ['gold']\n\
    [instances.free]\ntechnology = 'sqlite'\nload.wal_mib = 'none'\n\
    [clusters.pair]\ntechnology = 'sqlite'\nload.wal_mib = { close_above = 300.0, open_below = 200.0 }\n\
    [instances.pair-1]\ncluster = 'pair'\n";

/// Who starts when the signal of each instance has this value; the others wait for the load.
fn start_at(mib: f64, of: impl Fn(&str) -> Scope, expected: &[&str]) {
    let names = ["free", "gold", "pair-1", "plain"];
    let rig = governed(LIMITS);
    let mut readings: Vec<_> = names.iter().map(|name| wal(mib, of(name))).collect();
    readings.dedup();
    rig.say(&readings);
    let jobs = names.map(|name| submit(&rig, name));
    let mut started: Vec<_> = expected.iter().map(|_| rig.started()).collect();
    started.sort();
    assert_eq!(started, expected, "{mib}");
    for (name, job) in names.iter().zip(&jobs).filter(|(name, _)| !expected.contains(name)) {
        let closed = job.explain().unwrap().closed;
        let gates: Vec<_> = closed.into_iter().map(|it| (it.gate, it.scope)).collect();
        assert_eq!(gates, [(Gate::Load, of(name))], "{mib} {name}");
    }
}

#[test]
fn each_job_waits_for_the_limits_of_its_own_policy() {
    // Of each instance, of each one's host, and of the whole fleet at once.
    let scopes: [fn(&str) -> Scope; 3] =
        [instance, |name| Scope::Host(format!("host-of-{name}").into()), |_| Scope::Fleet];
    for of in scopes {
        start_at(99.0, of, &["free", "gold", "pair-1", "plain"]);
        start_at(101.0, of, &["free", "pair-1", "plain"]);
        start_at(301.0, of, &["free", "plain"]);
        start_at(513.0, of, &["free"]);
    }
}

#[test]
fn a_limit_has_a_gap_says_whose_it_is_and_lets_go_when_nobody_measures() {
    let rig = governed(LIMITS);
    rig.say(&[wal(120.0, instance("gold"))]);
    let job = submit(&rig, "gold");
    let closed = job.explain().unwrap().closed;
    assert_eq!(closed[0].scope, instance("gold"));
    let Measured { signal, value, threshold, unit, .. } = closed[0].reason.measured.clone().unwrap();
    assert_eq!((signal.as_str(), value, threshold, &*unit), ("wal_mib", 120.0, 50.0, "MiB"));
    let text = closed[0].reason.to_string();
    assert!(text.contains("from over 100 until it is below 50, as label gold, policy.toml:2 says"), "{text}");
    let told = rig.wait_for(|kind| matches!(kind, EventKind::LoadChanged { .. }));
    let EventKind::LoadChanged { scope, sensitivity, state, .. } = told else { unreachable!() };
    assert_eq!((scope, state.level), (instance("gold"), LoadLevel::Busy));
    assert_eq!(sensitivity, Some("wal_mib 100/50".into()));
    rig.say(&[wal(60.0, instance("gold"))]);
    assert!(rig.nobody_starts(), "not yet below what opens");
    assert_eq!(job.explain().unwrap().closed[0].reason.measured.as_ref().unwrap().value, 60.0);
    rig.say(&[wal(49.0, instance("gold"))]);
    assert_eq!(rig.started(), "gold");

    let rig = governed(LIMITS);
    rig.say(&[wal(120.0, instance("gold"))]);
    submit(&rig, "gold");
    (0..3).for_each(|_| rig.say(&[]));
    assert!(rig.nobody_starts());
    rig.say(&[]);
    assert_eq!(rig.started(), "gold", "lost: unknown is neither over nor below");
}

#[test]
fn a_limit_of_one_kind_keeps_no_other_kind_back() {
    let file = "[technologies.sqlite.incremental.load]\nwal_mib = 'none'\n";
    let rig = governed(file);
    rig.say(&[wal(600.0, instance("a"))]);
    submit(&rig, "a");
    rig.scheduler.submit(JobSpec::new("a", "sqlite").kind(BackupKind::Incremental)).unwrap();
    rig.started();
    assert!(rig.nobody_starts(), "the full backup waits");
}

#[test]
fn a_detector_named_as_the_signal_counts_as_a_probe_does() {
    let (lag, clock) = (LatestValue::new(), ManualClock::default());
    // As a load of its own it would never be busy.
    let goal = GaugeGoal::below(1e9, "s").period(SECOND);
    let gauge = Gauge::new("replication_lag", goal, lag.reader()).unwrap().scope(instance("orders"));
    let scheduler = Scheduler::builder()
        .clock(clock.clone())
        .detector(gauge)
        .executor("mysql", |_: &RunContext| Ok(()))
        .executor("sqlite", |_: &RunContext| Ok(()))
        .start()
        .unwrap();
    let events = scheduler.subscribe(1_000).unwrap();
    lag.set(clock.now(), 75.0);
    clock.advance(SECOND);
    rig::wait_for(&events, |kind| matches!(kind, EventKind::LoadChanged { sensitivity: Some(_), .. }));
    let late = scheduler.submit(JobSpec::new("orders", "mysql")).unwrap();
    let other = scheduler.submit(JobSpec::new("sessions", "mysql")).unwrap();
    assert_eq!(other.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    let text = late.explain().unwrap().closed[0].to_string();
    assert!(text.contains("replication_lag 75 s") && text.contains("built-in mysql"), "{text}");
    lag.set(clock.now(), 5.0);
    clock.advance(SECOND);
    assert_eq!(late.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn the_strictest_job_that_runs_says_by_how_much_the_latency_may_grow() {
    let file = "[labels.gold]\nlatency_factor = 1.05\n[labels.lax]\nlatency_factor = 1.5\n\
                [instances.gold]\ntechnology = 'sqlite'\nlabels = ['gold']\nhost = 'local'\n\
                [instances.lax]\ntechnology = 'sqlite'\nlabels = ['lax']\nhost = 'local'\n";
    let policies = policies(file);
    let mut config = PiConfig::healthy(Duration::from_millis(10));
    config.at_most = Some(Duration::from_millis(14));
    let law = PiLaw::new(config).unwrap();
    let rig = Rig::new(SECOND, |builder| builder.policies(policies).law_at(local(), "latency", law));
    let target = || {
        rig.say(&[Reading::new("latency", 0.010, "s").scope(local())]);
        let rates = rig.scheduler.status().unwrap().rates;
        let rate = rates.into_iter().find(|rate| rate.place == local()).unwrap();
        rate.reason.measured.unwrap().threshold
    };
    let is = |expected: f64| {
        let found = target();
        assert!((found - expected).abs() < 1e-3, "{found} ms, not {expected}");
    };
    is(11.0);
    let lax = rig.scheduler.submit(JobSpec::new("lax", "sqlite")).unwrap();
    rig.started();
    is(14.0);
    let gold = rig.scheduler.submit(JobSpec::new("gold", "sqlite")).unwrap();
    rig.started();
    is(10.5);
    for (job, then) in [(gold, 14.0), (lax, 11.0)] {
        rig.scheduler.cancel(job.id()).unwrap();
        job.wait_timeout(LONG).unwrap();
        is(then);
    }
    // What runs elsewhere has no say here.
    rig.scheduler.submit(JobSpec::new("gold", "sqlite").host("elsewhere")).unwrap();
    rig.started();
    is(11.0);
}

/// A scheduler on a clock at 09:00 by UTC on a Monday.
fn on_monday(file: &str) -> (ManualClock, Scheduler) {
    let clock = ManualClock::new("2026-01-05T09:00:00Z".parse().unwrap());
    let builder = Scheduler::builder().clock(clock.clone()).policies(policies(file));
    (clock, builder.executor("sqlite", |_: &RunContext| Ok(())).start().unwrap())
}

#[test]
fn what_can_wait_does_in_the_business_hours_of_its_calendar() {
    let file = "[calendars.shop]\nbusiness_hours = ['mon-fri 08:00-18:00']\n\
                [instances.a]\ntechnology = 'sqlite'\nwindow = 'shop'\n\
                [instances.b]\ntechnology = 'sqlite'\n\
                [instances.c]\ntechnology = 'sqlite'\nwindow = 'shop'\npriority = 'high'\n";
    let (clock, scheduler) = on_monday(file);
    let [a, b, c] = ["a", "b", "c"].map(|name| scheduler.submit(JobSpec::new(name, "sqlite")).unwrap());
    for job in [b, c] {
        assert_eq!(job.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    }
    let closed = a.explain().unwrap().closed;
    assert_eq!((&closed[0].gate, &closed[0].scope), (&Gate::Load, &Scope::Calendar("shop".into())));
    assert!(closed[0].reason.text.contains("business hours"), "{}", closed[0].reason);
    clock.advance(HOUR * 9 - SECOND);
    assert!(a.explain().unwrap().state.is_waiting());
    clock.advance(SECOND);
    assert_eq!(a.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn business_hours_without_end_defer_only_up_to_the_last_quarter_of_the_slack() {
    let file = "[calendars.always]\nbusiness_hours = ['00:00-24:00']\n\
                [instances.a]\ntechnology = 'sqlite'\nwindow = 'always'\nrpo = '9h'\nexpected_duration = '1h'\n";
    let (clock, scheduler) = on_monday(file);
    let a = scheduler.submit(JobSpec::new("a", "sqlite")).unwrap();
    // Three quarters of what is left beside the run itself and a back-off, up to 8 h.
    clock.advance(HOUR * 5);
    assert!(a.explain().unwrap().state.is_waiting());
    clock.advance(HOUR);
    assert_eq!(a.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn what_is_expected_to_take_longer_starts_first() {
    let by_rate = |a: &str, b: &str| {
        format!(
            "[instances.a]\ntechnology = 'sqlite'\nexpected_rate = '{a}'\n\
             [instances.b]\ntechnology = 'sqlite'\nexpected_rate = '{b}'\n"
        )
    };
    let by_duration = |a: &str, b: &str| {
        format!(
            "[instances.a]\ntechnology = 'sqlite'\nexpected_duration = '{a}'\n\
             [instances.b]\ntechnology = 'sqlite'\nexpected_duration = '{b}'\n"
        )
    };
    let order = |file: &str, size: Option<u64>| {
        let policies = policies(file);
        let rig = Rig::new(SECOND, |builder| builder.policies(policies).max_running(1));
        rig.submit("first");
        rig.started();
        for name in ["a", "b"] {
            let mut spec = JobSpec::new(name, "sqlite");
            spec.size_bytes = size;
            rig.scheduler.submit(spec).unwrap();
        }
        rig.end_one();
        rig.started()
    };
    let size = Some(1_000_000_000_000);
    assert_eq!(order(&by_rate("100 MB/s", "200 MB/s"), size), "a");
    assert_eq!(order(&by_rate("200 MB/s", "100 MB/s"), size), "b");
    assert_eq!(order(&by_duration("3h", "2h"), None), "a");
    assert_eq!(order(&by_duration("2h", "3h"), None), "b");
}
