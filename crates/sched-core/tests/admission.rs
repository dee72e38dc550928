//! Who is looked at, in which order, and what that costs.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::{AttemptId, EngineConfig, JobId, JobSpec, JobTerms, Order, Priority, Reason, SLOTS, Scope};

fn of(priority: Priority) -> JobTerms {
    let mut terms = terms();
    terms.priority = priority;
    terms
}

fn order() -> Order {
    Order::new("ana", "moving the rack")
}

fn jobs(attempts: &[AttemptId]) -> Vec<JobId> {
    attempts.iter().map(|attempt| attempt.job).collect()
}

#[test]
fn what_operators_want_now_goes_after_what_is_critical() {
    let mut rig = Rig::with_slots(1);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    rig.engine.run_all_now(rig.now(), Scope::Fleet, Some(order()));
    let mut early = of(Priority::Low);
    early.rpo = secs(7_200);
    rig.submit(spec("low"), early);
    let critical = rig.submit(spec("critical"), of(Priority::Critical));
    rig.step();
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    assert_eq!(jobs(&rig.running()), [critical]);
}

/// Terms that need so much of `io`, for so many minutes.
fn needing(io: u64, minutes: u64) -> JobTerms {
    let mut terms = terms();
    terms.demand.add("io", io);
    terms.expected_duration = secs(60 * minutes);
    terms
}

fn with_io(total: u64) -> Rig {
    let mut rig = Rig::with_slots(1_000);
    rig.engine.set_resource(rig.now(), &Scope::Fleet, "io".into(), total).unwrap();
    rig
}

#[test]
fn the_next_of_a_class_starts_when_the_one_that_was_too_large_is_cancelled() {
    let mut rig = with_io(2_000);
    rig.submit(spec("runs"), needing(1_000, 60));
    rig.step();
    let large = rig.submit(spec("large").size_bytes(1), needing(1_007, 60));
    let small = rig.submit(spec("small").size_bytes(2), needing(970, 60));
    rig.step();
    rig.engine.cancel(rig.now(), large, Reason::new("not wanted any more")).unwrap();
    rig.step();
    assert!(jobs(&rig.running()).contains(&small), "{}", rig.engine.explain(small).unwrap());
}

#[test]
fn one_that_is_too_large_for_ever_does_not_keep_its_class() {
    let mut rig = with_io(2_000);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    rig.submit(spec("large").size_bytes(1), needing(1_007, 60));
    let small = rig.submit(spec("small").size_bytes(2), needing(970, 60));
    rig.engine.set_resource(rig.now(), &Scope::Fleet, "io".into(), 1_000).unwrap();
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    assert_eq!(jobs(&rig.running()), [small], "the fleet is idle");
}

#[test]
fn a_short_job_passes_although_a_longer_one_of_its_class_may_not() {
    let mut rig = with_io(3);
    rig.submit(spec("runs"), needing(2, 40));
    rig.step();
    let soon = rig.now().plus(secs(3 * 3_600)).wall;
    rig.submit(spec("large").deadline(soon), needing(3, 60));
    rig.step();
    rig.submit(spec("fifty"), needing(1, 50));
    let short = rig.submit(spec("thirty"), needing(1, 30));
    rig.step();
    assert!(jobs(&rig.running()).contains(&short), "{}", rig.engine.explain(short).unwrap());
}

/// Only the first few that are a little too large are looked past, or a backlog would move to the place one by one;
/// whoever leaves these makes room for a look at the next.
#[test]
fn a_long_line_of_jobs_that_are_a_little_too_large_stays_where_it_is() {
    let mut rig = with_io(2_000);
    let runs = rig.submit(spec("runs"), needing(1_000, 60));
    rig.step();
    let large = |n| spec(&format!("large-{n}")).size_bytes(1);
    let lines: Vec<_> = (0..1_000).map(|n| rig.submit(large(n), needing(1_007, 60))).collect();
    let small = rig.submit(spec("small").size_bytes(2), needing(970, 60));
    let before = rig.engine.moves();
    rig.step();
    assert!(rig.engine.moves() - before < 50, "{} moves", rig.engine.moves() - before);
    for job in &lines[..984] {
        rig.engine.cancel(rig.now(), *job, Reason::new("not wanted any more")).unwrap();
    }
    rig.step();
    assert_eq!(jobs(&rig.running()), [runs, small], "sixteen are looked past");
}

/// Whichever of them it is: one that was looked past, or the one at the top that keeps the rest.
#[test]
fn the_next_in_a_long_line_is_looked_at_when_one_before_it_is_cancelled() {
    for cancelled in [0, 16] {
        let mut rig = with_io(2_000);
        let runs = rig.submit(spec("runs"), needing(1_000, 60));
        rig.step();
        let large = |n| spec(&format!("large-{n}")).size_bytes(1);
        let line: Vec<_> = (0..17).map(|n| rig.submit(large(n), needing(1_007, 60))).collect();
        let small = rig.submit(spec("small").size_bytes(2), needing(970, 60));
        rig.step();
        assert_eq!(jobs(&rig.running()), [runs]);
        rig.engine.cancel(rig.now(), line[cancelled], Reason::new("not wanted any more")).unwrap();
        rig.step();
        assert_eq!(jobs(&rig.running()), [runs, small]);
    }
}

