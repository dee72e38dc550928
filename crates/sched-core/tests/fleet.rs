//! What a fleet asks of the engine: the tree of resources, groups, members, reservations, pauses for others,
//! breakers, operators' orders, and the failures that the field's schedulers are known for.

mod rig;

use rig::{Rig, adjusted, finish, host, jobs, order, secs, spec, terms, with};
use sched_core::{
    DemandError, EventKind, Gate, JobId, JobState, JobTerms, LoadLevel, LoadState, Output, PlaceError,
    Priority, Reason, RunError, SLOTS, Scope, SubmitError,
};

fn link(name: &str) -> Scope {
    Scope::Link(name.into())
}

fn pausable(priority: Priority) -> JobTerms {
    adjusted(with(priority), |t| t.pausable = true)
}

#[test]
fn a_demand_counts_at_every_place_on_the_way_up() {
    let mut rig = Rig::with_slots(9);
    let now = rig.now();
    for name in ["a", "b"] {
        rig.engine.set_parent(now, &host(name), &link("uplink")).unwrap();
        rig.engine.set_resource(now, &host(name), "net".into(), 10).unwrap();
    }
    rig.engine.set_resource(now, &link("uplink"), "net".into(), 15).unwrap();
    let submit = |rig: &mut Rig, name: &str, on: &str, net: u64| {
        let mut terms = terms();
        terms.demand.add("net", net);
        rig.submit(spec(name).host(on), terms)
    };
    let first = submit(&mut rig, "1", "a", 8);
    rig.step();
    let second = submit(&mut rig, "2", "b", 8);
    let third = submit(&mut rig, "3", "a", 3);
    rig.step();
    assert_eq!(jobs(&rig.running()), [first]);
    let gates = |rig: &Rig, job| -> Vec<_> {
        let explained = rig.engine.explain(job).unwrap();
        explained.closed.into_iter().map(|closed| (closed.gate, closed.scope)).collect()
    };
    assert_eq!(gates(&rig, second), [(Gate::Resource("net".into()), link("uplink"))]);
    assert_eq!(gates(&rig, third), [(Gate::Resource("net".into()), host("a"))]);
    finish(&mut rig, first, Ok(()));
    assert_eq!(jobs(&rig.running()), [second, third]);
}

#[test]
fn impossible_trees_and_demands_are_refused_and_change_nothing() {
    let mut rig = Rig::with_slots(1);
    let now = rig.now();
    rig.engine.set_parent(now, &link("inner"), &link("outer")).unwrap();
    let cycle = rig.engine.set_parent(now, &link("outer"), &link("inner"));
    assert!(matches!(cycle, Err(PlaceError::Cycle { .. })), "{cycle:?}");
    let kind = rig.engine.set_parent(now, &link("inner"), &host("a"));
    assert!(matches!(kind, Err(PlaceError::WrongKind { .. })), "{kind:?}");
    let place = rig.engine.set_resource(now, &Scope::Group("g".into()), "net".into(), 1);
    assert!(matches!(place, Err(PlaceError::NotAPlace(_))), "{place:?}");
    let mut greedy = terms();
    greedy.demand.add("tape", 1);
    let unknown = rig.engine.submit(now, spec("a"), greedy.clone());
    assert!(matches!(unknown, Err(SubmitError::Demand(DemandError::Unknown { .. }))), "{unknown:?}");
    rig.engine.set_resource(now, &host("local"), "tape".into(), 0).unwrap();
    let above = rig.engine.submit(now, spec("a"), greedy);
    assert!(matches!(above, Err(SubmitError::Demand(DemandError::AboveTotal { .. }))), "{above:?}");
    let group = rig.engine.submit(now, spec("a").group("nobody"), terms());
    assert!(matches!(group, Err(SubmitError::UnknownGroup { .. })), "{group:?}");
    assert_eq!(rig.engine.pending_count(), 0);
    rig.submit(spec("a"), terms());
    let busy = rig.engine.set_parent(now, &host("local"), &link("inner"));
    assert!(matches!(busy, Err(PlaceError::InUse { jobs: 1, .. })), "{busy:?}");
}

