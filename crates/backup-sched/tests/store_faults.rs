//! Stores that fail in unusual ways: they open and take nothing, they panic, they never return.

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use backup_sched::core::store::{Entry, JobStore, MemoryStore, StoreError};
use backup_sched::{
    Clock, EventKind, JobId, JobSpec, JobState, ManualClock, Order, Policies, Priority, RunContext,
    Scheduler, Scope, SubmitError, SystemClock,
};
use parking_lot::Mutex;
use rig::{LONG, wait_for};

fn full() -> StoreError {
    StoreError::Full { place: "memory".into(), error: "no space left".into() }
}

/// What a commit does.
#[derive(Default)]
struct Faults {
    /// There is no room, though it can be opened: a full disk.
    is_full: AtomicBool,
    /// So many panics are left.
    panics: AtomicU32,
    opened: AtomicU32,
    /// Held while nothing returns.
    stuck: Mutex<()>,
}

struct Faulty {
    inner: MemoryStore,
    faults: Arc<Faults>,
}

impl JobStore for Faulty {
    fn place(&self) -> String {
        "memory".into()
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.faults.opened.fetch_add(1, Ordering::SeqCst);
        self.inner.open()
    }

    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError> {
        self.inner.load(take)
    }

    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError> {
        drop(self.faults.stuck.lock());
        let left = |left: u32| left.checked_sub(1);
        if self.faults.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            panic!("a store of somebody else's");
        }
        if self.faults.is_full.load(Ordering::SeqCst) {
            return Err(full());
        }
        self.inner.commit(group)
    }
}

fn scheduler(store: &MemoryStore) -> (Scheduler, Arc<Faults>) {
    let faults = Arc::<Faults>::default();
    let faulty = Faulty { inner: store.clone(), faults: Arc::clone(&faults) };
    let quick = |_: &RunContext| Ok(());
    (Scheduler::builder().executor("sqlite", quick).store(faulty).start().unwrap(), faults)
}

#[test]
fn a_store_that_opens_and_takes_nothing_is_down_until_it_takes_something() {
    let store = MemoryStore::new();
    let (scheduler, faults) = scheduler(&store);
    let events = scheduler.subscribe(10_000).unwrap();
    faults.is_full.store(true, Ordering::SeqCst);
    scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap_err();
    // The first, and four that each waits twice as long.
    while faults.opened.load(Ordering::SeqCst) < 6 {
        std::thread::yield_now();
    }
    let error = scheduler.summary().unwrap().store.unwrap().error.unwrap();
    assert!(error.contains("no space left"), "{error}");
    assert_eq!(scheduler.summary().unwrap().store.unwrap().failures, 1, "one outage");
    let flaps = events.try_iter().filter(|event| matches!(event.kind, EventKind::StoreBack { .. })).count();
    assert_eq!(flaps, 0, "it never came back");
    faults.is_full.store(false, Ordering::SeqCst);
    wait_for(&events, |kind| matches!(kind, EventKind::StoreBack { .. }));
    let job = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    assert_eq!(job.wait().state, JobState::Succeeded);
}

#[test]
fn a_shutdown_gives_a_store_that_opens_and_takes_nothing_one_more_try() {
    let store = MemoryStore::new();
    let (scheduler, faults) = scheduler(&store);
    faults.is_full.store(true, Ordering::SeqCst);
    scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap_err();
    let begun = SystemClock.now().mono;
    let report = scheduler.shutdown(Duration::ZERO).unwrap();
    assert!(report.store_behind);
    assert!(SystemClock.now().mono.since(begun) < Duration::from_secs(8), "it was tried for ever");
    assert_eq!(Arc::strong_count(&faults), 1, "it is closed");
}

