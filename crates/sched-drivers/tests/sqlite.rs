//! Real SQLite databases, with writers beside the backup.
#![cfg(feature = "sqlite")]

mod rig;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use rig::{Attempt, files, full_after};
use rusqlite::Connection;
use sched_core::{Clock, JobSpec, LoadLevel, ManualClock, RunError, Scope};
use sched_drivers::DriverError;
use sched_drivers::destination::{LocalDirectory, MANIFEST};
use sched_drivers::server::{Monitor, MonitorConfig, StatusSource};
use sched_drivers::sqlite::{FILE, SqliteBackup, SqliteStatus};
use sched_limits::CapacityProbe;
use sched_workload::LoadDetector;

fn spec() -> JobSpec {
    JobSpec::new("shop", "sqlite")
}

/// A database of two tables that always hold the same sum.
fn create(path: &Path, journal_mode: &str, rows: i64) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(30)).unwrap();
    db.execute_batch(&format!("PRAGMA journal_mode = {journal_mode}; PRAGMA synchronous = OFF;")).unwrap();
    db.execute_batch(
        "CREATE TABLE entry (id INTEGER PRIMARY KEY, amount INTEGER, filler BLOB);
         CREATE TABLE total (amount INTEGER);
         INSERT INTO total VALUES (0);",
    )
    .unwrap();
    db.execute_batch("BEGIN").unwrap();
    for id in 1..=rows {
        add(&db, id);
    }
    db.execute_batch("COMMIT").unwrap();
    db
}

fn add(db: &Connection, id: i64) {
    db.execute("INSERT INTO entry VALUES (?1, ?1, zeroblob(1000))", [id]).unwrap();
    db.execute("UPDATE total SET amount = amount + ?1", [id]).unwrap();
}

/// Writes one entry after the other, each in a transaction of its own, until told to stop.
fn write(path: &Path, from: i64, committed: &AtomicI64, stop: &AtomicBool) {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(30)).unwrap();
    for id in from.. {
        if stop.load(Relaxed) {
            return;
        }
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        add(&db, id);
        db.execute_batch("COMMIT").unwrap();
        committed.store(id, Relaxed);
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Entries of a restored copy: gapless, with the sum that both tables agree on.
fn entries(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let (count, last, sum): (i64, i64, i64) = db
        .query_row("SELECT count(*), max(id), sum(amount) FROM entry", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    let total: i64 = db.query_row("SELECT amount FROM total", [], |row| row.get(0)).unwrap();
    assert_eq!((count, sum), (last, total), "the copy is not of one moment");
    count
}

fn executor(database: &Path, root: &Path) -> SqliteBackup {
    let database = database.to_owned();
    SqliteBackup::new(move |_| Some(database.clone()), LocalDirectory::new(root))
}

#[test]
fn a_copy_beside_a_writer_is_of_one_moment_and_restores() {
    let dir = tempfile::tempdir().unwrap();
    let (path, root) = (dir.path().join("shop.db"), dir.path().join("backups"));
    drop(create(&path, "WAL", 5000));
    let (committed, stop) = (AtomicI64::new(5000), AtomicBool::new(false));
    let attempt = Attempt::new(spec(), 1 << 20);
    thread::scope(|scope| {
        scope.spawn(|| write(&path, 5001, &committed, &stop));
        let run = scope.spawn(|| executor(&path, &root).make(&attempt.ctx));
        // The copy stands at the dam with a snapshot taken, while writers go on.
        rig::until("a megabyte", || attempt.dam.passed() > 1 << 20);
        let before = committed.load(Relaxed);
        rig::until("fifty more entries", || committed.load(Relaxed) > before + 50);
        attempt.dam.open();
        let done = run.join().unwrap().unwrap();
        stop.store(true, Relaxed);
        let count = entries(&Path::new(&done.location).join(FILE));
        assert!((5000..=before).contains(&count), "{count} of {before}");
        assert_eq!(done.manifest.facts["journal_mode"], "wal");
        assert!(done.manifest.tool.starts_with("SQLite 3."));
    });
    assert_eq!(files(&root).len(), 2, "{:?}", files(&root));
}

#[test]
fn a_crash_at_any_moment_leaves_only_files_that_were_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let (path, root) = (dir.path().join("shop.db"), dir.path().join("backups"));
    drop(create(&path, "WAL", 20_000));
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let run = scope.spawn(|| executor(&path, &root).make(&Attempt::free(spec()).ctx));
        while !run.is_finished() {
            seen.extend(files(&root));
        }
        run.join().unwrap().unwrap();
    });
    let written_down = |file: &PathBuf| [".attempt", FILE, MANIFEST].iter().any(|name| file.ends_with(name));
    assert!(seen.iter().all(written_down), "{:?}", seen.iter().find(|file| !written_down(file)));
}

