//! The store in one file.
//!
//! `group_commit`: four threads submit groups of jobs to a scheduler with a store; each call returns when its group is
//! durable. The peer writes the same values with the bare redb, in as many commits of as many entries, to the same disk. In
//! turns; the row's ratio is the median of those of the turns.
//!
//! `reopen_1m_s`: opens a file with so many waiting jobs, with every checksum, and has an engine take them over. The peer
//! opens the same file in the same way, and reads every value without looking into it.

use std::path::Path;
use std::thread;

use backup_sched::core::store::{Entry, JobStore};
use backup_sched::core::{
    Clock, Engine, EngineConfig, JobSpec, JobTerms, ManualClock, Output, Record, Scope,
};
use backup_sched::{Order, Priority, RunContext, Scheduler};
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};
use sched_benches::{Row, median, quick, results_directory, timed};
use sched_store::EmbeddedStore;

/// As in the store.
const JOBS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("jobs");
const CACHE: usize = 64 << 20;
/// Threads that submit.
const THREADS: usize = 4;
/// Jobs that one call submits.
const GROUP: usize = 100;

pub(crate) fn group_commit() -> Row {
    let turns = if quick() { 3 } else { 9 };
    let calls = if quick() { 20 } else { 60 };
    let jobs = (THREADS * GROUP * calls) as f64;
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..turns {
        let directory = scratch();
        let path = directory.path().join("ours.redb");
        let (ns, groups) = submit(&path, calls);
        let values = values(&path);
        assert_eq!(values.len() as f64, jobs, "every job is in the file");
        let peer = directory.path().join("bare.redb");
        let bare_ns = write(&peer, &values, groups);
        let (our_rate, bare_rate) = (jobs / ns * 1e9, jobs / bare_ns * 1e9);
        println!(
            "turn {turn}: {our_rate:.0} durable submissions/s in {groups} groups, bare {bare_rate:.0}/s, {:.0} bytes each",
            values.iter().map(|(_, value)| value.len()).sum::<usize>() as f64 / jobs
        );
        ours.push(our_rate);
        bare.push(bare_rate);
        ratios.push(our_rate / bare_rate);
    }
    println!("median of {:.0} durable submissions/s, bare {:.0}/s", median(ours), median(bare));
    let peer = ("redb, same values and commits: 1", 1.0);
    Row::new("group_commit", (median(ratios), "ratio"), peer, turns)
}

/// A directory on the disk where the results are: memory would need no syncs.
fn scratch() -> tempfile::TempDir {
    let results = results_directory();
    std::fs::create_dir_all(&results).expect("the target directory can be written");
    tempfile::tempdir_in(results).expect("the target directory can be written")
}

/// Nanoseconds in which so many calls of each thread returned, and in how many groups their jobs were written.
fn submit(path: &Path, calls: usize) -> (f64, u64) {
    let scheduler = Scheduler::builder()
        .executor("sqlite", |_: &RunContext| Ok(()))
        .store(EmbeddedStore::at(path))
        .start()
        .expect("the target directory can be written");
    scheduler.hold(Scope::Fleet, Order::new("bench", "nothing runs")).expect("it runs");
    let before = scheduler.summary().expect("it runs").store.expect("it has one").groups;
    let (ns, ()) = timed(|| {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let scheduler = &scheduler;
                scope.spawn(move || {
                    for call in 0..calls {
                        let spec = |n| {
                            let name = format!("db-{thread}-{call}-{n}");
                            JobSpec::new(name, "sqlite").host(format!("host-{n}")).priority(Priority::Normal)
                        };
                        let answers = scheduler.submit_all((0..GROUP).map(spec));
                        assert!(answers.iter().all(Result::is_ok), "a job was refused");
                    }
                });
            }
        });
    });
    let groups = scheduler.summary().expect("it runs").store.expect("it has one").groups - before;
    scheduler.shutdown(std::time::Duration::ZERO);
    (ns, groups.max(1))
}

