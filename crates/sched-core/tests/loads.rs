//! Load: who waits for it, as which technology feels it, and what a peak does to what runs.

mod rig;

use rig::{Rig, finish, secs, terms};
use sched_core::{
    EventKind, Gate, JobId, JobSpec, JobState, JobTerms, LoadLevel, LoadState, Output, Priority, Reason,
    Scope, TechnologyName,
};

fn load(rig: &mut Rig, scope: Scope, technology: Option<&str>, level: LoadLevel) {
    let state = LoadState::new(level, Reason::new("told by a test"));
    let technology = technology.map(TechnologyName::from);
    rig.engine.set_load_for(rig.now(), scope, technology, state);
    rig.step();
}

fn host() -> Scope {
    Scope::Host("local".into())
}

fn gates(rig: &Rig, job: JobId) -> Vec<(Gate, Scope)> {
    let closed = rig.engine.explain(job).unwrap().closed;
    closed.into_iter().map(|closed| (closed.gate, closed.scope)).collect()
}

fn running(rig: &Rig) -> Vec<JobId> {
    rig.running().iter().map(|attempt| attempt.job).collect()
}

fn state(rig: &Rig, job: JobId) -> JobState {
    rig.engine.job_status(job).unwrap().state
}

fn pausable(priority: Priority) -> JobTerms {
    let mut terms = terms();
    (terms.pausable, terms.priority) = (true, priority);
    terms
}

#[test]
fn a_host_is_busy_for_one_technology_and_calm_for_another() {
    for place in [Scope::Fleet, host(), Scope::Instance("a".into()), Scope::Destination("tape".into())] {
        let mut rig = Rig::with_slots(4);
        load(&mut rig, place.clone(), Some("etcd"), LoadLevel::Busy);
        let etcd = rig.submit(JobSpec::new("a", "etcd").destination("tape"), terms());
        let sqlite = rig.submit(JobSpec::new("b", "sqlite").destination("tape"), terms());
        rig.step();
        assert_eq!(running(&rig), [sqlite], "{place}");
        assert_eq!(gates(&rig, etcd), [(Gate::Load, place.clone())]);
        assert_eq!(rig.engine.status().loads_for[0].1, "etcd".into());
        load(&mut rig, place.clone(), Some("sqlite"), LoadLevel::Peak);
        assert_eq!(running(&rig), [sqlite], "what another feels opens nothing");
        load(&mut rig, place.clone(), Some("etcd"), LoadLevel::Calm);
        assert_eq!(running(&rig), [sqlite, etcd], "{place}");
    }
}

#[test]
fn members_of_a_group_are_let_in_by_what_their_technology_feels() {
    let mut rig = Rig::with_slots(4);
    let group = Scope::Group("mixed".into());
    rig.engine.set_limit(rig.now(), &group, Some(4)).unwrap();
    load(&mut rig, group.clone(), None, LoadLevel::Busy);
    load(&mut rig, group.clone(), Some("etcd"), LoadLevel::Busy);
    let etcd = rig.submit(JobSpec::new("a", "etcd").group("mixed"), terms());
    let sqlite = rig.submit(JobSpec::new("b", "sqlite").group("mixed"), terms());
    rig.step();
    load(&mut rig, group.clone(), None, LoadLevel::Calm);
    assert_eq!(running(&rig), [sqlite], "the first in line is not the one that may");
    load(&mut rig, group, Some("etcd"), LoadLevel::Calm);
    assert_eq!(running(&rig), [sqlite, etcd]);
}

#[test]
fn the_worse_of_the_load_for_all_and_its_own_counts() {
    let mut rig = Rig::with_slots(4);
    load(&mut rig, host(), None, LoadLevel::Busy);
    load(&mut rig, host(), Some("etcd"), LoadLevel::Calm);
    let etcd = rig.submit(JobSpec::new("a", "etcd"), terms());
    rig.step();
    assert_eq!(running(&rig), []);
    load(&mut rig, host(), Some("etcd"), LoadLevel::Peak);
    load(&mut rig, host(), None, LoadLevel::Calm);
    assert_eq!(running(&rig), []);
    let reason = rig.engine.explain(etcd).unwrap().closed[0].reason.to_string();
    assert_eq!(reason, "peak load, calm tolerated: told by a test");
    load(&mut rig, host(), Some("etcd"), LoadLevel::Calm);
    assert_eq!(running(&rig), [etcd]);
}

