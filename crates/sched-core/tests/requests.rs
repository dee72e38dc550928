//! What becomes of a request: how two are joined, and what an executor is told of it.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::{
    BackupKind, Clock, Engine, EngineConfig, JobSpec, JobTerms, LoadLevel, LoadState, ManualClock, Order,
    Output, Priority, Reason, RunError, SLOTS, Scope, StartOrder, Submission, SubmitError,
};

fn slots(amount: u64) -> JobTerms {
    let mut terms = terms();
    terms.demand = Default::default();
    terms.demand.add(SLOTS, amount);
    terms
}

fn held(slots: u64) -> Rig {
    let mut rig = Rig::with_slots(slots);
    rig.engine.hold(rig.now(), Scope::Fleet, Order::new("ana", "told by a test"));
    rig
}

#[test]
fn of_two_requests_the_larger_amount_of_each_resource_counts() {
    let mut rig = held(4);
    rig.engine.set_resource(rig.now(), &Scope::Fleet, "tape".into(), 9).unwrap();
    let mut first = slots(3);
    first.demand.add("tape", 1);
    let job = rig.submit(spec("a"), first);
    let mut second = slots(1);
    second.demand.add("tape", 2);
    assert_eq!(rig.submit(spec("a"), second), job);
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    let used = |name: &str| rig.engine.status().resources[&name.into()].used;
    assert_eq!((used(SLOTS), used("tape")), (3, 2));
    rig.finish(rig.running()[0], Ok(()));
    assert_eq!(rig.engine.status().resources[&SLOTS.into()].used, 0);
}

#[test]
fn a_second_request_that_asks_for_more_than_there_is_is_refused_and_changes_nothing() {
    let mut rig = held(4);
    let job = rig.submit(spec("a"), slots(1));
    let mut urgent = slots(5);
    urgent.priority = Priority::Critical;
    let refused = rig.engine.submit(rig.now(), spec("a"), urgent);
    assert!(matches!(refused, Err(SubmitError::Demand(_))), "{refused:?}");
    let status = rig.engine.job_status(job).unwrap();
    assert_eq!((status.job.priority, status.requesters), (Priority::Normal, 1));
    assert_eq!(rig.engine.submit(rig.now(), spec("a"), slots(4)), Ok(Submission::Coalesced(job)));
}

#[test]
fn a_backup_of_two_months_is_expected_to_take_two_months() {
    let mut rig = held(4);
    let months = secs(60 * 24 * 3600);
    let mut long = terms();
    long.expected_duration = months;
    let deadline = rig.now().plus(months * 2).wall;
    let job = rig.submit(spec("a").deadline(deadline), long);
    let status = rig.engine.job_status(job).unwrap();
    assert_eq!(status.expected_duration, months);
    assert_eq!(status.deadline.duration_since(status.latest_start).as_secs(), 60 * 24 * 3600 + 60);
}

/// What is started once `spec` is submitted to an engine that has learned that "a" takes 50 s for 7,000 bytes.
fn started(spec: JobSpec, terms: JobTerms) -> StartOrder {
    let clock = ManualClock::default();
    let mut engine = Engine::new(EngineConfig::default(), clock.now());
    let mut run = |spec, terms| {
        engine.submit(clock.now(), spec, terms).unwrap();
        engine.advance(clock.now());
        let start = |output| if let Output::Start(order) = output { Some(order) } else { None };
        let order = std::iter::from_fn(|| engine.poll_output()).find_map(start).expect("it starts");
        assert!(engine.started(clock.now(), order.attempt));
        clock.advance(secs(50));
        let end = sched_core::AttemptEnd::new(7_000, Ok(()));
        assert!(engine.ended(clock.now(), order.attempt, end));
        order
    };
    for _ in 0..20 {
        run(JobSpec::new("a", "sqlite"), JobTerms::default());
    }
    run(spec, terms)
}

