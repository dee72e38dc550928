//! What time alone brings: deadlines that are in danger, time-outs, back-offs; in every state.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::{
    AttemptEnd, AttemptId, Clock, Engine, EngineConfig, EventKind, JobId, JobTerms, LoadLevel, LoadState,
    ManualClock, Output, Priority, Reason, RunError, Scope,
};

fn load(rig: &mut Rig, level: LoadLevel) {
    rig.engine.set_load(rig.now(), Scope::Fleet, LoadState::new(level, Reason::new("told by a test")));
    rig.step();
}

fn pausable() -> JobTerms {
    let mut terms = terms();
    terms.pausable = true;
    terms
}

/// When it was said that a deadline is in danger, in seconds before it, and why.
fn told_at_risk(rig: &Rig) -> Vec<(i64, String)> {
    let told = rig.events.iter().filter_map(|event| match &event.kind {
        EventKind::RpoAtRisk { deadline, reason } => {
            Some((deadline.duration_since(event.at.wall).as_secs(), reason.text.to_string()))
        }
        _ => None,
    });
    told.collect()
}

fn told_to_stop(rig: &Rig) -> usize {
    rig.outputs.iter().filter(|output| matches!(output, Output::Cancel(..))).count()
}

#[test]
fn a_paused_job_is_at_risk_when_what_is_left_no_longer_fits() {
    let mut rig = Rig::with_slots(1);
    let mut two_hours = pausable();
    two_hours.rpo = secs(7200);
    let job = rig.submit(spec("a"), two_hours);
    rig.step();
    rig.clock.advance(secs(600));
    load(&mut rig, LoadLevel::Peak);
    assert!(rig.engine.paused(rig.now(), rig.running()[0]));
    rig.engine.set_capacity(
        rig.now(),
        Scope::Fleet,
        sched_core::CapacityState::Closed { reason: Reason::new("full") },
    );
    let deadline = rig.engine.job_status(job).unwrap().deadline;
    rig.run_until(deadline);
    let told = told_at_risk(&rig);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, 3600 - 600, "ten minutes of the expected hour are done");
    assert!(told[0].1.contains("paused"), "{told:?}");
}

#[test]
fn a_job_that_overruns_is_at_risk_at_its_deadline() {
    let mut rig = Rig::with_slots(1);
    let mut two_hours = terms();
    two_hours.rpo = secs(7200);
    rig.submit(spec("a"), two_hours);
    rig.step();
    for _ in 0..10 {
        rig.sleep_until_next_wakeup();
        rig.step();
    }
    assert_eq!(told_at_risk(&rig).iter().map(|(before, _)| *before).collect::<Vec<_>>(), [0]);
    assert_eq!(rig.engine.next_wakeup(), None, "said once");
}

#[test]
fn a_start_that_never_comes_puts_its_deadline_at_risk() {
    let (mut engine, clock) =
        (Engine::new(EngineConfig::default(), ManualClock::default().now()), ManualClock::default());
    engine.submit(clock.now(), spec("a"), terms()).unwrap();
    engine.advance(clock.now());
    clock.advance_to(engine.next_wakeup().unwrap());
    engine.advance(clock.now());
    let outputs: Vec<_> = std::iter::from_fn(|| engine.poll_output()).collect();
    let at_risk = |output: &Output| matches!(output, Output::Event(event) if matches!(event.kind, EventKind::RpoAtRisk { .. }));
    assert!(outputs.iter().any(at_risk), "{outputs:?}");
}

#[test]
fn a_cancelled_job_has_no_deadline_to_miss() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(spec("a"), terms());
    rig.step();
    rig.engine.cancel(rig.now(), job, Reason::new("no longer needed")).unwrap();
    rig.step();
    // All that is left to say of it is that it does not stop, if it does not.
    let overdue = rig.now().mono + EngineConfig::default().stop_within;
    assert_eq!(rig.engine.next_wakeup(), Some(overdue));
    rig.clock.advance_to(overdue);
    rig.step();
    assert_eq!(rig.engine.next_wakeup(), None);
}

#[test]
fn a_resume_that_is_never_answered_times_out() {
    let mut rig = Rig::with_slots(1);
    let mut limited = pausable();
    limited.timeout = Some(secs(100));
    rig.submit(spec("a"), limited);
    rig.step();
    let attempt = rig.running()[0];
    rig.clock.advance(secs(40));
    load(&mut rig, LoadLevel::Peak);
    assert!(rig.engine.paused(rig.now(), attempt));
    rig.clock.advance(secs(1000));
    load(&mut rig, LoadLevel::Calm);
    assert!(rig.outputs.contains(&Output::Resume(attempt)));
    rig.clock.advance(secs(59));
    rig.step();
    assert_eq!(told_to_stop(&rig), 0);
    rig.clock.advance(secs(1));
    rig.step();
    assert_eq!(told_to_stop(&rig), 1);
}

fn start_only(engine: &mut Engine, clock: &ManualClock) -> AttemptId {
    engine.advance(clock.now());
    let start = |output| if let Output::Start(order) = output { Some(order.attempt) } else { None };
    std::iter::from_fn(|| engine.poll_output()).find_map(start).expect("it starts")
}

#[test]
fn a_start_that_is_never_answered_times_out() {
    let clock = ManualClock::default();
    let mut engine = Engine::new(EngineConfig::default(), clock.now());
    let mut limited = terms();
    limited.timeout = Some(secs(60));
    engine.submit(clock.now(), spec("a"), limited).unwrap();
    let attempt = start_only(&mut engine, &clock);
    clock.advance(secs(60));
    engine.advance(clock.now());
    let outputs: Vec<_> = std::iter::from_fn(|| engine.poll_output()).collect();
    assert!(outputs.iter().any(|output| matches!(output, Output::Cancel(told, _) if *told == attempt)));
}

