//! Many jobs, which several threads decode.

use std::sync::Arc;

use redb::{Database, ReadableDatabase};
use sched_core::store::{Entry, JobStore, StoreError};
use sched_core::{Clock, Engine, EngineConfig, JobId, JobSpec, JobTerms, ManualClock, Output};

use super::super::EmbeddedStore;
use super::super::fault::Place;
use super::super::format::JOBS;
use super::super::load::jobs_by;

/// More than the threads have under way at once, and no whole number of portions.
const MANY: u64 = 20_011;

fn many_jobs() -> Vec<Entry> {
    let clock = ManualClock::default();
    let mut config = EngineConfig::default();
    (config.journal, config.events) = (true, false);
    let mut engine = Engine::new(config, clock.now());
    let terms = [1, 2, 3].map(|attempts| {
        let mut terms = JobTerms::default();
        terms.retry.max_attempts = attempts;
        Arc::new(terms)
    });
    for n in 0..MANY {
        let spec = JobSpec::new(format!("db-{n}"), "sqlite").host(format!("host-{}", n / 8));
        engine.submit(clock.now(), spec, terms[n as usize % 3].clone()).unwrap();
    }
    let mut jobs = Vec::new();
    while let Some(output) = engine.poll_output() {
        if let Output::Record(_, record) = output {
            jobs.push(Entry::from(record));
        }
    }
    jobs
}

/// As where the system lets no thread start.
#[test]
fn many_jobs_come_without_a_decoder() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = EmbeddedStore::at(dir.path().join("store.redb"));
    store.open().unwrap();
    let jobs = many_jobs();
    store.commit(&jobs).unwrap();
    let (open, place) = (store.open.as_ref().unwrap(), Place("here".into()));
    let table = open.database.begin_read().unwrap().open_table(JOBS).unwrap();
    let mut found = Vec::new();
    let known = open.terms.numbered(&place).unwrap();
    jobs_by(0, &table, &place, &known, &mut |entry| found.push(entry)).unwrap();
    assert!(found == jobs, "{} of {}", found.len(), jobs.len());
}

#[test]
fn many_jobs_come_in_their_order_and_the_first_that_is_damaged_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    let jobs = many_jobs();
    store.commit(&jobs).unwrap();
    let mut found = Vec::new();
    assert_eq!(store.load(&mut |entry| found.push(entry)).unwrap(), JobId(MANY));
    assert!(found == jobs, "{} of {}", found.len(), jobs.len());
    drop(store);

    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    for job in [15_000, 9_000, 15_001] {
        transaction.open_table(JOBS).unwrap().insert(job, &b"\x01\0\0\0\0\0\0\0{"[..]).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    let mut before = 0;
    let error = store.load(&mut |_| before += 1).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { at, .. } if at == "job 9000"), "{error}");
    assert!(before < 9_000, "{before}");
}