#[test]
fn small_jobs_pass_a_large_one_only_if_they_do_not_delay_it() {
    let mut rig = Rig::with_slots(4);
    let sized = |slots: u64, minutes: u64| {
        let mut terms = adjusted(terms(), |t| t.expected_duration = secs(60 * minutes));
        terms.demand = Default::default();
        terms.demand.add(SLOTS, slots);
        terms
    };
    let runs = rig.submit(spec("runs"), sized(2, 60));
    rig.step();
    let soon = rig.now().plus(secs(5 * 3600)).wall;
    let large = rig.submit(spec("large").deadline(soon), sized(3, 60));
    let short = rig.submit(spec("short"), sized(1, 30));
    let beside = rig.submit(spec("beside"), sized(1, 600));
    let long = rig.submit(spec("long"), sized(1, 600));
    rig.step();
    let started = jobs(&rig.running());
    assert!(started.contains(&short), "ends before there is room for the large one");
    assert!(started.contains(&beside), "fits beside the large one when that starts");
    assert!(!started.contains(&long) && !started.contains(&large));
    let why = rig.engine.explain(long).unwrap().closed[0].to_string();
    assert!(why.contains("4 of 4 in use"), "{why}");
    rig.clock.advance(secs(1800));
    finish(&mut rig, short, Ok(()));
    assert!(!jobs(&rig.running()).contains(&long), "what became free is kept");
    let why = rig.engine.explain(long).unwrap().closed[0].to_string();
    assert!(why.contains("kept for job-2"), "{why}");
    rig.clock.advance(secs(1790));
    finish(&mut rig, runs, Ok(()));
    assert!(jobs(&rig.running()).contains(&large), "{:?}", rig.engine.explain(large));
}

/// Starvation of large jobs: an endless stream of small ones, each of which would fit.
#[test]
fn regression_a_stream_of_small_jobs_does_not_starve_a_large_one() {
    let mut rig = Rig::with_slots(4);
    for n in 0..4 {
        rig.submit(spec(&format!("first-{n}")), terms());
    }
    rig.step();
    let mut large = with(Priority::High);
    large.demand.add(SLOTS, 2);
    let large = rig.submit(spec("large"), large);
    for n in 0..40 {
        rig.submit(spec(&format!("small-{n}")), terms());
        rig.clock.advance(secs(900));
        let oldest = rig.running()[0].job;
        finish(&mut rig, oldest, Ok(()));
        if jobs(&rig.running()).contains(&large) {
            return;
        }
    }
    panic!("never started: {}", rig.engine.explain(large).unwrap());
}

/// Head-of-line blocking: one host's trouble keeps nobody else.
#[test]
fn regression_a_blocked_host_blocks_only_itself() {
    let mut rig = Rig::with_slots(2);
    let now = rig.now();
    rig.engine.set_down(now, host("bad"), Some(Reason::new("unreachable")));
    let stuck: Vec<_> = (0..50)
        .map(|n| rig.submit(spec(&format!("bad-{n}")).host("bad"), with(Priority::Critical)))
        .collect();
    let good = rig.submit(spec("good").host("good"), with(Priority::Low));
    rig.step();
    assert_eq!(jobs(&rig.running()), [good]);
    let explained = rig.engine.explain(stuck[49]).unwrap();
    assert_eq!((explained.ahead, explained.waits_at), (Some(49), Some(host("bad"))));
    rig.engine.set_down(now, host("bad"), None);
    rig.step();
    assert_eq!(rig.running().len(), 2);
}

/// Priority inversion by running low jobs: the low one pauses, gives its slot, and goes on afterwards.
#[test]
fn regression_a_critical_job_does_not_wait_behind_a_running_low_one() {
    let mut rig = Rig::with_slots(1);
    let low = rig.submit(spec("low"), pausable(Priority::Low));
    rig.step();
    let attempt = rig.running()[0];
    let normal = rig.submit(spec("normal"), with(Priority::Normal));
    let critical = rig.submit(spec("critical"), with(Priority::Critical));
    rig.step();
    assert!(rig.outputs.contains(&Output::Pause(attempt)));
    assert_eq!(rig.running().len(), 1, "it starts when the slot is given back, not before");
    assert!(rig.engine.paused(rig.now(), attempt));
    rig.step();
    assert_eq!(jobs(&rig.running()), [low, critical]);
    assert!(rig.engine.explain(low).unwrap().because.unwrap().contains("makes room for job-3"));
    finish(&mut rig, critical, Ok(()));
    let resumed = rig.outputs.contains(&Output::Resume(attempt));
    assert!(resumed || jobs(&rig.running()).contains(&normal), "the more urgent of both has the slot");
    if !resumed {
        finish(&mut rig, normal, Ok(()));
    }
    assert!(rig.outputs.contains(&Output::Resume(attempt)));
    assert!(rig.engine.resumed(rig.now(), attempt));
    finish(&mut rig, low, Ok(()));
    assert_eq!(rig.engine.status().resources[&SLOTS.into()].used, 0);
}

