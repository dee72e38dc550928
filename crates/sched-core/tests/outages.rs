//! Outages: who notices, who waits, what is spent, and how it ends.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::{
    EngineConfig, EventKind, Gate, JobId, JobState, JobTerms, LoadLevel, LoadState, Order, Priority, Reason,
    RetryPolicy, RunError, SLOTS, Scope,
};

fn bucket() -> Scope {
    Scope::Destination("bucket".into())
}

fn unavailable(what: Scope) -> RunError {
    RunError::Unavailable { what, error: "503".into() }
}

fn retrying(attempts: u32, base: u64, cap: u64) -> JobTerms {
    let mut terms = terms();
    terms.retry = RetryPolicy::new(attempts, secs(base), secs(cap));
    terms
}

fn finish(rig: &mut Rig, job: JobId, result: Result<(), RunError>) {
    let attempt = rig.running().into_iter().find(|attempt| attempt.job == job).expect("it runs");
    rig.finish(attempt, result);
    rig.step();
}

fn finish_all(rig: &mut Rig, result: &Result<(), RunError>) {
    for attempt in rig.running() {
        rig.finish(attempt, result.clone());
    }
    rig.step();
}

fn wait(rig: &mut Rig, seconds: u64) {
    rig.clock.advance(secs(seconds));
    rig.step();
}

fn until_something_runs(rig: &mut Rig) {
    rig.step();
    while rig.running().is_empty() {
        rig.sleep_until_next_wakeup();
        rig.step();
    }
}

fn trips(rig: &Rig) -> usize {
    rig.events.iter().filter(|event| matches!(event.kind, EventKind::BreakerTripped { .. })).count()
}

#[test]
fn a_breaker_of_any_scope_recovers_by_doubling() {
    let scopes = [
        Scope::Fleet,
        Scope::Link("uplink".into()),
        Scope::Host("h".into()),
        Scope::Volume("h".into(), "v".into()),
        Scope::Technology("sqlite".into()),
        Scope::Group("g".into()),
        bucket(),
    ];
    for scope in scopes {
        let mut rig = Rig::with_slots(100);
        rig.engine.set_limit(rig.now(), &Scope::Group("g".into()), Some(100)).unwrap();
        rig.engine.set_parent(rig.now(), &Scope::Host("h".into()), &Scope::Link("uplink".into())).unwrap();
        let request = |n: usize| {
            let request = spec(&format!("db-{n}")).host("h").volume("v");
            request.group("g").destination("bucket")
        };
        let first = rig.submit(request(0), terms());
        rig.step();
        finish(&mut rig, first, Err(unavailable(scope.clone())));
        (1..40).for_each(|n| _ = rig.submit(request(n), terms()));
        rig.step();
        let mut widths = vec![];
        while widths.len() < 6 {
            if rig.running().is_empty() {
                rig.sleep_until_next_wakeup();
                rig.step();
            }
            widths.push(rig.running().len());
            // One success each: a round of them would double as often as it has members.
            let oldest = rig.running()[0];
            rig.finish(oldest, Ok(()));
            rig.step();
        }
        assert_eq!(widths, [1, 2, 4, 8, 16, 34], "{scope}");
        assert_eq!(trips(&rig), 1);
    }
}

#[test]
fn a_tripped_breaker_is_tried_by_another_while_an_attempt_from_before_still_runs() {
    let mut rig = Rig::with_slots(100);
    let long = rig.submit(spec("long").destination("bucket"), terms());
    rig.step();
    let soon = rig.now().plus(secs(3 * 3600)).wall;
    let short = rig.submit(spec("short").destination("bucket").deadline(soon), retrying(4, 1, 1));
    rig.step();
    finish(&mut rig, short, Err(unavailable(bucket())));
    let next = rig.submit(spec("next").destination("bucket"), terms());
    rig.step();
    while rig.running().len() == 1 {
        rig.sleep_until_next_wakeup();
        rig.step();
    }
    assert!(trips(&rig) == 1 && rig.now().mono <= sched_core::MonoTime::ZERO + secs(30));
    assert_eq!(rig.running().iter().map(|a| a.job).collect::<Vec<_>>(), [long, next]);
}

