//! Phases of an attempt: when it may be paused, and what it gives back before it ends.

mod rig;

use rig::{Rig, spec, terms};
use sched_core::{
    AttemptId, EngineConfig, EventKind, JobState, JobTerms, LoadLevel, LoadState, Output, Priority, Reason,
    ResourceName, RunError, RunPhase, SLOTS, Scope,
};

fn load(rig: &mut Rig, level: LoadLevel) {
    rig.engine.set_load(rig.now(), Scope::Fleet, LoadState::new(level, Reason::new("told by a test")));
    rig.step();
}

fn begin(rig: &mut Rig, attempt: AttemptId, phase: RunPhase) {
    assert!(rig.engine.phase(rig.now(), attempt, phase));
    rig.step();
}

fn state(rig: &Rig, attempt: AttemptId) -> JobState {
    rig.engine.job_status(attempt.job).unwrap().state
}

fn used(rig: &Rig, name: &str) -> u64 {
    rig.engine.status().resources[&ResourceName::from(name)].used
}

fn with_memory() -> Rig {
    let mut config = EngineConfig::default();
    config.resources = [(SLOTS.into(), 2), ("memory".into(), 10), ("io".into(), 10)].into();
    Rig::new(config)
}

fn hungry() -> JobTerms {
    let mut terms = terms();
    terms.pausable = true;
    terms.demand.add("memory", 8);
    terms.demand.add("io", 6);
    terms
}

#[test]
fn a_pause_waits_for_a_phase_that_may_stand_still() {
    let mut rig = Rig::with_slots(1);
    let mut terms = terms();
    terms.pausable = true;
    rig.submit(spec("a"), terms);
    rig.step();
    let attempt = rig.running()[0];
    begin(&mut rig, attempt, RunPhase::new("copy"));
    load(&mut rig, LoadLevel::Peak);
    assert_eq!(state(&rig, attempt), JobState::Running);
    begin(&mut rig, attempt, RunPhase::new("upload").pausable());
    assert_eq!(state(&rig, attempt), JobState::Pausing);
    assert!(rig.saw(|kind| matches!(kind, EventKind::PhaseBegan { phase } if phase.name == "upload")));
}

/// A pausable backup runs, and a peak begins.
fn told_to_pause() -> (Rig, AttemptId) {
    let mut rig = Rig::with_slots(1);
    let mut terms = terms();
    terms.pausable = true;
    rig.submit(spec("a"), terms);
    rig.step();
    let attempt = rig.running()[0];
    load(&mut rig, LoadLevel::Peak);
    (rig, attempt)
}

#[test]
fn one_that_was_told_to_pause_and_may_not_any_more_goes_on() {
    let (mut rig, attempt) = told_to_pause();
    assert_eq!(state(&rig, attempt), JobState::Pausing);
    begin(&mut rig, attempt, RunPhase::new("commit"));
    assert_eq!(state(&rig, attempt), JobState::Running);
    assert!(rig.outputs.contains(&Output::Resume(attempt)));
}

#[test]
fn a_phase_may_stand_still_where_the_rest_must_not() {
    let mut rig = Rig::with_slots(1);
    rig.submit(spec("a"), terms());
    rig.step();
    let attempt = rig.running()[0];
    begin(&mut rig, attempt, RunPhase::new("upload").pausable());
    let mut critical = terms();
    critical.priority = Priority::Critical;
    rig.submit(spec("b"), critical);
    rig.step();
    assert_eq!(state(&rig, attempt), JobState::Pausing, "it makes room for a critical job");
}

#[test]
fn what_a_phase_gives_back_is_free_for_others_at_once() {
    let mut rig = with_memory();
    rig.submit(spec("a"), hungry());
    rig.step();
    let attempt = rig.running()[0];
    rig.submit(spec("b"), hungry());
    rig.step();
    assert_eq!(rig.running().len(), 1);
    let upload = RunPhase::new("upload").pausable().gives_back("memory", 99).gives_back("io", 1);
    begin(&mut rig, attempt, upload.clone());
    assert_eq!((used(&rig, "memory"), used(&rig, "io")), (0, 5));
    assert_eq!(rig.running().len(), 1, "there is too little of the other");
    begin(&mut rig, attempt, upload);
    assert_eq!(rig.running().len(), 2);
    assert_eq!((used(&rig, "memory"), used(&rig, "io")), (8, 10));
}

#[test]
fn what_a_phase_gives_back_opens_its_host_too() {
    let mut rig = Rig::with_slots(4);
    rig.engine.set_resource(rig.now(), &Scope::Host("local".into()), "disk".into(), 1).unwrap();
    let mut terms = terms();
    terms.demand.add("disk", 1);
    rig.submit(spec("a"), terms.clone());
    rig.submit(spec("b"), terms);
    rig.step();
    let attempt = rig.running()[0];
    assert_eq!(rig.running().len(), 1);
    begin(&mut rig, attempt, RunPhase::new("upload").gives_back("disk", 1));
    assert_eq!(rig.running().len(), 2);
}

#[test]
fn a_pause_gives_back_what_is_left_and_going_on_takes_no_more() {
    let mut rig = with_memory();
    rig.submit(spec("a"), hungry());
    rig.step();
    let attempt = rig.running()[0];
    for gone in [1, 2] {
        load(&mut rig, LoadLevel::Peak);
        assert!(rig.engine.paused(rig.now(), attempt));
        assert_eq!((used(&rig, "memory"), used(&rig, "io")), (8, 0), "memory is held");
        rig.clock.advance(rig::secs(60));
        load(&mut rig, LoadLevel::Calm);
        assert!(rig.engine.resumed(rig.now(), attempt));
        begin(&mut rig, attempt, RunPhase::new("less").pausable().gives_back("io", 1));
        assert_eq!((used(&rig, "memory"), used(&rig, "io")), (8, 6 - gone));
    }
    rig.finish(attempt, Err(RunError::Retryable("lost".into())));
    assert_eq!((used(&rig, "memory"), used(&rig, "io"), used(&rig, SLOTS)), (0, 0, 0));
    rig.sleep_until_next_wakeup();
    rig.step();
    assert_eq!(used(&rig, "io"), 6, "the next attempt begins with all of it");
}

#[test]
fn who_does_not_move_has_no_phases() {
    let (mut rig, attempt) = told_to_pause();
    rig.engine.paused(rig.now(), attempt);
    assert!(!rig.engine.phase(rig.now(), attempt, RunPhase::new("late")));
    let stale = AttemptId { number: 9, ..attempt };
    assert!(!rig.engine.phase(rig.now(), stale, RunPhase::new("stale")));
}
