//! The journal: whatever was durable when the scheduler crashed, the next one goes on with it legally.

#[path = "../rig/mod.rs"]
mod rig;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rig::{secs, spec, terms};
use sched_core::{
    AttemptId, Cancellation, Clock, JobId, JobState, Lsn, ManualClock, Order, Output, Priority, Reason,
    Record, RestoreError, RetryPolicy, RunError, Scope,
};

use crate::world::World;

#[derive(Clone, Debug)]
enum Op {
    Submit(u8, Priority),
    End(usize, u8),
    Cancel(u64),
    Reprioritize(u64, Priority),
    Interrupt(u64),
    Wait(u64),
    Lag(u64),
    Hold(bool),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let priority = || prop_oneof![Just(Priority::Low), Just(Priority::High), Just(Priority::Critical)];
    let op = prop_oneof![
        6 => (0..5u8, priority()).prop_map(|(instance, priority)| Op::Submit(instance, priority)),
        5 => (any::<usize>(), 0..5u8).prop_map(|(which, how)| Op::End(which, how)),
        2 => (1..12u64).prop_map(Op::Cancel),
        1 => (1..12u64, priority()).prop_map(|(job, to)| Op::Reprioritize(job, to)),
        1 => (1..12u64).prop_map(Op::Interrupt),
        2 => (1..900u64).prop_map(Op::Wait),
        2 => (0..4u64).prop_map(Op::Lag),
        1 => any::<bool>().prop_map(Op::Hold),
    ];
    prop::collection::vec(op, 1..30)
}

fn apply(world: &mut World, op: Op) {
    let now = world.clock.now();
    match op {
        Op::Submit(instance, priority) => {
            let mut terms = terms();
            terms.priority = priority;
            terms.pausable = true;
            terms.cancellable = instance == 0;
            terms.retry = RetryPolicy::new(3, secs(60), secs(600));
            world.engine.submit(now, spec(&format!("db-{instance}")), terms).unwrap();
        }
        Op::End(which, how) => {
            if let Some(attempt) = world.under_way.get(which % world.under_way.len().max(1)).copied() {
                let result = match how {
                    0..3 => Ok(()),
                    3 => Err(RunError::Retryable("no route".into())),
                    _ => Err(RunError::Permanent("no such table".into())),
                };
                world.finish(attempt, result);
            }
        }
        Op::Cancel(job) => _ = world.engine.cancel(now, JobId(job), Reason::new("c")),
        Op::Reprioritize(job, to) => _ = world.engine.reprioritize(now, JobId(job), to),
        Op::Interrupt(job) => {
            let until = Some(now.plus(secs(100)).wall);
            _ = world.engine.interrupt(now, JobId(job), Reason::new("window"), until);
        }
        Op::Wait(seconds) => world.clock.advance(secs(seconds)),
        Op::Lag(lag) => world.lag = lag,
        Op::Hold(true) => world.engine.hold(now, Scope::Fleet, Order::new("ana", "h")),
        Op::Hold(false) => _ = world.engine.release(now, &Scope::Fleet),
    }
    world.settle();
}

