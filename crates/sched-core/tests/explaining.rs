//! Why a job is where it is: every closed gate with its numbers, who goes first, and when it is looked at again.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::{
    CapacityState, EngineConfig, EventKind, Explanation, Gate, JobId, JobState, JobTerms, LoadLevel,
    LoadState, Measured, Order, Output, Priority, Reason, RunError, SLOTS, Scope,
};

fn order() -> Order {
    Order::new("ana", "told by a test")
}

fn with(resource: &str, amount: u64) -> JobTerms {
    let mut terms = terms();
    terms.demand.add(resource, amount);
    terms
}

fn explain(rig: &Rig, job: JobId) -> Explanation {
    rig.engine.explain(job).unwrap()
}

fn gates(explained: &Explanation) -> Vec<String> {
    explained.closed.iter().map(|closed| format!("{} of {}", closed.gate, closed.scope)).collect()
}

#[test]
fn every_resource_that_is_short_is_named_with_what_is_free_and_what_is_needed() {
    let mut rig = Rig::with_slots(1);
    rig.engine.set_resource(rig.now(), &Scope::Fleet, "tape".into(), 5).unwrap();
    rig.submit(spec("a"), with("tape", 3));
    rig.step();
    let job = rig.submit(spec("b"), with("tape", 4));
    rig.step();
    let explained = explain(&rig, job);
    assert_eq!(gates(&explained), ["resource slots of fleet", "resource tape of fleet"]);
    let tape = explained.closed[1].reason.measured.as_ref().unwrap();
    assert_eq!((tape.signal.as_str(), tape.value, tape.threshold, &*tape.unit), ("tape", 2.0, 4.0, "free"));
    assert_eq!(explained.remedies()[1], "running jobs must give back 2 more of tape of fleet");
}

#[test]
fn a_resource_that_is_short_for_a_reason_says_the_newest_one_with_what_was_measured() {
    let mut rig = Rig::with_slots(5);
    let because =
        |value| Some(Reason::measured("the host is busy", Measured::new("cpu", value, 0.5, "share")));
    let host = Scope::Host("local".into());
    let set = |rig: &mut Rig, because| {
        rig.engine.set_resource_because(rig.now(), &host, "room".into(), 1, because).unwrap();
        rig.step();
    };
    set(&mut rig, because(0.6));
    rig.submit(spec("a"), with("room", 1));
    let job = rig.submit(spec("b"), with("room", 1));
    rig.step();
    set(&mut rig, because(0.75));
    let explained = explain(&rig, job);
    assert_eq!(
        explained.closed[0].to_string(),
        "resource room (host local): needs 1 of room, 1 of 1 in use: the host is busy (cpu 0.7500 share, threshold 0.5000)"
    );
    assert_eq!(
        explained.remedies(),
        ["running jobs must give back room of host local, or cpu reach 0.5000 share (now 0.7500)"]
    );
    set(&mut rig, None);
    let reason = explain(&rig, job).closed[0].reason.to_string();
    assert_eq!(reason, "needs 1 of room, 1 of 1 in use (room 0 free, threshold 1)");
}

#[test]
fn what_is_kept_for_another_is_said_with_the_resource_that_is_short_and_for_whom() {
    let mut rig = Rig::with_slots(2);
    rig.engine.set_resource(rig.now(), &Scope::Fleet, "apples".into(), 100).unwrap();
    let mut soon = terms();
    soon.expected_duration = secs(60);
    rig.submit(spec("runs"), soon);
    rig.step();
    let mut large = with(SLOTS, 1);
    large.demand.add("apples", 1);
    large.priority = Priority::High;
    let owner = rig.submit(spec("large"), large);
    rig.step();
    let small = rig.submit(spec("small"), with("apples", 1));
    rig.step();
    let explained = explain(&rig, small);
    assert_eq!(gates(&explained), ["resource slots of fleet"], "{explained}");
    assert_eq!(explained.closed[0].behind, Some(owner));
    assert_eq!(explained.remedies(), [format!("{owner} must start first, or be cancelled")]);
    assert_eq!(explained.next_look, Some(rig.now().plus(secs(60)).wall), "the reservation ends then");
}

#[test]
fn a_limit_is_said_with_its_numbers() {
    let mut rig = Rig::with_slots(9);
    rig.engine.set_limit(rig.now(), &Scope::Technology("sqlite".into()), Some(1)).unwrap();
    rig.submit(spec("a"), terms());
    let job = rig.submit(spec("b"), terms());
    rig.step();
    let explained = explain(&rig, job);
    let Some(Measured { value, threshold, .. }) = explained.closed[0].reason.measured else {
        panic!("{explained}")
    };
    assert_eq!((explained.closed[0].gate.clone(), value, threshold), (Gate::Limit, 1.0, 1.0));
}

