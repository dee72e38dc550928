//! One backup of a SQLite database through the online backup API.
//!
//! `cargo run --release -p sched-examples-outside --example sqlite -- --testbed` (or `FILE`)

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rusqlite::{Connection, OpenFlags};
use sched_drivers::server::{Monitor, MonitorConfig};
use sched_drivers::sqlite::{SqliteBackup, SqliteStatus};
use sched_examples_outside::{Args, Failure, INSTANCE, Subject, back_up, run};

fn main() -> ExitCode {
    run("sqlite", "FILE", example)
}

fn example(args: Args) -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let file = match args.address() {
        Some((file, _)) => PathBuf::from(file),
        None => filled(directory.path())?,
    };
    let subject = Subject {
        technology: "sqlite",
        monitor: Monitor::new(INSTANCE, SqliteStatus::new(&file), MonitorConfig::default()),
        checked: "PRAGMA quick_check of the copy",
        restore: Some(Box::new(restored)),
    };
    back_up(&args, subject, |destination| {
        let backup = SqliteBackup::new(move |_| Some(file.clone()), destination);
        move |ctx| backup.make(ctx)
    })
}

/// A database with some orders.
fn filled(directory: &Path) -> Result<PathBuf, Failure> {
    let file = directory.join("shop.db");
    let db = Connection::open(&file)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE orders (id INTEGER PRIMARY KEY, item BLOB NOT NULL);
         WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 50000)
         INSERT INTO orders SELECT id, randomblob(100) FROM n;",
    )?;
    Ok(file)
}

/// The copy is a database as it is.
fn restored(folder: &Path) -> Result<String, Failure> {
    // Immutable: looking at it leaves nothing beside it.
    let uri = format!("file:{}?immutable=1", folder.join("database.sqlite").display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let copy = Connection::open_with_flags(uri, flags)?;
    let said: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let tables: i64 =
        copy.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |row| row.get(0))?;
    match said.as_str() {
        "ok" => {
            Ok(format!("it opens with {tables} table(s), and PRAGMA integrity_check finds nothing wrong"))
        }
        wrong => Err(wrong.to_owned().into()),
    }
}