#[test]
fn the_time_that_a_start_takes_is_not_learned_as_run_time() {
    let clock = ManualClock::default();
    let mut engine = Engine::new(EngineConfig::default(), clock.now());
    let job = engine.submit(clock.now(), spec("a"), terms()).unwrap().job();
    let attempt = start_only(&mut engine, &clock);
    clock.advance(secs(50));
    assert!(engine.started(clock.now(), attempt));
    clock.advance(secs(7));
    assert!(engine.ended(clock.now(), attempt, AttemptEnd::new(1, Ok(()))));
    assert_eq!(engine.job_status(job).unwrap().ran, secs(7));
}

fn advising() -> Rig {
    let mut config = EngineConfig::default();
    config.advise_only = true;
    Rig::new(config)
}

#[test]
fn advice_waits_out_a_back_off() {
    let mut rig = advising();
    let job = rig.submit(spec("a"), terms());
    rig.step();
    rig.finish(rig.running()[0], Err(RunError::Retryable("no route".into())));
    rig.step();
    assert!(rig.running().is_empty());
    let until = rig.engine.explain(job).unwrap().closed[0].until.unwrap();
    rig.run_until(until);
    assert_eq!((rig.running().len(), rig.now().wall), (1, until));
}

#[test]
fn a_job_never_overlaps_itself() {
    for mut rig in [advising(), Rig::with_slots(9)] {
        let mut priority = Priority::Low;
        let mut jobs: Vec<JobId> = vec![];
        for _ in 0..6 {
            let mut terms = terms();
            terms.priority = priority;
            jobs.push(rig.submit(spec("a"), terms));
            rig.step();
            assert_eq!(rig.running().len(), 1);
            priority = Priority::Critical;
        }
        jobs.dedup();
        assert_eq!(jobs.len(), 2, "one runs, one waits");
        rig.finish(rig.running()[0], Err(RunError::Retryable("no route".into())));
        rig.run_until(rig.now().plus(secs(3600)).wall);
        assert_eq!(rig.running(), [AttemptId { job: jobs[0], number: 2 }]);
        rig.finish(rig.running()[0], Ok(()));
        rig.step();
        assert_eq!(rig.running(), [AttemptId { job: jobs[1], number: 1 }]);
    }
}

#[test]
fn a_clock_jump_starts_nothing_early_and_delays_nothing() {
    let mut rig = Rig::with_slots(9);
    let at = |rig: &Rig, hours: u64| rig.now().plus(secs(hours * 3600)).wall;
    let (soon, later) = (at(&rig, 10), at(&rig, 20));
    let first = rig.submit(spec("soon").not_before(soon), terms());
    let second = rig.submit(spec("later").not_before(later), terms());
    rig.step();
    // A jump that is taken back, then one that lasts.
    let true_time = rig.now().wall;
    rig.clock.step_wall(later);
    rig.step();
    rig.clock.step_wall(true_time);
    rig.clock.advance(secs(3600));
    rig.step();
    assert!(rig.running().is_empty());
    rig.clock.step_wall(soon);
    rig.step();
    assert!(rig.running().is_empty(), "not believed yet");
    let believed = rig.now().plus(secs(120)).wall;
    rig.run_until(believed);
    assert_eq!(rig.running().iter().map(|attempt| attempt.job).collect::<Vec<_>>(), [first]);
    rig.run_until(later);
    assert_eq!((rig.running()[1].job, rig.now().wall), (second, later));
}

#[test]
fn what_a_step_back_of_the_wall_makes_early_waits_again() {
    let mut rig = Rig::with_slots(9);
    rig.engine.hold(rig.now(), Scope::Fleet, sched_core::Order::new("ana", "told by a test"));
    let asked = rig.now().plus(secs(100)).wall;
    let job = rig.submit(spec("a").not_before(asked), terms());
    rig.clock.advance(secs(100));
    rig.step();
    rig.clock.step_wall(sched_core::wall_minus(asked, secs(60)));
    rig.step();
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    assert!(rig.running().is_empty(), "{}", rig.engine.explain(job).unwrap());
    rig.run_until(asked);
    assert_eq!((rig.running().len(), rig.now().wall), (1, asked));
}

#[test]
fn who_does_not_stop_is_told_of_once_and_keeps_what_he_holds() {
    let mut rig = Rig::with_slots(1);
    let deaf = rig.submit(spec("deaf"), terms());
    let next = rig.submit(spec("next"), terms());
    rig.step();
    let attempt = rig.running()[0];
    assert_eq!(attempt.job, deaf);
    rig.engine.cancel(rig.now(), deaf, Reason::new("enough")).unwrap();
    rig.clock.advance(secs(299));
    rig.step();
    let told = |rig: &Rig| {
        let said = |kind: &EventKind| matches!(kind, EventKind::DoesNotStop { reason, .. } if *reason.text == *"enough");
        rig.events.iter().filter(|event| said(&event.kind)).count()
    };
    assert_eq!(told(&rig), 0);
    rig.clock.advance(secs(1));
    rig.step();
    assert_eq!(told(&rig), 1);
    rig.clock.advance(secs(3600));
    rig.step();
    assert_eq!((told(&rig), rig.starts.len()), (1, 1), "once, and nobody takes its slot");
    rig.finish(attempt, Err(RunError::Cancelled));
    rig.step();
    assert_eq!(rig.running()[0].job, next);
    // One that stops in time leaves nothing behind.
    rig.engine.cancel(rig.now(), next, Reason::new("enough")).unwrap();
    rig.step();
    rig.finish(rig.running()[0], Err(RunError::Cancelled));
    rig.step();
    assert_eq!(rig.engine.next_wakeup(), None);
}
