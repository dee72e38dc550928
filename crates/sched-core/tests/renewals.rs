//! Requests that are accepted as one with what they need, and jobs that are given other terms.

mod rig;

use std::sync::Arc;

use rig::{Rig, adjusted, finish, host, jobs, order, secs, spec, terms, with};
use sched_core::{
    EventKind, Gate, JobId, JobSpec, JobTerms, Needs, Priority, Renewal, Renewed, RetryPolicy, RunError,
    Scope, SubmitError,
};

fn group(name: &str, limit: u32) -> Needs {
    Needs { limits: vec![(name.into(), limit)], resources: vec![] }
}

fn request(spec: JobSpec, terms: JobTerms, needs: Needs) -> (JobSpec, Arc<JobTerms>, Needs) {
    (spec, terms.into(), needs)
}

fn renew(rig: &mut Rig, job: JobId, spec: JobSpec, terms: JobTerms, needs: Needs) -> Renewal {
    let now = rig.now();
    rig.engine.renew(now, job, &mut Renewed { spec, terms: terms.into(), needs }).unwrap()
}

#[test]
fn requests_of_one_submission_are_accepted_together_with_their_limits() {
    let mut rig = Rig::with_slots(4);
    let asked = ["a", "b"].map(|name| request(spec(name).group("g"), terms(), group("g", 1)));
    let accepted = rig.engine.submit_as_one(rig.now(), asked.to_vec()).unwrap();
    assert_eq!(accepted.iter().map(|one| one.job()).collect::<Vec<_>>(), [JobId(1), JobId(2)]);
    rig.step();
    assert_eq!(jobs(&rig.running()), [JobId(1)]);
    finish(&mut rig, JobId(1), Ok(()));
    assert_eq!(jobs(&rig.running()), [JobId(2)]);
}

#[test]
fn what_one_request_of_several_is_refused_for_changes_nothing() {
    let mut rig = Rig::with_slots(4);
    let before = rig.engine.status();
    let tapes = Needs { limits: vec![("g".into(), 1)], resources: vec![("h".into(), "tape".into(), 1)] };
    let tape = |amount| adjusted(terms(), |terms| terms.demand.add("tape", amount));
    let first = || request(spec("a").host("h").group("g"), tape(1), tapes.clone());
    let refusals = [
        request(spec("b").group("unknown"), terms(), Needs::default()),
        request(spec("b").host("h"), tape(2), tapes.clone()),
        request(spec("b").host("other"), tape(1), tapes.clone()),
        request(spec("a").host("h"), terms(), Needs::default()),
        request(spec("b"), terms(), group(" ", 1)),
        request(spec("b"), adjusted(terms(), |terms| terms.window = Some("w".into())), Needs::default()),
    ];
    for second in refusals {
        rig.engine.submit_as_one(rig.now(), vec![first(), second]).unwrap_err();
        assert_eq!(rig.engine.status(), before);
        let group = rig.engine.submit(rig.now(), spec("c").group("g"), terms());
        assert!(matches!(group, Err(SubmitError::UnknownGroup { .. })), "{group:?}");
        assert!(rig.engine.resources(&host("h")).iter().all(|(at, ..)| *at == Scope::Fleet));
        assert_eq!(rig.engine.poll_output(), None);
    }
    rig.engine.submit_as_one(rig.now(), vec![first()]).unwrap();
}

#[test]
fn the_queue_has_room_for_all_or_takes_none() {
    let mut config = sched_core::EngineConfig::default();
    config.max_pending = 2;
    let mut rig = Rig::new(config);
    let of = |names: &[&str]| -> Vec<_> {
        names.iter().map(|name| request(spec(name), terms(), Needs::default())).collect()
    };
    let full = rig.engine.submit_as_one(rig.now(), of(&["a", "b", "c"]));
    assert_eq!(full, Err(SubmitError::QueueFull { pending: 0 }));
    rig.engine.submit_as_one(rig.now(), of(&["a", "b"])).unwrap();
    // Who joins needs no room.
    rig.engine.submit_as_one(rig.now(), of(&["a", "b"])).unwrap();
    assert_eq!(rig.engine.pending_count(), 2);
}

