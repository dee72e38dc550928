//! Who may claim what becomes free, and who may pass meanwhile.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::{EngineConfig, JobId, JobSpec, JobTerms, Output, Priority, Reason, RunError, SLOTS, Scope};

fn of(priority: Priority) -> JobTerms {
    let mut terms = terms();
    terms.priority = priority;
    terms
}

/// Terms with so many slots and so many minutes.
fn sized(priority: Priority, slots: u64, minutes: u64) -> JobTerms {
    let mut terms = of(priority);
    terms.demand.add(SLOTS, slots - 1);
    terms.expected_duration = secs(60 * minutes);
    terms
}

fn jobs(rig: &Rig) -> Vec<JobId> {
    rig.running().into_iter().map(|attempt| attempt.job).collect()
}

fn end(rig: &mut Rig, job: JobId, result: Result<(), RunError>) {
    let attempt = rig.running().into_iter().find(|attempt| attempt.job == job).expect("it runs");
    rig.finish(attempt, result);
    rig.step();
}

#[test]
fn who_lacks_nothing_and_waits_for_its_turn_claims_nothing() {
    let mut rig = Rig::with_slots(5);
    let first = rig.submit(spec("first"), terms());
    for n in 0..4 {
        rig.submit(spec(&format!("critical-{n}")), of(Priority::Critical));
    }
    rig.step();
    for technology in ["mysql", "oracle"] {
        rig.submit(JobSpec::new(technology, technology), of(Priority::Critical));
    }
    let second = rig.submit(spec("second"), terms());
    rig.step();
    end(&mut rig, first, Ok(()));
    assert!(jobs(&rig).contains(&second), "a fifth of what runs is left to others");
}

#[test]
fn tenants_of_several_classes_share_by_weight() {
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 1);
    config.tenants = [("gold".into(), 3), ("iron".into(), 1)].into();
    let mut rig = Rig::new(config);
    for n in 0..40 {
        // Neither other technologies nor other needs are turns of their own.
        for (technology, minutes) in [("mysql", 60), ("oracle", 60), ("etcd", 5), ("mongodb", 1_000)] {
            let name = format!("iron-{n}-{technology}");
            let terms = sized(Priority::High, 1, minutes);
            rig.submit(JobSpec::new(name, technology).tenant("iron"), terms);
        }
        rig.submit(spec(&format!("gold-{n}")).tenant("gold"), of(Priority::Low));
    }
    rig.step();
    let mut gold = 0;
    for _ in 0..40 {
        let job = jobs(&rig)[0];
        let status = rig.engine.job_status(job).unwrap();
        gold += u32::from(status.job.instance.as_str().starts_with("gold"));
        end(&mut rig, job, Ok(()));
    }
    assert!((29..=31).contains(&gold), "{gold} of 40");
}

#[test]
fn room_that_is_being_made_for_a_critical_job_is_kept_for_it() {
    let mut rig = Rig::with_slots(3);
    let mut low = sized(Priority::Low, 2, 600);
    low.pausable = true;
    let low = rig.submit(spec("low"), low);
    rig.step();
    let critical = rig.submit(spec("critical"), sized(Priority::Critical, 3, 60));
    rig.step();
    let attempt = rig.running()[0];
    assert!(rig.outputs.contains(&Output::Pause(attempt)));
    // It would end long before the low one, but not before that pauses.
    let normal = rig.submit(spec("normal"), sized(Priority::Normal, 1, 30));
    rig.step();
    assert_eq!(jobs(&rig), [low], "{normal} would take what the pause is for");
    assert!(rig.engine.paused(rig.now(), attempt));
    rig.step();
    assert!(jobs(&rig).contains(&critical), "{}", rig.engine.explain(critical).unwrap());
}

/// A link with three slots: one is taken for long, one for ten minutes, and a large job waits for two.
fn claimed() -> (Rig, JobId, JobId) {
    let mut rig = Rig::with_slots(9);
    let link = Scope::Link("wan".into());
    for host in ["a", "b"] {
        rig.engine.set_parent(rig.now(), &Scope::Host(host.into()), &link).unwrap();
    }
    rig.engine.set_resource(rig.now(), &link, SLOTS.into(), 3).unwrap();
    let mut long = sized(Priority::Low, 1, 600);
    long.pausable = true;
    let long = rig.submit(spec("long").host("a"), long);
    rig.submit(spec("short").host("b"), sized(Priority::Low, 1, 10));
    rig.step();
    let soon = rig.now().plus(secs(3 * 3_600)).wall;
    rig.submit(spec("large").host("b").deadline(soon), sized(Priority::High, 2, 60));
    let small = rig.submit(spec("small").host("b"), sized(Priority::Low, 1, 600));
    rig.step();
    assert!(!jobs(&rig).contains(&small), "what is free is kept for the large one");
    (rig, long, small)
}

