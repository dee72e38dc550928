//! Who makes room for whom: pauses for critical jobs and after a shrink, and what becomes of those who were told to.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::{
    AttemptEnd, AttemptId, Clock, Engine, EngineConfig, JobId, JobTerms, LoadLevel, LoadState, ManualClock,
    Output, Priority, Reason, SLOTS, Scope, StartOrder,
};

fn of(priority: Priority) -> JobTerms {
    let mut terms = terms();
    terms.priority = priority;
    terms
}

fn pausable(priority: Priority) -> JobTerms {
    let mut terms = of(priority);
    terms.pausable = true;
    terms
}

fn cancellable(priority: Priority) -> JobTerms {
    let mut terms = of(priority);
    terms.cancellable = true;
    terms
}

fn load(rig: &mut Rig, level: LoadLevel) {
    rig.engine.set_load(rig.now(), Scope::Fleet, LoadState::new(level, Reason::new("told by a test")));
    rig.step();
}

/// The jobs that were told to pause, in order.
fn told_to_pause(rig: &Rig) -> Vec<JobId> {
    let paused = |output: &Output| if let Output::Pause(attempt) = output { Some(attempt.job) } else { None };
    rig.outputs.iter().filter_map(paused).collect()
}

fn told_to_stop(rig: &Rig) -> Vec<JobId> {
    let stopped =
        |output: &Output| if let Output::Cancel(attempt, _) = output { Some(attempt.job) } else { None };
    rig.outputs.iter().filter_map(stopped).collect()
}

fn attempt_of(rig: &Rig, job: JobId) -> AttemptId {
    rig.running().into_iter().find(|attempt| attempt.job == job).expect("it runs")
}

#[test]
fn one_that_pauses_for_a_resource_that_shrank_says_why_it_did() {
    let mut rig = Rig::with_slots(2);
    let job = rig.submit(spec("low"), pausable(Priority::Low));
    rig.step();
    let because = Some(Reason::new("the disk is busy"));
    rig.engine.set_resource_because(rig.now(), &Scope::Fleet, SLOTS.into(), 0, because).unwrap();
    rig.step();
    assert_eq!(told_to_pause(&rig), [job]);
    let because = rig.engine.explain(job).unwrap().because;
    assert_eq!(because.as_deref(), Some("fleet has only 0 of slots by now: the disk is busy"));
}

#[test]
fn one_that_was_still_starting_makes_room_once_it_runs() {
    let (mut engine, clock) = with_one_slot();
    engine.submit(clock.now(), spec("low"), pausable(Priority::Low)).unwrap();
    let low = start(&mut engine, &clock);
    engine.submit(clock.now(), spec("critical"), of(Priority::Critical)).unwrap();
    assert_eq!(settle(&mut engine, &clock), []);
    assert!(engine.started(clock.now(), low.attempt));
    assert_eq!(settle(&mut engine, &clock), [Output::Pause(low.attempt)]);
}

#[test]
fn one_that_was_still_starting_pauses_for_a_resource_that_shrank_meanwhile() {
    let (mut engine, clock) = with_one_slot();
    engine.submit(clock.now(), spec("low"), pausable(Priority::Low)).unwrap();
    let low = start(&mut engine, &clock);
    engine.set_resource(clock.now(), &Scope::Fleet, SLOTS.into(), 0).unwrap();
    assert_eq!(settle(&mut engine, &clock), []);
    assert!(engine.started(clock.now(), low.attempt));
    assert_eq!(settle(&mut engine, &clock), [Output::Pause(low.attempt)]);
}

fn with_one_slot() -> (Engine, ManualClock) {
    let clock = ManualClock::default();
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 1);
    (Engine::new(config, clock.now()), clock)
}

fn start(engine: &mut Engine, clock: &ManualClock) -> StartOrder {
    let started = settle(engine, clock).into_iter().find_map(|output| match output {
        Output::Start(order) => Some(order),
        _ => None,
    });
    started.expect("one starts")
}

/// What the engine says but events, until it rests. Nobody carries it out.
fn settle(engine: &mut Engine, clock: &ManualClock) -> Vec<Output> {
    let mut said = Vec::new();
    for _ in 0..1_000 {
        engine.advance(clock.now());
        said.extend(std::iter::from_fn(|| engine.poll_output()).filter(|o| !matches!(o, Output::Event(_))));
        if engine.next_wakeup().is_none_or(|at| at > clock.now().mono) {
            return said;
        }
    }
    panic!("the engine does not come to rest");
}

#[test]
fn the_next_one_is_asked_when_the_first_does_not_pause_in_time_and_nobody_twice() {
    let mut rig = Rig::with_slots(2);
    let lows = ["l1", "l2"].map(|name| rig.submit(spec(name), pausable(Priority::Low)));
    rig.step();
    rig.submit(spec("critical"), of(Priority::Critical));
    rig.step();
    assert_eq!(told_to_pause(&rig).len(), 1);
    for _ in 0..5 {
        rig.clock.advance(secs(30));
        rig.step();
    }
    let mut asked = told_to_pause(&rig);
    asked.sort();
    assert_eq!(asked, lows, "each once, then neither again");
}