#[test]
fn a_peak_of_its_technology_pauses_who_may_pause_and_is_neither_high_nor_critical() {
    let mut rig = Rig::with_slots(8);
    let of = |rig: &mut Rig, name: &str, technology: &str, terms| {
        rig.submit(JobSpec::new(name, technology), terms)
    };
    let low = of(&mut rig, "low", "etcd", pausable(Priority::Low));
    let normal = of(&mut rig, "normal", "etcd", pausable(Priority::Normal));
    let others = [
        of(&mut rig, "high", "etcd", pausable(Priority::High)),
        of(&mut rig, "critical", "etcd", pausable(Priority::Critical)),
        of(&mut rig, "sqlite", "sqlite", pausable(Priority::Low)),
        of(&mut rig, "unable", "etcd", terms()),
    ];
    rig.step();
    load(&mut rig, host(), Some("etcd"), LoadLevel::Busy);
    assert_eq!(state(&rig, low), JobState::Running, "who runs tolerates a busy foreground");
    load(&mut rig, host(), Some("etcd"), LoadLevel::Peak);
    assert_eq!([low, normal].map(|job| state(&rig, job)), [JobState::Pausing; 2]);
    assert!(others.iter().all(|job| state(&rig, *job) == JobState::Running));
    assert_eq!(rig.engine.explain(low).unwrap().because.as_deref(), Some("told by a test"));
    for attempt in rig.running() {
        rig.engine.paused(rig.now(), attempt);
    }
    rig.step();
    assert_eq!(gates(&rig, low), [(Gate::Load, host())]);
    load(&mut rig, host(), Some("etcd"), LoadLevel::Busy);
    assert_eq!([low, normal].map(|job| state(&rig, job)), [JobState::Resuming; 2]);
}

#[test]
fn who_stands_in_a_peak_goes_on_when_its_slack_is_gone() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(JobSpec::new("a", "etcd"), pausable(Priority::Low));
    rig.step();
    load(&mut rig, host(), Some("etcd"), LoadLevel::Peak);
    assert!(rig.engine.paused(rig.now(), rig.running()[0]));
    let latest = rig.engine.explain(job).unwrap().latest_start;
    rig.run_until(latest);
    assert_eq!(rig.now().wall, latest);
    assert!(rig.outputs.contains(&Output::Resume(rig.running()[0])));
}

/// Peak and calm in turn, a second each; how often the attempt stood.
fn pauses_of_a_flapping_load(rig: &mut Rig, for_secs: u64) -> usize {
    for second in 0..for_secs {
        let level = if second % 2 == 0 { LoadLevel::Peak } else { LoadLevel::Calm };
        load(rig, host(), None, level);
        let attempt = rig.running()[0];
        _ = rig.engine.paused(rig.now(), attempt) || rig.engine.resumed(rig.now(), attempt);
        rig.clock.advance(secs(1));
        rig.step();
    }
    rig.events.iter().filter(|event| matches!(event.kind, EventKind::Paused)).count()
}

#[test]
fn a_load_that_comes_and_goes_does_not_have_an_attempt_stop_and_go_as_often() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(JobSpec::new("a", "etcd"), pausable(Priority::Low));
    rig.step();
    let pauses = pauses_of_a_flapping_load(&mut rig, 3600);
    assert!((4..=14).contains(&pauses), "{pauses} pauses in an hour");
    load(&mut rig, host(), None, LoadLevel::Calm);
    let standing = rig.engine.explain(job).unwrap();
    let closed = &standing.closed[0];
    assert_eq!((standing.state, &closed.gate), (JobState::Paused, &Gate::Load));
    rig.run_until(closed.until.unwrap());
    assert_eq!(state(&rig, job), JobState::Resuming, "nobody else need wake it");
}

#[test]
fn no_pause_outlasts_the_slack_however_often_it_was_paused() {
    let mut rig = Rig::with_slots(1);
    let mut terms = pausable(Priority::Low);
    terms.rpo = secs(3 * 3600);
    let job = rig.submit(JobSpec::new("a", "etcd"), terms);
    rig.step();
    let latest = rig.engine.explain(job).unwrap().latest_start;
    let quarter_hour_before = latest.as_second() - rig.now().wall.as_second() - 15 * 60;
    rig.clock.advance(secs(quarter_hour_before.unsigned_abs()));
    pauses_of_a_flapping_load(&mut rig, 800);
    load(&mut rig, host(), None, LoadLevel::Calm);
    let standing = rig.engine.explain(job).unwrap();
    assert_eq!(standing.state, JobState::Paused);
    assert!(standing.closed[0].until.unwrap() > latest, "{standing}");
    rig.run_until(latest);
    assert_eq!(state(&rig, job), JobState::Resuming);
}