/// Submits `count` jobs of one slot, no two of which differ less than `spec` says, and returns the most moves that
/// the end of one and the start of the next then take.
fn moves_of_a_turn(count: usize, of: impl Fn(usize) -> JobSpec) -> u64 {
    let mut config = EngineConfig::default();
    config.events = false;
    config.resources.insert(SLOTS.into(), 1);
    let mut rig = Rig::new(config);
    for n in 0..count {
        rig.submit(of(n), terms());
    }
    rig.step();
    let turn = |_| {
        let before = rig.engine.moves();
        let attempt = rig.running()[0];
        rig.finish(attempt, Ok(()));
        rig.step();
        assert_eq!(rig.running().len(), 1);
        rig.engine.moves() - before
    };
    (0..50).map(turn).max().unwrap()
}

#[test]
fn a_turn_moves_nobody_else_however_many_classes_and_tenants_wait() {
    let by_destination = |n: usize| spec(&format!("db-{n}")).destination(format!("bucket-{}", n % 1_000));
    let by_tenant = |n: usize| spec(&format!("db-{n}")).tenant(format!("tenant-{}", n % 1_000));
    assert_eq!(moves_of_a_turn(2_000, by_destination), 1);
    assert_eq!(moves_of_a_turn(2_000, by_tenant), 1);
}

#[test]
fn members_of_a_group_are_let_in_one_by_one() {
    let mut config = EngineConfig::default();
    config.events = false;
    config.resources.insert(SLOTS.into(), 3);
    let mut rig = Rig::new(config);
    let group = Scope::Group("cluster".into());
    rig.engine.set_limit(rig.now(), &group, Some(2)).unwrap();
    for n in 0..2_000 {
        rig.submit(spec(&format!("db-{n}")).group("cluster"), terms());
    }
    rig.step();
    let before = rig.engine.moves();
    for _ in 0..5 {
        let attempt = rig.running()[0];
        rig.finish(attempt, Ok(()));
        rig.step();
        assert_eq!(rig.running().len(), 2);
        // Closed and opened again, with a fleet that has room for one of them.
        rig.engine.hold(rig.now(), group.clone(), order());
        rig.step();
        rig.engine.set_limit(rig.now(), &group, Some(1_000)).unwrap();
        rig.engine.release(rig.now(), &group);
        rig.step();
        assert_eq!(rig.running().len(), 3);
        rig.engine.set_limit(rig.now(), &group, Some(2)).unwrap();
        let attempt = rig.running()[0];
        rig.finish(attempt, Ok(()));
        rig.step();
    }
    assert!(rig.engine.moves() - before < 60, "{} moves for 10 starts", rig.engine.moves() - before);
}

/// One that has been let in and cannot start for another reason does not keep the others.
#[test]
fn a_member_whose_host_is_down_does_not_keep_the_rest_of_its_group() {
    let mut rig = Rig::with_slots(9);
    let group = Scope::Group("cluster".into());
    rig.engine.set_limit(rig.now(), &group, Some(9)).unwrap();
    rig.engine.hold(rig.now(), group.clone(), order());
    for n in 0..5 {
        rig.submit(spec(&format!("bad-{n}")).host("bad").group("cluster").size_bytes(n + 1), terms());
    }
    let good = rig.submit(spec("good").host("good").group("cluster"), terms());
    rig.step();
    rig.engine.set_down(rig.now(), Scope::Host("bad".into()), Some(Reason::new("unreachable")));
    rig.engine.release(rig.now(), &group);
    rig.step();
    assert_eq!(jobs(&rig.running()), [good]);
}

#[test]
fn who_is_parked_behind_a_member_that_was_kept_back_follows_when_that_one_starts() {
    let mut rig = Rig::with_slots(9);
    let (group, bad) = (Scope::Group("cluster".into()), Scope::Host("bad".into()));
    rig.engine.set_limit(rig.now(), &group, Some(9)).unwrap();
    rig.engine.hold(rig.now(), group.clone(), order());
    let member = |n| spec(&format!("db-{n}")).host("bad").group("cluster").size_bytes(n);
    let members: Vec<_> = (1..5).map(|n| rig.submit(member(n), terms())).collect();
    rig.step();
    rig.engine.set_down(rig.now(), bad.clone(), Some(Reason::new("unreachable")));
    rig.engine.release(rig.now(), &group);
    rig.step();
    assert_eq!(jobs(&rig.running()), []);
    rig.engine.set_down(rig.now(), bad, None);
    rig.step();
    assert_eq!(jobs(&rig.running()), members);
}

/// A group that opens while the fleet is full shows a job that cannot start yet; it may be gone before it can.
#[test]
fn what_a_cancelled_job_needed_is_still_known_where_its_group_has_opened() {
    let mut rig = Rig::with_slots(2);
    rig.engine.set_resource(rig.now(), &Scope::Fleet, "tape".into(), 99).unwrap();
    let group = Scope::Group("g".into());
    rig.engine.set_limit(rig.now(), &group, Some(1)).unwrap();
    let tapes = |amount| {
        let mut terms = terms();
        terms.demand.add("tape", amount);
        terms
    };
    rig.submit(spec("first").group("g"), terms());
    rig.step();
    let parked = rig.submit(spec("parked").group("g"), tapes(15));
    rig.step();
    rig.submit(spec("other"), terms());
    rig.step();
    assert_eq!(rig.running().len(), 2);
    rig.engine.set_limit(rig.now(), &group, Some(2)).unwrap();
    rig.step();
    rig.engine.cancel(rig.now(), parked, Reason::new("not needed")).unwrap();
    // Terms that were seen lately are remembered, until others are.
    for _ in 0..16 {
        let job = rig.submit(spec("x"), tapes(1));
        rig.engine.cancel(rig.now(), job, Reason::new("not needed")).unwrap();
    }
    rig.step();
    rig.finish(rig.running()[0], Ok(()));
    let last = rig.submit(spec("last").group("g"), tapes(15));
    rig.step();
    assert!(rig.running().iter().any(|attempt| attempt.job == last));
}