#[test]
fn who_does_not_pause_in_time_goes_on_and_nobody_is_killed_unless_allowed() {
    let mut rig = Rig::with_slots(1);
    let low = rig.submit(spec("low"), pausable(Priority::Low));
    rig.step();
    rig.submit(spec("critical"), with(Priority::Critical));
    rig.step();
    rig.clock.advance(secs(30));
    rig.step();
    assert_eq!(rig.engine.job_status(low).unwrap().state, JobState::Running);
    assert!(!rig.outputs.iter().any(|o| matches!(o, Output::Cancel(..))));

    let mut rig = Rig::with_slots(1);
    let low = rig.submit(spec("low"), adjusted(with(Priority::Low), |t| t.cancellable = true));
    rig.step();
    let critical = rig.submit(spec("critical"), with(Priority::Critical));
    rig.step();
    assert!(rig.outputs.iter().any(|o| matches!(o, Output::Cancel(..))));
    finish(&mut rig, low, Err(RunError::Cancelled));
    assert_eq!(jobs(&rig.running()), [critical]);
    assert!(rig.engine.job_status(low).unwrap().state.is_waiting(), "it waits for another turn");
}

#[test]
fn a_shrunken_resource_pauses_the_least_urgent() {
    let mut rig = Rig::with_slots(3);
    let high = rig.submit(spec("high"), pausable(Priority::High));
    let low = rig.submit(spec("low"), pausable(Priority::Low));
    let stubborn = rig.submit(spec("stubborn"), with(Priority::Low));
    rig.step();
    rig.engine.set_resource(rig.now(), &Scope::Fleet, SLOTS.into(), 2).unwrap();
    rig.step();
    let paused = rig.outputs.iter().filter_map(|o| match o {
        Output::Pause(attempt) => Some(attempt.job),
        _ => None,
    });
    let paused: Vec<JobId> = paused.collect();
    assert_eq!(paused, [low], "not {high} and not {stubborn}");
    let attempt = rig.running().into_iter().find(|a| a.job == low).unwrap();
    assert!(rig.engine.paused(rig.now(), attempt));
    rig.step();
    assert!(!rig.outputs.contains(&Output::Resume(attempt)));
    rig.engine.set_resource(rig.now(), &Scope::Fleet, SLOTS.into(), 3).unwrap();
    rig.step();
    assert!(rig.outputs.contains(&Output::Resume(attempt)));
}

#[test]
fn the_preferred_member_is_taken_and_the_next_when_it_is_down_or_too_slow() {
    let mut rig = Rig::with_slots(1);
    let cluster = || spec("cluster").member("replica", "r").member("primary", "p").patience(secs(60));
    let chosen = |rig: &Rig, job| rig.engine.explain(job).unwrap();
    rig.engine.hold(rig.now(), host("r"), order());
    let job = rig.submit(cluster(), terms());
    rig.step();
    assert_eq!(chosen(&rig, job).closed[0].scope, host("r"), "the replica is waited for");
    rig.clock.advance(secs(60));
    rig.step();
    assert_eq!(jobs(&rig.running()), [job], "patience is over: the primary is taken");
    finish(&mut rig, job, Ok(()));
    rig.engine.release(rig.now(), &host("r"));
    rig.engine.set_down(rig.now(), Scope::Instance("replica".into()), Some(Reason::new("lagging")));
    rig.engine.hold(rig.now(), host("p"), order());
    let job = rig.submit(cluster(), terms());
    rig.step();
    assert_eq!(chosen(&rig, job).closed[0].scope, host("p"), "the replica is down");
    rig.engine.set_down(rig.now(), Scope::Instance("replica".into()), None);
    rig.step();
    assert_eq!(jobs(&rig.running()), [job], "the replica came up and is free");
}

