//! The engine's rules, one test each, on a manual clock.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::Order;
use sched_core::{
    AttemptEnd, Cancellation, CapacityState, EngineConfig, EventKind, Gate, JobState, LoadLevel, LoadState,
    Output, Priority, Reason, RetryPolicy, RunError, SLOTS, Scope, SubmitError,
};

fn load(level: LoadLevel) -> LoadState {
    LoadState::new(level, Reason::new("set by the test"))
}

#[test]
fn jobs_submitted_together_start_in_order_of_urgency_then_size() {
    let mut rig = Rig::with_slots(1);
    let mut low = terms();
    low.priority = Priority::Low;
    let mut critical = terms();
    critical.priority = Priority::Critical;
    let a = rig.submit(spec("a").size_bytes(500), low);
    let b = rig.submit(spec("b").size_bytes(900), terms());
    let c = rig.submit(spec("c").size_bytes(100), terms());
    let d = rig.submit(spec("d").size_bytes(900), critical);
    let mut order = Vec::new();
    for _ in 0..4 {
        rig.step();
        let running = rig.running();
        assert_eq!(running.len(), 1, "one slot");
        order.push(running[0].job);
        rig.finish(running[0], Ok(()));
    }
    assert_eq!(order, [d, c, b, a]);
}

#[test]
fn technology_order_breaks_ties_before_size() {
    let mut config = EngineConfig::default();
    config.technology_order = vec!["etcd".into(), "sqlite".into()];
    config.resources.insert(SLOTS.into(), 1);
    let mut rig = Rig::new(config);
    let sqlite = rig.submit(spec("a").size_bytes(1), terms());
    let etcd = rig.submit(sched_core::JobSpec::new("b", "etcd").size_bytes(900), terms());
    rig.step();
    assert_eq!(rig.running()[0].job, etcd);
    rig.finish(rig.running()[0], Ok(()));
    rig.step();
    assert_eq!(rig.running()[0].job, sqlite);
}

#[test]
fn a_peak_defers_until_slack_shrinks_and_never_for_ever() {
    let mut rig = Rig::with_slots(4);
    rig.engine.set_load(rig.now(), Scope::Fleet, load(LoadLevel::Peak));
    // Slack: rpo 10 h - expected 1 h - first retry wait 1 min.
    let mut terms = terms();
    terms.rpo = secs(10 * 3600);
    let job = rig.submit(spec("a"), terms);
    rig.step();
    assert!(rig.running().is_empty());
    let explained = rig.engine.explain(job).unwrap();
    assert_eq!(explained.closed[0].gate, Gate::Load);
    let latest_start = explained.latest_start;
    rig.run_until(latest_start);
    assert_eq!(rig.running().len(), 1, "zero slack opens the load gate");
    assert!(rig.saw(|e| matches!(e, EventKind::Overridden { .. })));
    assert_eq!(rig.now().wall, latest_start, "neither earlier nor later");
}

#[test]
fn a_busy_foreground_is_tolerated_in_the_last_quarter_of_the_slack() {
    let mut rig = Rig::with_slots(4);
    rig.engine.set_load(rig.now(), Scope::Host("local".into()), load(LoadLevel::Busy));
    let job = rig.submit(spec("a"), terms());
    rig.step();
    let submitted = rig.now().wall;
    let latest = rig.engine.explain(job).unwrap().latest_start;
    while rig.running().is_empty() {
        rig.sleep_until_next_wakeup();
        rig.step();
    }
    let slack = latest.duration_since(submitted).as_secs_f64();
    let used = rig.now().wall.duration_since(submitted).as_secs_f64();
    assert!((used / slack - 0.75).abs() < 1e-6, "{used} of {slack}");
    assert!(!rig.saw(|e| matches!(e, EventKind::Overridden { .. })));
}

#[test]
fn high_priority_passes_load_but_never_capacity_or_hold() {
    let mut rig = Rig::with_slots(4);
    rig.engine.set_load(rig.now(), Scope::Fleet, load(LoadLevel::Peak));
    let short = CapacityState::Closed { reason: Reason::new("disk full") };
    rig.engine.set_capacity(rig.now(), Scope::Host("db2".into()), short);
    rig.engine.hold(rig.now(), Scope::Instance("c".into()), Order::new("ops", "migration"));
    let mut high = terms();
    high.priority = Priority::High;
    let a = rig.submit(spec("a"), high.clone());
    let b = rig.submit(spec("b").host("db2"), high.clone());
    let c = rig.submit(spec("c"), high);
    rig.step();
    assert_eq!(rig.running().iter().map(|r| r.job).collect::<Vec<_>>(), [a]);
    assert_eq!(rig.engine.explain(b).unwrap().closed[0].gate, Gate::Capacity);
    assert_eq!(rig.engine.explain(c).unwrap().closed[0].gate, Gate::Hold);
    rig.engine.set_capacity(rig.now(), Scope::Host("db2".into()), CapacityState::Open);
    assert!(rig.engine.release(rig.now(), &Scope::Instance("c".into())));
    rig.step();
    assert_eq!(rig.running().len(), 3);
}