#[test]
fn who_no_longer_delays_the_owner_of_a_claim_passes_as_soon_as_somebody_is_told_to_pause() {
    let (mut rig, _, small) = claimed();
    rig.engine.set_resource(rig.now(), &Scope::Host("a".into()), SLOTS.into(), 0).unwrap();
    rig.step();
    assert!(jobs(&rig).contains(&small), "{}", rig.engine.explain(small).unwrap());
}

#[test]
fn who_no_longer_delays_the_owner_of_a_claim_passes_as_soon_as_somebody_is_told_to_stop() {
    let (mut rig, long, small) = claimed();
    assert_eq!(rig.engine.interrupt(rig.now(), long, Reason::new("the window ends"), None), Ok(true));
    rig.step();
    assert!(jobs(&rig).contains(&small), "{}", rig.engine.explain(small).unwrap());
}

/// What ends in time may pass, but only until the second time that the promised room has not come.
#[test]
fn nobody_passes_any_more_once_the_promised_room_has_not_come_twice() {
    let mut rig = Rig::with_slots(2);
    rig.submit(spec("overruns"), sized(Priority::Normal, 1, 10));
    rig.step();
    let large = rig.submit(spec("large"), sized(Priority::High, 2, 60));
    let mut passed_after = vec![];
    for n in 0..120 {
        let mut short = of(Priority::Normal);
        short.expected_duration = secs(20);
        let short = rig.submit(spec(&format!("short-{n}")), short);
        rig.step();
        if jobs(&rig).contains(&short) {
            passed_after.push(n * 20);
            rig.clock.advance(secs(20));
            end(&mut rig, short, Ok(()));
        } else {
            rig.engine.cancel(rig.now(), short, Reason::new("asked again later")).unwrap();
            rig.clock.advance(secs(20));
            rig.step();
        }
    }
    assert!(!jobs(&rig).contains(&large));
    assert!(passed_after.contains(&300), "it ends before the room is expected: {passed_after:?}");
    // Ten minutes until the first lapse, and one more until the second.
    assert!(passed_after.iter().all(|at| *at <= 660), "{passed_after:?}");
}

/// Whoever is as long as the shortest of a class would delay the owner of a claim: all of the class wait as one.
#[test]
fn a_backlog_that_would_delay_a_large_job_is_kept_back_as_one() {
    let mut rig = Rig::with_slots(3);
    rig.submit(spec("runs"), sized(Priority::Normal, 2, 10));
    rig.step();
    let soon = rig.now().plus(secs(3 * 3_600)).wall;
    rig.submit(spec("large").deadline(soon), sized(Priority::High, 3, 60));
    for n in 0..1_000 {
        rig.submit(spec(&format!("long-{n}")), sized(Priority::Normal, 1, 600));
    }
    let before = rig.engine.moves();
    rig.step();
    assert_eq!(rig.running().len(), 1);
    assert!(rig.engine.moves() - before < 5, "{} moves", rig.engine.moves() - before);
}

/// A hold keeps the owner of a claim aside meanwhile. When it is let in, those of its class have been kept back for
/// want of room first and then for its sake.
#[test]
fn the_owner_of_a_claim_that_comes_back_is_not_kept_back_with_those_that_its_claim_keeps() {
    let mut rig = Rig::with_slots(9);
    let host = |name: &str| spec(name).host("a");
    rig.engine.set_resource(rig.now(), &Scope::Host("a".into()), SLOTS.into(), 2).unwrap();
    rig.engine.set_limit(rig.now(), &Scope::Group("cluster".into()), Some(9)).unwrap();
    let first = rig.submit(host("first"), sized(Priority::High, 1, 60));
    rig.step();
    let soon = rig.now().plus(secs(3 * 3_600)).wall;
    let owner = rig.submit(host("owner").group("cluster").deadline(soon), sized(Priority::High, 2, 60));
    let small = rig.submit(host("small"), sized(Priority::High, 1, 600));
    rig.step();
    assert_eq!(jobs(&rig), [first], "{small} would delay {owner}");

    rig.engine.hold(rig.now(), Scope::Group("cluster".into()), rig::order());
    rig.clock.advance(secs(600));
    end(&mut rig, first, Ok(()));
    let short = rig.submit(host("short"), sized(Priority::High, 2, 40));
    rig.step();
    assert_eq!(jobs(&rig), [short], "it ends before the owner is expected to start");
    let other = rig.submit(host("other"), sized(Priority::High, 2, 60));
    rig.step();
    rig.clock.advance(secs(2_400));
    end(&mut rig, short, Ok(()));
    assert!(jobs(&rig).is_empty(), "{other} would delay {owner}");

    rig.engine.release(rig.now(), &Scope::Group("cluster".into()));
    rig.step();
    assert_eq!(jobs(&rig), [owner], "{}", rig.engine.explain(owner).unwrap());
}
