//! Kinds of backups of one instance that are kept apart.

mod rig;

use rig::{Rig, adjusted, finish, jobs, secs, spec, terms};
use sched_core::{BackupKind, EngineConfig, Gate, JobTerms, RetryPolicy, RunError, SLOTS};

fn apart(kinds: &[BackupKind]) -> JobTerms {
    adjusted(terms(), |terms| {
        terms.apart = kinds.iter().copied().collect();
        terms.retry = RetryPolicy::new(9, secs(600), secs(600));
    })
}

const BOTH: [BackupKind; 2] = [BackupKind::Full, BackupKind::Incremental];

#[test]
fn the_second_kind_waits_for_the_first() {
    let mut rig = Rig::with_slots(9);
    let full = rig.submit(spec("a"), apart(&BOTH));
    let next = rig.submit(spec("a").kind(BackupKind::Incremental), apart(&BOTH));
    let log = rig.submit(spec("a").kind(BackupKind::Log), apart(&[]));
    let other = rig.submit(spec("b").kind(BackupKind::Incremental), apart(&BOTH));
    rig.step();
    assert_eq!(jobs(&rig.running()), [full, log, other]);
    let closed = rig.engine.explain(next).unwrap().closed;
    assert_eq!((&closed[0].gate, closed[0].behind, closed.len()), (&Gate::Overlap, Some(full), 1));
    assert!(closed[0].reason.to_string().ends_with("full backup, which is kept apart"), "{}", closed[0]);
    finish(&mut rig, full, Ok(()));
    assert_eq!(jobs(&rig.running()), [log, other, next]);
}

/// What is said of one of two alone is asked when that one is about to start.
#[test]
fn who_says_nothing_does_not_wait_and_who_waits_for_it_is_woken() {
    let mut rig = Rig::with_slots(9);
    let full = rig.submit(spec("a"), apart(&[]));
    rig.step();
    let next = rig.submit(spec("a").kind(BackupKind::Incremental), apart(&BOTH));
    rig.step();
    assert_eq!(jobs(&rig.running()), [full]);
    finish(&mut rig, full, Ok(()));
    assert_eq!(jobs(&rig.running()), [next]);
    let again = rig.submit(spec("a"), apart(&[]));
    rig.step();
    assert_eq!(jobs(&rig.running()), [next, again]);
}

#[test]
fn a_back_off_keeps_nobody() {
    let mut rig = Rig::with_slots(9);
    let full = rig.submit(spec("a"), apart(&BOTH));
    rig.step();
    let next = rig.submit(spec("a").kind(BackupKind::Incremental), apart(&BOTH));
    rig.step();
    finish(&mut rig, full, Err(RunError::Retryable("x".into())));
    assert_eq!(jobs(&rig.running()), [next]);
    rig.clock.advance(secs(600));
    rig.step();
    assert_eq!(jobs(&rig.running()), [next], "now it is the first that waits");
    finish(&mut rig, next, Ok(()));
    assert_eq!(jobs(&rig.running()), [full]);
}

#[test]
fn advice_keeps_nobody_apart() {
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 1);
    config.advise_only = true;
    let mut rig = Rig::new(config);
    rig.submit(spec("a"), apart(&BOTH));
    rig.submit(spec("a").kind(BackupKind::Incremental), apart(&BOTH));
    rig.step();
    assert_eq!(rig.running().len(), 2);
}