#[test]
fn one_that_a_peak_had_told_to_pause_makes_room_when_the_peak_passes_first() {
    let mut rig = Rig::with_slots(1);
    let low = rig.submit(spec("low"), pausable(Priority::Low));
    rig.step();
    load(&mut rig, LoadLevel::Peak);
    assert_eq!(told_to_pause(&rig), [low]);
    rig.submit(spec("critical"), of(Priority::Critical));
    rig.step();
    load(&mut rig, LoadLevel::Calm);
    assert_eq!(told_to_pause(&rig), [low, low], "for the critical one this time");
}

#[test]
fn one_that_becomes_less_urgent_makes_room() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(spec("a"), pausable(Priority::High));
    rig.step();
    rig.submit(spec("critical"), of(Priority::Critical));
    rig.step();
    assert_eq!(told_to_pause(&rig), []);
    rig.engine.reprioritize(rig.now(), job, Priority::Low).unwrap();
    rig.step();
    assert_eq!(told_to_pause(&rig), [job]);
}

#[test]
fn who_was_told_to_pause_goes_on_when_the_critical_job_is_gone() {
    let cancel = |rig: &mut Rig, job| {
        rig.engine.cancel(rig.now(), job, Reason::new("not needed")).unwrap();
    };
    let reprioritize = |rig: &mut Rig, job| {
        rig.engine.reprioritize(rig.now(), job, Priority::Normal).unwrap();
    };
    for take_away in [cancel as fn(&mut Rig, JobId), reprioritize] {
        let mut rig = Rig::with_slots(1);
        let low = rig.submit(spec("low"), pausable(Priority::Low));
        rig.step();
        let critical = rig.submit(spec("critical"), of(Priority::Critical));
        rig.step();
        assert_eq!(told_to_pause(&rig), [low]);
        take_away(&mut rig, critical);
        rig.step();
        assert!(rig.outputs.contains(&Output::Resume(attempt_of(&rig, low))));
    }
}

#[test]
fn a_shrink_is_remembered_while_one_pauses_for_load_and_while_one_resumes() {
    for paused in [false, true] {
        let mut rig = Rig::with_slots(2);
        for name in ["a", "b"] {
            rig.submit(spec(name), pausable(Priority::Normal));
        }
        rig.step();
        load(&mut rig, LoadLevel::Peak);
        if paused {
            rig.running().into_iter().for_each(|attempt| assert!(rig.engine.paused(rig.now(), attempt)));
            rig.step();
            load(&mut rig, LoadLevel::Calm);
        }
        rig.engine.set_resource(rig.now(), &Scope::Fleet, SLOTS.into(), 1).unwrap();
        rig.step();
        let before = told_to_pause(&rig).len();
        if paused {
            rig.running().into_iter().for_each(|attempt| assert!(rig.engine.resumed(rig.now(), attempt)));
            rig.step();
        } else {
            load(&mut rig, LoadLevel::Calm);
        }
        assert_eq!(told_to_pause(&rig).len(), before + 1, "one of two, paused before: {paused}");
    }
}

#[test]
fn pausing_is_tried_before_cancelling() {
    let mut rig = Rig::with_slots(2);
    // The cancellable one is the less urgent.
    rig.submit(spec("low"), cancellable(Priority::Low));
    let normal = rig.submit(spec("normal"), pausable(Priority::Normal));
    rig.step();
    rig.submit(spec("critical"), of(Priority::Critical));
    rig.step();
    assert_eq!((told_to_pause(&rig), told_to_stop(&rig)), (vec![normal], vec![]));
}

#[test]
fn a_full_limit_gives_way_only_by_cancelling_and_only_where_the_policy_allows_it() {
    for (low, expected) in [(pausable(Priority::Low), 0), (cancellable(Priority::Low), 1)] {
        let mut rig = Rig::with_slots(9);
        rig.engine.set_limit(rig.now(), &Scope::Technology("sqlite".into()), Some(1)).unwrap();
        let low = rig.submit(spec("low"), low);
        rig.step();
        let critical = rig.submit(spec("critical"), of(Priority::Critical));
        rig.step();
        assert_eq!((told_to_pause(&rig), told_to_stop(&rig).len()), (vec![], expected));
        if expected == 1 {
            rig.finish(attempt_of(&rig, low), Err(sched_core::RunError::Cancelled));
            rig.step();
            let running: Vec<_> = rig.running().iter().map(|attempt| attempt.job).collect();
            assert_eq!(running, [critical]);
            assert!(rig.engine.explain(low).unwrap().state.is_waiting(), "it continues later");
        }
    }
}

