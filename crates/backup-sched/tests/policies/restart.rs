//! A scheduler that goes on with what another one left in a store: nothing is lost, done twice, or begun anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backup_sched::core::store::{Entry, MemoryStore};
use backup_sched::{
    BackupKind, Clock, Event, EventKind, JobSpec, JobState, Order, Priority, SchedulerBuilder, Scope,
};
use jiff::Timestamp;

use crate::rig::{Fleet, HOUR, fleet_at, fleet_with};

const MINUTE: Duration = Duration::from_secs(60);
const NIGHTLY: &str = "[instances.a]\ntechnology = 'generic'\nschedule = '0 2 * * *'\n";
const BY_RPO: &str = "[instances.a]\ntechnology = 'generic'\nrpo = '24h'\nschedule = 'rpo'\n";

fn with(store: &MemoryStore) -> impl FnOnce(SchedulerBuilder) -> SchedulerBuilder {
    let store = store.clone();
    move |builder| builder.store(store)
}

impl Fleet {
    /// What a crash now would leave. Whatever was asked for before is durable then.
    fn durable(&self, store: &MemoryStore) -> MemoryStore {
        loop {
            let status = self.scheduler.summary().unwrap().store.unwrap();
            if status.backlog == 0 {
                return store.snapshot();
            }
            std::thread::yield_now();
        }
    }

    /// The next scheduler, after a crash that lasted so long.
    fn crashed(&self, store: &MemoryStore, file: &str, after: Duration) -> (Self, MemoryStore) {
        let left = self.durable(store);
        let start = self.clock.now().plus(after).wall;
        (fleet_at(start, file, with(&left)), left)
    }
}

