//! Real files: what every store does, who may open them, and which versions.

use std::fs;

use redb::TableDefinition;
use sched_core::JobId;
use sched_core::store::conformance::{self, random_group};
use sched_core::store::{Entry, JobStore, StoreError};

use super::super::EmbeddedStore;
use super::super::format::{FORMAT, FORMAT_KEY, META};
use super::{apply, contents};

#[test]
fn it_does_what_every_store_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    conformance::check(|| Ok(EmbeddedStore::at(&path))).unwrap();
}

#[test]
fn one_scheduler_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut first = EmbeddedStore::at(&path);
    first.open().unwrap();
    let mut second = EmbeddedStore::at(&path);
    let refused = second.open().unwrap_err();
    assert!(matches!(&refused, StoreError::Locked { error, .. } if error.contains("process")), "{refused}");
    first.commit(&random_group(3)).unwrap();
    drop(first);
    second.open().unwrap();
    assert!(!contents(&mut second).unwrap().is_empty());
}

#[test]
fn a_later_version_and_what_is_no_store_are_refused_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    EmbeddedStore::at(&path).open().unwrap();
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let newer = EmbeddedStore::at(&path).open().unwrap_err();
    let (found, known) = (FORMAT as u32 + 1, FORMAT as u32);
    assert!(
        matches!(&newer, StoreError::Newer { found: f, known: k, .. } if (*f, *k) == (found, known)),
        "{newer}"
    );

    let other = dir.path().join("other.redb");
    let database = redb::Database::create(&other).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = TableDefinition::<&str, &str>::new("recipes");
    transaction.open_table(table).unwrap().insert("bread", "flour").unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = EmbeddedStore::at(&other).open().unwrap_err();
    assert!(refused.to_string().contains("recipes"), "{refused}");

    let text = dir.path().join("notes.txt");
    fs::write(&text, "not a database".repeat(1_000)).unwrap();
    let refused = EmbeddedStore::at(&text).open().unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    assert_eq!(fs::read_to_string(&text).unwrap(), "not a database".repeat(1_000));

    let missing = dir.path().join("missing.redb");
    assert!(matches!(EmbeddedStore::existing(&missing).open(), Err(StoreError::Io { .. })));
    assert!(!missing.exists());
}

/// A file that was written when the format was new, and what is in it. Neither is to be made anew: whoever changes the format
/// adds a step to `migrate`, and a file of his own beside these.
#[test]
fn a_file_of_the_first_format_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    fs::write(&path, include_bytes!("../../../fixtures/format-1.redb")).unwrap();
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    let mut found = Vec::new();
    let last_job = store.load(&mut |entry| found.push(entry)).unwrap();
    let written = include_str!("../../../fixtures/format-1.jsonl").lines();
    let written: Vec<Entry> = written.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(written.len() > 30);
    assert_eq!((found, last_job), (written, JobId(60)));
    // And it goes on in the newest format.
    store.commit(&random_group(3)).unwrap();
    drop(store);
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    store.load(&mut |_| {}).unwrap();
    store.commit(&random_group(4)).unwrap();
    store.load(&mut |_| {}).unwrap();
}

#[test]
fn a_store_that_was_being_made_when_the_power_failed_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    fs::write(dir.path().join("store.redb.new"), "half").unwrap();
    EmbeddedStore::at(&path).open().unwrap();
    assert!(!dir.path().join("store.redb.new").exists());
}

#[cfg(unix)]
#[test]
fn nobody_else_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    EmbeddedStore::at(&path).open().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn space_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    let mut kept = contents(&mut store).unwrap();
    let week =
        |n: usize| Entry::Week(sched_core::Scope::Host(format!("h{n}").into()), Some("w".repeat(4_000)));
    let many: Vec<_> = (0..8_000).map(week).collect();
    store.commit(&many).unwrap();
    let gone: Vec<_> =
        (10..8_000).map(|n| Entry::Week(sched_core::Scope::Host(format!("h{n}").into()), None)).collect();
    store.commit(&gone).unwrap();
    apply(&mut kept, &many);
    apply(&mut kept, &gone);
    drop(store);
    let before = fs::metadata(&path).unwrap().len();
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    assert_eq!(contents(&mut store).unwrap(), kept);
    let after = fs::metadata(&path).unwrap().len();
    assert!(after * 4 < before, "{before} → {after}");
    store.commit(&random_group(1)).unwrap();
    store.compact().unwrap();
    apply(&mut kept, &random_group(1));
    drop(store);
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    assert_eq!(contents(&mut store).unwrap(), kept);
}