#[test]
fn an_executor_is_told_what_was_asked_and_not_what_was_learned() {
    let plain = started(spec("a"), terms()).spec;
    assert_eq!((plain.size_bytes, plain.expected_duration, plain.rpo), (None, None, None));
    let asked = spec("a").size_bytes(9).expected_duration(secs(3)).rpo(secs(7200));
    let mut two_hours = terms();
    two_hours.rpo = secs(7200);
    let plain = started(asked.clone(), two_hours).spec;
    assert_eq!((plain.size_bytes, plain.expected_duration), (Some(9), Some(secs(3))));
    assert_eq!(plain.rpo, Some(secs(7200)));
    for asked in [asked.clone(), asked.destination("bucket")] {
        assert_eq!(started(asked, terms()).spec.rpo, Some(secs(7200)), "whatever the terms say");
    }
}

#[test]
fn a_paused_job_has_no_part_of_a_ceiling() {
    let mut rig = Rig::with_slots(9);
    let technology = Scope::Technology(spec("a").technology);
    rig.engine.set_ceiling(rig.now(), technology, Some((100, Order::new("ana", "told by a test"))));
    let mut able = terms();
    able.pausable = true;
    rig.submit(spec("a").host("busy"), able.clone());
    rig.submit(spec("b"), able);
    rig.step();
    let (a, b) = (rig.running()[0], rig.running()[1]);
    let load = |rig: &mut Rig, level| {
        let state = LoadState::new(level, Reason::new("told by a test"));
        rig.engine.set_load(rig.now(), Scope::Host("busy".into()), state);
        rig.step();
    };
    load(&mut rig, LoadLevel::Peak);
    assert!(rig.engine.paused(rig.now(), a));
    // A scope of which somebody speaks while its job stands counts that one as standing, too.
    let of_a = Some((10, Order::new("ana", "told by a test")));
    rig.engine.set_ceiling(rig.now(), Scope::Instance("a".into()), of_a);
    rig.step();
    let told = |rig: &Rig| -> Vec<_> {
        let told =
            |output: &Output| if let Output::Ceiling(id, rate) = output { Some((*id, *rate)) } else { None };
        rig.outputs.iter().filter_map(told).collect()
    };
    assert_eq!(told(&rig).last(), Some(&(b, Some(100))), "only one moves bytes");
    load(&mut rig, LoadLevel::Calm);
    let news: Vec<_> = rig.outputs.iter().rev().take(3).rev().cloned().collect();
    let expected = [Output::Ceiling(a, Some(10)), Output::Ceiling(b, Some(50)), Output::Resume(a)];
    assert_eq!(news, expected, "before it moves again");
    assert!(rig.engine.resumed(rig.now(), a));
    rig.finish(a, Ok(()));
    rig.step();
    assert_eq!(told(&rig).last(), Some(&(b, Some(100))));
}

#[test]
fn a_request_joins_the_job_that_waits_again_when_its_successor_is_cancelled() {
    let mut rig = Rig::with_slots(4);
    let first = rig.submit(spec("a"), terms());
    rig.step();
    let successor = rig.submit(spec("a"), terms());
    assert_ne!(first, successor);
    rig.finish(rig.running()[0], Err(RunError::Retryable("no route".into())));
    rig.engine.cancel(rig.now(), successor, Reason::new("not needed")).unwrap();
    assert_eq!(rig.engine.pending(&"a".into(), BackupKind::Full), Some(first));
    assert_eq!(rig.submit(spec("a"), terms()), first);
}

#[test]
fn a_request_of_another_technology_does_not_change_the_one_that_runs() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(JobSpec::new("a", "mysql"), terms());
    rig.step();
    let refused = rig.engine.submit(rig.now(), JobSpec::new("a", "mariadb"), terms()).unwrap_err();
    assert!(
        matches!(&refused, SubmitError::Conflict { job: other, field: "technology", .. } if *other == job)
    );
    assert_eq!(rig.engine.job_status(job).unwrap().job.technology, "mysql".into());
    rig.finish(rig.running()[0], Ok(()));
    rig.submit(JobSpec::new("a", "mariadb"), terms());
}
