//! Orders of operators, and the times that were given: nothing that was asked for is lost, and every order ends.

mod rig;

use std::time::Duration;

use rig::{Rig, secs, spec, terms};
use sched_core::{
    EngineConfig, EventKind, Gate, JobId, JobTerms, LoadLevel, LoadState, Order, Output, Priority, Reason,
    RetryPolicy, RunError, SLOTS, Scope,
};

fn order() -> Order {
    Order::new("ana", "told by a test")
}

fn host(name: &str) -> Scope {
    Scope::Host(name.into())
}

fn jobs(rig: &Rig) -> Vec<JobId> {
    rig.running().iter().map(|attempt| attempt.job).collect()
}

fn finish(rig: &mut Rig, job: JobId, result: Result<(), RunError>) {
    let attempt = rig.running().into_iter().find(|attempt| attempt.job == job).expect("it runs");
    rig.finish(attempt, result);
    rig.step();
}

fn peak(rig: &mut Rig) {
    let state = LoadState::new(LoadLevel::Peak, Reason::new("told by a test"));
    rig.engine.set_load(rig.now(), Scope::Fleet, state);
}

#[test]
fn a_second_request_does_not_undo_the_end_of_a_window() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(spec("a"), terms());
    rig.step();
    let next = rig.now().plus(secs(3600)).wall;
    rig.engine.interrupt(rig.now(), job, Reason::new("the window ends"), Some(next)).unwrap();
    finish(&mut rig, job, Err(RunError::Cancelled));
    assert_eq!(rig.submit(spec("a"), terms()), job, "it joins the interrupted one");
    rig.step();
    assert_eq!(jobs(&rig), []);
    let closed = &rig.engine.explain(job).unwrap().closed[0];
    assert_eq!((closed.gate.clone(), closed.until), (Gate::Time, Some(next)));
    rig.run_until(next);
    assert_eq!((jobs(&rig), rig.now().wall), (vec![job], next));
}

#[test]
fn a_requested_start_counts_again_when_the_order_for_its_scope_is_taken_back() {
    let mut rig = Rig::with_slots(1);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    let asked = rig.now().plus(secs(36_000)).wall;
    let job = rig.submit(spec("a").not_before(asked), terms());
    rig.step();
    rig.engine.run_all_now(rig.now(), Scope::Fleet, Some(order()));
    rig.step();
    assert!(rig.engine.explain(job).unwrap().closed.iter().all(|closed| closed.gate != Gate::Time));
    rig.engine.run_all_now(rig.now(), Scope::Fleet, None);
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    assert_eq!(jobs(&rig), []);
    rig.run_until(asked);
    assert_eq!((jobs(&rig), rig.now().wall), (vec![job], asked));
    let waited = |kind: &EventKind| matches!(kind, EventKind::Admitted { waited } if waited.is_zero());
    assert!(rig.saw(waited), "it was due when it was asked for");
}

#[test]
fn an_order_for_one_job_expires() {
    let mut rig = Rig::with_slots(1);
    peak(&mut rig);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    let job = rig.submit(spec("a"), terms());
    rig.step();
    let until = rig.now().plus(secs(60)).wall;
    rig.engine.run_now(rig.now(), job, order().until(until)).unwrap();
    rig.step();
    assert_eq!(rig.engine.explain(job).unwrap().closed.len(), 1, "only the hold");
    rig.run_until(until);
    assert!(rig.saw(|kind| matches!(kind, EventKind::RunNow { scope: None, order: None })));
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    assert_eq!(jobs(&rig), [], "the peak counts again");
}

