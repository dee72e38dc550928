//! What every job store has to do, as a suite that any implementation runs in its own tests.
//!
//! A harness for tests. A later version may ask for more, as far as [`JobStore`]'s documentation asks for it now.
//!
//! ```
//! use sched_core::store::{MemoryStore, conformance};
//!
//! let store = MemoryStore::new();
//! conformance::check(|| Ok(store.clone())).unwrap();
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{AUDIT_KEPT, AuditEntry, Entry, JobEntry, JobStore, Key, ScheduleEntry, StoreError};
use crate::engine::Order;
use crate::estimate::Estimate;
use crate::gate::Scope;
use crate::journal::{EstimateRecord, JobRecord, StandingOrders};
use crate::spec::{BackupKind, JobId, JobSpec};
use crate::terms::JobTerms;

/// Groups of random entries that the suite writes.
const GROUPS: u64 = 40;

/// Runs the suite. `make` makes a handle on one and the same store, empty at first, as a scheduler that starts does; the
/// former handle is dropped before.
///
/// # Errors
/// The first thing that the store does not do.
pub fn check<S: JobStore>(make: impl Fn() -> Result<S, StoreError>) -> Result<(), Violation> {
    let mut world = World { make, kept: BTreeMap::new(), last_job: JobId(0), store: None };
    world.expect("an empty store")?;
    world.commit("an empty group", vec![])?;
    world.commit("one of each", one_of_each())?;
    world.expect("one of each")?;
    let twice = vec![job(7, 1), job(7, 2), Entry::Ended(JobId(8)), job(8, 1)];
    world.commit("a key twice in a group", twice)?;
    world.expect("a key twice in a group")?;
    world.commit("what is not there is removed", vec![Entry::Ended(JobId(40))])?;
    world.expect("what is not there is removed")?;
    let gone = vec![Entry::Ended(JobId(7)), Entry::Orders(Box::new(StandingOrders::none(Scope::Fleet)))];
    world.commit("keys are removed", gone)?;
    world.expect("keys are removed")?;
    let large = (100..1_100).map(|id| job(id, 0)).collect();
    world.commit("a large group", large)?;
    world.expect("a large group")?;
    let audit = (1..=AUDIT_KEPT + 20).map(audit).collect();
    world.commit("more audit entries than are kept", audit)?;
    world.expect("more audit entries than are kept")?;
    for group in 0..GROUPS {
        world.commit("a random group", random_group(group))?;
        if group.is_multiple_of(8) {
            world.expect("random groups")?;
        }
    }
    let all = (1..1_200).map(|id| Entry::Ended(JobId(id))).collect();
    world.commit("every job has ended", all)?;
    // Not given again, though no job is left.
    world.expect("every job has ended")
}

/// What a store did not do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{step}: {problem}")]
pub struct Violation {
    /// The step of the suite.
    pub step: &'static str,
    /// What was wrong there.
    pub problem: String,
}

struct World<F, S> {
    make: F,
    /// What should be there.
    kept: BTreeMap<Key, Entry>,
    last_job: JobId,
    store: Option<S>,
}

impl<S: JobStore, F: Fn() -> Result<S, StoreError>> World<F, S> {
    fn commit(&mut self, step: &'static str, group: Vec<Entry>) -> Result<(), Violation> {
        let wrong = |problem: String| Violation { step, problem };
        if self.store.is_none() {
            let mut store = (self.make)().map_err(|error| wrong(error.to_string()))?;
            store.open().map_err(|error| wrong(format!("it cannot be opened: {error}")))?;
            store.load(&mut |_| {}).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
            self.store = Some(store);
        }
        let Some(store) = &mut self.store else { return Ok(()) };
        store.commit(&group).map_err(|error| wrong(format!("a group is refused: {error}")))?;
        for entry in group {
            let key = entry.key();
            if let Key::Job(job) = key {
                self.last_job = self.last_job.max(job);
            }
            match entry.removes() {
                true => drop(self.kept.remove(&key)),
                false => drop(self.kept.insert(key, entry)),
            }
        }
        let newest =
            self.kept.keys().filter_map(|key| if let Key::Audit(n) = key { Some(*n) } else { None }).max();
        let oldest = newest.unwrap_or(0).saturating_sub(AUDIT_KEPT);
        self.kept.retain(|key, _| !matches!(key, Key::Audit(number) if *number <= oldest));
        Ok(())
    }

