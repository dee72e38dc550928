//! Plans: a job waits for the moment that a planner chose, as long as it has the slack.

mod rig;

use jiff::{Timestamp, ToSpan};
use rig::{Rig, secs, spec, terms};
use sched_core::{EngineConfig, EventKind, Gate, JobId, JobState, Order, Plan, Priority, Reason, RunError};

/// An hour of the first day, which is also where the clock begins.
fn at(hour: i64) -> Timestamp {
    "2026-01-05T00:00:00Z".parse::<Timestamp>().unwrap() + hour.hours()
}

fn calm(hour: i64) -> Option<Plan> {
    Some(Plan::new(at(hour), Reason::new("the calmest hour before the deadline")))
}

fn planned(rig: &mut Rig, instance: &str, hour: i64) -> JobId {
    let job = rig.submit(spec(instance), terms());
    assert_eq!(rig.engine.plan(rig.now(), job, calm(hour)), Ok(true));
    rig.step();
    job
}

#[test]
fn a_planned_job_waits_for_its_moment_and_says_why() {
    let mut rig = Rig::with_slots(1);
    let job = planned(&mut rig, "a", 6);
    let explained = rig.engine.explain(job).unwrap();
    assert_eq!((explained.state, explained.plan.clone()), (JobState::Scheduled, calm(6)));
    let closed = &explained.closed[0];
    assert_eq!((&closed.gate, closed.until), (&Gate::Plan, Some(at(6))));
    assert_eq!(
        closed.reason.to_string(),
        "planned for 2026-01-05T06:00:00Z: the calmest hour before the deadline"
    );
    assert!(rig.saw(|kind| matches!(kind, EventKind::Deferred { by, .. } if by.gate == Gate::Plan)));
    rig.run_until(at(6) - 1.second());
    assert_eq!(rig.running(), []);
    rig.run_until(at(6));
    assert_eq!(rig.running().len(), 1);
    assert_eq!(rig.engine.explain(job).unwrap().plan, None, "it is over");
}

#[test]
fn no_plan_outlasts_the_slack() {
    let mut rig = Rig::with_slots(1);
    let job = planned(&mut rig, "a", 50);
    let latest = rig.engine.explain(job).unwrap().latest_start;
    assert_eq!(rig.engine.explain(job).unwrap().closed[0].until, Some(latest));
    rig.run_until(latest - 1.second());
    assert_eq!(rig.running(), []);
    rig.run_until(latest);
    assert_eq!(rig.running().len(), 1);
    assert!(rig.saw(|kind| matches!(kind, EventKind::Overridden { gate } if gate.gate == Gate::Plan)));
}

#[test]
fn advice_tells_the_plan_and_holds_nobody() {
    let mut config = EngineConfig::default();
    config.advise_only = true;
    let mut rig = Rig::new(config);
    let job = planned(&mut rig, "a", 6);
    assert_eq!(rig.running().iter().map(|attempt| attempt.job).collect::<Vec<_>>(), [job]);
    let told = |kind: &EventKind| matches!(kind, EventKind::Deferred { by, advice_only: true } if by.gate == Gate::Plan);
    assert!(rig.saw(told));
    // The requested start counts, the later one that was planned does not.
    let later = rig.submit(spec("b").not_before(at(1)), terms());
    rig.engine.plan(rig.now(), later, calm(6)).unwrap();
    rig.run_until(at(1));
    assert_eq!(rig.running().len(), 2);
}

#[test]
fn a_plan_is_replaced_and_taken_back() {
    let mut rig = Rig::with_slots(2);
    let (a, b) = (planned(&mut rig, "a", 6), planned(&mut rig, "b", 6));
    let told = rig.engine.plan_all(rig.now(), [(a, calm(9)), (b, None), (JobId(99), calm(1))]);
    assert_eq!(told[..2], [Ok(true), Ok(true)]);
    assert!(told[2].is_err());
    rig.step();
    assert_eq!(rig.running()[0].job, b);
    rig.run_until(at(8));
    assert_eq!(rig.running().len(), 1);
    rig.run_until(at(9));
    assert_eq!(rig.running().len(), 2);
    assert_eq!(rig.engine.plan(rig.now(), a, calm(9)), Ok(false), "it runs");
}

#[test]
fn high_classes_and_orders_to_run_now_do_not_wait_for_plans() {
    let mut rig = Rig::with_slots(4);
    let jobs: Vec<_> = ["a", "b", "c"].map(|instance| planned(&mut rig, instance, 6)).into();
    rig.engine.reprioritize(rig.now(), jobs[0], Priority::High).unwrap();
    rig.engine.run_now(rig.now(), jobs[1], Order::new("ana", "now")).unwrap();
    rig.step();
    let running: Vec<_> = rig.running().iter().map(|attempt| attempt.job).collect();
    assert_eq!(running, [jobs[1], jobs[0]]);
    assert!(!rig.saw(|kind| matches!(kind, EventKind::Overridden { .. })));
}

#[test]
fn the_plan_of_an_attempt_does_not_hold_up_the_next() {
    let mut rig = Rig::with_slots(1);
    let job = planned(&mut rig, "a", 6);
    rig.run_until(at(6));
    let attempt = rig.running()[0];
    rig.finish(attempt, Err(RunError::Retryable("lost".into())));
    rig.run_until(at(7));
    assert_eq!(rig.running()[0].number, 2);
    assert_eq!(rig.engine.plan(rig.now(), job, None), Ok(false));
}

#[test]
fn a_cancelled_job_leaves_no_plan_for_the_next_in_its_place() {
    let mut rig = Rig::with_slots(1);
    let job = planned(&mut rig, "a", 6);
    rig.engine.cancel(rig.now(), job, Reason::new("not needed")).unwrap();
    let next = rig.submit(spec("a"), terms());
    rig.step();
    assert_eq!(rig.running()[0].job, next);
}

#[test]
fn a_plan_that_is_said_again_moves_nobody() {
    let mut rig = Rig::with_slots(1);
    let job = planned(&mut rig, "a", 6);
    let before = rig.engine.moves();
    rig.engine.plan(rig.now(), job, calm(6)).unwrap();
    assert_eq!(rig.engine.moves(), before);
    rig.clock.advance(secs(60));
    rig.engine.plan(rig.now(), job, calm(7)).unwrap();
    rig.step();
    assert!(rig.engine.moves() > before);
    assert_eq!(rig.running(), []);
}