#[test]
fn pauses_far_apart_do_not_add_up() {
    let mut rig = Rig::with_slots(1);
    let job = rig.submit(JobSpec::new("a", "etcd"), pausable(Priority::Low));
    rig.step();
    for _ in 0..5 {
        load(&mut rig, host(), None, LoadLevel::Peak);
        let attempt = rig.running()[0];
        assert!(rig.engine.paused(rig.now(), attempt));
        load(&mut rig, host(), None, LoadLevel::Calm);
        assert_eq!(state(&rig, job), JobState::Resuming);
        assert!(rig.engine.resumed(rig.now(), attempt));
        rig.clock.advance(secs(600));
        rig.step();
    }
}

/// Terms of a job that is kept back by signals of its own.
fn sensitive(to: &str) -> JobTerms {
    let mut terms = terms();
    terms.sensitivity = Some(to.into());
    terms
}

fn load_of(rig: &mut Rig, scope: Scope, sensitivity: &str, level: LoadLevel) {
    let state = LoadState::new(level, Reason::new("told by a test"));
    rig.engine.set_load_of(rig.now(), scope, sensitivity.into(), state);
    rig.step();
}

#[test]
fn only_who_is_sensitive_to_a_signal_waits_for_it() {
    for place in [Scope::Fleet, host(), Scope::Instance("a".into()), Scope::Destination("tape".into())] {
        let mut rig = Rig::with_slots(4);
        load_of(&mut rig, place.clone(), "lag", LoadLevel::Busy);
        let of = |name: &str| JobSpec::new(name, "mysql").destination("tape");
        let lag = rig.submit(of("a"), sensitive("lag"));
        let none = rig.submit(of("b"), terms());
        let other = rig.submit(of("c"), sensitive("fsync"));
        rig.step();
        assert_eq!(running(&rig), [none, other], "{place}");
        assert_eq!(gates(&rig, lag), [(Gate::Load, place.clone())]);
        assert_eq!(rig.engine.status().loads_of[0].1, "lag".into());
        load_of(&mut rig, place.clone(), "fsync", LoadLevel::Calm);
        assert_eq!(running(&rig), [none, other], "what others wait for opens nothing");
        load_of(&mut rig, place.clone(), "lag", LoadLevel::Calm);
        assert_eq!(running(&rig), [none, other, lag], "{place}");
        assert!(rig.engine.status().loads_of.is_empty(), "calm is not remembered");
    }
}

/// Jobs of a technology that differ in what they are sensitive to are of different classes: the first in line keeps
/// nobody behind it back.
#[test]
fn who_waits_for_a_signal_of_its_own_keeps_no_other_of_its_technology_back() {
    let mut rig = Rig::with_slots(2);
    let names: Vec<_> = (0..40).map(|n| format!("db-{n:02}")).collect();
    let jobs: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let terms = sensitive(if n % 2 == 0 { "lag" } else { "fsync" });
            rig.submit(JobSpec::new(name.as_str(), "mysql").host(name.as_str()), terms)
        })
        .collect();
    load_of(&mut rig, Scope::Fleet, "lag", LoadLevel::Busy);
    let mut seen = Vec::new();
    while let Some(attempt) = rig.running().first().copied() {
        seen.push(attempt.job);
        finish(&mut rig, attempt.job, Ok(()));
    }
    let (even, odd): (Vec<_>, Vec<_>) = jobs.iter().enumerate().partition(|(n, _)| n % 2 == 0);
    let odd: Vec<_> = odd.into_iter().map(|(_, job)| *job).collect();
    let even: Vec<_> = even.into_iter().map(|(_, job)| *job).collect();
    seen.sort();
    assert_eq!(seen, odd);
    load_of(&mut rig, Scope::Fleet, "lag", LoadLevel::Calm);
    assert_eq!(running(&rig), even[..2]);
}

#[test]
fn a_sensitivity_without_a_usable_name_is_none() {
    let mut rig = Rig::with_slots(4);
    load_of(&mut rig, Scope::Fleet, "a\nb", LoadLevel::Peak);
    let job = rig.submit(JobSpec::new("a", "mysql"), sensitive("a\nb"));
    rig.step();
    assert_eq!(running(&rig), [job]);
}