#[test]
fn the_end_of_what_keeps_it_is_when_it_is_looked_at_next() {
    let mut rig = Rig::with_slots(1);
    let until = rig.now().plus(secs(60)).wall;
    rig.engine.hold(rig.now(), Scope::Fleet, order().until(until));
    let job = rig.submit(spec("a"), terms());
    rig.step();
    assert_eq!(explain(&rig, job).next_look, Some(until));
    rig.sleep_until_next_wakeup();
    assert_eq!(rig.now().wall, until);
}

#[test]
fn a_peak_is_said_to_end_for_a_job_when_its_slack_does() {
    let mut rig = Rig::with_slots(1);
    let peak = LoadState::new(LoadLevel::Peak, Reason::new("told by a test"));
    rig.engine.set_load(rig.now(), Scope::Fleet, peak);
    let job = rig.submit(spec("a"), terms());
    rig.step();
    let explained = explain(&rig, job);
    assert_eq!(explained.closed[0].until, Some(explained.latest_start));
}

#[test]
fn a_drained_scope_is_said_to_be_drained() {
    let mut rig = Rig::with_slots(1);
    rig.engine.drain(rig.now(), Scope::Fleet, order());
    let job = rig.submit(spec("a"), terms());
    rig.step();
    let explained = explain(&rig, job);
    assert_eq!(explained.closed[0].reason.text, "drained by ana: told by a test");
}

#[test]
fn its_place_in_line_is_exact_up_to_a_thousand() {
    let mut config = EngineConfig::default();
    (config.events, config.history) = (false, 0);
    config.resources.insert(SLOTS.into(), 1);
    let mut rig = Rig::new(config);
    // Two classes of jobs that wait for the same: the slots of the fleet.
    let jobs: Vec<_> = (0..1_500_u64)
        .map(|n| {
            let mut terms = terms();
            terms.expected_duration = secs(if n % 2 == 0 { 60 } else { 36_000 });
            let deadline = rig.now().plus(secs(200_000 + n) + terms.expected_duration).wall;
            rig.submit(spec(&format!("db-{n}")).host(format!("host-{}", n % 7)).deadline(deadline), terms)
        })
        .collect();
    rig.step();
    assert_eq!(rig.running()[0].job, jobs[0]);
    for ahead in [0, 1, 48, 49, 500, 998, 999, 1_000] {
        let explained = explain(&rig, jobs[ahead + 1]);
        assert_eq!((explained.ahead, explained.waits_at), (Some(ahead), Some(Scope::Fleet)));
    }
    assert_eq!(explain(&rig, jobs[1_400]).ahead, Some(1_000), "more are not counted");
}

#[test]
fn those_parked_at_a_group_stand_in_line_too() {
    let mut rig = Rig::with_slots(9);
    rig.engine.set_limit(rig.now(), &Scope::Group("cluster".into()), Some(1)).unwrap();
    let jobs: Vec<_> = (0..4_u64)
        .map(|n| rig.submit(spec(&format!("db-{n}")).size_bytes(n + 1).group("cluster"), terms()))
        .collect();
    rig.step();
    let ahead: Vec<_> = jobs[1..].iter().map(|job| explain(&rig, *job).ahead).collect();
    assert_eq!(ahead, [Some(0), Some(1), Some(2)]);
}