#[test]
fn a_full_limit_gives_way_once_the_one_that_was_starting_runs() {
    let (mut engine, clock) = with_one_slot();
    engine.set_resource(clock.now(), &Scope::Fleet, SLOTS.into(), 9).unwrap();
    engine.set_limit(clock.now(), &Scope::Technology("sqlite".into()), Some(1)).unwrap();
    engine.submit(clock.now(), spec("low"), cancellable(Priority::Low)).unwrap();
    let low = start(&mut engine, &clock);
    engine.submit(clock.now(), spec("critical"), of(Priority::Critical)).unwrap();
    assert_eq!(settle(&mut engine, &clock), []);
    assert!(engine.started(clock.now(), low.attempt));
    let said = settle(&mut engine, &clock);
    assert!(matches!(&said[..], [Output::Cancel(attempt, _)] if *attempt == low.attempt), "{said:?}");
}

#[test]
fn a_paused_attempt_that_ends_gives_back_what_it_kept() {
    let mut rig = Rig::with_slots(1);
    rig.engine.set_resource(rig.now(), &Scope::Fleet, "memory".into(), 10).unwrap();
    let mut low = pausable(Priority::Low);
    low.demand.add("memory", 4);
    let low = rig.submit(spec("low"), low);
    rig.step();
    let critical = rig.submit(spec("critical"), of(Priority::Critical));
    rig.step();
    let attempt = attempt_of(&rig, low);
    assert!(rig.engine.paused(rig.now(), attempt));
    rig.step();
    assert_eq!(used(&rig), (1, 4), "the slot is the critical job's by now, the memory is kept");
    assert!(rig.engine.ended(rig.now(), attempt, AttemptEnd::new(1, Ok(()))));
    rig.step();
    assert_eq!(used(&rig), (1, 0));
    rig.finish(attempt_of(&rig, critical), Ok(()));
    rig.step();
    assert_eq!(used(&rig), (0, 0));
}

fn used(rig: &Rig) -> (u64, u64) {
    let resources = rig.engine.status().resources;
    (resources[&SLOTS.into()].used, resources[&"memory".into()].used)
}

/// Whoever made room would have its turn before the critical job, and be told to make room again.
#[test]
fn nobody_makes_room_beyond_the_share_of_critical_jobs() {
    for (slots, low) in [(5, cancellable(Priority::Low)), (10, pausable(Priority::Low))] {
        let mut rig = Rig::with_slots(slots);
        rig.submit(spec("low"), low);
        for n in 1..slots {
            rig.submit(spec(&format!("critical-{n}")), of(Priority::Critical));
            rig.step();
        }
        assert_eq!(rig.running().len() as u64, slots);
        rig.submit(spec("late"), of(Priority::Critical));
        rig.step();
        assert_eq!((told_to_pause(&rig), told_to_stop(&rig)), (vec![], vec![]), "{slots} slots");
    }
}

/// Or it would be started again at once, only to be stopped again, and so on at the same moment.
#[test]
fn nobody_stops_for_a_critical_job_that_would_be_kept_back_all_the_same() {
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 3);
    config.resources.insert("tape".into(), 1);
    config.limits.insert(Scope::Group("cluster".into()), 1);
    let mut rig = Rig::new(config);
    let with_tape = |mut terms: JobTerms| {
        terms.demand.add("tape", 1);
        terms
    };
    let tape = rig.submit(spec("tape"), with_tape(terms()));
    let low = rig.submit(spec("low").group("cluster"), cancellable(Priority::Low));
    rig.step();
    let critical = rig.submit(spec("critical").group("cluster"), with_tape(of(Priority::Critical)));
    rig.step();
    assert_eq!(told_to_stop(&rig), []);
    rig.finish(attempt_of(&rig, tape), Ok(()));
    rig.step();
    assert_eq!(told_to_stop(&rig), [low], "that is all it lacks now");
    rig.finish(attempt_of(&rig, low), Err(sched_core::RunError::Cancelled));
    rig.step();
    assert!(rig.running().iter().any(|attempt| attempt.job == critical));
}

#[test]
fn who_stands_paused_has_no_part_in_what_runs_of_which_critical_jobs_have_a_share() {
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 2);
    (config.critical_share_percent, config.preemption) = (50, sched_core::Preemption::LowAndNormal);
    let mut rig = Rig::new(config);
    for name in ["one", "two"] {
        rig.submit(spec(name), pausable(Priority::Normal));
    }
    rig.step();
    let first = rig.submit(spec("critical-1"), of(Priority::Critical));
    rig.step();
    let told = told_to_pause(&rig);
    let [stands] = told[..] else { panic!("{told:?} make room") };
    assert!(rig.engine.paused(rig.now(), attempt_of(&rig, stands)));
    rig.step();
    assert!(rig::jobs(&rig.running()).contains(&first));

    let second = rig.submit(spec("critical-2"), of(Priority::Critical));
    rig.step();
    assert_eq!(told_to_pause(&rig), [stands], "one of the two that run is critical");
    rig.finish(attempt_of(&rig, first), Ok(()));
    rig.step();
    assert!(rig::jobs(&rig.running()).contains(&second));
}
