//! A store that fails, is slow, or cannot be used, and what the scheduler makes of it.

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use backup_sched::core::store::{Entry, JobStore, MemoryStore, StoreError};
use backup_sched::core::wall_plus;
use backup_sched::{
    Clock, EventKind, Executor, JobId, JobSpec, JobState, ManualClock, Policies, Priority, RunContext,
    RunError, Scheduler, Scope, StartError, SubmitError,
};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rig::{LONG, wait_for};
use sched_store::EmbeddedStore;

fn unplugged() -> StoreError {
    StoreError::Io { place: "memory".into(), what: "written", error: "unplugged".into() }
}

/// Attempts begin, and end when they are told to.
fn gated() -> (impl Executor + 'static, Receiver<String>, Sender<()>) {
    let (told, begun) = unbounded();
    let (go, gate) = unbounded::<()>();
    let executor = move |ctx: &RunContext| {
        told.send(ctx.spec().instance.to_string()).ok();
        loop {
            ctx.checkpoint()?;
            if gate.recv_timeout(Duration::from_millis(1)).is_ok() {
                return Ok(());
            }
        }
    };
    (executor, begun, go)
}

fn jobs(store: &MemoryStore) -> usize {
    store.entries().iter().filter(|entry| matches!(entry, Entry::Job(_))).count()
}

#[test]
fn what_the_store_does_not_take_is_not_accepted_and_what_runs_goes_on() {
    let store = MemoryStore::new();
    let (executor, begun, go) = gated();
    let scheduler = Scheduler::builder().executor("sqlite", executor).store(store.clone()).start().unwrap();
    let events = scheduler.subscribe(10_000).unwrap();
    let runs = scheduler.schedule_backup("runs", "sqlite", Priority::Normal).unwrap();
    assert_eq!(begun.recv_timeout(LONG).unwrap(), "runs");
    store.fail(Some(unplugged()));
    // The first finds out, the others are told at once.
    for name in ["a", "b"] {
        let refused = scheduler.schedule_backup(name, "sqlite", Priority::Normal).unwrap_err();
        assert_eq!(refused, SubmitError::Store(unplugged()));
    }
    let down = wait_for(&events, |kind| matches!(kind, EventKind::StoreDown { .. }));
    assert!(down.to_string().contains("unplugged"), "{down}");
    // One runs to its end; that is written down later.
    go.send(()).unwrap();
    assert_eq!(runs.wait().state, JobState::Succeeded);
    let status = scheduler.summary().unwrap().store.unwrap();
    assert!(status.error.unwrap().contains("unplugged"));
    assert!(status.backlog > 0 && status.down_for.is_some() && status.failures == 1);
    let metrics = scheduler.metrics().unwrap();
    assert!(metrics.iter().any(|metric| metric.name == "backup_sched_store_up"));
    assert_eq!(jobs(&store), 1, "the end of the job is not written yet");
    store.fail(None);
    wait_for(&events, |kind| matches!(kind, EventKind::StoreBack { .. }));
    let after = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    assert_eq!(begun.recv_timeout(LONG).unwrap(), "a", "the refused ones never start");
    go.send(()).unwrap();
    assert_eq!(after.wait().state, JobState::Succeeded);
    while scheduler.summary().unwrap().store.unwrap().backlog > 0 {
        std::thread::yield_now();
    }
    assert_eq!(jobs(&store), 0);
    assert!(begun.is_empty());
}

/// A store that takes a group when it is told to.
struct Slow {
    inner: MemoryStore,
    go: Receiver<()>,
}

impl JobStore for Slow {
    fn place(&self) -> String {
        "a slow one".into()
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.inner.open()
    }

    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError> {
        self.inner.load(take)
    }

    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError> {
        // Whoever drops the other end lets everything through.
        let _ = self.go.recv();
        self.inner.commit(group)
    }
}