#[test]
fn attempts_from_before_an_outage_say_nothing_about_its_end() {
    let mut rig = Rig::with_slots(100);
    let submit = |rig: &mut Rig, name: String| rig.submit(spec(&name).destination("bucket"), terms());
    let old: Vec<_> = (0..6).map(|n| submit(&mut rig, format!("old-{n}"))).collect();
    let first = submit(&mut rig, "first".into());
    rig.step();
    finish(&mut rig, first, Err(unavailable(bucket())));
    (0..40).for_each(|n| _ = submit(&mut rig, format!("new-{n}")));
    wait(&mut rig, 30);
    assert_eq!(rig.running().len(), 7, "six old ones, and one that tries");
    for job in &old[..3] {
        finish(&mut rig, *job, Ok(()));
    }
    assert_eq!(rig.running().len(), 4, "their success widens nothing");
    for job in &old[3..] {
        finish(&mut rig, *job, Err(RunError::Retryable("connection lost long ago".into())));
    }
    assert_eq!((rig.running().len(), trips(&rig)), (1, 1), "nor does their failure trip it again");
    finish_all(&mut rig, &Ok(()));
    assert_eq!(rig.running().len(), 2, "the one that tried has succeeded");
}

#[test]
fn a_failed_try_starts_over_at_every_breaker_that_it_tried() {
    let mut rig = Rig::with_slots(100);
    let first = rig.submit(spec("first"), terms());
    rig.step();
    finish(&mut rig, first, Err(unavailable(Scope::Technology("sqlite".into()))));
    (0..5).for_each(|n| _ = rig.submit(spec(&format!("db-{n}")).host(format!("h{n}")), terms()));
    wait(&mut rig, 30);
    assert_eq!(rig.running().len(), 1);
    finish_all(&mut rig, &Err(RunError::Retryable("still no licence".into())));
    assert_eq!((rig.running().len(), trips(&rig)), (0, 2));
}

#[test]
fn an_instance_that_is_not_available_costs_no_retry() {
    let member = spec("cluster").member("a", "h");
    for request in [spec("a").host("h"), member] {
        let mut rig = Rig::with_slots(9);
        let job = rig.submit(request, retrying(1, 1, 1));
        rig.step();
        for _ in 0..50 {
            finish(&mut rig, job, Err(unavailable(Scope::Instance("a".into()))));
            assert_eq!(rig.engine.explain(job).unwrap().closed[0].gate, Gate::Breaker);
            until_something_runs(&mut rig);
        }
        finish(&mut rig, job, Ok(()));
        assert_eq!(rig.engine.job_status(job).unwrap().state, JobState::Succeeded);
    }
}

/// One job cannot use the destination and says that the destination is gone. It must neither keep the others from
/// it nor go round for ever.
#[test]
fn a_bad_job_is_not_taken_for_an_outage_when_others_get_through() {
    let mut rig = Rig::with_slots(9);
    let soon = rig.now().plus(secs(3 * 3600)).wall;
    let bad = rig.submit(spec("bad").destination("bucket").deadline(soon), retrying(1, 1, 1));
    rig.step();
    let mut rounds = 0;
    while rig.engine.job_status(bad).unwrap().state != JobState::Failed {
        rounds += 1;
        assert!(rounds < 200, "{:?}", rig.engine.job_status(bad));
        rig.clock.advance(secs(120));
        rig.submit(spec(&format!("good-{rounds}")).destination("bucket"), terms());
        until_something_runs(&mut rig);
        for attempt in rig.running() {
            let result = if attempt.job == bad { Err(unavailable(bucket())) } else { Ok(()) };
            rig.finish(attempt, result);
        }
        rig.step();
    }
    let succeeded = rig.engine.status().ended[&JobState::Succeeded];
    assert!(succeeded >= 15, "{succeeded} of {rounds} others got through");
}

#[test]
fn a_scope_that_nobody_knows_cannot_be_blamed() {
    let mut rig = Rig::with_slots(9);
    let job = rig.submit(spec("a"), retrying(1, 1, 1));
    rig.step();
    finish(&mut rig, job, Err(unavailable(bucket())));
    assert_eq!((rig.engine.job_status(job).unwrap().state, trips(&rig)), (JobState::Failed, 0));
    // It was not remembered either.
    let job = rig.submit(spec("b").destination("bucket"), terms());
    rig.step();
    assert_eq!(rig.running()[0].job, job);
}