#[test]
fn an_overdue_job_behind_a_strong_gate_raises_rpo_at_risk_once_and_before_the_deadline() {
    let mut rig = Rig::with_slots(1);
    rig.engine.hold(rig.now(), Scope::Fleet, Order::new("ops", "maintenance"));
    let job = rig.submit(spec("a"), terms());
    rig.step();
    let deadline = rig.engine.explain(job).unwrap().deadline;
    for _ in 0..50 {
        rig.sleep_until_next_wakeup();
        rig.step();
    }
    let told: Vec<_> = rig.events.iter().filter(|e| matches!(e.kind, EventKind::RpoAtRisk { .. })).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].at.wall < deadline);
}

#[test]
fn an_instance_never_overlaps_itself_and_requests_coalesce() {
    let mut rig = Rig::with_slots(4);
    let first = rig.submit(spec("a"), terms());
    rig.step();
    let second = rig.submit(spec("a"), terms());
    assert_ne!(first, second, "one successor may wait");
    let mut urgent = terms();
    urgent.priority = Priority::High;
    let third = rig.submit(spec("a").size_bytes(7), urgent);
    assert_eq!(second, third, "a third request joins the successor");
    assert_eq!(rig.engine.job_status(second).unwrap().requesters, 2);
    assert_eq!(rig.engine.job_status(second).unwrap().job.priority, Priority::High);
    rig.step();
    assert_eq!(rig.running().len(), 1);
    assert_eq!(rig.engine.explain(second).unwrap().closed[0].gate, Gate::Overlap);
    let conflict = rig.engine.submit(rig.now(), spec("a").host("elsewhere"), terms());
    assert!(matches!(conflict, Err(SubmitError::Conflict { field: "host", .. })), "{conflict:?}");
    rig.finish(rig.running()[0], Ok(()));
    rig.step();
    assert_eq!(rig.running()[0].job, second);
}

#[test]
fn overlap_is_kept_through_a_retry() {
    let mut rig = Rig::with_slots(4);
    let first = rig.submit(spec("a"), terms());
    rig.step();
    let second = rig.submit(spec("a"), terms());
    rig.finish(rig.running()[0], Err(RunError::Retryable("gone".into())));
    rig.step();
    assert!(rig.running().is_empty(), "the successor waits for the retry of the first");
    rig.sleep_until_next_wakeup();
    rig.step();
    assert_eq!(rig.running()[0].job, first);
    rig.finish(rig.running()[0], Ok(()));
    rig.step();
    assert_eq!(rig.running()[0].job, second);
}

#[test]
fn retries_back_off_within_bounds_then_give_up() {
    let mut rig = Rig::with_slots(1);
    let mut terms = terms();
    terms.retry = RetryPolicy::new(3, secs(10), secs(15));
    let job = rig.submit(spec("a"), terms);
    for attempt in 1..=3 {
        rig.step();
        while rig.running().is_empty() {
            rig.sleep_until_next_wakeup();
            rig.step();
        }
        assert_eq!(rig.running()[0].number, attempt);
        let failed_at = rig.now();
        rig.finish(rig.running()[0], Err(RunError::Retryable("net".into())));
        rig.step();
        if attempt < 3 {
            let next = rig.engine.explain(job).unwrap();
            assert_eq!(next.state, JobState::Retryable);
            let wait = next.closed[0].until.unwrap().duration_since(failed_at.wall);
            assert!(wait.as_secs_f64() <= if attempt == 1 { 10.0 } else { 15.0 });
        }
    }
    assert_eq!(rig.engine.job_status(job).unwrap().state, JobState::Failed);
}

#[test]
fn a_permanent_failure_is_not_retried() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(spec("a"), terms());
    rig.step();
    rig.finish(rig.running()[0], Err(RunError::Permanent("no such table".into())));
    let status = rig.engine.job_status(job).unwrap();
    assert_eq!((status.state, status.error.as_deref()), (JobState::Failed, Some("no such table")));
}