/// One job in every state that there is.
fn in_every_state() -> (Rig, Vec<JobId>) {
    let mut rig = Rig::with_slots(9);
    let mut able = terms();
    able.pausable = true;
    let host = |name: &str| spec(name).host(name);
    let peak = |rig: &mut Rig, host: &str, level| {
        let state = LoadState::new(level, Reason::new("told by a test"));
        rig.engine.set_load(rig.now(), Scope::Host(host.into()), state);
        rig.step();
    };
    let mut jobs: Vec<_> = ["running", "cancelling", "pausing", "paused", "resuming", "succeeded", "failed"]
        .into_iter()
        .map(|name| rig.submit(host(name), able.clone()))
        .collect();
    let retryable = rig.submit(host("retryable"), terms());
    rig.step();
    let attempt = |rig: &Rig, job: JobId| rig.running().into_iter().find(|a| a.job == job).unwrap();
    for name in ["pausing", "paused", "resuming"] {
        peak(&mut rig, name, LoadLevel::Peak);
    }
    for at in [3, 4] {
        assert!(rig.engine.paused(rig.now(), attempt(&rig, jobs[at])));
    }
    peak(&mut rig, "resuming", LoadLevel::Calm);
    rig.engine.cancel(rig.now(), jobs[1], Reason::new("no longer needed")).unwrap();
    rig.finish(attempt(&rig, jobs[5]), Ok(()));
    rig.finish(attempt(&rig, jobs[6]), Err(RunError::Permanent("no such table".into())));
    rig.finish(attempt(&rig, retryable), Err(RunError::Retryable("no route".into())));
    let closed = CapacityState::Closed { reason: Reason::new("full") };
    rig.engine.set_capacity(rig.now(), Scope::Host("queued".into()), closed);
    let queued = rig.submit(host("queued"), terms());
    let overlap = rig.submit(host("running"), terms());
    let scheduled = rig.submit(host("scheduled").not_before(rig.now().plus(secs(60)).wall), terms());
    let cancelled = rig.submit(host("cancelled"), terms());
    rig.engine.cancel(rig.now(), cancelled, Reason::new("no longer needed")).unwrap();
    rig.step();
    let starting = rig.submit(host("starting"), terms());
    rig.engine.advance(rig.now());
    assert!(matches!(rig.engine.poll_output(), Some(Output::Event(_))));
    jobs.extend([retryable, queued, overlap, scheduled, cancelled, starting]);
    (rig, jobs)
}

#[test]
fn a_job_in_any_state_is_explained_to_people_and_machines() {
    let (rig, jobs) = in_every_state();
    let mut states: Vec<JobState> = vec![];
    for job in jobs {
        let explained = explain(&rig, job);
        states.push(explained.state);
        let json = serde_json::to_string(&explained).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), explained);
        let text = explained.to_string();
        assert!(text.contains(&explained.state.to_string()) && text.contains("latest start"), "{text}");
        assert_eq!(explained.remedies().len(), explained.closed.len());
        let waits = explained.state.is_waiting() || explained.state == JobState::Paused;
        assert_eq!(waits, !explained.closed.is_empty(), "{text}");
        let live = !explained.state.is_final() && explained.state != JobState::Cancelling;
        assert_eq!(live, explained.next_look.is_some(), "{text}");
        let stopped = matches!(
            explained.state,
            JobState::Paused
                | JobState::Pausing
                | JobState::Cancelling
                | JobState::Cancelled
                | JobState::Failed
        );
        assert!(!stopped || explained.because.is_some(), "{text}");
    }
    states.sort();
    states.dedup();
    assert_eq!(states.len(), 12, "every state: {states:?}");
}

#[test]
fn a_successor_says_whose_end_it_waits_for() {
    let mut rig = Rig::with_slots(9);
    let first = rig.submit(spec("a"), terms());
    rig.step();
    let second = rig.submit(spec("a"), terms());
    let explained = explain(&rig, second);
    assert_eq!((explained.closed[0].gate.clone(), explained.closed[0].behind), (Gate::Overlap, Some(first)));
    assert_eq!(explained.remedies(), [format!("{first} must end")]);
}

#[test]
fn a_status_lists_waiting_jobs_however_many_others_have_gone() {
    let mut config = EngineConfig::default();
    config.events = false;
    let mut rig = Rig::new(config);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    let jobs: Vec<_> = (0..17_000).map(|n| rig.submit(spec(&format!("db-{n}")), terms())).collect();
    rig.engine.cancel_all(rig.now(), jobs[..16_000].iter().copied(), &Reason::new("no longer needed"));
    let status = rig.engine.status();
    assert_eq!((status.waiting, status.waiting_jobs.len()), (1_000, 1_000));
}

#[test]
fn another_kind_of_gate_is_news_and_the_same_one_is_told_once() {
    let mut rig = Rig::with_slots(5);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    rig.submit(spec("a").not_before(rig.now().plus(secs(60)).wall), terms());
    rig.step();
    for _ in 0..3 {
        rig.clock.advance(secs(60));
        rig.step();
        // Looked at again, though nothing has changed.
        rig.engine.release(rig.now(), &Scope::Fleet);
        rig.engine.hold(rig.now(), Scope::Fleet, order());
        rig.step();
    }
    let gate = |kind: &EventKind| match kind {
        EventKind::Deferred { by, .. } => Some(by.gate.clone()),
        _ => None,
    };
    let told: Vec<_> = rig.events.iter().filter_map(|event| gate(&event.kind)).collect();
    assert_eq!(told, [Gate::Time, Gate::Hold]);
}