    /// What a scheduler that starts now would find.
    fn expect(&mut self, step: &'static str) -> Result<(), Violation> {
        let wrong = |problem: String| Violation { step, problem };
        self.store = None;
        let mut store = (self.make)().map_err(|error| wrong(error.to_string()))?;
        store.open().map_err(|error| wrong(format!("it cannot be opened again: {error}")))?;
        let mut found = BTreeMap::new();
        let (mut jobs, mut audit) = (Vec::new(), Vec::new());
        let mut twice = None;
        let last = store.load(&mut |entry| {
            let key = entry.key();
            match key {
                Key::Job(job) => jobs.push(job.0),
                Key::Audit(number) => audit.push(number),
                _ => {}
            }
            if let Some(before) = found.insert(key, entry) {
                twice.get_or_insert(before.key());
            }
        });
        let last = last.map_err(|error| wrong(format!("it cannot be read: {error}")))?;
        if let Some(key) = twice {
            return Err(wrong(format!("{key:?} is handed out twice")));
        }
        if !jobs.is_sorted() || !audit.is_sorted() {
            return Err(wrong("jobs or audit entries are not handed out in order".into()));
        }
        if let Some((key, entry)) = self.kept.iter().find(|(key, entry)| found.get(key) != Some(*entry)) {
            return Err(wrong(format!("of {key:?} it keeps {:?} instead of {entry:?}", found.get(key))));
        }
        if let Some(key) = found.keys().find(|key| !self.kept.contains_key(key)) {
            return Err(wrong(format!("it keeps {key:?}, which is gone")));
        }
        // Stores that several schedulers share hand out numbers in ranges: larger is right too.
        if last < self.last_job {
            return Err(wrong(format!("a job had number {}, and it says {}", self.last_job, last)));
        }
        self.store = Some(store);
        Ok(())
    }
}

fn one_of_each() -> Vec<Entry> {
    let order = Order::new("ana", "moving the \"rack\"\n").until(at(3600));
    let mut orders = StandingOrders::none(Scope::Fleet);
    (orders.hold, orders.drain) = (Some(order.clone()), true);
    orders.ceiling = Some((5_000, order.clone()));
    let mut estimate = Estimate::default();
    estimate.observe(Duration::from_secs(61), 12_345);
    let mut schedule = ScheduleEntry::new("orders/é".into(), BackupKind::Full);
    (schedule.recovery_point, schedule.dealt_with, schedule.job) = (Some(at(7)), Some(at(8)), Some(JobId(7)));
    vec![
        job(7, 0),
        Entry::Orders(Box::new(orders)),
        Entry::Estimate(Box::new(EstimateRecord {
            instance: "orders/é".into(),
            kind: BackupKind::Incremental,
            technology: "mysql".into(),
            estimate: Some(estimate),
        })),
        Entry::Schedule(Box::new(schedule)),
        Entry::Week(Scope::Instance("orders/é".into()), Some("{\"version\":1}".into())),
        audit(1),
    ]
}

/// A group of up to 30 random entries of all kinds but audit entries, for tests of faults: jobs 1 to 60 come and go, and so
/// do orders, schedules and weeks of nine places. The same seed gives the same group.
pub fn random_group(seed: u64) -> Vec<Entry> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let size = next(30);
    let entry = |_| {
        let id = 1 + next(60);
        match next(8) {
            0..3 => job(id, u32::try_from(next(5)).unwrap_or(0)),
            3..5 => Entry::Ended(JobId(id)),
            5 => {
                let week = (next(3) > 0).then(|| "w".repeat(usize::try_from(next(4_000)).unwrap_or(0)));
                Entry::Week(Scope::Host(format!("h{}", next(9)).into()), week)
            }
            6 => {
                let mut orders = StandingOrders::none(Scope::Host(format!("h{}", next(9)).into()));
                orders.run_now = (next(2) > 0).then(|| Order::new("ben", "now"));
                Entry::Orders(Box::new(orders))
            }
            _ => {
                let mut schedule = ScheduleEntry::new(format!("i{}", next(9)).into(), BackupKind::Full);
                schedule.is_gone = next(3) == 0;
                Entry::Schedule(Box::new(schedule))
            }
        }
    };
    (0..size).map(entry).collect()
}

fn audit(number: u64) -> Entry {
    let mut entry = AuditEntry::new(number, at(number), "hold");
    entry.scope = Some(Scope::Host("h1".into()));
    Entry::Audit(Box::new(entry))
}

fn job(id: u64, attempt: u32) -> Entry {
    let mut spec = JobSpec::new(format!("db-{id}"), "postgres").host("h1").size_bytes(id + 1);
    if id.is_multiple_of(3) {
        spec = spec.demand("disk", 2).destination("s3").rpo(Duration::from_millis(90_500));
    }
    let mut terms = JobTerms::default();
    terms.retry.max_attempts += u32::try_from(id % 4).unwrap_or(0);
    let mut entry = JobEntry::new(JobRecord {
        id: JobId(id),
        spec: spec.clone(),
        terms: Arc::new(terms),
        expected_duration: Duration::from_millis(1_234),
        size_bytes: Some(id + 1),
        submitted: at(id),
        attempt,
        under_way: attempt % 2 == 1,
        failures: u16::try_from(attempt).unwrap_or(u16::MAX),
        interrupted_until: None,
        run_now: id.is_multiple_of(5).then(|| Order::new("ana", "audit")),
        back_off_until: (attempt > 1).then(|| at(id + 60)),
        failed: None,
        error: (attempt > 1).then(|| "disk\u{1F4A5} full".to_owned()),
        requesters: 1,
        cancelled: None,
    });
    entry.asked = id.is_multiple_of(2).then(|| Box::new(spec));
    (entry.pull, entry.unclean) = (id.is_multiple_of(7), id.is_multiple_of(11));
    Entry::Job(Box::new(entry))
}

fn at(secs: u64) -> Timestamp {
    let secs = i64::try_from(secs).unwrap_or(i64::MAX);
    Timestamp::from_second(1_700_000_000 + secs).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl<S, F> fmt::Debug for World<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}