#[test]
fn terms_that_many_share_are_there_once_and_go_with_the_last_job() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    contents(&mut store).unwrap();
    for seed in 0..40 {
        store.commit(&random_group(seed)).unwrap();
    }
    let terms = |store: &EmbeddedStore| {
        use redb::{ReadableDatabase, ReadableTableMetadata};
        let transaction = store.open.as_ref().unwrap().database.begin_read().unwrap();
        transaction.open_table(super::super::format::TERMS).unwrap().len().unwrap()
    };
    assert_eq!(terms(&store), 4, "the suite has four different ones");
    let all: Vec<_> = (1..100).map(|job| Entry::Ended(JobId(job))).collect();
    store.commit(&all).unwrap();
    drop(store);
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    contents(&mut store).unwrap();
    store.commit(&[]).unwrap();
    assert_eq!(terms(&store), 0);
    // What is new after that is there again.
    store.commit(&random_group(0)).unwrap();
    let mut expected = super::Contents::new();
    apply(&mut expected, &random_group(0));
    drop(store);
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    let found = contents(&mut store).unwrap();
    let jobs = |contents: &super::Contents| {
        contents.values().filter(|entry| matches!(entry, Entry::Job(_))).cloned().collect::<Vec<_>>()
    };
    assert_eq!(jobs(&found), jobs(&expected));
}

#[test]
fn a_file_that_is_gone_or_another_after_an_error_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("store.redb"), dir.path().join("aside.redb"));
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    store.commit(&random_group(3)).unwrap();
    let kept = contents(&mut store).unwrap();
    // Its disk is gone when it is opened anew.
    store.suspect = true;
    fs::rename(&path, &aside).unwrap();
    assert!(matches!(store.open(), Err(StoreError::Io { .. })), "what was acknowledged is not there");
    assert!(!path.exists());
    // Nor is a file that somebody put there taken for it.
    EmbeddedStore::at(&path).open().unwrap();
    let refused = store.open().unwrap_err();
    assert!(matches!(refused, StoreError::Io { .. }), "{refused}");
    fs::rename(&aside, &path).unwrap();
    store.open().unwrap();
    assert_eq!(contents(&mut store).unwrap(), kept);
}

#[cfg(unix)]
#[test]
fn a_link_leads_to_the_store_and_one_that_leads_nowhere_is_no_place_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("store.redb"), dir.path().join("link.redb"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    // What it leads to may be on a disk that is not mounted.
    let refused = EmbeddedStore::at(&link).open().unwrap_err();
    assert!(refused.to_string().contains("link"), "{refused}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    let twice = EmbeddedStore::at(&link).open().unwrap_err();
    assert!(matches!(twice, StoreError::Locked { .. }), "{twice}");
    drop(store);
    EmbeddedStore::at(&link).open().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn what_cannot_be_a_store_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for odd in ["", "empty", "no/such/directory", "."] {
        let path = if odd.is_empty() { odd.into() } else { dir.path().join(odd) };
        if odd == "empty" {
            fs::write(&path, "").unwrap();
        }
        EmbeddedStore::at(&path).open().unwrap_err();
    }
}

#[test]
fn another_process_does_not_write_through_an_open_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut store = EmbeddedStore::at(&path);
    store.open().unwrap();
    store.commit(&random_group(3)).unwrap();
    let kept = contents(&mut store).unwrap();
    let on_disk = fs::read(&path).unwrap();
    // As a child sees it that is forked off here.
    let fork = |store: &mut EmbeddedStore| store.open.as_mut().unwrap().process ^= 1;
    fork(&mut store);
    let refused = [
        store.commit(&random_group(4)).unwrap_err(),
        store.load(&mut |_| {}).unwrap_err(),
        store.open().unwrap_err(),
        store.compact().unwrap_err(),
    ];
    for error in refused {
        assert!(error.to_string().contains("was forked"), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), on_disk);
    // For the process that opened it nothing has changed.
    fork(&mut store);
    store.open().unwrap();
    assert_eq!(contents(&mut store).unwrap(), kept);
    store.commit(&random_group(4)).unwrap();
    let on_disk = fs::read(&path).unwrap();
    fork(&mut store);
    drop(store);
    assert_eq!(fs::read(&path).unwrap(), on_disk, "the child that ends closes nothing");
}