const TRUNCATES: &str = "SCHED_DRIVERS_TEST_TRUNCATES";

/// Not a test of its own: another process, which fails to empty the WAL while somebody reads or writes.
#[test]
fn another_process() {
    let Some(path) = std::env::var_os(TRUNCATES) else { return };
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::ZERO).unwrap();
    let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0);
}

fn another_process_empties_the_wal(path: &Path) -> bool {
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args(["--exact", "another_process"]).env(TRUNCATES, path).output().unwrap().status.success()
}

#[test]
fn a_look_at_the_load_leaves_the_locks_of_its_own_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    let db = create(&path, "WAL", 100);
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(!another_process_empties_the_wal(&path));
    let mut status = SqliteStatus::new(&path);
    status.read(ManualClock::default().now()).unwrap();
    assert!(!another_process_empties_the_wal(&path));
    drop(status);
    assert!(!another_process_empties_the_wal(&path));
    db.execute_batch("ROLLBACK").unwrap();
    assert!(another_process_empties_the_wal(&path));
}

#[test]
fn no_other_process_takes_the_wal_from_under_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    let db = create(&path, "WAL", 8000);
    let attempt = Attempt::new(spec(), 6 << 20);
    thread::scope(|scope| {
        let run = scope.spawn(|| executor(&path, &dir.path().join("backups")).make(&attempt.ctx));
        // It looks at the size of the WAL now and then.
        rig::until("some megabytes", || attempt.dam.passed() > 6 << 20);
        add(&db, 8001);
        let emptied = another_process_empties_the_wal(&path);
        attempt.dam.open();
        let done = run.join().unwrap().unwrap();
        assert!(!emptied);
        assert_eq!(entries(&Path::new(&done.location).join(FILE)), 8000);
    });
}

#[test]
fn without_a_wal_a_writer_is_not_blocked_and_the_error_names_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (path, root) = (dir.path().join("shop.db"), dir.path().join("backups"));
    drop(create(&path, "DELETE", 3000));
    let quiet = executor(&path, &root).make(&Attempt::free(spec()).ctx).unwrap();
    assert_eq!(entries(&Path::new(&quiet.location).join(FILE)), 3000);

    let db = Connection::open(&path).unwrap();
    let attempt = Attempt::new(spec(), 0);
    thread::scope(|scope| {
        let run = scope.spawn(|| executor(&path, &root).max_restarts(0).make(&attempt.ctx));
        attempt.dam.open();
        for id in 3001.. {
            if run.is_finished() {
                break;
            }
            // Locked while a step is made: not blocked for longer.
            db.busy_timeout(Duration::from_secs(30)).unwrap();
            add(&db, id);
            thread::park_timeout(Duration::from_millis(1));
        }
        match run.join().unwrap() {
            Err(DriverError::NotReady { problem, .. }) => {
                assert!(problem.contains("journal_mode = WAL"), "{problem}")
            }
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(files(&root).len(), 2, "{:?}", files(&root));
}

#[test]
fn cancelled_midway_it_leaves_nothing_and_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, root) = (dir.path().join("shop.db"), dir.path().join("backups"));
    let db = create(&path, "WAL", 3000);
    let attempt = Attempt::new(spec(), 1 << 20);
    thread::scope(|scope| {
        let run = scope.spawn(|| executor(&path, &root).make(&attempt.ctx));
        rig::until("a megabyte", || attempt.dam.passed() > 1 << 20);
        attempt.cancel();
        assert!(matches!(run.join().unwrap(), Err(DriverError::Cancelled)));
    });
    assert_eq!(files(&root), Vec::<PathBuf>::new());
    // No reader is left: the whole WAL can be taken over and cut.
    add(&db, 3001);
    let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0);
}

