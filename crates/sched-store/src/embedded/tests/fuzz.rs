//! Rows and files that are damaged anyhow: read as they are, or refused with a word of what is wrong. Never a panic, and
//! nothing that is there is taken for not being there.

use std::fs;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use sched_core::JobTerms;
use sched_core::store::{Entry, JobEntry, JobStore, Key, StoreError};
use sched_fuzz::Target;

use super::super::EmbeddedStore;
use super::super::fault::Place;
use super::super::format::{AUDIT, FACTS, JOBS, TERMS};
use super::super::value::{Numbered, Terms, decode_audit, decode_fact};
use super::{Contents, contents};

const FILE: &[u8] = include_bytes!("../../../fixtures/format-1.redb");

fn target(name: &str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

/// The rows of a file, as they stand in it.
#[derive(Default)]
struct Rows {
    jobs: Vec<(u64, Vec<u8>)>,
    terms: Vec<(u64, Vec<u8>)>,
    facts: Vec<(String, Vec<u8>)>,
    audit: Vec<(u64, Vec<u8>)>,
}

/// A table whose rows have numbers.
type Table = TableDefinition<'static, u64, &'static [u8]>;

impl Rows {
    fn of(path: &Path) -> Self {
        let database = Database::open(path).unwrap();
        let transaction = database.begin_read().unwrap();
        let numbered = |table: Table| {
            let table = transaction.open_table(table).unwrap();
            let rows = table.iter().unwrap().map(|row| row.unwrap());
            rows.map(|(key, value)| (key.value(), value.value().to_vec())).collect()
        };
        let facts = transaction.open_table(FACTS).unwrap();
        let facts = facts.iter().unwrap().map(|row| row.unwrap());
        let facts = facts.map(|(key, value)| (key.value().to_owned(), value.value().to_vec())).collect();
        Self { jobs: numbered(JOBS), terms: numbered(TERMS), facts, audit: numbered(AUDIT) }
    }

    /// A few of each, as inputs.
    fn inputs(&self, mut target: Target) -> Target {
        let numbered =
            [&self.jobs, &self.terms, &self.audit].into_iter().flat_map(|rows| rows.iter().take(6));
        for (_, value) in numbered {
            target = target.input(value.clone());
        }
        for (_, value) in self.facts.iter().step_by(3) {
            target = target.input(value.clone());
        }
        target
    }
}

fn fixture() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    fs::write(&path, FILE).unwrap();
    (dir, path)
}

fn is_corrupt(error: &StoreError) {
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn rows_are_decoded_or_refused() {
    let (_dir, path) = fixture();
    let rows = Rows::of(&path);
    let place = Place("here".into());
    let terms = |(number, text): &(u64, Vec<u8>)| {
        (*number, std::sync::Arc::new(serde_json::from_slice::<JobTerms>(text).unwrap()))
    };
    let known: Numbered = rows.terms.iter().map(terms).collect();
    let check = |bytes: &[u8]| {
        let told = bytes.get(8..).and_then(|text| serde_json::from_slice::<JobEntry>(text).ok());
        let id = told.map_or(1, |job| job.record.id.0);
        match Terms::decode_job(&place, &known, id, bytes) {
            Ok((entry, _)) => assert!(matches!(&entry, Entry::Job(job) if job.record.id.0 == id)),
            Err(error) => is_corrupt(&error),
        }
        let told = serde_json::from_slice::<Entry>(bytes).map(|entry| entry.key());
        let key = told.unwrap_or(Key::Audit(1));
        match decode_fact(&place, &serde_json::to_string(&key).unwrap(), bytes) {
            Ok(entry) => assert!(entry.key() == key && !entry.removes(), "{entry:?}"),
            Err(error) => is_corrupt(&error),
        }
        decode_fact(&place, r#"{"week":{"host":"another"}}"#, bytes).unwrap_err();
        if let Err(error) = decode_audit(&place, if let Key::Audit(number) = key { number } else { 1 }, bytes)
        {
            is_corrupt(&error);
        }
    };
    rows.inputs(target("rows")).run(check);
}

/// Puts bytes in the place of one row of each table by turns.
fn put(path: &Path, rows: &Rows, bytes: &[u8]) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let number = bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>();
    match number % 4 {
        0 => {
            let key = rows.jobs[number % rows.jobs.len()].0;
            transaction.open_table(JOBS).unwrap().insert(key, bytes).unwrap();
        }
        1 => {
            let key = rows.terms[number % rows.terms.len()].0;
            transaction.open_table(TERMS).unwrap().insert(key, bytes).unwrap();
        }
        2 => {
            let key = &*rows.facts[number % rows.facts.len()].0;
            transaction.open_table(FACTS).unwrap().insert(key, bytes).unwrap();
        }
        _ => {
            let key = rows.audit[number % rows.audit.len()].0;
            transaction.open_table(AUDIT).unwrap().insert(key, bytes).unwrap();
        }
    }
    transaction.commit().unwrap();
}

fn read(path: &Path) -> Result<Contents, StoreError> {
    let mut store = EmbeddedStore::at(path);
    store.open()?;
    contents(&mut store)
}

#[test]
fn a_file_with_a_damaged_row_is_refused_or_has_all_its_rows() {
    let (_dir, path) = fixture();
    let rows = Rows::of(&path);
    let kept = read(&path).unwrap();
    let check = |bytes: &[u8]| {
        fs::write(&path, FILE).unwrap();
        put(&path, &rows, bytes);
        match read(&path) {
            Ok(found) => assert!(found.keys().eq(kept.keys()), "a row was taken for another, or for none"),
            Err(error) => is_corrupt(&error),
        }
    };
    rows.inputs(target("files-with-rows")).cost(20).run(check);
}

#[test]
fn a_damaged_file_is_refused_or_is_not_empty() {
    let (_dir, path) = fixture();
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match read(&path) {
            // The commit before the last, at worst, where damage looks like one that was never completed.
            Ok(found) => assert!(!found.is_empty(), "taken for empty"),
            Err(StoreError::Newer { .. }) => {}
            Err(error) => is_corrupt(&error),
        }
    };
    target("files").input(FILE).cost(20).run(check);
}