#[test]
fn an_order_that_came_and_went_while_a_job_ran_is_not_remembered_for_its_next_attempt() {
    let mut rig = Rig::with_slots(1);
    rig.engine.run_all_now(rig.now(), Scope::Fleet, Some(order()));
    let job = rig.submit(spec("a"), terms());
    rig.step();
    rig.engine.run_all_now(rig.now(), Scope::Fleet, None);
    peak(&mut rig);
    rig.step();
    rig.engine.interrupt(rig.now(), job, Reason::new("its host is needed"), None).unwrap();
    finish(&mut rig, job, Err(RunError::Cancelled));
    assert_eq!(jobs(&rig), []);
    assert_eq!(rig.engine.explain(job).unwrap().closed[0].gate, Gate::Load);
}

#[test]
fn an_order_ends_a_back_off_but_not_those_that_follow() {
    let mut rig = Rig::with_slots(1);
    let mut slow = terms();
    slow.retry = RetryPolicy::new(9, secs(3600), secs(3600));
    let job = rig.submit(spec("a"), slow);
    rig.step();
    finish(&mut rig, job, Err(RunError::Retryable("gone".into())));
    assert_eq!(jobs(&rig), []);
    rig.engine.run_now(rig.now(), job, order()).unwrap();
    rig.step();
    assert_eq!(jobs(&rig), [job]);
    finish(&mut rig, job, Err(RunError::Retryable("gone".into())));
    assert_eq!(jobs(&rig), [], "a job that fails at once must not go round without a pause");
}

#[test]
fn an_order_that_ends_between_two_milliseconds_ends() {
    let mut rig = Rig::with_slots(1);
    let until = rig.now().plus(Duration::from_nanos(1_000_500_001)).wall;
    rig.engine.hold(rig.now(), Scope::Fleet, order().until(until));
    let job = rig.submit(spec("a"), terms());
    rig.step();
    rig.sleep_until_next_wakeup();
    rig.step();
    assert_eq!((jobs(&rig), rig.now().wall), (vec![job], until));
}

#[test]
fn the_first_of_several_orders_of_a_scope_ends_first_and_the_others_in_turn() {
    let mut rig = Rig::with_slots(1);
    let at = |rig: &Rig, n| rig.now().plus(secs(n)).wall;
    let (first, second, third) = (at(&rig, 10), at(&rig, 20), at(&rig, 30));
    rig.engine.set_ceiling(rig.now(), Scope::Fleet, Some((1, order().until(third))));
    rig.engine.hold(rig.now(), Scope::Fleet, order().until(first));
    rig.engine.run_all_now(rig.now(), Scope::Fleet, Some(order().until(second)));
    rig.run_until(at(&rig, 100));
    let ended: Vec<_> = rig
        .events
        .iter()
        .filter(|event| {
            use EventKind::{CeilingChanged, HoldChanged, RunNow};
            matches!(
                event.kind,
                HoldChanged { order: None, .. }
                    | RunNow { order: None, .. }
                    | CeilingChanged { order: None, .. }
            )
        })
        .map(|event| event.at.wall)
        .collect();
    assert_eq!(ended, [first, second, third]);
    assert_eq!(rig.engine.next_wakeup(), None);
}

#[test]
fn an_order_ends_by_the_wall_after_the_wall_was_set() {
    let mut rig = Rig::with_slots(1);
    let until = rig.now().plus(secs(3600)).wall;
    rig.engine.hold(rig.now(), Scope::Fleet, order().until(until));
    let job = rig.submit(spec("a"), terms());
    rig.step();
    for step in [secs(120), secs(240)] {
        rig.clock.step_wall(sched_core::wall_plus(rig.now().wall, step));
        rig.step();
    }
    rig.clock.step_wall(sched_core::wall_minus(rig.now().wall, secs(60)));
    rig.step();
    let start = rig.now().mono;
    rig.run_until(until);
    assert_eq!((jobs(&rig), rig.now().wall), (vec![job], until));
    assert_eq!(rig.now().mono.since(start), secs(3600 - 300));
}