#[test]
fn a_slow_store_holds_nobody_up_but_those_who_ask_for_durability() {
    let (let_go, go) = bounded(0);
    let store = MemoryStore::new();
    let slow = Slow { inner: store.clone(), go };
    let (executor, begun, _end) = gated();
    let scheduler = Scheduler::builder().executor("sqlite", executor).store(slow).start().unwrap();
    let specs = |range: std::ops::Range<u32>| range.map(|n| JobSpec::new(format!("db-{n}"), "sqlite"));
    let first: Vec<_> = scheduler.submit_unconfirmed(specs(0..1)).into_iter().map(Result::unwrap).collect();
    let rest: Vec<_> = scheduler.submit_unconfirmed(specs(1..50)).into_iter().map(Result::unwrap).collect();
    let waits = scheduler.clone();
    let submitted =
        std::thread::spawn(move || waits.submit(JobSpec::new("last", "sqlite")).map(|job| job.id()));
    // All are known, nothing is durable, nobody starts.
    while scheduler.summary().unwrap().engine.waiting < 49 {
        std::thread::yield_now();
    }
    assert!(scheduler.summary().unwrap().store.unwrap().backlog >= 49);
    assert!(begun.is_empty() && !submitted.is_finished());
    let_go.send(()).unwrap();
    first[0].confirm().unwrap();
    drop(let_go);
    rest.iter().for_each(|job| job.confirm().unwrap());
    submitted.join().unwrap().unwrap();
    begun.recv_timeout(LONG).unwrap();
    let groups = store.groups();
    assert!(groups < 15, "{groups} groups for 51 jobs");
}

#[test]
fn a_store_that_is_ten_times_slower_changes_no_limit_and_is_seen() {
    let (let_go, go) = bounded(0);
    let slow = Slow { inner: MemoryStore::new(), go };
    let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, highest) = (at_once.clone(), most.clone());
    let executor = move |_: &RunContext| {
        highest.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::yield_now();
        running.fetch_sub(1, SeqCst);
        Ok(())
    };
    let builder = Scheduler::builder().executor("sqlite", executor).max_running(2);
    let scheduler = builder.store(slow).start().unwrap();
    let specs = (0..20).map(|n| JobSpec::new(format!("db-{n}"), "sqlite"));
    let jobs: Vec<_> = scheduler.submit_unconfirmed(specs).into_iter().map(Result::unwrap).collect();
    let seen = || scheduler.summary().unwrap().store.unwrap();
    // Nothing is durable, and that is seen for as long as it lasts.
    let before = loop {
        if let Some(since) = seen().waits_for {
            break since;
        }
    };
    while seen().waits_for.unwrap() <= before || seen().backlog == 0 {
        std::thread::yield_now();
    }
    let metrics = scheduler.metrics().unwrap();
    let backlog = metrics.iter().find(|metric| metric.name == "backup_sched_store_backlog").unwrap();
    assert!(!format!("{backlog:?}").contains("Number(0.0)"), "{backlog:?}");
    assert_eq!(most.load(SeqCst), 0, "nobody has started");
    // A group at a time.
    let mut groups = 0;
    while jobs.iter().any(|job| job.ended().is_none()) {
        groups += u32::from(let_go.send_timeout((), Duration::from_millis(1)).is_ok());
        assert!(scheduler.status().unwrap().running.len() <= 2);
    }
    assert!(groups >= 10, "two start when they are durable, and no more: {groups} groups");
    assert!((1..=2).contains(&most.load(SeqCst)));
    drop(let_go);
    while seen().backlog > 0 {
        std::thread::yield_now();
    }
    assert_eq!(scheduler.summary().unwrap().engine.ended[&JobState::Succeeded], 20);
}

#[test]
fn a_ticket_says_when_a_job_was_not_made_durable_and_the_job_never_starts() {
    let (let_go, go) = bounded(0);
    let store = MemoryStore::new();
    let slow = Slow { inner: store.clone(), go };
    let (executor, begun, _end) = gated();
    let scheduler = Scheduler::builder().executor("sqlite", executor).store(slow).start().unwrap();
    let ticket = scheduler.submit_unconfirmed([JobSpec::new("a", "sqlite")]).remove(0).unwrap();
    store.fail(Some(unplugged()));
    drop(let_go);
    assert_eq!(ticket.confirm(), Err(SubmitError::Store(unplugged())));
    // It had its turn already: that start is never let out.
    assert_eq!(ticket.wait().state, JobState::Cancelled);
    assert!(begun.is_empty());
    store.fail(None);
}