#[test]
fn a_wal_that_grows_too_large_ends_the_slowness() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    let db = create(&path, "WAL", 6000);
    let phases = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let told = std::sync::Arc::clone(&phases);
    let control = sched_core::RunControl::new(|_| {}).on_phase(move |phase| told.lock().push(phase));
    let attempt = Attempt::with_control(spec(), u64::MAX, control);
    drop(db);
    let writer = Connection::open(&path).unwrap();
    add(&writer, 6001);
    executor(&path, &dir.path().join("backups")).max_wal_bytes(1).make(&attempt.ctx).unwrap();
    let phases = phases.lock();
    let seen: Vec<_> = phases.iter().map(|phase| (phase.name.as_str(), phase.floor_bytes_per_sec)).collect();
    assert_eq!(seen, [("copy", 1_000_000), ("wal_is_full", u64::MAX)]);
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("backups");
    let make = |path: &Path| executor(path, &root).make(&Attempt::free(spec()).ctx).unwrap_err();
    let error = make(&dir.path().join("missing.db"));
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error:?}");
    let garbage = dir.path().join("garbage.db");
    fs::write(&garbage, [7; 10_000]).unwrap();
    let error = make(&garbage);
    assert!(matches!(error, DriverError::Corrupt { .. }), "{error:?}");
    let nobody = SqliteBackup::new(|_| None, LocalDirectory::new(&root));
    let error = nobody.make(&Attempt::free(spec()).ctx).unwrap_err();
    assert!(matches!(error.into_run_error(&Attempt::free(spec()).ctx), RunError::Permanent(_)));

    let path = dir.path().join("shop.db");
    drop(create(&path, "WAL", 1000));
    let full = SqliteBackup::new(move |_| Some(path.clone()), full_after(100_000));
    let error = full.make(&Attempt::free(spec()).ctx).unwrap_err();
    assert!(matches!(error, DriverError::Destination { .. }), "{error:?}");
    assert_eq!(files(&root), Vec::<PathBuf>::new());
}

#[test]
fn its_load_and_its_wal_are_read_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    let db = create(&path, "WAL", 100);
    let clock = ManualClock::default();
    let mut status = SqliteStatus::new(&path);
    let first = status.read(clock.now()).unwrap();
    assert_eq!((first.active, first.workload), (0.0, None));
    for id in 101..=110 {
        add(&db, id);
    }
    clock.advance(Duration::from_secs(2));
    let second = status.read(clock.now()).unwrap();
    let workload = second.workload.unwrap();
    // Each call of `add` makes two transactions; ten in two seconds.
    assert_eq!(workload.writes_per_s, 10.0);
    assert!(workload.touched_per_s >= 10.0, "{workload:?}");

    let monitor = Monitor::new("shop", SqliteStatus::new(&path), MonitorConfig::default());
    let (mut detector, mut probe) = (monitor.detector(), monitor.probe());
    assert_eq!(detector.detect(clock.now()).unwrap().state.level, LoadLevel::Calm);
    let wal = probe.sample(clock.now()).unwrap().remove(0);
    assert_eq!((wal.signal.as_str(), wal.scope.clone()), ("wal_mib", Scope::Instance("shop".into())));
    wal.check().unwrap();
    let file = fs::metadata(dir.path().join("shop.db-wal")).unwrap().len() as f64 / f64::from(1 << 20);
    assert!(wal.value > 0.0 && wal.value <= file, "{} of {file}", wal.value);

    // Somebody holds the write lock at every reading.
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..20 {
        clock.advance(Duration::from_secs(5));
        detector.detect(clock.now()).unwrap();
    }
    assert_ne!(detector.detect(clock.now()).unwrap().state.level, LoadLevel::Calm);
}