/// A crash after the first `heard` outputs, with `durable` records stored.
fn crash(world: &World, heard: usize, durable: u64) -> Result<(), TestCaseError> {
    let records: Vec<_> = world.records().into_iter().take(durable as usize).collect();
    let mut alive: BTreeMap<JobId, u32> = BTreeMap::new();
    let (mut held, mut learned) = (false, BTreeMap::new());
    for record in &records {
        match record {
            Record::Job(job) => _ = alive.insert(job.id, job.attempt),
            Record::Ended(id) => _ = alive.remove(id),
            Record::Orders(orders) => held = orders.hold.is_some(),
            Record::Estimate(record) => _ = learned.insert(record.instance.clone(), record.clone()),
            other => panic!("{other:?} is new"),
        }
    }
    // An end is written down before it is told, so whoever stored all that was written knows of it.
    let written = world.said[..heard].iter().filter(|output| matches!(output, Output::Record(..))).count();
    for output in &world.said[..heard] {
        if let Output::Ended(status) = output
            && durable as usize >= written
        {
            prop_assert!(!alive.contains_key(&status.job.id), "{} had ended and lives", status.job.id);
        }
    }
    let mut next = World::on(ManualClock::new(world.clock.now().wall));
    prop_assert_eq!(next.engine.restore(next.clock.now(), records.clone()), Ok(alive.len()));
    let cancelled = |record: &Record| matches!(record, Record::Job(job) if job.cancelled.is_some());
    let cancelled: BTreeSet<_> = records.iter().filter(|r| cancelled(r)).filter_map(Record::job).collect();
    for id in alive.keys() {
        let state = next.engine.explain(*id).unwrap().state;
        prop_assert!(state.is_waiting() || cancelled.contains(id), "{} is {:?}", id, state);
    }
    for record in learned.into_values() {
        prop_assert_eq!(next.engine.estimate(&record.instance, record.kind), record.estimate);
    }
    next.settle();
    prop_assert!(!held || next.under_way.is_empty(), "a hold was forgotten");
    prop_assert_eq!(next.engine.release(next.clock.now(), &Scope::Fleet), held);
    next.run_out();
    let starts = |said: &[Output]| -> Vec<AttemptId> {
        said.iter()
            .filter_map(|o| if let Output::Start(order) = o { Some(order.attempt) } else { None })
            .collect()
    };
    let begun: BTreeSet<_> = alive.keys().copied().collect();
    for before in starts(&world.said[..heard]) {
        let ended = records.iter().any(|record| matches!(record, Record::Ended(id) if *id == before.job));
        prop_assert!(ended || begun.contains(&before.job), "{:?} had started and nobody knows", before);
        for after in starts(&next.said) {
            prop_assert!(
                after.job != before.job || after.number > before.number,
                "{after:?} after {before:?}"
            );
        }
    }
    let ran: BTreeSet<_> = starts(&next.said).into_iter().map(|attempt| attempt.job).collect();
    let expected: BTreeSet<_> = begun.into_iter().filter(|id| !cancelled.contains(id)).collect();
    prop_assert!(expected.is_subset(&ran), "{:?} of {:?}", ran, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Every prefix of the outputs with every prefix of the journal that may be durable then.
    #[test]
    fn every_crash_recovers_legally(ops in ops()) {
        let mut world = World::new();
        ops.into_iter().for_each(|op| apply(&mut world, op));
        let mut written = 0;
        for heard in 0..=world.said.len() {
            if let Some(Output::Record(Lsn(lsn), _)) = heard.checked_sub(1).map(|at| &world.said[at]) {
                written = *lsn;
            }
            let acknowledged = heard.checked_sub(1).map_or(0, |at| world.acknowledged[at].0);
            for durable in acknowledged..=written {
                crash(&world, heard, durable)?;
            }
        }
    }
}

#[test]
fn a_start_waits_until_its_record_is_durable() {
    let mut world = World::new();
    world.lag = u64::MAX;
    world.engine.submit(world.clock.now(), spec("a"), terms()).unwrap();
    let accepted = world.engine.journaled();
    world.settle();
    assert!(world.under_way.is_empty());
    world.engine.committed(world.clock.now(), accepted);
    world.settle();
    assert!(world.under_way.is_empty(), "the submission is durable, the start is not");
    world.engine.committed(world.clock.now(), world.engine.journaled());
    world.settle();
    assert_eq!(world.under_way.len(), 1);
}

#[test]
fn a_job_that_is_cancelled_before_its_start_went_out_never_starts() {
    let mut world = World::new();
    world.lag = u64::MAX;
    let job = world.engine.submit(world.clock.now(), spec("a"), terms()).unwrap().job();
    world.settle();
    assert_eq!(world.engine.explain(job).unwrap().state, JobState::Starting);
    let cancelled = world.engine.cancel(world.clock.now(), job, Reason::new("not needed"));
    assert_eq!(cancelled, Ok(Cancellation::Done));
    world.run_out();
    assert!(!world.said.iter().any(|output| matches!(output, Output::Start(_) | Output::Cancel(..))));
}

#[test]
fn a_job_that_was_told_to_stop_does_not_run_again_after_a_crash() {
    let mut world = World::new();
    let job = world.engine.submit(world.clock.now(), spec("a"), terms()).unwrap().job();
    world.settle();
    let cancelled = world.engine.cancel(world.clock.now(), job, Reason::new("not needed"));
    assert_eq!(cancelled, Ok(Cancellation::Requested));
    world.settle();
    let next = world.restarted(world.clock.now().wall);
    assert_eq!(next.engine.explain(job).unwrap().state, JobState::Cancelled);
    assert!(next.under_way.is_empty());
}

#[test]
fn retries_and_back_off_go_on_where_they_were() {
    let (world, job) = World::with_a_failure();
    let mut next = world.restarted(world.clock.now().wall);
    let explained = next.engine.explain(job).unwrap();
    assert_eq!(explained.state, JobState::Retryable);
    assert!(explained.to_string().contains("no route"), "{explained}");
    assert_eq!(explained.next_look, world.engine.explain(job).unwrap().next_look);
    next.clock.advance(secs(600));
    next.settle();
    assert_eq!(next.under_way, [AttemptId { job, number: 2 }]);
    next.finish(next.under_way[0], Err(RunError::Retryable("no route".into())));
    next.settle();
    assert_eq!(next.engine.explain(job).unwrap().state, JobState::Failed, "its second attempt was the last");
}

#[test]
fn the_end_of_a_window_and_an_order_outlast_a_crash() {
    let mut world = World::new();
    let submit =
        |world: &mut World, name| world.engine.submit(world.clock.now(), spec(name), terms()).unwrap().job();
    let (a, b) = (submit(&mut world, "a"), submit(&mut world, "b"));
    world.settle();
    let next_window = world.clock.now().plus(secs(3600)).wall;
    for job in [a, b] {
        let ends = Reason::new("the window ends");
        assert_eq!(world.engine.interrupt(world.clock.now(), job, ends, Some(next_window)), Ok(true));
    }
    world.settle();
    // One has stopped and is wanted all the same; the other has not even stopped.
    world.finish(world.under_way[1], Err(RunError::Cancelled));
    assert_eq!(world.engine.run_now(world.clock.now(), b, Order::new("ana", "she waits")), Ok(true));
    world.engine.hold(world.clock.now(), Scope::Fleet, Order::new("ana", "until the crash"));
    world.settle();
    let mut next = world.restarted(world.clock.now().wall);
    assert!(next.under_way.is_empty(), "a hold is an order too");
    assert!(next.engine.release(next.clock.now(), &Scope::Fleet));
    next.settle();
    assert_eq!(next.under_way, [AttemptId { job: b, number: 2 }]);
    next.clock.advance(secs(3600));
    next.settle();
    assert_eq!(next.under_way[1..], [AttemptId { job: a, number: 2 }]);
}

#[test]
fn orders_outlast_a_crash_until_they_expire() {
    let mut world = World::new();
    let now = world.clock.now();
    let order = |reason, after| Order::new("ana", reason).until(now.plus(secs(after)).wall);
    let host = Scope::Host("h1".into());
    world.engine.drain(now, Scope::Fleet, order("moving", 600));
    world.engine.set_ceiling(now, host.clone(), Some((5_000, order("slowly", 1_200))));
    world.engine.run_all_now(now, host.clone(), Some(order("she waits", 300)));
    world.engine.submit(now, spec("a").host("h1"), terms()).unwrap();
    world.settle();
    world.clock.advance(secs(300));
    let mut next = world.restarted(world.clock.now().wall);
    assert!(next.under_way.is_empty());
    let last = |world: &World, scope: &Scope| {
        let of = |record: Record| match record {
            Record::Orders(orders) if orders.scope == *scope => Some(*orders),
            _ => None,
        };
        world.records().into_iter().filter_map(of).next_back().unwrap()
    };
    let kept = last(&next, &host);
    assert!(kept.run_now.is_none(), "it has expired while nobody was there: {kept:?}");
    assert_eq!(kept.ceiling, Some((5_000, order("slowly", 1_200))));
    assert_eq!(last(&next, &Scope::Fleet).hold, Some(order("moving", 600)));
    assert!(last(&next, &Scope::Fleet).drain);
    next.clock.advance(secs(300));
    next.settle();
    assert_eq!(next.under_way.len(), 1, "the drain has expired");
    assert!(last(&next, &Scope::Fleet).is_empty());
}

#[test]
fn what_was_learned_of_run_times_outlasts_a_crash_until_it_is_forgotten() {
    let mut world = World::new();
    world.engine.submit(world.clock.now(), spec("a"), terms()).unwrap();
    world.settle();
    world.clock.advance(secs(77));
    world.finish(world.under_way[0], Ok(()));
    world.settle();
    let (a, full) = ("a".into(), sched_core::BackupKind::Full);
    let learned = world.engine.estimate(&a, full).unwrap();
    assert_eq!(learned.observations(), 1);
    let mut next = World::on(ManualClock::new(world.clock.now().wall));
    assert_eq!(next.engine.restore(next.clock.now(), world.records()), Ok(0));
    assert_eq!(next.engine.estimate(&a, full), Some(learned));
    assert!(world.engine.forget(&a));
    world.settle();
    let mut next = World::on(ManualClock::new(world.clock.now().wall));
    next.engine.restore(next.clock.now(), world.records()).unwrap();
    assert_eq!(next.engine.estimate(&a, full).map_or(0, |estimate| estimate.observations()), 0);
}

#[test]
fn records_come_before_jobs() {
    let mut world = World::new();
    world.engine.submit(world.clock.now(), spec("a"), terms()).unwrap();
    let refused = world.engine.restore(world.clock.now(), []);
    assert_eq!(refused, Err(RestoreError::InUse(1)));
}

#[test]
fn numbers_that_cannot_be_counted_on_from_are_refused_and_change_nothing() {
    let mut world = World::new();
    let job = world.engine.submit(world.clock.now(), spec("a"), terms()).unwrap().job();
    world.settle();
    let records = world.records();
    let Some(Record::Job(good)) = records.last().cloned() else { panic!("{records:?}") };
    let (mut far, mut often) = (good.clone(), good);
    (far.id, often.attempt) = (JobId(u64::MAX), u32::MAX);
    let mut next = World::on(ManualClock::new(world.clock.now().wall));
    for (bad, job, attempt) in [
        (Record::Job(far), JobId(u64::MAX), 1),
        (Record::Job(often), job, u32::MAX),
        (Record::Ended(JobId(u64::MAX)), JobId(u64::MAX), 0),
    ] {
        let restored = next.engine.restore(next.clock.now(), [bad]);
        assert_eq!(restored, Err(RestoreError::TooLarge { job, attempt }));
    }
    assert_eq!(next.engine.restore(next.clock.now(), records), Ok(1));
    next.run_out();
}

#[test]
fn an_order_to_run_now_spares_no_later_back_off_after_a_crash() {
    let mut world = World::new();
    let now = world.clock.now();
    let mut terms = terms();
    terms.retry = RetryPolicy::new(3, secs(600), secs(600));
    let job = world.engine.submit(now, spec("a"), terms).unwrap().job();
    world.engine.run_now(now, job, Order::new("ana", "now")).unwrap();
    world.settle();
    world.finish(world.under_way[0], Err(RunError::Retryable("it failed".into())));
    world.settle();
    let (state, at) = (JobState::Retryable, world.engine.next_wakeup());
    assert_eq!(world.engine.job_status(job).unwrap().state, state);
    let mut next = World::on(world.clock.clone());
    next.engine.restore(now, world.records()).unwrap();
    next.settle();
    assert_eq!(next.engine.job_status(job).unwrap().state, state);
    assert_eq!(next.engine.next_wakeup(), at);
}

#[test]
fn a_start_that_was_not_durable_yet_heeds_what_was_ordered_meanwhile() {
    let mut world = World::new();
    world.lag = 1_000;
    let job = world.engine.submit(world.clock.now(), spec("a"), terms()).unwrap().job();
    world.settle();
    // The store takes nothing for an hour, and nobody is to start by then.
    world.clock.advance(secs(3_600));
    world.engine.hold(world.clock.now(), Scope::Fleet, Order::new("ana", "the office is open"));
    world.lag = 0;
    world.settle();
    assert!(world.under_way.is_empty(), "{:?}", world.said);
    let explained = world.engine.explain(job).unwrap();
    assert!(explained.state.is_waiting() && explained.to_string().contains("the office"), "{explained}");
    assert!(world.engine.release(world.clock.now(), &Scope::Fleet));
    world.settle();
    // Its record may be known to somebody: the number is not given again.
    assert_eq!(world.under_way, [AttemptId { job, number: 2 }]);
    world.finish(world.under_way[0], Ok(()));
    world.settle();
    assert_eq!(world.engine.explain(job).unwrap().state, JobState::Succeeded);
}

#[test]
fn a_back_off_is_no_longer_than_it_was_meant_however_the_wall_was_set_meanwhile() {
    let (world, job) = World::with_a_failure();
    // The wall had been a year ahead.
    let mut next = world.restarted(world.clock.now().wall - secs(365 * 86_400));
    next.clock.advance(secs(600));
    next.settle();
    assert_eq!(next.under_way, [AttemptId { job, number: 2 }]);
}

#[test]
fn a_shutdown_waits_for_no_start_that_was_not_durable_and_the_next_engine_makes_it() {
    let mut world = World::new();
    let job = world.engine.submit(world.clock.now(), spec("a"), terms()).unwrap().job();
    while let Some(output) = world.engine.poll_output() {
        world.hear(output);
    }
    // The store takes nothing from here on.
    world.lag = u64::MAX;
    world.settle();
    assert_eq!(world.engine.active_count(), 1);
    world.engine.close_and_keep(world.clock.now(), &Reason::new("the end"));
    world.settle();
    assert_eq!((world.engine.active_count(), world.engine.pending_count()), (0, 0));
    assert!(!world.said.iter().any(|output| matches!(output, Output::Start(_))));
    let next = world.restarted(world.clock.now().wall);
    assert_eq!(next.under_way, [AttemptId { job, number: 2 }]);
}