#[test]
fn a_job_that_waits_is_placed_as_its_new_terms_say() {
    let mut rig = Rig::with_slots(1);
    for name in ["a", "b", "c"] {
        rig.submit(spec(name), terms());
    }
    rig.step();
    assert_eq!(jobs(&rig.running()), [JobId(1)]);
    let hurried = adjusted(terms(), |terms| terms.rpo = secs(7_200));
    assert_eq!(renew(&mut rig, JobId(3), spec("c"), hurried, Needs::default()), Renewal::PlacedAnew);
    finish(&mut rig, JobId(1), Ok(()));
    assert_eq!(jobs(&rig.running()), [JobId(3)]);
    let status = rig.engine.job_status(JobId(3)).unwrap();
    assert_eq!(status.deadline, rig.now().plus(secs(7_200)).wall);
    // Another host that is held.
    rig.engine.hold(rig.now(), host("h"), order());
    renew(&mut rig, JobId(2), spec("b").host("h"), terms(), Needs::default());
    finish(&mut rig, JobId(3), Ok(()));
    assert_eq!(jobs(&rig.running()), []);
    let closed = rig.engine.explain(JobId(2)).unwrap().closed;
    assert_eq!((&closed[0].gate, &closed[0].scope), (&Gate::Hold, &host("h")));
    assert_eq!(renew(&mut rig, JobId(1), spec("a"), terms(), Needs::default()), Renewal::Ended);
}

#[test]
fn what_operators_and_joined_requests_said_outlasts_new_terms() {
    let mut rig = Rig::with_slots(1);
    let (a, b, c) =
        (rig.submit(spec("a"), terms()), rig.submit(spec("b"), terms()), rig.submit(spec("c"), terms()));
    let soon = rig.now().plus(secs(8_000)).wall;
    rig.submit(spec("b").deadline(soon), with(Priority::High));
    rig.engine.reprioritize(rig.now(), c, Priority::Low).unwrap();
    for job in [a, b, c] {
        let name = ["a", "b", "c"][job.0 as usize - 1];
        let changed = adjusted(with(Priority::Normal), |terms| terms.rpo = secs(90_000));
        renew(&mut rig, job, spec(name), changed, Needs::default());
    }
    let of = |rig: &Rig, job| rig.engine.job_status(job).unwrap();
    assert_eq!(of(&rig, a).job.priority, Priority::Normal);
    assert_eq!((of(&rig, b).job.priority, of(&rig, b).deadline), (Priority::High, soon));
    assert_eq!(of(&rig, c).job.priority, Priority::Low);
    assert_eq!(of(&rig, c).deadline, rig.now().plus(secs(90_000)).wall);
}

#[test]
fn who_gives_other_terms_gets_the_former_ones() {
    let mut rig = Rig::with_slots(1);
    let former = Arc::new(with(Priority::Low));
    let request = (spec("a"), former.clone(), Needs::default());
    let job = rig.engine.submit_as_one(rig.now(), vec![request]).unwrap()[0].job();
    let mut renewed = Renewed { spec: spec("a"), terms: terms().into(), needs: Needs::default() };
    assert_eq!(rig.engine.renew(rig.now(), job, &mut renewed), Ok(Renewal::PlacedAnew));
    assert!(Arc::ptr_eq(&renewed.terms, &former));
    assert_eq!(rig.engine.job_status(job).unwrap().job.priority, terms().priority);
}