#[test]
fn a_store_that_cannot_be_used_is_told_at_the_start() {
    let store = MemoryStore::new();
    store.fail(Some(unplugged()));
    let refused = Scheduler::builder().store(store).start().unwrap_err();
    assert!(matches!(refused, StartError::Store(error) if error == unplugged()));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let first = Scheduler::builder().store(EmbeddedStore::at(&path)).start().unwrap();
    let refused = Scheduler::builder().store(EmbeddedStore::at(&path)).start().unwrap_err();
    assert!(matches!(refused, StartError::Store(StoreError::Locked { .. })), "{refused}");
    first.shutdown(Duration::ZERO);
    // A shutdown has closed it.
    Scheduler::builder().store(EmbeddedStore::at(&path)).start().unwrap();
}

/// Writes down what it is asked for, and fails to clean up at first.
struct Tidy(Sender<(&'static str, u32)>);

impl Executor for Tidy {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.0.send(("run", ctx.attempt())).ok();
        if ctx.attempt() > 1 {
            return Ok(());
        }
        loop {
            ctx.checkpoint()?;
            std::thread::yield_now();
        }
    }

    fn clean_up(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.0.send(("clean up", ctx.attempt())).ok();
        if ctx.attempt() == 2 { Err(RunError::Retryable("it is still mounted".into())) } else { Ok(()) }
    }
}

#[test]
fn what_a_cut_off_attempt_left_is_removed_before_the_next() {
    let policies = "[technologies.sqlite]\nretry_attempts = 2\nretry_base = '1ms'\nretry_cap = '1ms'\n";
    let policies = || Policies::builtin().with_toml("policy.toml", policies).unwrap();
    let store = MemoryStore::new();
    let (told, asked) = unbounded();
    let build = |store: &MemoryStore| {
        Scheduler::builder()
            .policies(policies())
            .executor("sqlite", Tidy(told.clone()))
            .store(store.clone())
            .start()
            .unwrap()
    };
    let first = build(&store);
    first.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    let next = || asked.recv_timeout(LONG).unwrap();
    assert_eq!(next(), ("run", 1));
    let left = store.snapshot();
    let second = build(&left);
    // That it was cut off spends no retry; that cleaning up failed does, and the second of two attempts is left.
    assert_eq!((next(), next(), next()), (("clean up", 2), ("clean up", 3), ("run", 3)));
    while second.summary().unwrap().engine.ended.get(&JobState::Succeeded) != Some(&1) {
        std::thread::yield_now();
    }
    first.shutdown(Duration::ZERO);
}

#[test]
fn what_was_learned_of_the_load_goes_on() {
    let clock = ManualClock::default();
    let store = MemoryStore::new();
    let scope = Scope::Host("h1".into());
    let scheduler = Scheduler::builder().clock(clock.clone()).store(store.clone()).start().unwrap();
    let begin = clock.now().wall;
    clock.advance(Duration::from_secs(9 * 86_400));
    let hourly = |n: u64| (wall_plus(begin, Duration::from_secs(n * 3_600)), (n % 24) as f64);
    scheduler.learn(scope.clone(), (0..9 * 24).map(hourly)).unwrap();
    let learned = scheduler.learned_week(scope.clone()).unwrap().unwrap();
    assert!(learned.days() >= 8);
    scheduler.shutdown(Duration::ZERO);
    let next = Scheduler::builder().clock(clock.clone()).store(store.clone()).start().unwrap();
    assert_eq!(next.learned_week(scope.clone()).unwrap(), Some(learned));
    // And once an hour without a shutdown.
    next.learn(scope.clone(), [(clock.now().wall, 50.0)]).unwrap();
    let newest = next.learned_week(scope.clone()).unwrap();
    let groups = store.groups();
    clock.advance(Duration::from_secs(3_700));
    while store.groups() == groups {
        std::thread::yield_now();
    }
    let third = Scheduler::builder().clock(clock).store(store.snapshot()).start().unwrap();
    assert_eq!(third.learned_week(scope).unwrap(), newest);
}

#[test]
fn a_wall_that_jumps_across_a_restart_makes_nothing_twice_and_no_storm() {
    let file = "[instances.a]\ntechnology = 'sqlite'\nschedule = '0 * * * *'\n";
    let policies = || Policies::builtin().with_toml("policy.toml", file).unwrap();
    let build = |clock: &ManualClock, store: &MemoryStore| {
        let quick = |_: &RunContext| Ok(());
        let builder = Scheduler::builder().policies(policies()).executor("sqlite", quick);
        builder.clock(clock.clone()).store(store.clone()).start().unwrap()
    };
    let made = |scheduler: &Scheduler| {
        let ended = scheduler.summary().unwrap().engine.ended;
        ended.get(&JobState::Succeeded).copied().unwrap_or_default()
    };
    let settle = |scheduler: &Scheduler, wanted: u64| {
        while made(scheduler) < wanted || scheduler.summary().unwrap().store.unwrap().backlog > 0 {
            std::thread::yield_now();
        }
    };
    let clock = ManualClock::default();
    let store = MemoryStore::new();
    let first = build(&clock, &store);
    clock.advance(Duration::from_secs(3_700));
    settle(&first, 1);
    let left = store.snapshot();
    // Three years ahead: one backup for all that was missed.
    let ahead = ManualClock::new(clock.now().plus(Duration::from_secs(3 * 365 * 86_400)).wall);
    let second = build(&ahead, &left);
    settle(&second, 1);
    ahead.advance(Duration::from_secs(60));
    assert_eq!((made(&second), second.summary().unwrap().engine.waiting), (1, 0));
    // And back again: the slots until now are done with, and the next comes within its hour.
    let back = ManualClock::new(clock.now().wall);
    let third = build(&back, &left.snapshot());
    assert_eq!(made(&third), 0);
    let due = third.next_runs_of("a").unwrap()[0].due.unwrap();
    assert!(due <= back.now().plus(Duration::from_secs(3_600)).wall, "{due}");
    back.advance(Duration::from_secs(3_600));
    settle(&third, 1);
}

/// A store that tells what it is given, group by group.
#[derive(Debug)]
struct Told(MemoryStore, Sender<Vec<Entry>>);

impl JobStore for Told {
    fn place(&self) -> String {
        self.0.place()
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.0.open()
    }

    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError> {
        self.0.load(take)
    }

    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError> {
        self.1.send(group.to_vec()).ok();
        self.0.commit(group)
    }
}

/// Between two groups a process may be killed: its successor would make the slot again, or never.
#[test]
fn a_slot_counts_as_dealt_with_in_the_group_that_has_its_job() {
    let policies = "[instances.a]\ntechnology = 'sqlite'\nschedule = '30m'\njitter = '0s'\n";
    let policies = Policies::builtin().with_toml("policy.toml", policies).unwrap();
    let clock = ManualClock::default();
    let (told, groups) = unbounded();
    let at_once = |_: &RunContext| -> Result<(), RunError> { Ok(()) };
    let builder = Scheduler::builder().policies(policies).clock(clock.clone()).executor("sqlite", at_once);
    let scheduler = builder.store(Told(MemoryStore::new(), told)).start().unwrap();
    let events = scheduler.subscribe(10_000).unwrap();
    for _ in 0..50 {
        clock.advance(Duration::from_secs(1_800));
        wait_for(&events, |kind| matches!(kind, EventKind::Succeeded { .. }));
    }
    scheduler.shutdown(LONG);
    let (mut made, mut jobs) = (0, std::collections::BTreeSet::new());
    for group in groups {
        for entry in &group {
            let Entry::Job(job) = entry else { continue };
            let id = job.record.id;
            let deals_with = |other: &Entry| matches!(other, Entry::Schedule(kept) if kept.job == Some(id));
            if jobs.insert(id) {
                assert!(group.iter().any(deals_with), "{group:#?}");
                made += 1;
            }
        }
    }
    assert_eq!(made, 50);
}