#[test]
fn hosts_that_take_part_together_must_all_have_room() {
    let mut rig = Rig::with_slots(9);
    let now = rig.now();
    for name in ["a", "b", "c"] {
        rig.engine.set_resource(now, &host(name), "disk".into(), 1).unwrap();
    }
    let mut disk = terms();
    disk.demand.add("disk", 1);
    let busy = rig.submit(spec("busy").host("c"), disk.clone());
    rig.step();
    let all = rig.submit(spec("all").host("a").together_with("b").together_with("c"), disk.clone());
    rig.step();
    assert_eq!(jobs(&rig.running()), [busy]);
    finish(&mut rig, busy, Ok(()));
    assert_eq!(jobs(&rig.running()), [all]);
    let other = rig.submit(spec("other").host("b"), disk);
    rig.step();
    assert_eq!(jobs(&rig.running()), [all], "it holds the disks of all three");
    finish(&mut rig, all, Ok(()));
    assert_eq!(jobs(&rig.running()), [other]);
}

#[test]
fn members_of_a_group_exclude_each_other() {
    let mut rig = Rig::with_slots(9);
    rig.engine.set_limit(rig.now(), &Scope::Group("pair".into()), Some(1)).unwrap();
    rig.engine.set_limit(rig.now(), &Scope::Destination("bucket".into()), Some(2)).unwrap();
    let first = rig.submit(spec("a").group("pair"), terms());
    let second = rig.submit(spec("b").group("pair"), terms());
    rig.step();
    assert_eq!(jobs(&rig.running()), [first]);
    assert_eq!(rig.engine.explain(second).unwrap().closed[0].gate, Gate::Limit);
    let to_bucket: Vec<_> =
        (0..4).map(|n| rig.submit(spec(&format!("u{n}")).destination("bucket"), terms())).collect();
    rig.step();
    assert_eq!(jobs(&rig.running()), [first, to_bucket[0], to_bucket[1]]);
    finish(&mut rig, first, Ok(()));
    assert!(jobs(&rig.running()).contains(&second));
}

#[test]
fn an_outage_trips_the_breaker_costs_no_retries_and_ends_without_a_herd() {
    let mut rig = Rig::with_slots(100);
    let retry = sched_core::RetryPolicy::new(2, secs(1), secs(1));
    let fragile = || adjusted(terms(), |t| t.retry = retry);
    let all: Vec<_> =
        (0..20).map(|n| rig.submit(spec(&format!("u{n}")).destination("bucket"), fragile())).collect();
    rig.step();
    let down = RunError::Unavailable { what: Scope::Destination("bucket".into()), error: "503".into() };
    for attempt in rig.running() {
        rig.finish(attempt, Err(down.clone()));
    }
    rig.step();
    assert!(rig.saw(|e| matches!(e, EventKind::BreakerTripped { .. })));
    assert!(rig.running().is_empty());
    let mut widths = vec![];
    let mut rounds = 0;
    while rig.engine.pending_count() + rig.running().len() > 0 {
        rounds += 1;
        assert!(rounds < 200, "{}", rig.engine.explain(all[19]).unwrap());
        rig.sleep_until_next_wakeup();
        rig.step();
        if !rig.running().is_empty() {
            widths.push(rig.running().len());
        }
        // The first that tries finds the destination still down.
        let result = if widths.len() == 1 { Err(down.clone()) } else { Ok(()) };
        for attempt in rig.running() {
            rig.finish(attempt, result.clone());
        }
        rig.step();
    }
    assert_eq!(widths[..2], [1, 1], "{widths:?}");
    assert!(widths.iter().max() <= Some(&16), "{widths:?}");
    assert!(all.iter().all(|job| rig.engine.job_status(*job).unwrap().state == JobState::Succeeded));
}

#[test]
fn a_back_off_ends_early_when_its_cause_is_over() {
    let mut rig = Rig::with_slots(1);
    let retry = sched_core::RetryPolicy::new(4, secs(3600), secs(3600));
    let job = rig.submit(spec("a"), adjusted(with(Priority::High), |t| t.retry = retry));
    rig.step();
    rig.engine.set_load(rig.now(), host("local"), LoadState::new(LoadLevel::Peak, Reason::new("p")));
    finish(&mut rig, job, Err(RunError::Retryable("lock wait".into())));
    assert!(rig.running().is_empty());
    rig.engine.set_load(rig.now(), host("local"), LoadState::new(LoadLevel::Calm, Reason::new("c")));
    rig.step();
    assert_eq!(rig.running()[0].number, 2);
}