impl Fleet {
    /// What was told since the start, also before anybody listened.
    fn told(&self, what: impl Fn(&EventKind) -> bool) -> Arc<Event> {
        loop {
            let page = self.scheduler.events_since(0, 4096).unwrap();
            if let Some(event) = page.events.iter().find(|event| what(&event.kind)) {
                return event.clone();
            }
            std::thread::yield_now();
        }
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn jobs_that_wait_and_run_go_on_under_their_numbers() {
    let store = MemoryStore::new();
    let fleet = fleet_with("", with(&store));
    let runs = fleet.start("runs");
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    let waits = fleet.submit(JobSpec::new("waits", "generic").priority(Priority::High).size_bytes(5));
    let (next, left) = fleet.crashed(&store, "", MINUTE);
    let read = next.told(|kind| matches!(kind, EventKind::StoreRead { .. }));
    let EventKind::StoreRead { jobs, interrupted, left: without, .. } = &read.kind else { unreachable!() };
    assert_eq!((*jobs, *interrupted, *without), (2, 1, 0));
    let explained = next.scheduler.explain(waits.id()).unwrap();
    assert_eq!(explained.closed[0].gate, backup_sched::Gate::Hold, "{explained}");
    assert!(next.scheduler.release(Scope::Fleet).unwrap());
    let mut again = BTreeMap::new();
    for _ in 0..2 {
        let run = next.begun();
        again.insert(run.instance.clone(), run.number);
        run.end();
    }
    assert_eq!(runs.number, 1);
    assert_eq!(again, BTreeMap::from([("runs".into(), 2), ("waits".into(), 1)]));
    next.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    next.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    let (third, _) = next.crashed(&left, "", MINUTE);
    assert_eq!(third.scheduler.summary().unwrap().engine.waiting, 0);
    // Numbers are not given again, though no job is left.
    assert!(third.ask("more").id() > waits.id());
}

#[test]
fn a_shutdown_keeps_what_waits_and_what_was_stopped() {
    let store = MemoryStore::new();
    let fleet = fleet_with("", with(&store));
    let run = fleet.start("runs");
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    let (waits, cancelled) = (fleet.ask("waits"), fleet.ask("cancelled"));
    cancelled.cancel().unwrap();
    let report = fleet.scheduler.shutdown(Duration::ZERO).unwrap();
    assert_eq!((report.kept, report.finished, report.store_behind), (2, 0, false));
    let told = waits.ended().unwrap();
    assert_eq!(told.state, JobState::Cancelled);
    assert!(told.error.unwrap().contains("the next one goes on"));
    drop(run);
    let next = fleet_with("", with(&store));
    next.scheduler.release(Scope::Fleet).unwrap();
    let mut again: Vec<_> =
        (0..2).map(|_| next.begun()).map(|run| (run.instance.clone(), run.number)).collect();
    again.sort();
    assert_eq!(again, [("runs".to_owned(), 2), ("waits".to_owned(), 1)]);
}

#[test]
fn who_waits_for_a_permit_or_holds_one_is_not_kept() {
    let store = MemoryStore::new();
    let fleet = fleet_with("", with(&store));
    let held = fleet.scheduler.acquire(JobSpec::new("holds", "generic")).unwrap();
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    fleet.ask("waits");
    let tool = fleet.scheduler.clone();
    let asks = std::thread::spawn(move || tool.acquire(JobSpec::new("tool", "generic")).map(drop));
    while fleet.scheduler.summary().unwrap().engine.waiting < 2 {
        std::thread::yield_now();
    }
    let scheduler = fleet.scheduler.clone();
    let shutdown = std::thread::spawn(move || scheduler.shutdown(Duration::ZERO).unwrap());
    asks.join().unwrap().unwrap_err();
    while held.checkpoint().is_ok() {
        std::thread::yield_now();
    }
    drop(held);
    let report = shutdown.join().unwrap();
    assert_eq!((report.kept, report.cancelled, report.finished), (1, 3, 0));
    assert_eq!(fleet_with("", with(&store)).scheduler.summary().unwrap().engine.waiting, 1);
}

#[test]
fn retries_and_back_offs_go_on_where_they_were() {
    let file = "[technologies.generic]\nretry_attempts = 3\nretry_base = '10m'\nretry_cap = '1h'\n";
    let store = MemoryStore::new();
    let fleet = fleet_with(file, with(&store));
    let run = fleet.start("a");
    run.fail();
    let failed = fleet.wait_for(|kind| matches!(kind, EventKind::Retried { .. }));
    let EventKind::Retried { not_before, .. } = failed.kind else { unreachable!() };
    let job = failed.job.as_ref().unwrap().id;
    let (next, _left) = fleet.crashed(&store, file, Duration::from_secs(1));
    let status = next.scheduler.explain(job).unwrap();
    assert!(status.closed.iter().any(|closed| closed.gate == backup_sched::Gate::Time), "{status}");
    next.clock.advance(backup_sched::core::wall_until(next.clock.now().wall, not_before));
    let second = next.begun();
    assert_eq!(second.number, 2);
    second.fail();
    next.wait_for(|kind| matches!(kind, EventKind::Retried { .. }));
    next.clock.advance(2 * HOUR);
    let third = next.begun();
    third.fail();
    // Not a fourth: the first failure counts.
    next.wait_for(|kind| matches!(kind, EventKind::Failed { .. }));
}

#[test]
fn a_slot_that_was_asked_for_is_not_asked_for_again_and_one_that_was_missed_is() {
    let store = MemoryStore::new();
    let fleet = fleet_with(NIGHTLY, with(&store));
    fleet.clock.advance(3 * HOUR);
    let run = fleet.begun();
    run.end();
    fleet.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    let (next, left) = fleet.crashed(&store, NIGHTLY, MINUTE);
    let due = next.scheduler.next_runs_of("a").unwrap();
    assert_eq!(due[0].due, Some(at("2026-01-06T02:00:00Z")));
    assert_eq!(due[0].recovery_point, Some(at("2026-01-05T03:00:00Z")));
    // Three days without anybody: one backup makes up for all.
    let (late, _left) = next.crashed(&left, NIGHTLY, 72 * HOUR);
    let asked = late.told(|kind| matches!(kind, EventKind::DueSubmitted { .. }));
    let EventKind::DueSubmitted { reason, due, .. } = &asked.kind else { unreachable!() };
    assert_eq!(*due, at("2026-01-08T02:00:00Z"));
    assert!(reason.to_string().contains("2 before it were not made"), "{reason}");
}

#[test]
fn a_backup_that_was_due_and_runs_is_still_the_schedules_own() {
    let store = MemoryStore::new();
    let fleet = fleet_with(NIGHTLY, with(&store));
    fleet.clock.advance(3 * HOUR);
    let run = fleet.begun();
    let (next, _left) = fleet.crashed(&store, NIGHTLY, MINUTE);
    drop(run);
    let again = next.begun();
    assert_eq!((again.instance.as_str(), again.number), ("a", 2));
    let due = next.scheduler.next_runs_of("a").unwrap();
    assert_eq!((due[0].due, due[0].job.is_some()), (None, true), "{due:?}");
    again.end();
    next.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    let due = next.scheduler.next_runs_of("a").unwrap();
    assert_eq!(due[0].due, Some(at("2026-01-06T02:00:00Z")));
}

#[test]
fn by_the_recovery_point_nothing_is_made_twice_and_a_failure_is_not_forgotten() {
    let store = MemoryStore::new();
    let fleet = fleet_with(BY_RPO, with(&store));
    let run = fleet.begun();
    run.end();
    fleet.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    let (next, left) = fleet.crashed(&store, BY_RPO, MINUTE);
    let first = next.scheduler.next_runs_of("a").unwrap()[0].due.unwrap();
    assert!(first >= at("2026-01-05T12:00:00Z"), "{first}");
    next.clock.advance(30 * HOUR);
    let run = next.begun();
    run.go_wrong_for_good();
    next.wait_for(|kind| matches!(kind, EventKind::Failed { .. }));
    let (third, _left) = next.crashed(&left, BY_RPO, MINUTE);
    let due = third.scheduler.next_runs_of("a").unwrap()[0].due.unwrap();
    assert_eq!(due, at("2026-01-06T09:01:00Z"), "an eighth of the objective after the failure");
}

#[test]
fn jobs_without_an_executor_stay_and_pull_jobs_end() {
    let store = MemoryStore::new();
    let fleet = fleet_with("", |builder| {
        let quick = |_: &backup_sched::RunContext| Ok(());
        builder.executor("sqlite", quick).store(store.clone())
    });
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    fleet.submit(JobSpec::new("kept", "sqlite"));
    let waiting = fleet.scheduler.clone();
    let pull = std::thread::spawn(move || waiting.acquire(JobSpec::new("pulled", "generic")).map(drop));
    while fleet.scheduler.summary().unwrap().engine.waiting < 2 {
        std::thread::yield_now();
    }
    let (next, left) = fleet.crashed(&store, "", MINUTE);
    assert_eq!(next.scheduler.summary().unwrap().engine.waiting, 0);
    next.durable(&left);
    let jobs = |store: &MemoryStore| {
        let name = |entry| match entry {
            Entry::Job(job) => Some(job.record.spec.instance.to_string()),
            _ => None,
        };
        store.entries().into_iter().filter_map(name).collect::<Vec<_>>()
    };
    assert_eq!(jobs(&left), ["kept"]);
    drop(fleet.scheduler.shutdown(Duration::ZERO));
    assert!(pull.join().unwrap().is_err());
}

#[test]
fn orders_last_until_they_expire_and_are_remembered() {
    let store = MemoryStore::new();
    let fleet = fleet_with("", with(&store));
    let until = |minutes: u32| fleet.clock.now().plus(minutes * MINUTE).wall;
    let order = Order::new("ana", "moving the rack").until(until(10));
    fleet.scheduler.drain(Scope::Fleet, order.clone()).unwrap();
    let ceiling = Order::new("ben", "the link is slow");
    fleet.scheduler.set_ceiling(Scope::Fleet, Some((5_000, ceiling.clone()))).unwrap();
    let job = fleet.ask("a");
    let (next, left) = fleet.crashed(&store, "", 5 * MINUTE);
    let explained = next.scheduler.explain(job.id()).unwrap();
    assert!(explained.to_string().contains("moving the rack"), "{explained}");
    let audit = next.scheduler.audit(10).unwrap();
    let told: Vec<_> = audit.iter().map(|entry| (entry.what.as_str(), entry.order.clone())).collect();
    assert_eq!(told, [("ceiling of 5000 bytes/s", Some(ceiling)), ("hold", Some(order))]);
    next.clock.advance(6 * MINUTE);
    assert_eq!(next.begun().instance, "a");
    let audit = next.scheduler.audit(1).unwrap();
    assert_eq!((audit[0].what.as_str(), audit[0].number), ("release", 3));
    let rates = next.scheduler.status().unwrap().rates;
    assert!(
        rates.iter().any(|rate| rate.ordered == Some(backup_sched::Rate::BytesPerSec(5_000))),
        "{rates:?}"
    );
    let (third, _left) = next.crashed(&left, "", MINUTE);
    assert_eq!(third.scheduler.audit(10).unwrap().len(), 3);
}

#[test]
fn other_policies_count_for_jobs_that_another_scheduler_accepted() {
    let store = MemoryStore::new();
    let fleet = fleet_with("[instances.a]\ntechnology = 'generic'\nrpo = '24h'\n", with(&store));
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    fleet.ask("a");
    let other = "[instances.a]\ntechnology = 'generic'\nrpo = '6h'\npriority = 'high'\n";
    let (next, _left) = fleet.crashed(&store, other, MINUTE);
    next.scheduler.release(Scope::Fleet).unwrap();
    let run = next.begun();
    assert_eq!((run.terms.rpo, run.spec.priority), (6 * HOUR, Some(Priority::High)));
    assert_eq!(run.spec.kind, BackupKind::Full);
}

#[test]
fn by_the_recovery_point_a_wall_that_was_ahead_puts_nothing_off() {
    let store = MemoryStore::new();
    let fleet = fleet_with(BY_RPO, with(&store));
    let run = fleet.begun();
    run.end();
    fleet.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    let left = fleet.durable(&store);
    // It was a year ahead, and is right again.
    let now = fleet.clock.now().wall - 365 * 24 * HOUR;
    let next = fleet_at(now, BY_RPO, with(&left));
    let due = next.scheduler.next_runs_of("a").unwrap()[0].due.unwrap();
    assert!(due <= now + 24 * HOUR, "{due}");
    next.clock.advance(24 * HOUR);
    next.begun().end();
}

#[test]
fn a_job_goes_on_though_what_it_was_accepted_under_is_gone() {
    let file = "[calendars.night]\nwindows = ['23:00-23:30']\n[fleet]\nresources = { tapes = 3 }\n\
                [instances.a]\ntechnology = 'generic'\nwindow = 'night'\ndemand = { slots = 1, tapes = 2 }\n\
                max_per_host = 1\n";
    let store = MemoryStore::new();
    let fleet = fleet_with(file, with(&store));
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    let job = fleet.ask("a");
    let left = fleet.durable(&store);
    // Calendar and resource are gone, and the instance is of another technology: its terms cannot be found anew.
    let other = "[instances.a]\ntechnology = 'sqlite'\n";
    let next = fleet_at(fleet.clock.now().wall, other, with(&left));
    next.scheduler.release(Scope::Fleet).unwrap();
    let explained = next.scheduler.explain(job.id()).unwrap();
    assert!(!explained.state.is_final(), "{explained}");
    let run = next.begun();
    assert_eq!((run.instance.as_str(), run.number), ("a", 1));
    run.end();
    next.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
}

#[test]
fn a_job_that_had_stayed_stays_on_while_its_instance_is_of_another_technology() {
    let store = MemoryStore::new();
    let both = |store: &MemoryStore| {
        let store = store.clone();
        move |builder: SchedulerBuilder| {
            let quick = |_: &backup_sched::RunContext| Ok(());
            builder.executor("sqlite", quick).store(store)
        }
    };
    let hold = |fleet: &Fleet| fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    let fleet = fleet_with("", both(&store));
    hold(&fleet);
    let old = fleet.submit(JobSpec::new("a", "sqlite"));
    let left = fleet.durable(&store);
    // Nobody makes backups of SQLite here, and the instance is of another technology by now.
    let second = fleet_at(fleet.clock.now().wall, "", with(&left));
    let new = second.ask("a");
    assert!(new.id() > old.id());
    let left = second.durable(&left);
    let third = fleet_at(fleet.clock.now().wall, "", both(&left));
    let read = third.told(|kind| matches!(kind, EventKind::StoreRead { .. }));
    assert!(matches!(read.kind, EventKind::StoreRead { jobs: 1, left: 1, .. }), "{}", read.kind);
    third.scheduler.release(Scope::Fleet).unwrap();
    let run = third.begun();
    assert_eq!((run.instance.as_str(), run.spec.technology.as_str()), ("a", "generic"));
    run.end();
    third.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    // With the newer one done, its turn has come.
    let left = third.durable(&left);
    let fourth = fleet_at(fleet.clock.now().wall, "", both(&left));
    let job = fourth.told(|kind| matches!(kind, EventKind::Succeeded { .. })).job.clone().unwrap();
    assert_eq!((job.id, job.technology.as_str()), (old.id(), "sqlite"));
}

/// What a client asks for whose answer was cut off by the crash.
fn again() -> JobSpec {
    let spec =
        JobSpec::new("waits", "generic").host("h").size_bytes(123_456_789).max_bytes_per_sec(7_777_777);
    spec.priority(Priority::High).rpo(Duration::from_millis(5_400_001)).expected_duration(MINUTE / 7)
}

#[test]
fn what_is_asked_for_again_after_a_crash_joins_the_job_that_is_there() {
    let store = MemoryStore::new();
    let fleet = fleet_with("", with(&store));
    fleet.start("runs");
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    let waits = fleet.submit(again());
    let runs = fleet.scheduler.status().unwrap().running[0].status.job.id;
    assert_eq!(fleet.submit(again()).id(), waits.id(), "as before it");
    let (next, _) = fleet.crashed(&store, "", MINUTE);
    let joined = next.submit(again());
    assert_eq!(joined.id(), waits.id());
    assert_eq!(next.ask("runs").id(), runs, "its attempt was cut off, and it waits for another one");
    let summary = next.scheduler.summary().unwrap();
    assert_eq!((summary.engine.waiting, summary.engine.active.len()), (2, 0), "each is there once");
    // Another request of the same is no repetition.
    let refused = next.scheduler.submit(again().host("other")).unwrap_err();
    let backup_sched::SubmitError::Refused(refused) = refused else { panic!("{refused}") };
    assert!(
        matches!(&refused, backup_sched::core::SubmitError::Conflict { job, field: "host", .. } if *job == waits.id()),
        "{refused}"
    );
    next.scheduler.release(Scope::Fleet).unwrap();
    let both: Vec<_> = (0..2).map(|_| next.begun()).collect();
    both.iter().for_each(|run| run.end());
    assert_eq!(joined.wait().state, JobState::Succeeded);
}

/// In a file a job is written as text: nothing of a request is another one when it is read.
#[test]
fn what_is_asked_for_again_joins_the_job_that_a_file_has_kept() {
    let directory = tempfile::tempdir().unwrap();
    let stored = || {
        let store = sched_store::EmbeddedStore::at(directory.path().join("store.redb"));
        move |builder: SchedulerBuilder| builder.store(store)
    };
    let fleet = fleet_with("", stored());
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    let waits = fleet.submit(again()).id();
    fleet.scheduler.shutdown(Duration::ZERO).unwrap();
    let next = fleet_with("", stored());
    assert_eq!(next.submit(again()).id(), waits);
    assert_eq!(next.scheduler.summary().unwrap().engine.waiting, 1);
    let other = next.scheduler.submit(again().host("other")).unwrap_err();
    assert!(matches!(other, backup_sched::SubmitError::Refused(_)), "{other}");
}

#[test]
fn more_than_there_is_room_for_is_taken_over_and_nothing_beside_it_accepted() {
    let store = MemoryStore::new();
    let fleet = fleet_with("", with(&store));
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    let all: Vec<_> = (0..5).map(|n| fleet.ask(&format!("db-{n}")).id()).collect();
    let left = fleet.durable(&store);
    let next = fleet_with("", |builder| with(&left)(builder.engine(|engine| engine.max_pending = 3)));
    assert_eq!(next.scheduler.summary().unwrap().engine.waiting, 5);
    assert!(all.iter().all(|job| next.scheduler.explain(*job).is_ok()));
    let full = next.scheduler.submit(JobSpec::new("more", "generic")).unwrap_err();
    assert!(full.to_string().contains("full"), "{full}");
}