/// A position in a table is used anew; the breaker must not take the second backup for the first.
#[test]
fn regression_backups_are_told_apart_after_one_was_forgotten() {
    let mut config = EngineConfig::default();
    (config.breaker.failures, config.breaker.targets) = (2, 2);
    let mut rig = Rig::new(config);
    for name in ["a", "b"] {
        let job = rig.submit(spec(name).destination("bucket"), retrying(1, 1, 1));
        rig.step();
        assert_eq!(trips(&rig), 0);
        finish(&mut rig, job, Err(RunError::Retryable("503".into())));
        assert!(name == "b" || rig.engine.forget(&name.into()));
    }
    assert_eq!(trips(&rig), 2, "of the host and of the destination");
}

/// Ten retries are free and every success earns a fifth of one. Beyond that nobody retries soon, and never all at
/// the same moment.
#[test]
fn beyond_the_retry_budget_back_offs_are_long_and_spread() {
    let mut rig = Rig::with_slots(100);
    let failed_at = rig.now().wall;
    let submit = |rig: &mut Rig, n: usize| {
        rig.submit(spec(&format!("db-{n}")).host(format!("h{n}")), retrying(9, 10, 3_600))
    };
    let all: Vec<_> = (0..60).map(|n| submit(&mut rig, n)).collect();
    rig.step();
    finish_all(&mut rig, &Err(RunError::Retryable("x".into())));
    let until = |rig: &Rig, job| {
        let until = rig.engine.explain(job).unwrap().closed[0].until.unwrap();
        until.duration_since(failed_at).as_millis()
    };
    let mut waits: Vec<_> = all.iter().map(|job| until(&rig, *job)).collect();
    waits.sort_unstable();
    assert!(waits[9] <= 10_000 && waits[10] >= 1_800_000 && waits[59] <= 3_600_000, "{waits:?}");
    waits.dedup();
    assert!(waits.len() > 55, "{} moments for 60 jobs", waits.len());
    (60..65).for_each(|n| _ = submit(&mut rig, n));
    rig.step();
    finish_all(&mut rig, &Ok(()));
    let two = [submit(&mut rig, 65), submit(&mut rig, 66)];
    rig.step();
    finish_all(&mut rig, &Err(RunError::Retryable("x".into())));
    let mut waits = two.map(|job| until(&rig, job));
    waits.sort_unstable();
    assert!(waits[0] <= 10_000 && waits[1] >= 1_800_000, "five successes pay for one retry: {waits:?}");
}

#[test]
fn who_failed_stands_behind_those_who_were_due_before_that() {
    let mut rig = Rig::with_slots(1);
    let due = |rig: &Rig, minutes: u64| rig.now().plus(secs(60 * minutes)).wall;
    let fails = rig.submit(spec("fails").deadline(due(&rig, 120)), retrying(9, 1, 1));
    rig.step();
    let waits = rig.submit(spec("waits").deadline(due(&rig, 150)), retrying(9, 1, 1));
    let late = rig.submit(spec("late").deadline(due(&rig, 400)), retrying(9, 1, 1));
    rig.engine.hold(rig.now(), Scope::Fleet, Order::new("ana", "until the back-off is over"));
    wait(&mut rig, 3_600);
    finish(&mut rig, fails, Err(RunError::Retryable("x".into())));
    wait(&mut rig, 10);
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    let mut order = vec![];
    while let Some(attempt) = rig.running().first().copied() {
        order.push(attempt.job);
        finish(&mut rig, attempt.job, Ok(()));
    }
    assert_eq!(order, [waits, fails, late]);
}