/// What the store wrote of the jobs.
fn values(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let database = Database::open(path).expect("it was closed");
    let transaction = database.begin_read().expect("it can be read");
    let jobs = transaction.open_table(JOBS).expect("the store has this table");
    let row = |row: Result<(redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>), _>| {
        let (key, value) = row.expect("it can be read");
        (key.value(), value.value().to_vec())
    };
    jobs.iter().expect("it can be read").map(row).collect()
}

/// Nanoseconds in which the bare engine writes the same values in so many commits.
fn write(path: &Path, values: &[(u64, Vec<u8>)], commits: u64) -> f64 {
    let database = Builder::new().set_cache_size(CACHE).create(path).expect("it can be made");
    let size = values.len().div_ceil(commits as usize);
    let (ns, ()) = timed(|| {
        for group in values.chunks(size) {
            let transaction = database.begin_write().expect("it can be written");
            let mut table = transaction.open_table(JOBS).expect("it can be written");
            for (key, value) in group {
                table.insert(key, &**value).expect("it can be written");
            }
            drop(table);
            transaction.commit().expect("it can be written");
        }
    });
    ns
}

pub(crate) fn reopen() -> Row {
    let jobs: u64 = if quick() { 50_000 } else { 1_000_000 };
    let turns = 3;
    let directory = scratch();
    let path = directory.path().join("store.redb");
    fill(&path, jobs);
    let bytes = std::fs::metadata(&path).expect("it is there").len();
    println!(
        "{jobs} jobs take {:.0} MiB, {:.0} bytes each",
        bytes as f64 / 1_048_576.0,
        bytes as f64 / jobs as f64
    );
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let (ns, waiting) = timed(|| {
            let mut store = EmbeddedStore::at(&path);
            store.open().expect("it was closed");
            let mut records = Vec::new();
            store.load(&mut |entry| records.extend(entry.into_record())).expect("it can be read");
            let (mut engine, clock) = engine();
            let waiting = engine.restore(clock.now(), records).expect("they are its own");
            // Freeing a million jobs is no part of a restart.
            std::mem::forget(engine);
            waiting
        });
        assert_eq!(waiting as u64, jobs);
        ours.push(ns / 1e9);
        let (ns, read) = timed(|| {
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
            let database = builder.open(&path).expect("it was closed");
            let transaction = database.begin_read().expect("it can be read");
            let table = transaction.open_table(JOBS).expect("the store has this table");
            table.iter().expect("it can be read").count()
        });
        assert_eq!(read as u64, jobs);
        bare.push(ns / 1e9);
    }
    Row::new("reopen_1m_s", (median(ours), "s"), ("redb, values not looked into", median(bare)), turns)
}

fn engine() -> (Engine, ManualClock) {
    let clock = ManualClock::default();
    let mut config = EngineConfig::default();
    (config.journal, config.max_pending) = (true, 2_000_000);
    (Engine::new(config, clock.now()), clock)
}

/// Fills a store with what an engine writes down of so many waiting jobs, under the terms of a dozen policies.
fn fill(path: &Path, jobs: u64) {
    let mut store = EmbeddedStore::at(path);
    store.open().expect("the target directory can be written");
    let (mut engine, clock) = engine();
    let terms = |n: u64| {
        let mut terms = JobTerms::default();
        terms.retry.max_attempts = 3 + n as u32;
        std::sync::Arc::new(terms)
    };
    let terms: Vec<_> = (0..12).map(terms).collect();
    for first in (0..jobs).step_by(20_000) {
        let mut group = Vec::new();
        for n in first..(first + 20_000).min(jobs) {
            let spec =
                JobSpec::new(format!("db-{n}"), "sqlite").host(format!("host-{}", n / 8)).size_bytes(n + 1);
            let submitted = engine.submit(clock.now(), spec, terms[(n % 12) as usize].clone());
            submitted.expect("there is room");
        }
        while let Some(output) = engine.poll_output() {
            if let Output::Record(_, record @ Record::Job(_)) = output {
                group.push(Entry::from(record));
            }
        }
        store.commit(&group).expect("the target directory can be written");
    }
}