#[test]
fn late_reports_of_an_old_attempt_change_nothing() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(spec("a"), terms());
    rig.step();
    let old = rig.running()[0];
    rig.finish(old, Err(RunError::Retryable("x".into())));
    while rig.running().is_empty() {
        rig.sleep_until_next_wakeup();
        rig.step();
    }
    assert!(!rig.engine.ended(rig.now(), old, AttemptEnd::new(9, Ok(()))));
    assert!(!rig.engine.paused(rig.now(), old));
    assert_eq!(rig.engine.job_status(job).unwrap().state, JobState::Running);
}

#[test]
fn a_time_out_does_not_count_pauses() {
    let mut rig = Rig::with_slots(1);
    let mut terms = terms();
    terms.timeout = Some(secs(100));
    terms.pausable = true;
    rig.submit(spec("a"), terms);
    rig.step();
    let attempt = rig.running()[0];
    rig.clock.advance(secs(60));
    rig.engine.set_load(rig.now(), Scope::Fleet, load(LoadLevel::Peak));
    rig.step();
    assert!(rig.outputs.contains(&Output::Pause(attempt)));
    assert!(rig.engine.paused(rig.now(), attempt));
    rig.clock.advance(secs(1000));
    rig.engine.set_load(rig.now(), Scope::Fleet, load(LoadLevel::Busy));
    rig.step();
    assert!(rig.outputs.contains(&Output::Resume(attempt)));
    assert!(rig.engine.resumed(rig.now(), attempt));
    rig.clock.advance(secs(39));
    rig.step();
    assert!(!rig.outputs.iter().any(|o| matches!(o, Output::Cancel(..))));
    rig.clock.advance(secs(1));
    rig.step();
    assert!(rig.outputs.iter().any(|o| matches!(o, Output::Cancel(..))));
    rig.finish(attempt, Err(RunError::Cancelled));
    assert!(rig.saw(|e| matches!(e, EventKind::Retried { error, .. } if error.contains("time-out"))));
}

#[test]
fn a_job_that_cannot_pause_runs_through_a_peak() {
    let mut rig = Rig::with_slots(1);
    rig.submit(spec("a"), terms());
    rig.step();
    rig.engine.set_load(rig.now(), Scope::Fleet, load(LoadLevel::Peak));
    rig.step();
    assert!(!rig.outputs.iter().any(|o| matches!(o, Output::Pause(_))));
}

#[test]
fn cancelling_is_immediate_while_waiting_and_requested_while_running() {
    let mut rig = Rig::with_slots(1);
    let a = rig.submit(spec("a"), terms());
    let b = rig.submit(spec("b"), terms());
    rig.step();
    let why = || Reason::new("no longer needed");
    assert_eq!(rig.engine.cancel(rig.now(), b, why()), Ok(Cancellation::Done));
    assert_eq!(rig.engine.cancel(rig.now(), b, why()), Ok(Cancellation::AlreadyEnded));
    assert_eq!(rig.engine.cancel(rig.now(), a, why()), Ok(Cancellation::Requested));
    rig.step();
    assert_eq!(rig.engine.job_status(a).unwrap().state, JobState::Cancelling);
    rig.finish(rig.running()[0], Err(RunError::Cancelled));
    assert_eq!(rig.engine.job_status(a).unwrap().state, JobState::Cancelled);
    assert!(rig.engine.cancel(rig.now(), sched_core::JobId(99), why()).is_err());
}

#[test]
fn a_full_queue_and_a_closed_engine_refuse_and_lose_nothing() {
    let mut config = EngineConfig::default();
    config.max_pending = 2;
    let mut rig = Rig::new(config);
    rig.engine.hold(rig.now(), Scope::Fleet, Order::new("ops", "full"));
    let a = rig.submit(spec("a"), terms());
    rig.submit(spec("b"), terms());
    let full = rig.engine.submit(rig.now(), spec("c"), terms());
    assert_eq!(full, Err(SubmitError::QueueFull { pending: 2 }));
    rig.engine.close(rig.now(), &Reason::new("bye"));
    rig.step();
    assert_eq!(rig.engine.submit(rig.now(), spec("d"), terms()), Err(SubmitError::ShuttingDown));
    assert_eq!(rig.engine.job_status(a).unwrap().state, JobState::Cancelled);
    assert_eq!(rig.engine.next_wakeup(), None);
}