/// What a peak made fail is let back step by step when it is over, and not at all while something else is wrong.
#[test]
fn an_opening_ends_back_offs_in_steps() {
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 10_000);
    config.breaker.failures = 0;
    let mut rig = Rig::new(config);
    let level = |level| LoadState::new(level, Reason::new("load"));
    rig.engine.set_load(rig.now(), Scope::Fleet, level(LoadLevel::Peak));
    let mut high = retrying(9, 36_000, 36_000);
    high.priority = Priority::High;
    for n in 0..500 {
        rig.submit(spec(&format!("db-{n}")).host(format!("h{n}")), high.clone());
    }
    rig.step();
    finish_all(&mut rig, &Err(RunError::Retryable("lock wait".into())));
    rig.engine.set_down(rig.now(), Scope::Fleet, Some(Reason::new("network")));
    rig.engine.set_load(rig.now(), Scope::Fleet, level(LoadLevel::Calm));
    rig.step();
    assert_eq!(rig.engine.explain(JobId(1)).unwrap().state, JobState::Retryable);
    let before = rig.engine.moves();
    rig.engine.set_down(rig.now(), Scope::Fleet, None);
    assert_eq!(rig.engine.moves(), before, "the call itself moves nobody");
    rig.engine.advance(rig.now());
    assert!(rig.engine.moves() - before <= 3);
    rig.step();
    assert_eq!(rig.running().len(), 500);
}
/// A destination is gone for a day while every instance's backup comes due again and again. When it is back, one
/// tries, then two, then four: no herd, no retry spent, nobody forgotten.
#[test]
fn catch_up_after_an_outage_of_a_day_is_levelled() {
    let mut rig = Rig::with_slots(60);
    let down_until = rig.now().plus(secs(24 * 3600)).wall;
    for n in 0..200 {
        let request = spec(&format!("db-{n}")).host(format!("h{n}")).destination("bucket");
        rig.submit(request, retrying(2, 60, 3_600));
    }
    rig.step();
    let (mut tries, mut widths) = (0, vec![]);
    while rig.engine.pending_count() + rig.running().len() > 0 {
        assert!(widths.len() < 100 && tries < 1_000, "{tries} tries, {widths:?}");
        if rig.running().is_empty() {
            rig.sleep_until_next_wakeup();
            rig.step();
            continue;
        }
        if rig.now().wall < down_until {
            tries += rig.running().len();
            finish_all(&mut rig, &Err(unavailable(bucket())));
        } else {
            widths.push(rig.running().len());
            finish_all(&mut rig, &Ok(()));
        }
    }
    // 60 at first; then one a cool-down of half to all of a quarter of an hour.
    assert!((60 + 90..60 + 220).contains(&tries), "{tries}");
    assert_eq!(widths[0], 1, "{widths:?}");
    let mut succeeded = 0;
    for width in &widths {
        // Each success doubles how many try, up to what counts as recovered; then slots are the limit.
        let most = if succeeded < 5 { 1 << succeeded } else { 60 };
        assert!(*width <= most, "{widths:?}");
        succeeded += width;
    }
    assert_eq!(succeeded, 200, "everybody has a backup again");
    assert_eq!(rig.engine.status().ended.get(&JobState::Failed), None);
}

#[test]
fn an_attempt_that_could_not_be_begun_costs_no_retry_and_is_nobodys_fault() {
    let mut rig = Rig::with_slots(1);
    rig.is_slow = true;
    let job = rig.submit(spec("a").host("h"), retrying(1, 60, 60));
    let reason = || Reason::new("no thread");
    for attempt in 1..=20 {
        rig.step();
        assert_eq!(rig.starts.len(), attempt);
        let start = rig.starts[attempt - 1].attempt;
        assert!(rig.engine.not_begun(rig.now(), start, reason(), secs(10)));
        assert!(!rig.engine.not_begun(rig.now(), start, reason(), secs(10)), "it is over");
        // Its wait is not the wall's.
        rig.clock.step_wall(rig.now().wall - jiff::SignedDuration::from_secs(200));
        wait(&mut rig, 9);
        assert_eq!(rig.starts.len(), attempt);
        assert_eq!(rig.engine.status().resources[&SLOTS.into()].used, 0);
        wait(&mut rig, 1);
    }
    let last = rig.starts[20].attempt;
    assert!(rig.engine.started(rig.now(), last));
    rig.finish(last, Ok(()));
    assert_eq!(rig.engine.job_status(job).unwrap().state, JobState::Succeeded);
    assert_eq!(trips(&rig), 0);
    let interrupted = |event: &EventKind| matches!(event, EventKind::Interrupted { .. });
    assert_eq!(rig.events.iter().filter(|event| interrupted(&event.kind)).count(), 20);
    assert!(!rig.saw(|event| matches!(event, EventKind::Retried { .. })));
}