#[test]
fn an_interrupted_job_continues_later_and_spends_no_retry() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(
        spec("a"),
        adjusted(terms(), |t| t.retry = sched_core::RetryPolicy::new(1, secs(1), secs(1))),
    );
    for round in 1..=3 {
        rig.step();
        assert_eq!(rig.running()[0].number, round);
        let next = rig.now().plus(secs(3600)).wall;
        assert_eq!(
            rig.engine.interrupt(rig.now(), job, Reason::new("the window ends"), Some(next)),
            Ok(true)
        );
        finish(&mut rig, job, Err(RunError::Cancelled));
        assert_eq!(rig.engine.job_status(job).unwrap().state, JobState::Scheduled);
        rig.sleep_until_next_wakeup();
    }
    rig.step();
    finish(&mut rig, job, Ok(()));
    assert_eq!(rig.engine.job_status(job).unwrap().state, JobState::Succeeded);
}

#[test]
fn orders_expire_drain_and_run_now() {
    let mut rig = Rig::with_slots(2);
    let until = rig.now().plus(secs(600)).wall;
    let job = rig.submit(spec("a"), terms());
    rig.step();
    rig.engine.drain(rig.now(), Scope::Fleet, order().until(until));
    let held = rig.submit(spec("b"), terms());
    rig.step();
    let why = rig.engine.explain(held).unwrap().closed[0].clone();
    assert_eq!(why.until, Some(until));
    assert!(why.reason.text.contains("ana: test"), "{why}");
    assert!(!rig.saw(|e| matches!(e, EventKind::Drained { .. })));
    finish(&mut rig, job, Ok(()));
    assert!(rig.saw(|e| matches!(e, EventKind::Drained { .. })));
    assert!(rig.running().is_empty());
    rig.sleep_until_next_wakeup();
    rig.step();
    assert_eq!(jobs(&rig.running()), [held], "the order has expired");

    let peak = LoadState::new(LoadLevel::Peak, Reason::new("p"));
    rig.engine.set_load(rig.now(), Scope::Fleet, peak);
    let later = rig.submit(spec("c").not_before(rig.now().plus(secs(9_000)).wall), terms());
    rig.step();
    assert_eq!(rig.engine.run_now(rig.now(), later, order()), Ok(true));
    rig.step();
    assert!(jobs(&rig.running()).contains(&later));
    finish(&mut rig, later, Ok(()));
    rig.engine.run_all_now(rig.now(), host("local"), Some(order()));
    let sooner = rig.submit(spec("d"), terms());
    rig.step();
    assert!(jobs(&rig.running()).contains(&sooner));
}

#[test]
fn a_ceiling_is_divided_among_what_runs() {
    let mut rig = Rig::with_slots(2);
    let technology = || Scope::Technology(spec("a").technology);
    rig.engine.set_ceiling(rig.now(), technology(), Some((100, order())));
    let first = rig.submit(spec("a"), terms());
    rig.step();
    rig.submit(spec("b"), terms());
    rig.step();
    let attempt = rig.running()[0];
    assert!(rig.outputs.contains(&Output::Ceiling(attempt, Some(50))), "{:?}", rig.outputs);
    finish(&mut rig, first, Ok(()));
    assert!(rig.outputs.contains(&Output::Ceiling(rig.running()[0], Some(100))));
    rig.engine.set_ceiling(rig.now(), technology(), None);
    rig.step();
    assert!(rig.outputs.contains(&Output::Ceiling(rig.running()[0], None)));
}

#[test]
fn a_ceiling_of_a_place_is_handed_out_whole_and_again_when_it_ends() {
    let mut rig = Rig::with_slots(2);
    let uplink = Scope::Link("uplink".into());
    let order = order().until(rig.now().plus(secs(10)).wall);
    rig.engine.set_ceiling(rig.now(), uplink.clone(), Some((100, order.clone())));
    rig.submit(spec("a"), terms());
    rig.step();
    rig.run_until(rig.now().plus(secs(20)).wall);
    let of_place = |output: &&Output| matches!(output, Output::PlaceCeiling(..) | Output::Ceiling(..));
    let told: Vec<_> = rig.outputs.iter().filter(of_place).cloned().collect();
    let expected = [Some((100, order)), None].map(|ceiling| Output::PlaceCeiling(uplink.clone(), ceiling));
    assert_eq!(told, expected);
}