#[test]
fn a_large_demand_is_not_starved_by_small_ones() {
    let mut rig = Rig::with_slots(2);
    rig.submit(spec("a"), terms());
    rig.submit(spec("b"), terms());
    rig.step();
    let mut large = terms();
    large.demand.add(SLOTS, 1);
    large.priority = Priority::High;
    let large = rig.submit(spec("large"), large);
    for n in 0..5 {
        rig.submit(spec(&format!("small-{n}")), terms());
    }
    rig.clock.advance(secs(10));
    rig.step();
    rig.finish(rig.running()[0], Ok(()));
    rig.step();
    assert_eq!(rig.running().len(), 1, "the free slot is kept for the more urgent job");
    rig.finish(rig.running()[0], Ok(()));
    rig.step();
    assert_eq!(rig.running().iter().map(|r| r.job).collect::<Vec<_>>(), [large]);
}

#[test]
fn a_suspect_wall_step_starts_nothing_until_it_has_lasted() {
    let mut rig = Rig::with_slots(1);
    rig.engine.set_load(rig.now(), Scope::Fleet, load(LoadLevel::Peak));
    rig.submit(spec("a"), terms());
    rig.step();
    let far = sched_core::wall_plus(rig.now().wall, secs(48 * 3600));
    rig.clock.step_wall(far);
    rig.step();
    assert!(rig.saw(|e| matches!(e, EventKind::WallStepped { .. })));
    let stepped = rig.now().mono;
    while rig.running().is_empty() && rig.now().mono.since(stepped) < secs(60) {
        rig.sleep_until_next_wakeup();
        rig.step();
    }
    assert_eq!(rig.now().mono.since(stepped), secs(60));
    assert_eq!(rig.running().len(), 1, "the step has lasted: the slack is gone");
}

#[test]
fn advise_mode_says_what_it_would_do_and_starts_everything() {
    let mut config = EngineConfig::default();
    config.advise_only = true;
    config.resources.insert(SLOTS.into(), 1);
    let mut rig = Rig::new(config);
    rig.engine.hold(rig.now(), Scope::Instance("b".into()), Order::new("ops", "held"));
    for name in ["a", "b", "c"] {
        rig.submit(spec(name), terms());
    }
    rig.step();
    assert_eq!(rig.running().len(), 3);
    let advice = |e: &EventKind| matches!(e, EventKind::Deferred { advice_only: true, .. });
    assert_eq!(rig.events.iter().filter(|e| advice(&e.kind)).count(), 2, "held b, and no slot for the third");
}

#[test]
fn nothing_to_do_means_no_wake_up() {
    let mut rig = Rig::with_slots(1);
    rig.step();
    assert_eq!(rig.engine.next_wakeup(), None);
    rig.submit(spec("a"), terms());
    rig.step();
    rig.finish(rig.running()[0], Ok(()));
    rig.step();
    assert_eq!(rig.engine.next_wakeup(), None);
}

#[test]
fn an_explanation_reads_like_one() {
    let mut rig = Rig::with_slots(1);
    rig.engine.hold(rig.now(), Scope::Host("local".into()), Order::new("ada", "kernel upgrade"));
    let job = rig.submit(spec("orders").not_before("2026-01-05T03:00:00Z".parse().unwrap()), terms());
    rig.step();
    let text = rig.engine.explain(job).unwrap().to_string();
    assert_eq!(
        text,
        "job-1 (full backup of orders, normal) is scheduled\n  \
         closed: hold (host local): held by ada: kernel upgrade\n    \
         to open: release the hold on host local\n  \
         closed: time (instance orders): not before the requested start; opens 2026-01-05T03:00:00Z\n    \
         to open: wait until 2026-01-05T03:00:00Z, or order it to run now\n  \
         looked at again: as soon as anything changes, at the latest 2026-01-05T03:00:00Z\n  \
         latest start 2026-01-05T22:59:00Z, deadline 2026-01-06T00:00:00Z"
    );
}

#[test]
fn a_second_request_never_pushes_a_waiting_job_back() {
    let mut rig = Rig::with_slots(1);
    rig.engine.hold(rig.now(), Scope::Fleet, Order::new("ops", "both are submitted first"));
    let a = rig.submit(spec("a").size_bytes(1), terms());
    rig.submit(spec("b").size_bytes(5), terms());
    rig.submit(spec("a").size_bytes(9), terms());
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    assert_eq!(rig.running()[0].job, a);
}