#[test]
fn a_released_hold_and_a_withdrawn_claim_wake_nobody() {
    let mut rig = Rig::with_slots(2);
    rig.engine.hold(rig.now(), Scope::Fleet, order().until(rig.now().plus(secs(60)).wall));
    rig.engine.release(rig.now(), &Scope::Fleet);
    let runs = rig.submit(spec("runs"), terms());
    rig.step();
    let mut both = JobTerms::default();
    both.priority = Priority::High;
    both.demand.add(SLOTS, 1);
    let large = rig.submit(spec("large"), both);
    let mut longer = terms();
    longer.expected_duration = secs(2 * 3600);
    let small = rig.submit(spec("small"), longer);
    rig.step();
    assert_eq!(jobs(&rig), [runs], "the free slot is reserved for the large one");
    for job in [large, small] {
        rig.engine.cancel(rig.now(), job, Reason::new("no longer needed")).unwrap();
    }
    finish(&mut rig, runs, Ok(()));
    assert_eq!(rig.engine.next_wakeup(), None);
}

#[test]
fn an_order_about_one_host_moves_the_jobs_of_that_host() {
    let mut config = EngineConfig::default();
    config.events = false;
    let mut rig = Rig::new(config);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    for n in 0..20_000 {
        rig.submit(spec(&format!("db-{n}")).host(format!("host-{n}")), terms());
    }
    rig.step();
    rig.engine.run_all_now(rig.now(), host("host-7"), Some(order()));
    let (before, mut calls) = (rig.engine.moves(), 0);
    while rig.engine.next_wakeup() == Some(rig.now().mono) {
        rig.engine.advance(rig.now());
        calls += 1;
    }
    let moves = rig.engine.moves() - before;
    assert!(moves <= 20 && calls <= 400, "{moves} moves in {calls} calls");
}

#[test]
fn nobody_outside_takes_the_room_that_an_order_is_for() {
    let mut rig = Rig::with_slots(1);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    let mut urgent = terms();
    urgent.priority = Priority::High;
    rig.submit(spec("urgent").host("elsewhere"), urgent);
    for n in 0..1_000 {
        rig.submit(spec(&format!("db-{n}")).host("elsewhere"), terms());
    }
    let wanted = rig.submit(spec("wanted").host("here"), terms());
    rig.step();
    rig.engine.run_all_now(rig.now(), host("here"), Some(order()));
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    assert_eq!(jobs(&rig), [wanted]);
}

#[test]
fn others_start_while_a_step_of_the_wall_is_told_to_a_long_backlog() {
    let mut config = EngineConfig::default();
    config.events = false;
    config.resources.insert(SLOTS.into(), 1);
    let mut rig = Rig::new(config);
    for n in 0..5_000 {
        rig.submit(spec(&format!("db-{n}")), terms());
    }
    rig.step();
    rig.clock.step_wall(sched_core::wall_plus(rig.now().wall, secs(2)));
    rig.engine.advance(rig.now());
    let running = rig.running()[0];
    rig.finish(running, Ok(()));
    let (before, mut calls) = (rig.engine.moves(), 0);
    while !matches!(rig.engine.poll_output(), Some(Output::Start(_))) {
        rig.engine.advance(rig.now());
        calls += 1;
        assert!(calls < 20, "nobody has started");
    }
    rig.step();
    let moves = rig.engine.moves() - before;
    assert!(moves < 10, "{moves} moves: two seconds have nobody stand elsewhere");
}

#[test]
fn what_an_operator_wants_now_makes_room_for_nobody() {
    let mut rig = Rig::with_slots(1);
    let mut low = terms();
    (low.priority, low.pausable, low.cancellable) = (Priority::Low, true, true);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    let job = rig.submit(spec("a"), low);
    rig.engine.run_now(rig.now(), job, order()).unwrap();
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    let mut critical = terms();
    critical.priority = Priority::Critical;
    rig.submit(spec("critical"), critical);
    peak(&mut rig);
    rig.step();
    let told = |output: &Output| matches!(output, Output::Pause(_) | Output::Cancel(..));
    assert!(!rig.outputs.iter().any(told), "{:?}", rig.outputs);
}