#[test]
fn a_store_that_panics_is_one_that_failed() {
    let store = MemoryStore::new();
    let (scheduler, faults) = scheduler(&store);
    let events = scheduler.subscribe(10_000).unwrap();
    faults.panics.store(1, Ordering::SeqCst);
    let ticket = scheduler.submit_unconfirmed([JobSpec::new("a", "sqlite")]).remove(0).unwrap();
    assert_eq!(ticket.wait_timeout(LONG).expect("somebody tells").state, JobState::Cancelled);
    assert!(ticket.confirm().unwrap_err().to_string().contains("a store of somebody else's"));
    wait_for(&events, |kind| matches!(kind, EventKind::StoreBack { .. }));
    let job = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    assert_eq!(job.wait().state, JobState::Succeeded);
    // What a panic at the end took with it is not told to be kept.
    faults.panics.store(u32::MAX, Ordering::SeqCst);
    scheduler.submit_unconfirmed([JobSpec::new("b", "sqlite")]).remove(0).unwrap();
    assert!(scheduler.shutdown(Duration::ZERO).unwrap().store_behind);
}

#[test]
fn a_shutdown_writes_what_is_left_though_nobody_reads_messages_any_more() {
    let store = MemoryStore::new();
    let faults = Arc::<Faults>::default();
    let faulty = Faulty { inner: store.clone(), faults: Arc::clone(&faults) };
    let clock = ManualClock::default();
    let scheduler = Scheduler::builder()
        .clock(clock.clone())
        .executor("sqlite", |_: &RunContext| Ok(()))
        .store(faulty)
        .start()
        .unwrap();
    let stuck = faults.stuck.lock();
    drop(scheduler.submit_unconfirmed([JobSpec::new("a", "sqlite")]));
    let over = Arc::new(AtomicBool::new(false));
    let flooded = Arc::clone(&over);
    // Each step is a message to the dispatcher, if there is room for it.
    let flood = std::thread::spawn(move || {
        while !flooded.load(Ordering::SeqCst) {
            clock.advance(Duration::from_micros(1));
        }
    });
    let begun = SystemClock.now().mono;
    let shutdown = std::thread::spawn(move || scheduler.shutdown(Duration::ZERO).unwrap());
    while SystemClock.now().mono.since(begun) < Duration::from_secs(1) {
        std::thread::yield_now();
    }
    drop(stuck);
    assert!(!shutdown.join().unwrap().store_behind);
    assert!(SystemClock.now().mono.since(begun) < Duration::from_secs(8));
    over.store(true, Ordering::SeqCst);
    flood.join().unwrap();
}

#[test]
fn a_slot_that_joined_what_was_not_accepted_is_made_all_the_same() {
    let file = "[instances.a]\ntechnology = 'sqlite'\nschedule = '0 2 * * *'\n";
    let store = MemoryStore::new();
    let faults = Arc::<Faults>::default();
    let faulty = Faulty { inner: store.clone(), faults: Arc::clone(&faults) };
    let clock = ManualClock::default();
    let policies = Policies::builtin().with_toml("policy.toml", file).unwrap();
    let quick = |_: &RunContext| Ok(());
    let builder = Scheduler::builder().clock(clock.clone()).policies(policies).executor("sqlite", quick);
    let scheduler = builder.store(faulty).start().unwrap();
    let events = scheduler.subscribe(10_000).unwrap();
    // Nobody has his turn, or another job would be made of the slot.
    scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    let stuck = faults.stuck.lock();
    let ticket = scheduler.submit_unconfirmed([JobSpec::new("a", "sqlite")]).remove(0).unwrap();
    // While that is on its way to the store, the same is due.
    clock.advance(Duration::from_secs(2 * 3_600 + 60));
    wait_for(&events, |kind| matches!(kind, EventKind::DueSubmitted { .. }));
    faults.is_full.store(true, Ordering::SeqCst);
    drop(stuck);
    assert_eq!(ticket.confirm(), Err(SubmitError::Store(full())));
    faults.is_full.store(false, Ordering::SeqCst);
    scheduler.release(Scope::Fleet).unwrap();
    wait_for(&events, |kind| matches!(kind, EventKind::Succeeded { .. }));
}