#[test]
fn an_attempt_keeps_its_terms_and_the_next_has_the_new_ones() {
    let mut rig = Rig::with_slots(1);
    let kept = adjusted(terms(), |terms| {
        terms.floor_bytes_per_sec = 7;
        terms.retry = RetryPolicy::new(2, secs(0), secs(0));
    });
    let job = rig.submit(spec("a"), kept.clone());
    rig.step();
    let changed = adjusted(terms(), |terms| {
        terms.floor_bytes_per_sec = 9;
        terms.retry = RetryPolicy::new(3, secs(0), secs(0));
    });
    let waits = renew(&mut rig, job, spec("a").host("h"), changed, Needs::default());
    assert_eq!(waits, Renewal::AfterAttempt);
    rig.step();
    assert_eq!(rig.starts.len(), 1);
    finish(&mut rig, job, Err(RunError::Retryable("x".into())));
    assert_eq!(rig.starts.len(), 2);
    assert_eq!(rig.starts.iter().map(|s| s.terms.floor_bytes_per_sec).collect::<Vec<_>>(), [7, 9]);
    assert_eq!(rig.starts[1].spec.host, "h".into());
    // The failure that it had counts.
    finish(&mut rig, job, Err(RunError::Retryable("x".into())));
    finish(&mut rig, job, Err(RunError::Retryable("x".into())));
    assert!(rig.saw(|kind| matches!(kind, EventKind::Failed { .. })));
}

#[test]
fn attempts_count_against_new_limits_at_once() {
    let mut rig = Rig::with_slots(9);
    let of_host = |total| {
        let name = format!("{total} of mysql");
        Needs { limits: vec![], resources: vec![("h".into(), name.into(), total)] }
    };
    let counted = |total: u64| adjusted(terms(), |terms| terms.demand.add(format!("{total} of mysql"), 1));
    let asked = ["a", "b"].map(|name| {
        let needs = Needs { resources: of_host(2).resources, limits: vec![("two".into(), 2)] };
        request(spec(name).host("h").group("two"), counted(2), needs)
    });
    rig.engine.submit_as_one(rig.now(), asked.to_vec()).unwrap();
    rig.step();
    assert_eq!(rig.running().len(), 2);
    for (job, name) in [(JobId(1), "a"), (JobId(2), "b")] {
        let needs = Needs { resources: of_host(1).resources, limits: vec![("one".into(), 1)] };
        renew(&mut rig, job, spec(name).host("h").group("one"), counted(1), needs);
    }
    let third = vec![request(spec("c").group("one"), terms(), Needs::default())];
    rig.engine.submit_as_one(rig.now(), third).unwrap();
    let fourth = vec![request(spec("d").host("h"), counted(1), Needs::default())];
    rig.engine.submit_as_one(rig.now(), fourth).unwrap();
    rig.step();
    assert_eq!(rig.running().len(), 2, "two count where one may");
    finish(&mut rig, JobId(1), Ok(()));
    assert_eq!(rig.running().len(), 1, "one counts where one may");
    finish(&mut rig, JobId(2), Ok(()));
    assert_eq!(jobs(&rig.running()), [JobId(3), JobId(4)]);
    let used =
        |rig: &Rig| rig.engine.resources(&host("h")).iter().map(|(.., capacity)| capacity.used).sum::<u64>();
    assert_eq!(used(&rig), 2 + 1, "two slots and one run of the host");
    finish(&mut rig, JobId(3), Ok(()));
    finish(&mut rig, JobId(4), Ok(()));
    assert_eq!(used(&rig), 0);
}

#[test]
fn nobody_starts_while_starts_are_suspended_and_nobody_asks_to_be_woken_for_that() {
    let mut rig = Rig::with_slots(1);
    rig.submit(spec("a"), terms());
    rig.engine.suspend_starts(rig.now(), true);
    rig.step();
    assert!(rig.running().is_empty());
    assert!(rig.engine.next_wakeup().is_none_or(|at| at > rig.now().mono));
    rig.engine.suspend_starts(rig.now(), false);
    rig.step();
    assert_eq!(rig.running().len(), 1);
}

#[test]
fn another_backup_is_no_renewal() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(spec("a"), terms());
    let others = [
        spec("b"),
        JobSpec::new("a", "mysql"),
        spec("a").kind(sched_core::BackupKind::Log),
        spec("a").group("unknown"),
        spec("a").max_bytes_per_sec(0),
    ];
    let before = rig.engine.status();
    for spec in others {
        let mut renewed = Renewed { spec, terms: terms().into(), needs: Needs::default() };
        rig.engine.renew(rig.now(), job, &mut renewed).unwrap_err();
        assert_eq!(rig.engine.status(), before);
    }
}
